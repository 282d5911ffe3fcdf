//! The least permissions that Freehold needs in a cluster: one table, from which `freehold target rbac` is written and which
//! `target check` asks for.
//!
//! Everything is granted for all namespaces, since each stack has its own and they come and go. Secrets are included: a stack's are
//! written, and looked at for their annotations and managers. Nothing is granted of roles, nodes' proxies, `exec`, or tokens. What that
//! would let us write outside of our own namespaces, [`super::admission`] takes back.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::yaml::COMMENT;
use super::{Manifest, admission};
use crate::manifests;
use crate::neighbour::{
    ACCESS_REVIEW, CHALLENGE, DAEMON_SET, DEFINITION, ENDPOINT_SLICE, EVENT, GATEWAY, ISSUER, NODE, REPLICA_SET,
    STATEFUL_SET, STORAGE_CLASS,
};
use crate::object::{self, JOB, Kind, POD};

/// What is done to objects that are ours.
const OWN: &[&str] = &["create", "delete", "get", "list", "patch", "watch"];

/// Verbs on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permission {
    pub(crate) group: Cow<'static, str>,
    /// As in paths: `pods`.
    pub(crate) resource: Cow<'static, str>,
    /// `log`
    pub(crate) subresource: Option<&'static str>,
    pub(crate) verbs: &'static [&'static str],
    /// What it is for.
    pub(crate) why: &'static str,
}

const fn on(kind: Kind, verbs: &'static [&'static str], why: &'static str) -> Permission {
    let (group, resource) = (Cow::Borrowed(kind.group), Cow::Borrowed(kind.plural));
    Permission { group, resource, subresource: None, verbs, why }
}

/// What is needed of the kinds that manifests may hold on a target, as RBAC names them.
pub(crate) fn of_allowed<'a>(kinds: impl Iterator<Item = &'a str>) -> Vec<Permission> {
    let own = |plural: &str, group: &str| object::all().any(|kind| kind.plural == plural && kind.group == group);
    let names = kinds.map(|name| name.split_once('.').unwrap_or((name, "")));
    let granted = names.filter(|(plural, group)| !own(plural, group)).map(|(plural, group)| {
        let [group, resource] = [group, plural].map(|text| Cow::Owned(text.to_owned()));
        Permission { group, resource, subresource: None, verbs: OWN, why: "what manifests of stacks hold" }
    });
    granted.collect()
}

/// Everything that is needed of every cluster, and nothing else.
pub(crate) fn permissions() -> Vec<Permission> {
    let own = object::all();
    let mut all: Vec<Permission> = own.map(|kind| on(kind, OWN, "what stacks consist of")).collect();
    all.extend([
        on(JOB, &["create", "get", "list", "patch", "watch"], "runs of jobs"),
        on(POD, &["get", "list", "watch"], "why something isn't ready, logs, the gateway's data plane"),
        Permission { subresource: Some("log"), ..on(POD, &["get"], "logs") },
        on(REPLICA_SET, &["list"], "which pods are the new ones"),
        on(STATEFUL_SET, &["list"], "whether a namespace holds what isn't the stack's"),
        on(DAEMON_SET, &["list"], "whether a namespace holds what isn't the stack's"),
        on(ENDPOINT_SLICE, &["list"], "whether a service leads anywhere"),
        on(EVENT, &["list"], "the cluster's own words"),
        on(GATEWAY, &["get"], "the target's gateway"),
        on(CHALLENGE, &["list"], "why a certificate is not issued"),
        on(ISSUER, &["get"], "the target's issuer"),
        on(STORAGE_CLASS, &["get", "list"], "whether volumes can be had"),
        on(NODE, &["list"], "for which architecture images have to be"),
        on(DEFINITION, &["get"], "what is installed"),
        on(ACCESS_REVIEW, &["create"], "`freehold target check`"),
    ]);
    all
}

/// The permissions as YAML, to be applied by an administrator: a service account, its role and its binding, and the policy that keeps it
/// out of every namespace but those of stacks. With `allowed`, also for objects of these kinds in manifests: `widgets.example.org`.
pub fn rbac(service_account: &str, namespace: &str, allowed: &BTreeSet<String>) -> String {
    let home = Manifest::new(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }))
        .comment("The least that Freehold needs in a cluster. Apply it as an administrator.");
    let mut manifests = vec![home];
    manifests.extend(granted(service_account, namespace, allowed));
    manifests::text(&manifests)
}

/// The same without the namespace.
pub(super) fn granted(service_account: &str, namespace: &str, allowed: &BTreeSet<String>) -> Vec<Manifest> {
    let mut all = permissions();
    all.extend(of_allowed(allowed.iter().map(String::as_str)));
    let api = "rbac.authorization.k8s.io";
    let mut manifests = vec![
        Manifest::new(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": service_account, "namespace": namespace },
        })),
        Manifest::new(json!({
            "apiVersion": format!("{api}/v1"),
            "kind": "ClusterRole",
            "metadata": { "name": service_account },
            "rules": all.iter().map(rule).collect::<Vec<_>>(),
        })),
        Manifest::new(json!({
            "apiVersion": format!("{api}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": { "name": service_account },
            "roleRef": { "apiGroup": api, "kind": "ClusterRole", "name": service_account },
            "subjects": [{ "kind": "ServiceAccount", "name": service_account, "namespace": namespace }],
        })),
    ];
    manifests.extend(admission::policy(service_account, namespace));
    manifests
}

fn rule(permission: &Permission) -> Json {
    let Permission { group, resource, subresource, verbs, why } = permission;
    let resource = match subresource {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.to_string(),
    };
    json!({ COMMENT: why, "apiGroups": [group], "resources": [resource], "verbs": verbs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_named_once_and_nothing_is_a_wildcard() {
        let mut seen = BTreeSet::new();
        for permission in permissions() {
            let Permission { group, resource, subresource, .. } = permission.clone();
            assert!(seen.insert((group, resource, subresource)), "{permission:?}");
            assert!(!permission.verbs.contains(&"*") && !permission.verbs.is_empty(), "{permission:?}");
        }
        let text = rbac("freehold", "freehold", &BTreeSet::new());
        let role = text.split("---\n").find(|document| document.contains("kind: ClusterRole\n")).unwrap();
        assert!(!role.contains('*'), "{role}");
    }

    #[test]
    fn kinds_of_manifests_are_granted_beside_those_that_stacks_consist_of() {
        let allowed = ["services", "widgets.example.org"].map(str::to_owned).into();
        let text = rbac("freehold", "freehold", &allowed);
        let widgets =
            "apiGroups: [example.org]\n    resources: [widgets]\n    verbs: [create, delete, get, list, patch, watch]";
        assert!(text.contains(widgets), "{text}");
        assert_eq!(text.matches("[services]").count(), 1, "they are granted anyway");
    }
}
