//! A Freehold to be killed, for tests: applies one version of a service after the other, and runs a job for each, until it is.
//!
//! `victim DATA STACK ARTIFACT SUPERVISOR FIRST`: versions count from FIRST; each is announced on standard output once it is done.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use freehold_engine::{CallWaits, Context, OperationId, Provider, ProviderError, Secrets, Task};
use freehold_graph::{
    ProviderName, Resource, ResourceId, ResourceKind, Run, SecretRef, SecretText, StackId, StackKey, StackKind, Value,
};
use freehold_problem::Code;
use freehold_provider_local::{ArtifactStore, LocalOptions, LocalProvider, RunAs};
use freehold_router::{Options, Router};
use tokio::time::Instant;
use uuid::Uuid;

struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn reveal(&self, _stack: StackId, secret: &SecretRef) -> Result<SecretText, ProviderError> {
        Err(ProviderError::rejected(Code::StepFailed, format!("there is no {secret}")))
    }
}

fn service(artifact: &str, version: u64) -> Resource {
    let body = Value::map([
        ("artifact", Value::from(artifact)),
        ("command", Value::from(vec!["service.py"])),
        ("env", Value::map([("VERSION", Value::text(version.to_string()))])),
        ("replicas", Value::from(1 + version % 2)),
        ("health", Value::map([("ready", Value::from("/ready"))])),
        ("serves", Value::Bool(true)),
        ("update", Value::from(if version.is_multiple_of(3) { "recreate" } else { "rolling" })),
        ("drain_seconds", Value::from(1u32)),
    ]);
    let (id, kind) = (ResourceId::new("service", "web"), ResourceKind::LocalService);
    Resource { id, kind, identity: "acme/web".to_owned(), body, depends_on: BTreeSet::new() }
}

fn job(version: u64) -> Run {
    let body = Value::map([
        ("command", Value::from(vec!["sh", "-c", "echo $VERSION >> $HOME/runs"])),
        ("env", Value::map([("VERSION", Value::text(version.to_string()))])),
    ]);
    Run {
        id: ResourceId::new("job", "migrate"),
        provider: ProviderName::Local,
        body,
        due: freehold_graph::Due::Revision,
        depends_on: BTreeSet::new(),
        before: BTreeSet::new(),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("too few arguments");
    let data = PathBuf::from(next()?);
    let stack = StackId(next()?.parse()?);
    let (artifact, supervisor, first) = (next()?, PathBuf::from(next()?), next()?.parse()?);
    let router = Router::bind("127.0.0.1:0".parse()?, Options::default()).await?;
    let artifacts = ArtifactStore::open(&data.join("artifacts"))?;
    let options = LocalOptions { run_as: RunAs::Same, ..LocalOptions::new(&data, router, artifacts, supervisor) };
    let provider = LocalProvider::new(options)?;
    for version in first.. {
        let context = Context {
            stack,
            key: StackKey {
                target: "local".parse()?,
                app: "guestbook".parse()?,
                kind: StackKind::Tenant,
                name: "acme".parse()?,
            },
            operation: OperationId(Uuid::new_v4()),
            step: "update/service.web".parse()?,
            revision: version,
            deadline: Instant::now() + Duration::from_secs(60),
            secrets: Arc::new(NoSecrets),
            waits: CallWaits::default(),
            cancel: Default::default(),
        };
        provider.perform(&context, &Task::Run { run: job(version) }).await?;
        let resource = service(&artifact, version);
        let desired = resource.body.clone();
        provider
            .perform(&context, &Task::Apply { resource, desired, object: None, adopt: false, takes: Vec::new() })
            .await?;
    }
    Ok(())
}
