//! What others have put into an object of ours: fields and items that somebody else manages and the definition doesn't have. They are
//! told, by their paths and never with a value, and left alone.
//!
//! Not told is what is nobody's wish: the status and other subresources, the cluster's own controllers, annotations under
//! Kubernetes' own names (a `kubectl rollout restart` leaves one), and those of a Namespace, where platforms keep their accounts.

use std::collections::BTreeSet;

use freehold_graph::{ResourceKind, Value};
use freehold_plan::Conflict;
use serde_json::Value as Json;

use crate::document::Fields;
use crate::field_manager::{MANAGER, RUNS, SCALE_MANAGER};
use crate::projection::{self, Projection, field, is_whole};

/// Field managers of ours, of Kubernetes and of OpenShift.
const UNTOLD: [&str; 10] = [
    MANAGER,
    SCALE_MANAGER,
    RUNS,
    "kube-controller-manager",
    "cloud-controller-manager",
    "kube-scheduler",
    "kube-apiserver",
    "kubelet",
    "openshift-controller-manager",
    "cluster-policy-controller",
];
/// The domains that are Kubernetes' own.
const RESERVED: [&str; 2] = ["kubernetes.io", "k8s.io"];

/// The fields of others in an object, and who manages each.
pub(crate) fn of(kind: ResourceKind, object: &Json, desired: &Value) -> Vec<Conflict> {
    let ours = Projection::of(object);
    let mut found = BTreeSet::new();
    for entry in object.items(projection::MANAGERS) {
        let manager = entry.text("/manager");
        if UNTOLD.contains(&manager) || !entry.text("/subresource").is_empty() {
            continue;
        }
        let mut fields = Vec::new();
        if let Some(theirs) = entry.get("fieldsV1") {
            added("", theirs, ours.owned(), Some(desired), &mut fields);
        }
        let told = fields.into_iter().filter(|path| is_told(kind, path));
        found.extend(told.map(|path| Conflict { path, manager: manager.to_owned() }));
    }
    found.into_iter().collect()
}

/// Collects what is theirs and neither ours nor desired: an item of a list as one, else field by field.
fn added(path: &str, theirs: &Json, ours: Option<&Json>, desired: Option<&Value>, found: &mut Vec<String>) {
    for (step, below) in theirs.as_object().into_iter().flatten() {
        if let Some(name) = step.strip_prefix("f:") {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let ours = ours.and_then(|ours| field(ours, name));
            let desired = desired.and_then(|desired| desired.get(name)).filter(|desired| **desired != Value::Null);
            match (is_whole(below), ours.is_some() || desired.is_some()) {
                (true, true) => {}
                (true, false) => found.push(path),
                (false, _) => added(&path, below, ours, desired, found),
            }
        } else if let Some(key) = step.strip_prefix("k:").and_then(|key| serde_json::from_str::<Json>(key).ok()) {
            let values = key.as_object().into_iter().flatten().map(|(_, value)| projection::plain_text(value));
            let path = format!("{path}[{}]", values.collect::<Vec<_>>().join(","));
            let items = desired.and_then(Value::as_list).unwrap_or_default();
            let wanted = items.iter().find(|wanted| projection::is_item(&key, wanted, &key));
            let ours = ours.and_then(|ours| ours.get(step));
            if ours.is_none() && wanted.is_none() {
                found.push(path);
            } else {
                added(&path, below, ours, wanted, found);
            }
        } else if let Some(member) = step.strip_prefix("v:").and_then(|text| serde_json::from_str::<Json>(text).ok()) {
            let items = desired.and_then(Value::as_list).unwrap_or_default();
            let is_ours = ours.is_some_and(|ours| ours.get(step).is_some());
            if !is_ours && !items.iter().any(|wanted| projection::plain(wanted).as_ref() == Some(&member)) {
                found.push(format!("{path}[{}]", projection::plain_text(&member)));
            }
        }
    }
}

fn is_told(kind: ResourceKind, path: &str) -> bool {
    let annotation = path.split_once("metadata.annotations.");
    let of_object = path.starts_with("metadata.");
    match annotation {
        Some(("", _)) if kind == ResourceKind::Namespace => false,
        Some((_, name)) => !is_reserved(name),
        None if of_object => path.starts_with("metadata.labels."),
        None => !path.starts_with("status"),
    }
}

/// `deployment.kubernetes.io/revision`
fn is_reserved(name: &str) -> bool {
    let domain = name.split_once('/').map_or("", |(domain, _)| domain);
    RESERVED.iter().any(|own| domain.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(managers: &[(&str, &str, Json)]) -> Json {
        let entry = |(manager, subresource, fields): &(&str, &str, Json)| {
            let operation = if *manager == MANAGER { "Apply" } else { "Update" };
            json!({"manager": manager, "operation": operation, "subresource": subresource, "fieldsV1": fields})
        };
        json!({"metadata": {"managedFields": managers.iter().map(entry).collect::<Vec<_>>()}})
    }

    fn told(kind: ResourceKind, object: &Json, desired: Json) -> Vec<String> {
        let desired = serde_json::from_value(desired).unwrap();
        of(kind, object, &desired).into_iter().map(|field| format!("{}: {}", field.manager, field.path)).collect()
    }

    #[test]
    fn items_are_told_as_one_and_fields_one_by_one_and_what_is_ours_or_desired_is_not() {
        let web = "k:{\"name\":\"web\"}";
        let variable = |name: &str| format!("k:{{\"name\":\"{name}\"}}");
        let whole = json!({".": {}, "f:name": {}, "f:value": {}});
        let ours = json!({"f:spec": {"f:containers": {web: {".": {}, "f:name": {}, "f:env": {variable("A"): whole}}}}});
        let theirs = json!({"f:spec": {
            "f:paused": {}, "f:wanted": {}, "f:limits": {".": {}, "f:cpu": {}},
            "f:containers": {
                web: {"f:env": {variable("A"): {"f:value": {}}, variable("DEBUG"): whole}, "f:tty": {}},
                variable("sidecar"): {".": {}, "f:name": {}, "f:image": {}},
            },
        }});
        let object = object(&[(MANAGER, "", ours), ("kubectl-edit", "", theirs)]);
        let desired =
            json!({"spec": {"wanted": 1, "containers": [{"name": "web", "env": [{"name": "A", "value": "1"}]}]}});
        let expected = [
            "kubectl-edit: spec.containers[sidecar]",
            "kubectl-edit: spec.containers[web].env[DEBUG]",
            "kubectl-edit: spec.containers[web].tty",
            "kubectl-edit: spec.limits.cpu",
            "kubectl-edit: spec.paused",
        ];
        assert_eq!(told(ResourceKind::Deployment, &object, desired), expected);
    }

    #[test]
    fn what_the_cluster_keeps_for_itself_is_not_told() {
        let annotation = |name: &str| json!({"f:metadata": {"f:annotations": {".": {}, format!("f:{name}"): {}}}});
        let object = object(&[
            ("kube-controller-manager", "", json!({"f:spec": {"f:volumeName": {}}})),
            ("kube-controller-manager", "scale", json!({"f:spec": {"f:replicas": {}}})),
            ("gateway", "status", json!({"f:status": {"f:parents": {}}})),
            ("kubectl-rollout", "", json!({"f:spec": {"f:template": annotation("kubectl.kubernetes.io/restartedAt")}})),
            ("controller", "", json!({"f:metadata": {"f:finalizers": {"v:\"example.org/keep\"": {}}}})),
            (SCALE_MANAGER, "", json!({"f:spec": {"f:replicas": {}}})),
            ("rancher", "", annotation("field.cattle.io/projectId")),
        ]);
        let kept = "rancher: metadata.annotations.field.cattle.io/projectId";
        assert_eq!(told(ResourceKind::Deployment, &object, json!({})), [kept]);
        assert_eq!(told(ResourceKind::Namespace, &object, json!({})), [""; 0]);
    }
}
