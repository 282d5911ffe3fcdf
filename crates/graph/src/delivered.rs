//! Which objects a stack's manifests may hold.
//!
//! A definition may come from anybody: from a pull request, say. What its author could do with a kind of objects depends on who acts on
//! them, with whose rights, and of most kinds nobody but the cluster's operator can know that. So three sets:
//!
//! ```text
//! never      [`refused`]: what every stack is confined by, what Freehold makes itself and checks, and what is nobody's in particular
//! always     [`ALWAYS`]: nobody acts on them but who reads them
//! else       what the operator of the target allows ([`crate::target::KubernetesTarget::allowed_kinds`]), all of it in namespaces
//! ```

use serde::{Deserialize, Serialize};

/// A kind of objects in namespaces that manifests may hold on a target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AllowedKind {
    /// Empty for the core.
    pub group: String,
    /// As in paths: `widgets`.
    pub plural: String,
    /// As in manifests: `Widget`.
    pub kind: String,
}

impl AllowedKind {
    /// As RBAC names it: `widgets.example.org`.
    pub fn resource(&self) -> String {
        of_group(&self.plural, &self.group)
    }
}

/// `widgets.example.org`; `configmaps` of the core.
pub fn of_group(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// The kinds that manifests may hold on every target: their group, plural and kind.
pub const ALWAYS: [(&str, &str, &str); 1] = [("", "configmaps", "ConfigMap")];

/// Kinds that no manifest may hold: group, plural, kind, and why or what instead. `*` stands for all of a group.
const REFUSED: [(&str, &str, &str, &str); 30] = [
    ("", "secrets", "Secret", SECRET),
    ("", "serviceaccounts", "ServiceAccount", CONFINES),
    ("", "namespaces", "Namespace", CONFINES),
    ("", "resourcequotas", "ResourceQuota", TIER),
    ("", "limitranges", "LimitRange", CONFINES),
    ("", "persistentvolumeclaims", "PersistentVolumeClaim", VOLUME),
    ("", "pods", "Pod", SERVICE),
    ("", "podtemplates", "PodTemplate", SERVICE),
    ("", "replicationcontrollers", "ReplicationController", SERVICE),
    ("", "endpoints", "Endpoints", ADDRESSES),
    ("", "events", "Event", NOBODYS),
    ("", "bindings", "Binding", NOBODYS),
    ("apps", "*", "*", SERVICE),
    ("batch", "*", "*", JOB),
    ("discovery.k8s.io", "*", "*", ADDRESSES),
    ("networking.k8s.io", "networkpolicies", "NetworkPolicy", CONFINES),
    ("networking.k8s.io", "ingresses", "Ingress", ROUTE),
    ("gateway.networking.k8s.io", "*", "*", ROUTE),
    ("gateway.envoyproxy.io", "securitypolicies", "SecurityPolicy", ROUTE),
    ("gateway.envoyproxy.io", "backendtrafficpolicies", "BackendTrafficPolicy", ROUTE),
    ("gateway.envoyproxy.io", "httproutefilters", "HTTPRouteFilter", ROUTE),
    ("cert-manager.io", "*", "*", ROUTE),
    ("acme.cert-manager.io", "*", "*", ROUTE),
    ("postgresql.cnpg.io", "*", "*", DATABASE),
    ("rbac.authorization.k8s.io", "*", "*", CONFINES),
    ("coordination.k8s.io", "*", "*", NOBODYS),
    ("events.k8s.io", "*", "*", NOBODYS),
    ("admissionregistration.k8s.io", "*", "*", CLUSTERS),
    ("apiextensions.k8s.io", "*", "*", CLUSTERS),
    ("apiregistration.k8s.io", "*", "*", CLUSTERS),
];
/// More groups of which everything is the whole cluster's.
const GROUPS_OF_CLUSTER: [&str; 9] = [
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "node.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

const SECRET: &str = "a secret in a file is known to all who read it: write a `[secret]`";
const CONFINES: &str = "every stack is confined by such objects, and Freehold makes them itself";
const TIER: &str = "every stack is confined by such objects: write a `[tier]` with `cpu`, `memory` and `pods`";
const VOLUME: &str = "it holds data, which would be deleted without asking: write `volumes` of a service";
const SERVICE: &str = "what runs Pods is checked against the tier and confined: write a `[service]`";
const JOB: &str = "what runs Pods is checked against the tier and confined: write a `[job]`";
const ADDRESSES: &str =
    "it leads requests to addresses that need not be the stack's: name services with `${service.NAME.url}`";
const ROUTE: &str = "host names are claimed, so that no stack gets another one's: write a `[route]`";
const DATABASE: &str = "it holds data, which would be deleted without asking: write a `[database]`";
const NOBODYS: &str = "it is the cluster's own bookkeeping";
const CLUSTERS: &str = "it is the whole cluster's: its administrator installs it";

/// Why no manifest may hold a kind, or what to write instead; `None` if one may. `name` is its kind or its plural.
pub fn refused(group: &str, name: &str) -> Option<&'static str> {
    if GROUPS_OF_CLUSTER.contains(&group) {
        return Some(CLUSTERS);
    }
    let fits = |(of, plural, kind, _): &&(&str, &str, &str, &str)| {
        *of == group && (*plural == "*" || name.eq_ignore_ascii_case(plural) || name.eq_ignore_ascii_case(kind))
    };
    REFUSED.iter().find(fits).map(|(_, _, _, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::KubernetesKind;

    #[test]
    fn what_confines_a_stack_or_has_words_of_its_own_is_refused_by_kind_and_by_plural() {
        for (group, name) in [
            ("", "Secret"),
            ("", "secrets"),
            ("", "Namespace"),
            ("apps", "Deployment"),
            ("apps", "anything"),
            ("rbac.authorization.k8s.io", "RoleBinding"),
            ("networking.k8s.io", "NetworkPolicy"),
            ("gateway.networking.k8s.io", "HTTPRoute"),
            ("storage.k8s.io", "StorageClass"),
        ] {
            assert!(refused(group, name).is_some(), "{name}.{group}");
        }
        for (group, name) in [("", "ConfigMap"), ("", "Service"), ("monitoring.coreos.com", "ServiceMonitor")] {
            assert_eq!(refused(group, name), None, "{name}.{group}");
        }
    }

    #[test]
    fn of_freeholds_own_kinds_only_those_are_free_that_confine_nobody_and_hold_nothing() {
        let own = KubernetesKind::ALL.iter().filter_map(|kind| kind.kind().row().api);
        let free: Vec<&str> = own.filter(|api| refused(api.group, api.kind).is_none()).map(|api| api.plural).collect();
        assert_eq!(free, ["configmaps", "services", "poddisruptionbudgets", "horizontalpodautoscalers"]);
    }
}
