//! Whose an object is.
//!
//! The mark is the label `freehold.dev/stack`. An object without it belongs to somebody else; who that may be is told as well
//! as its labels, annotations and field managers do.

use freehold_graph::StackId;
use freehold_plan::observation::Ownership;
use serde_json::Value as Json;
use uuid::Uuid;

use crate::document::Fields;

/// The label with the stack's id.
pub(crate) const MARK: &str = "freehold.dev/stack";

/// Selects what bears the stack's mark, or any stack's for `None`.
pub(crate) fn selector(stack: Option<StackId>) -> String {
    stack.map_or_else(|| MARK.to_owned(), |stack| format!("{MARK}={stack}"))
}

fn label<'a>(object: &'a Json, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(name)?.as_str()
}

fn annotation<'a>(object: &'a Json, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// The stack whose mark an object bears.
pub(crate) fn stack(object: &Json) -> Option<StackId> {
    label(object, MARK)?.parse().ok().map(StackId)
}

/// The platform whose stack a namespace is of, if it says so.
pub(crate) fn platform(namespace: &Json) -> Option<Uuid> {
    annotation(namespace, "freehold.dev/platform")?.parse().ok()
}

/// Whose it is, as a stack sees it.
pub(crate) fn ownership(object: &Json, stack: StackId) -> Ownership {
    match self::stack(object) {
        Some(owner) if owner == stack => Ownership::Ours,
        Some(owner) => Ownership::OtherStack(owner),
        None => Ownership::Foreign(owner(object)),
    }
}

/// `release web of Helm, in namespace acme; there since 2026-03-02T10:00:00Z`. Never changes while the object is left alone.
fn owner(object: &Json) -> String {
    let managed = stated_manager(object).unwrap_or_else(|| match first_manager(object) {
        Some(manager) => format!("managed by {manager}"),
        None => "it has no owner labels".to_owned(),
    });
    let since = object.pointer("/metadata/creationTimestamp").and_then(Json::as_str);
    let since = since.map(|time| format!(", there since {time}")).unwrap_or_default();
    format!("{managed}{since}, without an ownership label of Freehold")
}

/// The manager that the object itself states, in its labels, annotations or owner references.
fn stated_manager(object: &Json) -> Option<String> {
    if let Some(release) = annotation(object, "meta.helm.sh/release-name") {
        let namespace = annotation(object, "meta.helm.sh/release-namespace").unwrap_or("?");
        return Some(format!("part of Helm's release {namespace}/{release}"));
    }
    if let Some(tracking) = annotation(object, "argocd.argoproj.io/tracking-id") {
        let application = tracking.split(':').next().unwrap_or(tracking);
        return Some(format!("part of Argo CD's application {application}"));
    }
    if let Some(application) = label(object, "argocd.argoproj.io/instance") {
        return Some(format!("part of Argo CD's application {application}"));
    }
    for (name, what) in [("kustomize", "kustomization"), ("helm", "Helm release")] {
        if let Some(owner) = label(object, &format!("{name}.toolkit.fluxcd.io/name")) {
            return Some(format!("part of Flux's {what} {owner}"));
        }
    }
    if let Some(controller) = object.pointer("/metadata/ownerReferences/0") {
        let text = |field| controller.get(field).and_then(Json::as_str).unwrap_or("?");
        return Some(format!("made by {} {}", text("kind").to_ascii_lowercase(), text("name")));
    }
    label(object, "app.kubernetes.io/managed-by").map(|by| format!("managed by {by}"))
}

/// Who wrote to it first. Later ones come and go.
fn first_manager(object: &Json) -> Option<&str> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let own = entries.iter().filter(|entry| entry.get("subresource").is_none());
    own.min_by_key(|entry| entry.get("time").and_then(Json::as_str)).and_then(|entry| entry.get("manager")?.as_str())
}

/// Who made a namespace, if that wasn't Freehold. Its creator has the label with its name, which comes with the creation, or has applied
/// it since then.
pub(crate) fn foreign_maker(namespace: &Json) -> Option<&str> {
    let born = namespace.time("/metadata/creationTimestamp")?;
    let made = |entry: &&Json| {
        let applied = entry.text("/operation") == "Apply" && entry.time("/time").is_some_and(|time| time <= born);
        let named = "/fieldsV1/f:metadata/f:labels/f:kubernetes.io~1metadata.name";
        applied || entry.pointer(named).is_some()
    };
    let entries = namespace.items("/metadata/managedFields").iter();
    let own = |entry: &&Json| entry.text("/manager").starts_with("freehold");
    entries.filter(made).find(|entry| !own(entry)).map(|entry| entry.text("/manager"))
}

/// Since when an object is being deleted.
pub(crate) fn deletion(object: &Json) -> Option<&str> {
    object.pointer("/metadata/deletionTimestamp")?.as_str()
}

/// Its uid; empty if it has none, which equals no other.
pub(crate) fn uid(object: &Json) -> &str {
    object.pointer("/metadata/uid").and_then(Json::as_str).unwrap_or_default()
}

pub(crate) fn finalizers(object: &Json) -> Vec<String> {
    let all = object.pointer("/metadata/finalizers").and_then(Json::as_array);
    all.into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(metadata: &Json) -> String {
        let Ownership::Foreign(words) = ownership(&json!({ "metadata": metadata }), StackId(uuid::Uuid::nil())) else {
            return "not foreign".to_owned();
        };
        words
    }

    #[test]
    fn a_namespace_that_somebody_else_made_tells_who() {
        let namespace = |entries: Json| json!({"metadata": {"creationTimestamp": "2026-03-02T10:00:00Z", "managedFields": entries}});
        let name = json!({"f:metadata": {"f:labels": {"f:kubernetes.io/metadata.name": {}}}});
        let ours = json!({"manager": "freehold", "operation": "Apply", "time": "2026-03-02T10:00:00Z"});
        let created = json!({"manager": "kubectl-create", "operation": "Update", "fieldsV1": name});
        let applied = json!({"manager": "argocd", "operation": "Apply", "time": "2026-03-02T10:00:00Z"});
        let later = json!({"manager": "labeller", "operation": "Apply", "time": "2026-03-09T10:00:00Z"});
        assert_eq!(foreign_maker(&namespace(json!([ours, created]))), Some("kubectl-create"));
        assert_eq!(foreign_maker(&namespace(json!([ours, applied]))), Some("argocd"));
        assert_eq!(foreign_maker(&namespace(json!([ours, later]))), None);
    }

    #[test]
    fn owners_are_told_as_well_as_the_object_does() {
        let helm = json!({"annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "a"}});
        assert_eq!(words(&helm), "part of Helm's release a/web, without an ownership label of Freehold");
        let argo = json!({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:a/web"}});
        assert!(words(&argo).contains("Argo CD's application shop"));
        let fields = json!({"creationTimestamp": "2026-03-02T10:00:00Z", "managedFields": [
            {"manager": "kubectl-edit", "time": "2026-03-03T10:00:00Z"},
            {"manager": "kubectl-create", "time": "2026-03-02T10:00:00Z"},
            {"manager": "kube-controller-manager", "time": "2026-03-01T10:00:00Z", "subresource": "status"},
        ]});
        let expected =
            "managed by kubectl-create, there since 2026-03-02T10:00:00Z, without an ownership label of Freehold";
        assert_eq!(words(&fields), expected);
    }
}
