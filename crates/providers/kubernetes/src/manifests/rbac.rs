//! The least permissions that Freehold needs in a cluster: one table, from which `freehold target rbac` is written and which
//! `target check` asks for.
//!
//! Everything is granted for all namespaces, since each stack has its own and they come and go. Secrets are included: a stack's are
//! written, and looked at for their annotations and managers. Nothing is granted of roles, nodes' proxies, `exec`, or tokens. What that
//! would let us write outside of our own namespaces, [`super::admission`] takes back.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permission {
    pub(crate) group: &'static str,
    /// As in paths: `pods`.
    pub(crate) resource: &'static str,
    /// `log`
    pub(crate) subresource: Option<&'static str>,
    pub(crate) verbs: &'static [&'static str],
    /// What it is for.
    pub(crate) why: &'static str,
}

const fn on(kind: Kind, verbs: &'static [&'static str], why: &'static str) -> Permission {
    Permission { group: kind.group, resource: kind.plural, subresource: None, verbs, why }
}

/// Everything that is needed, and nothing else.
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
/// out of every namespace but those of stacks.
pub fn rbac(service_account: &str, namespace: &str) -> String {
    let home = Manifest::new(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }))
        .comment("The least that Freehold needs in a cluster. Apply it as an administrator.");
    let mut manifests = vec![home];
    manifests.extend(granted(service_account, namespace));
    manifests::text(&manifests)
}

/// The same without the namespace.
pub(super) fn granted(service_account: &str, namespace: &str) -> Vec<Manifest> {
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
            "rules": permissions().iter().map(rule).collect::<Vec<_>>(),
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
        None => (*resource).to_owned(),
    };
    json!({ COMMENT: why, "apiGroups": [group], "resources": [resource], "verbs": verbs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_named_once_and_nothing_is_a_wildcard() {
        let mut seen = std::collections::BTreeSet::new();
        for permission in permissions() {
            assert!(seen.insert((permission.group, permission.resource, permission.subresource)), "{permission:?}");
            assert!(!permission.verbs.contains(&"*") && !permission.verbs.is_empty(), "{permission:?}");
        }
        let text = rbac("freehold", "freehold");
        let role = text.split("---\n").find(|document| document.contains("kind: ClusterRole\n")).unwrap();
        assert!(!role.contains('*'), "{role}");
    }
}
