//! Manifests: what every object of a stack has in common.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::{Name, PartKind};
use serde_json::{Value as Json, json};

use super::Cluster;
use crate::expand::error::{Claimant, ExpandError};
use crate::kind::ResourceKind;
use crate::resource_id::ResourceId;
use crate::value::Value;

/// The ownership mark.
const STACK: &str = "freehold.dev/stack";
/// On a namespace: the platform whose stack it is of.
const PLATFORM: &str = "freehold.dev/platform";
const COMPONENT: &str = "freehold.dev/component";
const NAME: &str = "app.kubernetes.io/name";

/// What of the stack an object belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodPart<'a> {
    /// All of it.
    Whole,
    Service(&'a Name),
    Job(&'a Name),
    Cache(&'a Name),
    Manifest(&'a Name),
}

impl PodPart<'_> {
    /// How its config, credentials and policy are called: a service's like itself.
    pub(super) fn object(self) -> String {
        match self {
            Self::Whole => "freehold".to_owned(),
            Self::Service(name) => name.to_string(),
            Self::Job(name) => crate::expand::names::joined("job", name.as_str()),
            Self::Cache(name) => crate::expand::names::joined("cache", name.as_str()),
            Self::Manifest(name) => crate::expand::names::joined("manifest", name.as_str()),
        }
    }

    /// The part of the definition that it is, with what is said of an object that is no part's own.
    fn claimant(self, id: &ResourceId) -> Claimant {
        match self {
            Self::Whole => Claimant { part: None, place: id.to_string() },
            Self::Service(name) => Claimant::part(PartKind::Service, name),
            Self::Job(name) => Claimant::part(PartKind::Job, name),
            Self::Cache(name) => Claimant::part(PartKind::Cache, name),
            Self::Manifest(name) => Claimant::part(PartKind::Manifest, name),
        }
    }

    const fn component(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Service(_) => Some("service"),
            Self::Job(_) => Some("job"),
            Self::Cache(_) => Some("cache"),
            Self::Manifest(_) => Some("manifest"),
        }
    }
}

/// An object to be.
pub(super) struct Object<'a> {
    pub(super) id: ResourceId,
    pub(super) kind: ResourceKind,
    pub(super) name: String,
    pub(super) part: PodPart<'a>,
    pub(super) annotations: Vec<(&'static str, String)>,
    /// Everything below the top but `apiVersion`, `kind` and `metadata`.
    pub(super) fields: Value,
    /// Besides the namespace.
    pub(super) needs: BTreeSet<ResourceId>,
}

impl<'a> Object<'a> {
    /// An object whose id ends with its name.
    pub(super) fn new(kind: ResourceKind, name: &str, part: PodPart<'a>, fields: Json) -> Self {
        Self::of(kind, name, part, literal(fields))
    }

    pub(super) fn of(kind: ResourceKind, name: &str, part: PodPart<'a>, fields: Value) -> Self {
        let (id, name) = (ResourceId::new(kind.row().id_word, name), name.to_owned());
        Self { id, kind, name, part, annotations: Vec::new(), fields, needs: BTreeSet::new() }
    }

    /// One that a stack has once: its id ends with `main`.
    pub(super) fn main(kind: ResourceKind, name: &str, fields: Json) -> Self {
        Self { id: ResourceId::new(kind.word(), "main"), ..Self::new(kind, name, PodPart::Whole, fields) }
    }

    pub(super) fn after(mut self, needs: impl IntoIterator<Item = ResourceId>) -> Self {
        self.needs.extend(needs);
        self
    }
}

impl Cluster<'_> {
    /// Adds an object; its id.
    pub(super) fn put(&mut self, object: Object<'_>) -> ResourceId {
        let Object { id, kind, name, part, annotations, fields, mut needs } = object;
        let alone = kind.row().api.is_some_and(|api| !api.namespaced);
        self.take(kind, &name, part.claimant(&id));
        let mut body =
            BTreeMap::from([("metadata".to_owned(), literal(self.metadata(&name, part, alone, annotations)))]);
        if let Some(api) = kind.row().api {
            body.insert("apiVersion".to_owned(), Value::from(api.version()));
            body.insert("kind".to_owned(), Value::from(api.kind));
        }
        if let Value::Map(fields) = fields {
            body.extend(fields);
        }
        let identity = if alone { name } else { format!("{}/{name}", self.namespace) };
        if !alone {
            needs.insert(ResourceId::new("namespace", "main"));
        }
        self.expansion.add(id.clone(), kind, identity, Value::Map(body), needs);
        id
    }

    /// Notes who has a name, by the place in the definition, so that no two have the same.
    pub(super) fn take(&mut self, kind: ResourceKind, name: &str, second: Claimant) {
        if let Some(api) = kind.row().api {
            self.take_object(api.group, api.kind, name, second);
        }
    }

    /// The same of an object of any kind.
    pub(super) fn take_object(&mut self, group: &str, kind: &str, name: &str, second: Claimant) {
        let taken = [group, kind, name].map(str::to_owned);
        let Some(first) = self.taken.insert(taken, second.clone()) else { return };
        let (kind, namespace, name) = (kind.to_ascii_lowercase(), self.namespace.clone(), name.to_owned());
        self.expansion.resolver.errors.push(ExpandError::SameName { first, second, kind, namespace, name });
    }

    pub(super) fn metadata(
        &self,
        name: &str,
        part: PodPart<'_>,
        alone: bool,
        annotations: Vec<(&'static str, String)>,
    ) -> Json {
        let mut labels = self.labels(part);
        if let (true, Some(labels)) = (alone, labels.as_object_mut()) {
            labels.extend(super::pod_security::POD_SECURITY.map(|(name, level)| (name.to_owned(), level.into())));
        }
        let key = ("freehold.dev/key", self.expansion.resolver.request.key.to_string());
        let platform = self.facts.platform.filter(|_| alone).map(|platform| (PLATFORM, platform.to_string()));
        let annotations: BTreeMap<_, _> = annotations.into_iter().chain([key]).chain(platform).collect();
        let namespace = (!alone).then_some(&self.namespace);
        json!({"name": name, "namespace": namespace, "labels": labels, "annotations": annotations})
    }

    /// The labels of an object or a Pod template.
    pub(super) fn labels(&self, part: PodPart<'_>) -> Json {
        let request = self.expansion.resolver.request;
        let name = match part {
            PodPart::Whole => &request.key.app,
            PodPart::Service(name) | PodPart::Job(name) | PodPart::Cache(name) | PodPart::Manifest(name) => name,
        };
        json!({
            "app.kubernetes.io/managed-by": "freehold",
            "app.kubernetes.io/part-of": request.key.app,
            "app.kubernetes.io/instance": request.key.name,
            NAME: name,
            STACK: request.id,
            COMPONENT: part.component(),
        })
    }

    /// The labels that tell the Pods of a part from all others. Never changes: selectors can't.
    pub(super) fn selector(&self, part: PodPart<'_>) -> Json {
        let labels = self.labels(part);
        json!({STACK: labels.get(STACK), NAME: labels.get(NAME), COMPONENT: labels.get(COMPONENT)})
    }
}

/// Whether a manifest is part of a service.
pub(super) fn is_of_service(body: &Value) -> bool {
    let labels = body.get("metadata").and_then(|metadata| metadata.get("labels"));
    labels.and_then(|labels| labels.get(COMPONENT)).and_then(Value::as_text) == Some("service")
}

/// Plain JSON as a value. What is null is left out: server-side apply would read it as something.
pub(crate) fn literal(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => Value::number(&number),
        Json::String(text) => Value::Text(text),
        Json::Array(items) => Value::List(items.into_iter().map(literal).collect()),
        Json::Object(fields) => {
            let stated = fields.into_iter().filter(|(_, field)| !field.is_null());
            Value::Map(stated.map(|(name, field)| (name, literal(field))).collect())
        }
    }
}
