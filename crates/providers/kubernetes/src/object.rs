//! The kinds of objects that a stack can consist of, and where the API server has them.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

use std::borrow::Cow;

use freehold_graph::delivered::of_group;
use freehold_graph::kind::{Api, KubernetesKind};
use freehold_graph::{AllowedKind, ResourceKind, Value};

/// A kind of objects that is known to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    /// Empty for the core.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    /// As in manifests: `Deployment`.
    pub(crate) name: &'static str,
    /// As in paths: `deployments`.
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
}

/// A kind of objects in namespaces.
pub(crate) const fn kind(group: &'static str, version: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind { group, version, name, plural, namespaced: true }
}

pub(crate) const NAMESPACE: Kind = object(ResourceKind::Namespace);
pub(crate) const SECRET: Kind = object(ResourceKind::ClusterSecret);
pub(crate) const QUOTA: Kind = object(ResourceKind::ResourceQuota);
pub(crate) const CLAIM: Kind = object(ResourceKind::PersistentVolumeClaim);
pub(crate) const DEPLOYMENT: Kind = object(ResourceKind::Deployment);
pub(crate) const SERVICE: Kind = object(ResourceKind::ClusterService);
pub(crate) const AUTOSCALER: Kind = object(ResourceKind::HorizontalPodAutoscaler);
/// Not a resource: runs leave them behind.
pub(crate) const JOB: Kind = kind("batch", "v1", "Job", "jobs");
/// Not a resource: Deployments and Jobs make them.
pub(crate) const POD: Kind = kind("", "v1", "Pod", "pods");

/// The kind of a resource's object; `None` for what isn't in a cluster.
pub(crate) const fn of(resource: ResourceKind) -> Option<Kind> {
    match resource.row().api {
        Some(Api { group, version, kind, plural, namespaced }) => {
            Some(Kind { group, version, name: kind, plural, namespaced })
        }
        None => None,
    }
}

/// Those of all resources, in the order in which a stack's are made.
pub(crate) fn all() -> impl Iterator<Item = Kind> {
    KubernetesKind::ALL.iter().filter_map(|kind| of(kind.kind()))
}

/// The same of one that is in a cluster.
#[expect(clippy::panic, reason = "only the compiler evaluates it")]
const fn object(resource: ResourceKind) -> Kind {
    match of(resource) {
        Some(kind) => kind,
        None => panic!("it is in no cluster"),
    }
}

/// A kind of objects: a known one, or any other that a target allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectKind {
    /// Empty for the core.
    pub(crate) group: Cow<'static, str>,
    pub(crate) version: Cow<'static, str>,
    /// As in manifests: `Deployment`.
    pub(crate) name: Cow<'static, str>,
    /// As in paths: `deployments`.
    pub(crate) plural: Cow<'static, str>,
    pub(crate) namespaced: bool,
}

impl From<Kind> for ObjectKind {
    fn from(kind: Kind) -> Self {
        let Kind { group, version, name, plural, namespaced } = kind;
        let [group, version, name, plural] = [group, version, name, plural].map(Cow::Borrowed);
        Self { group, version, name, plural, namespaced }
    }
}

impl PartialEq<Kind> for ObjectKind {
    fn eq(&self, kind: &Kind) -> bool {
        self.group == kind.group && self.name == kind.name && self.version == kind.version
    }
}

impl Kind {
    /// [`ObjectKind::api_version`]
    pub(crate) fn api_version(self) -> String {
        ObjectKind::from(self).api_version()
    }

    /// [`ObjectKind::word`]
    pub(crate) fn word(self) -> String {
        ObjectKind::from(self).word()
    }
}

impl ObjectKind {
    /// Of a version of a kind that a target allows: all of these are in namespaces.
    pub(crate) fn allowed(kind: &AllowedKind, version: &str) -> Self {
        let AllowedKind { group, plural, kind } = kind.clone();
        let version = version.to_owned();
        let [group, version, name, plural] = [group, version, kind, plural].map(Cow::Owned);
        Self { group, version, name, plural, namespaced: true }
    }

    /// `apps/v1`, or `v1` for the core.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether the program knows it, and not only the target.
    pub(crate) fn is_known(&self) -> bool {
        comes_with_kubernetes(&self.group) || all().any(|kind| *self == kind)
    }

    /// The kind in lower case, which people read and `kubectl` understands.
    pub(crate) fn word(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    /// As RBAC names it: `deployments.apps`.
    pub(crate) fn resource(&self) -> String {
        of_group(&self.plural, &self.group)
    }

    /// How to install it, for kinds that don't come with Kubernetes.
    pub(crate) fn installation(&self) -> Option<&'static str> {
        match self.group.as_ref() {
            "gateway.networking.k8s.io" => Some(
                "install the Gateway API's definitions (standard channel; ListenerSet since 1.6): https://gateway-api.sigs.k8s.io/guides/",
            ),
            "gateway.envoyproxy.io" => Some("install Envoy Gateway: https://gateway.envoyproxy.io/docs/install/"),
            "cert-manager.io" | "acme.cert-manager.io" => {
                Some("install cert-manager: https://cert-manager.io/docs/installation/")
            }
            "postgresql.cnpg.io" => {
                Some("install CloudNativePG: https://cloudnative-pg.io/documentation/current/installation_upgrade/")
            }
            group if !comes_with_kubernetes(group) => {
                Some("install what defines it, or take it out of the definition's manifests")
            }
            _ => None,
        }
    }
}

/// Whether a group is Kubernetes' own.
pub(crate) fn comes_with_kubernetes(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// One object's place, or with an empty name that of all of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: ObjectKind,
    /// `None` for what has none, and for all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl Place {
    /// Of a resource; `None` for what isn't in a cluster, and for an object of a manifest whose body doesn't say what it is.
    pub(crate) fn of_resource(kind: ResourceKind, identity: &str, body: &Value) -> Option<Self> {
        if kind == ResourceKind::KubernetesObject {
            Self::of_object(identity, body)
        } else {
            Some(Self::of(of(kind)?, identity))
        }
    }

    /// Of an object of a manifest: `namespace/widgets.example.org/name`. Its version and its kind stand in its body.
    fn of_object(identity: &str, body: &Value) -> Option<Self> {
        let text = |field: &str| body.get(field).and_then(Value::as_text);
        let mut parts = identity.splitn(3, '/');
        let (namespace, resource, name) = (parts.next()?, parts.next()?, parts.next()?);
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let version = text("apiVersion")?;
        let version = version.rsplit('/').next().unwrap_or(version);
        let [plural, group] = [plural, group].map(str::to_owned);
        let kind = AllowedKind { group, plural, kind: text("kind")?.to_owned() };
        Some(Self::named(ObjectKind::allowed(&kind, version), Some(namespace), name))
    }

    /// Of an identity: `namespace/name`, or `name`.
    pub(crate) fn of(kind: Kind, identity: &str) -> Self {
        match identity.split_once('/') {
            Some((namespace, name)) if kind.namespaced => Self::named(kind, Some(namespace), name),
            _ => Self::named(kind, None, identity),
        }
    }

    pub(crate) fn named(kind: impl Into<ObjectKind>, namespace: Option<&str>, name: &str) -> Self {
        Self { kind: kind.into(), namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    /// All of a kind: in one namespace, or everywhere.
    pub(crate) fn all(kind: impl Into<ObjectKind>, namespace: Option<&str>) -> Self {
        Self::named(kind, namespace, "")
    }

    /// The same name in another namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: self.namespace.as_ref().map(|_| namespace.to_owned()), ..self.clone() }
    }

    /// `/apis/apps/v1/namespaces/acme--guestbook/deployments/web`
    pub(crate) fn path(&self) -> String {
        let ObjectKind { group, version, plural, .. } = &self.kind;
        let mut path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        if let Some(namespace) = &self.namespace {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(plural);
        if !self.name.is_empty() {
            path.push('/');
            path.push_str(&self.name);
        }
        path
    }
}

impl std::fmt::Display for Place {
    /// `deployment acme--guestbook/web`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.namespace, self.name.as_str()) {
            (Some(namespace), "") => write!(f, "{} in {namespace}", self.kind.plural),
            (None, "") => f.write_str(&self.kind.plural),
            (Some(namespace), name) => write!(f, "{} {namespace}/{name}", self.kind.word()),
            (None, name) => write!(f, "{} {name}", self.kind.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_a_cluster_has_a_kind_whose_word_people_read() {
        let known = KubernetesKind::ALL.iter().map(|kind| kind.kind());
        for resource in known.filter(|kind| *kind != ResourceKind::KubernetesObject) {
            assert_eq!(of(resource).map(|kind| kind.word()).as_deref(), Some(resource.word()));
        }
    }

    #[test]
    fn an_object_of_a_manifest_is_where_its_identity_and_its_body_say() {
        let path = |identity: &str, api_version: &str, kind: &str| {
            let body = Value::map([("apiVersion", Value::from(api_version)), ("kind", Value::from(kind))]);
            let place = Place::of_resource(ResourceKind::KubernetesObject, identity, &body).unwrap();
            (place.path(), place.to_string())
        };
        let (widget, word) = path("a/widgets.example.org/main.b", "example.org/v1beta1", "Widget");
        assert_eq!(widget, "/apis/example.org/v1beta1/namespaces/a/widgets/main.b");
        assert_eq!(word, "widget a/main.b");
        assert_eq!(path("a/configmaps/settings", "v1", "ConfigMap").0, "/api/v1/namespaces/a/configmaps/settings");
        assert_eq!(
            Place::of_resource(ResourceKind::KubernetesObject, "a/widgets.example.org/main", &Value::Null),
            None
        );
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let path = |kind: Kind, identity: &str| Place::of(kind, identity).path();
        assert_eq!(path(DEPLOYMENT, "a/web"), "/apis/apps/v1/namespaces/a/deployments/web");
        assert_eq!(path(NAMESPACE, "a"), "/api/v1/namespaces/a");
        assert_eq!(Place::all(JOB, None).path(), "/apis/batch/v1/jobs");
    }
}
