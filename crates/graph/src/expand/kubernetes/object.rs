//! Objects of a manifest, as they stand in their file: Freehold adds its labels and the namespace.
//!
//! They come after what every namespace has, and need nothing else; what others are configured by comes before the others. What no stack
//! may deliver is refused by `check`; what this target doesn't allow is refused here.

use std::collections::BTreeSet;

use freehold_spec::app::Manifest;
use freehold_spec::{Name, PartKind};
use serde_json::Value as Json;

use super::Cluster;
use super::manifest::{PodPart, literal};
use crate::delivered::{self, AllowedKind, of_group};
use crate::expand::error::{Claimant, ExpandError};
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;
use crate::value::Value;

/// What other objects read: made before them.
const READ_BY_OTHERS: [(&str, &str); 2] = [("", "ConfigMap"), ("", "Service")];

/// What a document says of its object. Of an invalid one, which `check` refuses, it is empty.
pub struct Head<'a> {
    /// `example.org`; empty for the core.
    pub group: &'a str,
    /// `v1`
    pub version: &'a str,
    /// `Widget`
    pub kind: &'a str,
    /// The object's name.
    pub name: &'a str,
}

impl<'a> Head<'a> {
    /// Reads `apiVersion`, `kind` and `metadata.name`.
    pub fn of(document: &'a Json) -> Self {
        let text = |pointer: &str| document.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
        let version = text("/apiVersion");
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        Self { group, version, kind: text("/kind"), name: text("/metadata/name") }
    }
}

impl Cluster<'_> {
    pub(crate) fn manifest(&mut self, name: &Name, manifest: &Manifest) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for document in &manifest.file.documents {
            let head = Head::of(&document.value);
            let place = format!("manifest.{name} ({}:{})", manifest.file.path, document.line);
            match self.allowed(&head) {
                Some(kind) if READ_BY_OTHERS.contains(&(head.group, head.kind)) => {
                    before.push((place, kind, &document.value));
                }
                Some(kind) => after.push((place, kind, &document.value)),
                None => {
                    let (kind, target) = (of_group(head.kind, head.group), self.facts.name.to_string());
                    self.expansion.resolver.errors.push(ExpandError::KindNotAllowed { from: place, kind, target });
                }
            }
        }
        let mut needs: BTreeSet<ResourceId> = self.prerequisites.clone();
        let first =
            before.into_iter().map(|(place, kind, document)| self.object(name, place, &kind, document, needs.clone()));
        let first: Vec<ResourceId> = first.collect();
        needs.extend(first);
        for (place, kind, document) in after {
            self.object(name, place, &kind, document, needs.clone());
        }
    }

    /// The kind, if stacks may have objects of it on this target.
    fn allowed(&self, head: &Head<'_>) -> Option<AllowedKind> {
        let always = delivered::ALWAYS.iter().find(|(group, _, kind)| (*group, *kind) == (head.group, head.kind));
        if let Some((group, plural, kind)) = always {
            let [group, plural, kind] = [group, plural, kind].map(|text| (*text).to_owned());
            return Some(AllowedKind { group, plural, kind });
        }
        let allowed = self.facts.allowed_kinds.iter().find(|one| one.group == head.group && one.kind == head.kind);
        allowed.filter(|_| delivered::refused(head.group, head.kind).is_none()).cloned()
    }

    /// Adds an object; its id.
    fn object(
        &mut self,
        manifest: &Name,
        place: String,
        kind: &AllowedKind,
        document: &Json,
        mut needs: BTreeSet<ResourceId>,
    ) -> ResourceId {
        let name = Head::of(document).name;
        let (resource, namespace) = (kind.resource(), self.namespace.clone());
        let part = Some((PartKind::Manifest, manifest.clone()));
        self.take_object(&kind.group, &kind.kind, name, Claimant { part, place });
        let mut body = literal(document.clone()).as_map().cloned().unwrap_or_default();
        let metadata = self.metadata_of(manifest, name, body.get("metadata"));
        body.insert("metadata".to_owned(), metadata);
        needs.insert(ResourceId::new("namespace", "main"));
        let id = ResourceId::new(ResourceKind::KubernetesObject.row().id_word, format!("{resource}/{name}"));
        let identity = format!("{namespace}/{resource}/{name}");
        self.expansion.add(id.clone(), ResourceKind::KubernetesObject, identity, Value::Map(body), needs);
        id
    }

    /// The document's labels and annotations beside those by which the object is known to be the stack's.
    fn metadata_of(&self, manifest: &Name, name: &str, stated: Option<&Value>) -> Value {
        let own = literal(self.metadata(name, PodPart::Manifest(manifest), false, Vec::new()));
        let Value::Map(mut own) = own else { return Value::Null };
        for field in ["labels", "annotations"] {
            let Some(Value::Map(stated)) = stated.and_then(|stated| stated.get(field)) else { continue };
            if let Some(Value::Map(fields)) = own.get_mut(field) {
                // Names of Freehold's own are refused by `check`.
                fields.extend(stated.iter().map(|(name, text)| (name.clone(), text.clone())));
            }
        }
        Value::Map(own)
    }
}
