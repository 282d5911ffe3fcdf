//! What every stack's namespace has before anything runs in it: quota, defaults, an account without a token.

use serde_json::{Value as Json, json};

use super::Cluster;
use super::manifest::{Object, PodPart};
use super::quantity::{CPU_DEFAULT, MEMORY_DEFAULT, bytes, count, cpu};
use crate::kind::ResourceKind;
use crate::secret::SecretRef;
use crate::value::Value;

/// The service account, and most of what there is once.
pub(super) const FREEHOLD: &str = "freehold";
/// The Secret with the registry's credentials.
const REGISTRY: &str = "freehold-registry";

/// The `spec` of a stack's LimitRange: what a container gets that says nothing.
pub fn limits() -> Json {
    json!({"limits": [{
        "type": "Container",
        "default": {"cpu": cpu(CPU_DEFAULT.limit), "memory": bytes(MEMORY_DEFAULT.limit.0)},
        "defaultRequest": {"cpu": cpu(CPU_DEFAULT.request), "memory": bytes(MEMORY_DEFAULT.request.0)},
    }]})
}

impl Cluster<'_> {
    pub(super) fn namespace_objects(&mut self) {
        let namespace = self.namespace.clone();
        let namespace = self.put(Object::main(ResourceKind::Namespace, &namespace, json!({})));
        self.prerequisites.insert(namespace);
        self.quota();
        let limits = self.put(Object::main(ResourceKind::LimitRange, FREEHOLD, json!({"spec": limits()})));
        self.prerequisites.insert(limits);
        self.account();
    }

    /// The quota's figures as they stand.
    fn quota(&mut self) {
        let quota = &self.expansion.resolver.app.quota;
        if quota.is_empty() {
            return;
        }
        let pods = quota.pods.as_ref().map(|limit| count(limit.value.into()));
        let hard = json!({
            "requests.cpu": quota.cpu.as_ref().map(|range| cpu(range.value.request)),
            "limits.cpu": quota.cpu.as_ref().map(|range| cpu(range.value.limit)),
            "requests.memory": quota.memory.as_ref().map(|range| bytes(range.value.request.0)),
            "limits.memory": quota.memory.as_ref().map(|range| bytes(range.value.limit.0)),
            "pods": pods,
        });
        let quota = Object::main(ResourceKind::ResourceQuota, FREEHOLD, json!({"spec": {"hard": hard}}));
        let quota = self.put(quota);
        self.prerequisites.insert(quota);
    }

    /// Pods talk to the registry, perhaps, and never to the API server.
    fn account(&mut self) {
        let registry = self.facts.registry_credentials.then(|| {
            let config = Value::secret(SecretRef::Target("registry".to_owned()));
            let fields = Value::map([
                ("type", Value::from("kubernetes.io/dockerconfigjson")),
                ("data", Value::map([(".dockerconfigjson", config)])),
            ]);
            let secret = Object::of(ResourceKind::ClusterSecret, REGISTRY, PodPart::Whole, fields);
            self.put(Object { id: crate::ResourceId::new("credentials", "registry"), ..secret })
        });
        let pull = registry.is_some().then(|| json!([{"name": REGISTRY}]));
        let fields = json!({"automountServiceAccountToken": false, "imagePullSecrets": pull});
        let account = Object::main(ResourceKind::ServiceAccount, FREEHOLD, fields).after(registry.clone());
        let account = self.put(account);
        self.prerequisites.extend(registry);
        self.prerequisites.insert(account);
    }
}
