//! What manifests may hold. A definition may come from anybody, and what it delivers is applied with Freehold's own rights, so that a
//! document may say no more than what its object is like: neither where it is nor whose, nor anything that confines the stack.

use freehold_graph::delivered;
use freehold_graph::expand::kubernetes::object::Head;
use freehold_graph::value::Special;
use freehold_problem::Code;
use freehold_spec::app::ManifestFile;
use freehold_spec::yaml::Document;
use freehold_spec::{Name, Spanned};
use serde_json::{Map, Value as Json};

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

/// What `metadata` may say; all else is the cluster's, or Freehold's.
const METADATA: [&str; 3] = ["name", "labels", "annotations"];
/// Freehold's own labels and annotations, by which it knows what is whose.
const OWN: &str = "freehold.dev/";
/// The longest name of an object.
const LONGEST_NAME: usize = 253;

pub(super) fn check(scope: &mut Scope<'_>) {
    for (name, manifest) in &scope.app.manifests {
        for document in &manifest.file.documents {
            let place = Place { name, file: &manifest.file, document };
            place.check(scope);
        }
    }
}

/// A document, and where it stands.
struct Place<'a> {
    name: &'a Name,
    file: &'a Spanned<ManifestFile>,
    document: &'a Document,
}

/// What is wrong with a document, and what to do about it.
type Fault = (String, String);

impl Place<'_> {
    fn check(&self, scope: &mut Scope<'_>) {
        let Json::Object(fields) = &self.document.value else {
            let help = "each document is an object of a cluster, with apiVersion, kind and metadata.name";
            return self.report(scope, Code::BadManifest, ("is no object of a cluster".to_owned(), help.to_owned()));
        };
        let head = Head::of(&self.document.value);
        if let Some(fault) = misnamed(fields, &head) {
            return self.report(scope, Code::BadManifest, fault);
        }
        if let Some(why) = delivered::refused(head.group, head.kind) {
            let fault = (format!("is a {}, which no manifest may hold", head.kind), why.to_owned());
            return self.report(scope, Code::NotDeliverable, fault);
        }
        let metadata = fields.get("metadata").and_then(Json::as_object);
        for fault in metadata.into_iter().flat_map(foreign).chain(fields.contains_key("status").then(status)) {
            self.report(scope, Code::NotDeliverable, fault);
        }
        if let Some(key) = own(&self.document.value) {
            let fault = format!("has the key `{key}`, which is Freehold's own");
            let help = "leave it out; select what the stack makes by app.kubernetes.io/name".to_owned();
            self.report(scope, Code::NotDeliverable, (fault, help));
        }
        if let Some(key) = leaf(&self.document.value) {
            let help = "write it together with another field, or not at all".to_owned();
            let fault = format!("has `{key}` as the only field of a map, by which Freehold keeps secrets and the like");
            self.report(scope, Code::NotDeliverable, (fault, help));
        }
    }

    fn report(&self, scope: &mut Scope<'_>, code: Code, (fault, help): Fault) {
        let ManifestFile { path, .. } = &self.file.value;
        let message = format!("manifest {}, {path}:{}: the document {fault}", self.name, self.document.line);
        scope.report(Diagnostic::error(code, message).at(self.file.span, "in this file").help(help));
    }
}

/// What can't be the name of an object or of its kind.
fn misnamed(fields: &Map<String, Json>, head: &Head<'_>) -> Option<Fault> {
    let of = |text: &str, allowed: fn(char) -> bool| !text.is_empty() && text.chars().all(allowed);
    let is_label = |text: &str| {
        let edges = |text: &str| text.starts_with(lower) && text.ends_with(lower);
        edges(text) && text.chars().all(|c| lower(c) || c == '-')
    };
    let fault = |fault: &str, help: &str| Some((fault.to_owned(), help.to_owned()));
    let is_list = head.kind.ends_with("List") && fields.contains_key("items");
    if is_list {
        return fault("is a list", "write each object as a document of its own, with `---` between them");
    }
    let stated = fields.get("apiVersion").and_then(Json::as_str).unwrap_or_default();
    let has_group = stated.contains('/');
    if !of(head.version, lower) || has_group && !head.group.split('.').all(is_label) {
        return fault("has no apiVersion that can be one", "write it as `v1` or `example.org/v1`");
    }
    if !of(head.kind, |c| c.is_ascii_alphanumeric()) {
        return fault("has no kind that can be one", "write it as `ConfigMap`");
    }
    if head.name.len() > LONGEST_NAME || !head.name.split('.').all(is_label) {
        return fault(
            "has no metadata.name that can be one",
            "names use a-z, 0-9, - and ., at most 253 characters; there is no `generateName`",
        );
    }
    None
}

fn lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn status() -> Fault {
    ("has a `status`".to_owned(), "leave it out: the object's controller writes it".to_owned())
}

/// What `metadata` says and may not.
fn foreign(metadata: &Map<String, Json>) -> Vec<Fault> {
    let unknown = metadata.keys().filter(|key| !METADATA.contains(&key.as_str())).map(|key| {
        let help = match key.as_str() {
            "namespace" => "leave it out: each stack has a namespace of its own, and its objects are there",
            _ => "leave it out: a manifest says name, labels and annotations",
        };
        (format!("has `metadata.{key}`"), help.to_owned())
    });
    let texts = ["labels", "annotations"].into_iter().filter(|field| {
        let is_texts = |fields: &Json| fields.as_object().is_some_and(|fields| fields.values().all(Json::is_string));
        metadata.get(*field).is_some_and(|fields| !fields.is_null() && !is_texts(fields))
    });
    let texts = texts.map(|field| {
        (format!("has `metadata.{field}` that aren't texts by name"), "put the values into quotation marks".to_owned())
    });
    unknown.chain(texts).collect()
}

/// A key that begins with [`OWN`], anywhere.
fn own(value: &Json) -> Option<&str> {
    find(value, &|fields| fields.keys().map(String::as_str).find(|key| key.starts_with(OWN)))
}

/// The only key of a map that would be read as something else.
fn leaf(value: &Json) -> Option<&str> {
    find(value, &|fields| {
        // Fields without a value are left out.
        let mut stated = fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key.as_str());
        let (first, second) = (stated.next(), stated.next());
        first.filter(|key| second.is_none() && Special::NAMES.contains(key))
    })
}

fn find<'v>(value: &'v Json, of: &dyn Fn(&'v Map<String, Json>) -> Option<&'v str>) -> Option<&'v str> {
    match value {
        Json::Object(fields) => of(fields).or_else(|| fields.values().find_map(|value| find(value, of))),
        Json::Array(items) => items.iter().find_map(|value| find(value, of)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    }
}
