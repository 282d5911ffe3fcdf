//! A cluster, its facts, and what tests of targets, readiness and runs put into it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use freehold_engine::{
    CallWaits, Context, Lookup, OperationId, Performed, Provider, ProviderError, Readiness, Secrets, Task,
};
use freehold_graph::{
    ProviderName, ResourceId, ResourceKind, Run, SecretRef, SecretText, StackId, StackKey, StackKind, Value,
};
use freehold_provider_kubernetes::{Access, Cluster, KubernetesProvider};
use freehold_testkit::kubernetes::{self, ControlPlane};
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) use crate::facts::{facts, server};

/// What an account consists of outside of its namespace, for `kubectl delete`.
pub(crate) const ACCESS_KINDS: &str =
    "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding";
/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(180);

/// A run has no secrets.
struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn reveal(&self, _stack: StackId, secret: &SecretRef) -> Result<SecretText, ProviderError> {
        panic!("{secret} was asked for");
    }
}

/// A namespace of a stack, in a cluster that several tests share.
pub(crate) struct Fixture {
    pub(crate) control: &'static ControlPlane,
    pub(crate) provider: KubernetesProvider,
    pub(crate) namespace: String,
    pub(crate) stack: StackId,
}

pub(crate) fn access(of: &kubernetes::Access) -> Access {
    Access::Kubeconfig(SecretText::new(of.kubeconfig()))
}

pub(crate) fn key() -> StackKey {
    StackKey {
        target: "prod".parse().unwrap(),
        app: "guestbook".parse().unwrap(),
        kind: StackKind::Tenant,
        name: "acme".parse().unwrap(),
    }
}

impl Fixture {
    /// `None`, after a line about it, where there can't be a cluster.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        let control = ControlPlane::for_test(test)?;
        Some(Self::with(control, &access(control.admin())).await)
    }

    /// As somebody else than the administrator.
    pub(crate) async fn with(control: &'static ControlPlane, access: &Access) -> Self {
        let cluster = Cluster::connect(access).await.unwrap();
        let provider = KubernetesProvider::new(access.clone(), facts(&cluster));
        let fixture =
            Self { control, provider, namespace: ControlPlane::unique("fixture"), stack: StackId(Uuid::new_v4()) };
        let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace"});
        namespace["metadata"] = json!({"name": fixture.namespace, "labels": fixture.labels("web", "service")});
        control.apply(&namespace.to_string()).unwrap();
        fixture
    }

    pub(crate) fn labels(&self, name: &str, component: &str) -> Json {
        json!({
            "app.kubernetes.io/managed-by": "freehold",
            "app.kubernetes.io/name": name,
            "freehold.dev/stack": self.stack.to_string(),
            "freehold.dev/component": component,
        })
    }

    /// An object of the stack, in its namespace.
    pub(crate) fn object(&self, api_version: &str, kind: &str, name: &str, rest: &Json) -> Json {
        let mut object = rest.clone();
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(self.namespace);
        object["metadata"]["labels"] = self.labels(name, "service");
        object
    }

    pub(crate) fn put(&self, api_version: &str, kind: &str, name: &str, rest: &Json) {
        self.control.apply(&self.object(api_version, kind, name, rest).to_string()).unwrap();
    }

    /// A Deployment `web` with one replica of one container.
    pub(crate) fn deployment(&self, container: &Json) -> Json {
        let labels = self.labels("web", "service");
        let mut all = json!({"name": "web", "image": "example.test/web:1"});
        for (field, value) in container.as_object().unwrap() {
            all[field] = value.clone();
        }
        let spec = json!({
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [all]}},
        });
        self.object("apps/v1", "Deployment", "web", &json!({"spec": spec}))
    }

    pub(crate) async fn readiness(&self, kind: ResourceKind, name: &str) -> Readiness {
        let lookup = Lookup {
            id: ResourceId::new(kind.word(), name),
            kind,
            identity: if kind == ResourceKind::Namespace {
                name.to_owned()
            } else {
                format!("{}/{name}", self.namespace)
            },
            body: Value::Null,
        };
        self.provider.readiness(self.stack, &lookup).await.unwrap()
    }

    /// Of the Deployment `web`, after a change of that long ago.
    pub(crate) async fn readiness_after(&self, changed: Duration) -> Readiness {
        let (kind, name) = (ResourceKind::Deployment, "web");
        let identity = format!("{}/{name}", self.namespace);
        let lookup = Lookup { id: ResourceId::new(kind.word(), name), kind, identity, body: Value::Null };
        self.provider.readiness_after(self.stack, &lookup, changed).await.unwrap()
    }

    /// Asks about the Deployment `web` right after a change, until the answer is such. Times are whole seconds, and what is a few seconds
    /// old counts as made by the change.
    pub(crate) async fn until_after_a_change(&self, mut fits: impl FnMut(&Readiness) -> bool) {
        let limit = Instant::now() + SOON;
        loop {
            let readiness = self.readiness_after(Duration::ZERO).await;
            if fits(&readiness) {
                return;
            }
            assert!(Instant::now() < limit, "it is still {readiness:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks until the answer is such.
    pub(crate) async fn until(
        &self,
        kind: ResourceKind,
        name: &str,
        mut fits: impl FnMut(&Readiness) -> bool,
    ) -> Readiness {
        let limit = Instant::now() + SOON;
        loop {
            let readiness = self.readiness(kind, name).await;
            if fits(&readiness) {
                return readiness;
            }
            assert!(Instant::now() < limit, "{name} is still {readiness:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn context(&self, revision: u64, time: Duration) -> Context {
        Context {
            stack: self.stack,
            key: key(),
            operation: OperationId(Uuid::new_v4()),
            step: "run/job.migrate".parse().unwrap(),
            revision,
            deadline: Instant::now() + time,
            secrets: Arc::new(NoSecrets),
            waits: CallWaits::default(),
            cancel: Default::default(),
        }
    }

    /// The run of a job `migrate`, whose container has this image.
    pub(crate) fn run(&self, image: &str, retry: &str, timeout: u32) -> Run {
        let labels = self.labels("migrate", "job");
        let manifest = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"labels": labels},
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": timeout,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "migrate", "image": image}]},
                },
            },
        });
        self.run_of(&manifest, retry, timeout)
    }

    pub(crate) fn run_of(&self, manifest: &Json, retry: &str, timeout: u32) -> Run {
        let body = json!({
            "namespace": self.namespace, "manifest": manifest, "timeout_seconds": timeout, "retry": retry,
        });
        Run {
            id: ResourceId::new("job", "migrate"),
            provider: ProviderName::Kubernetes,
            body: serde_json::from_value(body).unwrap(),
            due: freehold_graph::Due::Revision,
            depends_on: BTreeSet::new(),
            before: BTreeSet::new(),
        }
    }

    pub(crate) async fn perform(&self, run: &Run, revision: u64) -> Result<Performed, ProviderError> {
        let context = self.context(revision, SOON);
        self.provider.perform(&context, &Task::Run { run: run.clone() }).await
    }

    pub(crate) fn jobs(&self) -> Vec<String> {
        let jobs = self.control.get(&["jobs", "--namespace", &self.namespace]).unwrap();
        let jobs = jobs["items"].as_array().unwrap();
        jobs.iter().map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.control.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}

pub(crate) fn words(readiness: &Readiness) -> String {
    match readiness {
        Readiness::Ready | Readiness::Settling { .. } => String::new(),
        Readiness::Waiting(words) => words.clone(),
        Readiness::Failed(failure) => failure.to_string(),
    }
}

pub(crate) fn is_failed(readiness: &Readiness) -> bool {
    matches!(readiness, Readiness::Failed(_))
}

/// Waiting, and says so.
pub(crate) fn waits_with<'a>(text: &'a str) -> impl FnMut(&Readiness) -> bool + 'a {
    move |readiness| matches!(readiness, Readiness::Waiting(words) if words.contains(text))
}
