//! A stack, and what tests of its objects do with them: plan, apply, look, delete.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use freehold_engine::provider::Proposal;
use freehold_engine::{CallWaits, Context, Lookup, OperationId, Performed, Provider, ProviderError, Secrets, Task};
use freehold_graph::expand::KubernetesTarget;
use freehold_graph::value::Digests;
use freehold_graph::{Digest, Resource, ResourceId, ResourceKind, SecretRef, SecretText, StackId, Value};
use freehold_plan::{Observation, Preview};
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{Access, Cluster, KubernetesProvider, prepare};
use freehold_testkit::kubernetes::ControlPlane;
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::fixture::{access, facts, key};

/// How long a step may take on a busy machine.
pub(crate) const STEP: Duration = Duration::from_secs(60);

/// The secrets of a stack.
#[derive(Default)]
pub(crate) struct Known(Mutex<BTreeMap<String, String>>);

impl Known {
    pub(crate) fn set(&self, name: &str, text: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), text.to_owned());
    }

    fn text(&self, secret: &SecretRef) -> Option<String> {
        let (SecretRef::Stored(name) | SecretRef::Derived { purpose: name, .. }) = secret else { return None };
        self.0.lock().unwrap().get(name).cloned()
    }
}

#[async_trait]
impl Secrets for Known {
    async fn reveal(&self, _: StackId, secret: &SecretRef) -> Result<SecretText, ProviderError> {
        let text = self
            .text(secret)
            .ok_or_else(|| ProviderError::rejected(Code::SecretNotSet, format!("{secret} is not set")))?;
        Ok(SecretText::new(text))
    }
}

impl Digests for Known {
    fn of_secret(&self, secret: &SecretRef) -> Option<Digest> {
        self.text(secret).map(|text| self.of_text(&text))
    }

    fn of_text(&self, text: &str) -> Digest {
        // FNV: different for different texts, and shows none of them.
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Digest(format!("{hash:032x}"))
    }
}

/// A stack with a namespace's name, and a cluster.
pub(crate) struct Stage {
    pub(crate) control: &'static ControlPlane,
    pub(crate) provider: KubernetesProvider,
    pub(crate) facts: KubernetesTarget,
    pub(crate) namespace: String,
    pub(crate) stack: StackId,
    pub(crate) secrets: Arc<Known>,
}

/// What a plan knows of one resource.
pub(crate) struct Planned {
    pub(crate) observed: Option<Observation>,
    pub(crate) preview: Preview,
    adopt: bool,
}

impl Planned {
    /// The paths of the fields that would change.
    pub(crate) fn fields(&self) -> Vec<&str> {
        self.preview.fields.as_deref().unwrap_or_default().iter().map(|field| field.path.as_str()).collect()
    }

    pub(crate) fn uid(&self) -> &str {
        &self.observed.as_ref().expect("there is one").object
    }

    /// A leaf of the body that is to come.
    pub(crate) fn leaf(&self, pointer: &str) -> Json {
        json(&self.preview.body).pointer(pointer).cloned().unwrap_or(Json::Null)
    }
}

pub(crate) fn json(body: &Value) -> Json {
    serde_json::to_value(body).unwrap()
}

impl Stage {
    /// A namespace that is not there yet, in a cluster with a scratch namespace.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        Some(Self::on(ControlPlane::for_test(test)?).await)
    }

    /// The same in a given cluster.
    pub(crate) async fn on(control: &'static ControlPlane) -> Self {
        let cluster = Cluster::connect(&access(control.admin())).await.unwrap();
        let mut facts = facts(&cluster);
        prepare(&cluster, &mut facts).await.unwrap();
        assert!(facts.scratch_namespace.is_some());
        Self::of(control, &access(control.admin()), facts)
    }

    pub(crate) fn of(control: &'static ControlPlane, access: &Access, facts: KubernetesTarget) -> Self {
        let provider = KubernetesProvider::new(access.clone(), facts.clone());
        let (namespace, stack) = (ControlPlane::unique("stage"), StackId(Uuid::new_v4()));
        Self { control, provider, facts, namespace, stack, secrets: Arc::default() }
    }

    /// The same stack, seen by another one.
    pub(crate) fn as_user(&self, access: &Access) -> Self {
        let mut other = Self::of(self.control, access, self.facts.clone());
        (other.namespace, other.stack) = (self.namespace.clone(), self.stack);
        other.secrets = Arc::clone(&self.secrets);
        other
    }

    /// With its namespace.
    pub(crate) async fn settled(test: &str) -> Option<Self> {
        let stage = Self::new(test).await?;
        stage.deploy(&stage.namespace_resource()).await;
        Some(stage)
    }

    pub(crate) fn labels(&self) -> Json {
        json!({"app.kubernetes.io/managed-by": "freehold", "freehold.dev/stack": self.stack.to_string()})
    }

    pub(crate) fn namespace_resource(&self) -> Resource {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": self.labels()}});
        Resource {
            id: ResourceId::new("namespace", "main"),
            kind: ResourceKind::Namespace,
            identity: self.namespace.clone(),
            body: serde_json::from_value(body).unwrap(),
            depends_on: [].into(),
        }
    }

    /// An object of the stack. `rest` is all but its name, namespace and labels; it may have `$secret` leaves.
    pub(crate) fn resource(&self, kind: ResourceKind, api: (&str, &str), name: &str, rest: &Json) -> Resource {
        let mut body = rest.clone();
        (body["apiVersion"], body["kind"]) = (json!(api.0), json!(api.1));
        body["metadata"]["name"] = json!(name);
        body["metadata"]["namespace"] = json!(self.namespace);
        body["metadata"]["labels"] = self.labels();
        let mut identity = format!("{}/{name}", self.namespace);
        if kind == ResourceKind::KubernetesObject {
            let group = api.0.split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
            identity = format!("{}/{}s{group}/{name}", self.namespace, api.1.to_lowercase());
        }
        Resource {
            id: ResourceId::new(kind.word(), name),
            kind,
            identity,
            body: serde_json::from_value(body).unwrap(),
            depends_on: [].into(),
        }
    }

    pub(crate) fn config_map(&self, name: &str, data: &Json) -> Resource {
        self.resource(ResourceKind::ConfigMap, ("v1", "ConfigMap"), name, &json!({"data": data}))
    }

    pub(crate) fn secret(&self, name: &str, data: &Json) -> Resource {
        let rest = json!({"type": "Opaque", "data": data});
        self.resource(ResourceKind::ClusterSecret, ("v1", "Secret"), name, &rest)
    }

    /// A Deployment of no Pods; `change` works on its manifest.
    pub(crate) fn deployment(&self, name: &str, change: impl FnOnce(&mut Json)) -> Resource {
        let labels = json!({"app.kubernetes.io/name": name, "freehold.dev/stack": self.stack.to_string()});
        let mut rest = json!({"spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{
                    "name": "web",
                    "image": "example.test/web:1",
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "ports": [{"containerPort": 8080, "name": "http"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
                }]},
            },
        }});
        change(&mut rest);
        self.resource(ResourceKind::Deployment, ("apps/v1", "Deployment"), name, &rest)
    }

    pub(crate) async fn observe(&self, resource: &Resource) -> Option<Observation> {
        self.provider.observe(self.stack, &Lookup::from(resource)).await.unwrap()
    }

    pub(crate) async fn try_plan(&self, resource: &Resource, adopt: bool) -> Result<Planned, ProviderError> {
        let observed = self.provider.observe(self.stack, &Lookup::from(resource)).await?;
        let desired = resource.body.comparable(&*self.secrets);
        let proposal = Proposal { resource, desired: &desired, observed: observed.as_ref(), adopt };
        let preview = self.provider.preview(self.stack, &proposal).await?;
        Ok(Planned { observed, preview, adopt })
    }

    pub(crate) async fn plan(&self, resource: &Resource) -> Planned {
        self.try_plan(resource, false).await.unwrap()
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            stack: self.stack,
            key: key(),
            operation: OperationId(Uuid::now_v7()),
            step: "create/namespace.main".parse().unwrap(),
            revision: 1,
            deadline: Instant::now() + STEP,
            secrets: Arc::clone(&self.secrets) as Arc<dyn Secrets>,
            waits: CallWaits::default(),
            cancel: Default::default(),
        }
    }

    pub(crate) async fn perform(&self, task: Task) -> Result<Performed, ProviderError> {
        self.provider.perform(&self.context(), &task).await
    }

    pub(crate) fn task(&self, resource: &Resource, planned: &Planned) -> Task {
        Task::Apply {
            resource: resource.clone(),
            desired: planned.preview.body.clone(),
            object: planned.observed.as_ref().map(|observed| observed.object.clone()),
            adopt: planned.adopt,
            takes: planned.preview.conflicts.iter().filter(|_| planned.adopt).cloned().collect(),
        }
    }

    pub(crate) async fn apply(&self, resource: &Resource, planned: &Planned) -> Result<Performed, ProviderError> {
        self.perform(self.task(resource, planned)).await
    }

    /// Plans and applies, and makes sure that it came as the plan said, and that the next plan has nothing to do.
    pub(crate) async fn deploy(&self, resource: &Resource) -> Planned {
        self.deploy_as(resource, false).await
    }

    pub(crate) async fn deploy_as(&self, resource: &Resource, adopt: bool) -> Planned {
        let planned = self.try_plan(resource, adopt).await.unwrap();
        let performed = self.apply(resource, &planned).await.unwrap();
        let seen = self.observe(resource).await.expect("it was made");
        assert_eq!(Some(&seen.object), performed.object.as_ref());
        assert_eq!(json(&seen.body), json(&planned.preview.body), "{} came out as it was foretold", resource.id);
        assert_eq!(self.plan(resource).await.fields(), Vec::<&str>::new(), "nothing is left to do");
        planned
    }

    pub(crate) async fn delete(&self, resource: &Resource, uid: Option<&str>) -> Result<Performed, ProviderError> {
        self.perform(Task::Delete { lookup: resource.into(), object: uid.map(str::to_owned) }).await
    }

    /// Deletes it as the engine does: again, for as long as that may help.
    pub(crate) async fn remove(&self, resource: &Resource, uid: &str) {
        let deadline = Instant::now() + STEP;
        while let Err(error) = self.delete(resource, Some(uid)).await {
            let again = matches!(error, ProviderError::Retryable { .. }) && Instant::now() < deadline;
            assert!(again, "{error:?}");
        }
    }

    /// The object as it is, for the administrator.
    pub(crate) fn live(&self, resource: &Resource) -> Json {
        let mut parts = resource.identity.rsplit('/');
        let name = parts.next().unwrap();
        let named = parts.next().filter(|_| resource.kind == ResourceKind::KubernetesObject);
        let kind = named.or_else(|| resource.body.get("kind").and_then(Value::as_text)).unwrap();
        self.control.get(&[kind, name, "--namespace", &self.namespace, "--show-managed-fields"]).unwrap()
    }

    /// Somebody else works on the stack's namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.control.kubectl(&[arguments, &["--namespace", &self.namespace]].concat()).unwrap()
    }

    pub(crate) async fn owned(&self) -> Vec<String> {
        let owned = self.provider.owned(Some(self.stack)).await.unwrap();
        owned
            .into_iter()
            .map(|object| format!("{} {}", object.kind, object.name.replace(&self.namespace, "NS")))
            .collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.control.kubectl(&["delete", "namespace", &self.namespace, "--wait=false", "--ignore-not-found"]);
    }
}

/// The code and all the words of a refusal.
pub(crate) fn rejected(error: &ProviderError) -> (Code, String) {
    match error {
        ProviderError::Rejected(Problem { code, message, lines: detail, help, .. }) => {
            (*code, format!("{message}\n{}\n{}", detail.join("\n"), help.clone().unwrap_or_default()))
        }
        other => panic!("not rejected: {other:?}"),
    }
}
