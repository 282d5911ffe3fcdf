//! A stack in a namespace of its own, planned and applied through the provider as the platform does it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use freehold_engine::provider::Proposal;
use freehold_engine::{CallWaits, Context, Lookup, OperationId, Provider, ProviderError, Secrets, Task};
use freehold_graph::value::Digests;
use freehold_graph::{Digest, Resource, ResourceId, ResourceKind, SecretRef, SecretText, StackId, StackKey, StackKind};
use freehold_plan::{Observation, Preview};
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{Access, Cluster, KubernetesProvider, prepare};
use freehold_testkit::kubernetes::ControlPlane;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::cases::Case;
use crate::facts::facts;

const STEP: Duration = Duration::from_secs(60);
/// What the policy adds.
const ADDED: &str = "policy.example.org/added";

/// The cases have no secrets.
struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn reveal(&self, _: StackId, secret: &SecretRef) -> Result<SecretText, ProviderError> {
        Err(ProviderError::rejected(Code::SecretNotSet, format!("{secret} is not set")))
    }
}

impl Digests for NoSecrets {
    fn of_secret(&self, _: &SecretRef) -> Option<Digest> {
        None
    }

    fn of_text(&self, text: &str) -> Digest {
        Digest(text.to_owned())
    }
}

pub(crate) struct Stack {
    control: &'static ControlPlane,
    provider: KubernetesProvider,
    namespace: String,
    id: StackId,
    policy: bool,
}

/// A resource with what a plan says of it.
pub(crate) struct Planned {
    pub(crate) resource: Resource,
    pub(crate) observed: Option<Observation>,
    pub(crate) preview: Preview,
}

impl Stack {
    /// In a namespace that isn't there yet; with a policy that changes what is put into it.
    pub(crate) async fn new(policy: bool) -> anyhow::Result<Self> {
        let control = ControlPlane::shared();
        let access = Access::Kubeconfig(SecretText::new(control.admin().kubeconfig()));
        let cluster = Cluster::connect(&access).await?;
        let mut facts = facts(&cluster);
        prepare(&cluster, &mut facts).await?;
        let provider = KubernetesProvider::new(access, facts);
        let (namespace, id) = (ControlPlane::unique("accuracy"), StackId(Uuid::new_v4()));
        let stack = Self { control, provider, namespace, id, policy };
        if policy {
            stack.make_policy()?;
        }
        Ok(stack)
    }

    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        if self.policy {
            for kind in ["mutatingadmissionpolicybinding", "mutatingadmissionpolicy"] {
                self.control.kubectl(&["delete", kind, &self.namespace])?;
            }
        }
        self.control.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).map(|_| ())
    }

    fn make_policy(&self) -> anyhow::Result<()> {
        let (api, name) = ("admissionregistration.k8s.io/v1", &self.namespace);
        let rule = |groups: &str, resources: [&str; 2]| json!({"apiGroups": [groups], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": resources});
        let rules = [rule("", ["configmaps", "services"]), rule("apps", ["deployments", "deployments/scale"])];
        let expression = format!("Object{{metadata: Object.metadata{{annotations: {{'{ADDED}': 'by policy'}}}}}}");
        let spec = json!({
            "matchConstraints": {"resourceRules": rules},
            "matchConditions": [{"name": "here", "expression": format!("request.namespace == '{name}'")}],
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        });
        let policy =
            json!({"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec});
        let binding = json!({"apiVersion": api, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name}});
        self.control.apply(&policy.to_string())?;
        self.control.apply(&binding.to_string())
    }

    /// The API server takes notice of it after a while.
    pub(crate) async fn await_policy(&self) -> anyhow::Result<()> {
        if !self.policy {
            return Ok(());
        }
        let limit = Instant::now() + STEP;
        loop {
            let probe =
                ["create", "configmap", "probe", "--namespace", &self.namespace, "--dry-run=server", "-o", "json"];
            if self.control.kubectl(&probe)?.contains(ADDED) {
                return Ok(());
            }
            if Instant::now() > limit {
                bail!("the policy is not in force");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn labels(&self) -> Json {
        json!({"app.kubernetes.io/managed-by": "freehold", "freehold.dev/stack": self.id.to_string()})
    }

    pub(crate) fn namespace_resource(&self) -> anyhow::Result<Resource> {
        let metadata = json!({"name": self.namespace, "labels": self.labels()});
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        Ok(Resource {
            id: ResourceId::new("namespace", "main"),
            kind: ResourceKind::Namespace,
            identity: self.namespace.clone(),
            body: serde_json::from_value(body)?,
            depends_on: [].into(),
        })
    }

    /// A case's object with these fields.
    pub(crate) fn resource(&self, case: &Case, fields: &Json) -> anyhow::Result<Resource> {
        let mut body = fields.clone();
        let object = body.as_object_mut().context("an object is a map")?;
        let (api, kind) = crate::objects::api(case.kind)?;
        object.insert("apiVersion".to_owned(), api.into());
        object.insert("kind".to_owned(), kind.into());
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        let metadata = metadata.as_object_mut().context("metadata is a map")?;
        metadata.insert("name".to_owned(), case.name.as_str().into());
        metadata.insert("namespace".to_owned(), self.namespace.as_str().into());
        metadata.insert("labels".to_owned(), self.labels());
        Ok(Resource {
            id: ResourceId::new(case.kind.word(), &case.name),
            kind: case.kind,
            identity: format!("{}/{}", self.namespace, case.name),
            body: serde_json::from_value(body)?,
            depends_on: [].into(),
        })
    }

    pub(crate) async fn observe(&self, resource: &Resource) -> anyhow::Result<Option<Observation>> {
        Ok(self.provider.observe(self.id, &Lookup::from(resource)).await?)
    }

    pub(crate) async fn plan(&self, resource: &Resource) -> anyhow::Result<Planned> {
        let observed = self.observe(resource).await?;
        let desired = resource.body.comparable(&NoSecrets);
        let proposal = Proposal { resource, desired: &desired, observed: observed.as_ref(), adopt: false };
        let preview = match self.provider.preview(self.id, &proposal).await {
            Err(ProviderError::Rejected(Problem { message, lines: detail, .. })) => {
                bail!("{message}: {}", detail.join("; "))
            }
            preview => preview?,
        };
        Ok(Planned { resource: resource.clone(), observed, preview })
    }

    pub(crate) async fn apply(&self, planned: &Planned) -> anyhow::Result<()> {
        let replaces = !planned.preview.immutable.is_empty();
        let object = planned.observed.as_ref().filter(|_| !replaces).map(|observed| observed.object.clone());
        let task = Task::Apply {
            resource: planned.resource.clone(),
            desired: planned.preview.body.clone(),
            object,
            adopt: false,
            takes: Vec::new(),
        };
        self.perform(task).await
    }

    pub(crate) async fn delete(&self, planned: &Planned) -> anyhow::Result<()> {
        let object = planned.observed.as_ref().map(|observed| observed.object.clone());
        self.perform(Task::Delete { lookup: Lookup::from(&planned.resource), object }).await
    }

    async fn perform(&self, task: Task) -> anyhow::Result<()> {
        let context = Context {
            stack: self.id,
            key: StackKey {
                target: "prod".parse()?,
                app: "accuracy".parse()?,
                kind: StackKind::Tenant,
                name: "acme".parse()?,
            },
            operation: OperationId(Uuid::now_v7()),
            step: "create/namespace.main".parse()?,
            revision: 1,
            deadline: Instant::now() + STEP,
            secrets: Arc::new(NoSecrets),
            waits: CallWaits::default(),
            cancel: Default::default(),
        };
        self.provider.perform(&context, &task).await.map(|_| ()).map_err(Into::into)
    }

    /// The object as it is.
    pub(crate) fn live(&self, case: &Case) -> anyhow::Result<Json> {
        let kind = crate::objects::api(case.kind)?.1;
        self.control.get(&[kind, &case.name, "--namespace", &self.namespace])
    }

    /// Somebody else changes the object.
    pub(crate) fn meddle(&self, case: &Case, arguments: &[&str]) -> anyhow::Result<()> {
        let kind = crate::objects::api(case.kind)?.1;
        let object = format!("{kind}/{}", case.name);
        let (verb, rest) = arguments.split_first().context("a verb")?;
        let all = [&[*verb, &object, "--namespace", &self.namespace], rest].concat();
        self.control.kubectl(&all).map(|_| ())
    }
}
