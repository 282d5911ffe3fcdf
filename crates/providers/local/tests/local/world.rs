//! A data directory, a router, a provider, and one stack to work on. Everything that was started is ended at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use freehold_engine::capability::Restored;
use freehold_engine::{
    CallWaits, Context, Lookup, OperationId, Performed, Provider, ProviderError, Readiness, Secrets, StepId, Task, Verb,
};
use freehold_graph::secret::Digest;
use freehold_graph::value::Digests;
use freehold_graph::{
    ProviderName, Resource, ResourceId, ResourceKind, Run, SecretRef, SecretText, StackId, StackKey, StackKind, Value,
};
use freehold_problem::{Code, Problem};
use freehold_provider_local::artifact::pack;
use freehold_provider_local::{ArtifactStore, LocalOptions, LocalProvider, RestoreOutcome, RunAs};
use freehold_router::{Options, Router};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) const HOST: &str = "acme.localhost";
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct World {
    pub(crate) data: TempDir,
    pub(crate) router: Router,
    pub(crate) provider: LocalProvider,
    pub(crate) stack: StackId,
    pub(crate) artifact: String,
    pub(crate) options: LocalOptions,
    steps: std::sync::atomic::AtomicU32,
}

/// Every secret's text is `s3cret-` and its name.
pub(crate) struct Known;

#[async_trait]
impl Secrets for Known {
    async fn reveal(&self, _stack: StackId, secret: &SecretRef) -> Result<SecretText, ProviderError> {
        match secret {
            SecretRef::Stored(name) => Ok(SecretText::new(format!("s3cret-{name}"))),
            SecretRef::Derived { purpose: name, .. } | SecretRef::Target(name) => {
                Ok(SecretText::new(format!("s3cret-{name}")))
            }
        }
    }
}

impl Digests for Known {
    fn of_secret(&self, secret: &SecretRef) -> Option<Digest> {
        Some(Digest(format!("digest of {secret}")))
    }

    fn of_text(&self, text: &str) -> Digest {
        Digest(format!("digest of {} bytes", text.len()))
    }
}

pub(crate) fn key() -> StackKey {
    StackKey {
        target: "local".parse().unwrap(),
        app: "guestbook".parse().unwrap(),
        kind: StackKind::Tenant,
        name: "acme".parse().unwrap(),
    }
}

/// The supervisor, which is built beside the tests.
fn supervisor() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join("examples/supervise")
}

impl World {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Self::with(RunAs::Same).await
    }

    pub(crate) async fn with(run_as: RunAs) -> anyhow::Result<Self> {
        Self::at(tempfile::tempdir()?, run_as).await
    }

    pub(crate) async fn at(data: TempDir, run_as: RunAs) -> anyhow::Result<Self> {
        open_to_all(data.path())?;
        let source = data.path().join("source");
        std::fs::create_dir(&source)?;
        let script = source.join("service.py");
        std::fs::write(&script, include_str!("service.py"))?;
        make_executable(&script)?;
        let artifacts = ArtifactStore::open(&data.path().join("artifacts"))?;
        let packed = pack(&source, &["service.py".to_owned()])?;
        let mut stream = Vec::new();
        packed.write_to(&mut stream)?;
        artifacts.take_in(&packed.hash, stream.as_slice())?;
        let router = Router::bind("127.0.0.1:0".parse()?, Options::default()).await?;
        let mut options = LocalOptions::new(data.path(), router.clone(), artifacts, supervisor());
        options.run_as = run_as;
        options.log_limits.size = 20_000;
        let provider = LocalProvider::new(options.clone())?;
        Ok(Self {
            router,
            provider,
            stack: StackId(Uuid::new_v4()),
            artifact: packed.hash.to_string(),
            options,
            data,
            steps: 0.into(),
        })
    }

    /// The provider anew, with other options.
    pub(crate) fn reopen(&mut self, change: impl FnOnce(&mut LocalOptions)) -> anyhow::Result<()> {
        change(&mut self.options);
        self.provider = LocalProvider::new(self.options.clone())?;
        Ok(())
    }

    pub(crate) fn context(&self) -> Context {
        let step = self.steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Context {
            stack: self.stack,
            key: key(),
            operation: OperationId(Uuid::new_v4()),
            step: StepId::new(Verb::Update, &ResourceId::new("service", step)),
            revision: 1,
            deadline: Instant::now() + PATIENCE,
            secrets: Arc::new(Known),
            waits: CallWaits::default(),
            cancel: Default::default(),
        }
    }

    /// A service that serves, with changes to its body.
    pub(crate) fn web(&self, env: &[(&str, &str)], changes: &[(&str, Value)]) -> Resource {
        let mut body = BTreeMap::from([
            ("artifact".to_owned(), Value::text(self.artifact.clone())),
            ("command".to_owned(), Value::from(vec!["service.py"])),
            ("env".to_owned(), Value::map(env.iter().map(|(name, value)| (*name, Value::text(*value))))),
            ("replicas".to_owned(), Value::from(1u32)),
            ("health".to_owned(), Value::map([("ready", Value::from("/ready")), ("live", Value::Null)])),
            ("serves".to_owned(), Value::Bool(true)),
            ("endpoint".to_owned(), Value::Null),
            ("start_timeout_seconds".to_owned(), Value::from(120u32)),
            ("drain_seconds".to_owned(), Value::from(5u32)),
            ("stop_timeout_seconds".to_owned(), Value::from(5u32)),
            ("update".to_owned(), Value::from("rolling")),
        ]);
        body.extend(changes.iter().map(|(field, value)| ((*field).to_owned(), value.clone())));
        Resource {
            id: ResourceId::new("service", "web"),
            kind: ResourceKind::LocalService,
            identity: "acme/web".to_owned(),
            body: Value::Map(body),
            depends_on: BTreeSet::new(),
        }
    }

    pub(crate) fn route(&self) -> Resource {
        let rule = Value::map([
            ("prefix", Value::from("/")),
            ("timeout_seconds", Value::from(30u32)),
            ("retries", Value::from(0u32)),
            ("service", Value::from("service.web")),
        ]);
        let body = Value::map([("hosts", Value::from(vec![HOST.to_owned()])), ("paths", Value::List(vec![rule]))]);
        Resource {
            id: ResourceId::new("route", "web"),
            kind: ResourceKind::LocalRoute,
            identity: "acme/web".to_owned(),
            body,
            depends_on: BTreeSet::new(),
        }
    }

    pub(crate) fn job(&self, script: &str, changes: &[(&str, Value)]) -> Run {
        let mut body = BTreeMap::from([
            ("artifact".to_owned(), Value::Null),
            ("command".to_owned(), Value::from(vec!["sh", "-c", script])),
            ("env".to_owned(), Value::map::<&str>([])),
            ("timeout_seconds".to_owned(), Value::from(120u32)),
            ("retry".to_owned(), Value::from("ask")),
        ]);
        body.extend(changes.iter().map(|(field, value)| ((*field).to_owned(), value.clone())));
        let id = ResourceId::new("job", "migrate");
        Run {
            id,
            provider: ProviderName::Local,
            body: Value::Map(body),
            due: freehold_graph::Due::Revision,
            depends_on: BTreeSet::new(),
            before: BTreeSet::new(),
        }
    }

    pub(crate) async fn apply(&self, resource: &Resource) -> Result<Performed, ProviderError> {
        let desired = resource.body.comparable(&Known);
        let task = Task::Apply { resource: resource.clone(), desired, object: None, adopt: false, takes: Vec::new() };
        self.provider.perform(&self.context(), &task).await
    }

    pub(crate) async fn run(&self, run: &Run) -> Result<Performed, ProviderError> {
        self.provider.perform(&self.context(), &Task::Run { run: run.clone() }).await
    }

    pub(crate) async fn delete(&self, resource: &Resource) -> Result<Performed, ProviderError> {
        let task = Task::Delete { lookup: Lookup::from(resource), object: None };
        self.provider.perform(&self.context(), &task).await
    }

    pub(crate) async fn readiness(&self, resource: &Resource) -> anyhow::Result<Readiness> {
        Ok(self.provider.readiness(self.stack, &Lookup::from(resource)).await?)
    }

    /// A service with a route to it, answering.
    pub(crate) async fn deploy(&self, web: &Resource) -> anyhow::Result<()> {
        self.apply(web).await?;
        self.apply(&self.route()).await?;
        Ok(())
    }

    pub(crate) fn remembered(&self, resources: &[&Resource]) -> Vec<Restored> {
        let restored = resources.iter().map(|resource| Restored {
            stack: self.stack,
            key: key(),
            resource: (*resource).clone(),
            comparable: resource.body.comparable(&Known),
            object: Some("as the store has it".to_owned()),
        });
        restored.collect()
    }

    /// As if Freehold had been killed and started again: the provider and the router go, the processes and the directory stay.
    pub(crate) async fn killed(self, remembered: &[&Resource]) -> anyhow::Result<Self> {
        let remembered = self.remembered(remembered);
        self.killed_with(remembered).await
    }

    /// Leaves the processes to somebody else: this provider looks after none any more.
    pub(crate) fn release(&mut self) -> anyhow::Result<()> {
        let idle = LocalProvider::new(self.options.clone())?;
        std::mem::replace(&mut self.provider, idle).release();
        Ok(())
    }

    pub(crate) async fn killed_with(self, remembered: Vec<Restored>) -> anyhow::Result<Self> {
        let (world, outcomes) = self.succeeded(remembered).await?;
        for outcome in outcomes {
            outcome.result.with_context(|| outcome.id.to_string())?;
        }
        Ok(world)
    }

    /// As [`World::killed_with`], whatever came of each resource so far.
    pub(crate) async fn succeeded(mut self, remembered: Vec<Restored>) -> anyhow::Result<(Self, Vec<RestoreOutcome>)> {
        let router = Router::bind("127.0.0.1:0".parse()?, Options::default()).await?;
        self.options.router = router.clone();
        self.release()?;
        // It takes what began after it for its own, so the former one must be gone by now.
        self.provider = LocalProvider::new(self.options.clone())?;
        std::mem::replace(&mut self.router, router).shutdown(Duration::ZERO).await;
        let outcomes = self.provider.restore(remembered, Arc::new(Known)).await?;
        Ok((self, outcomes))
    }

    /// The status and body of an answer through the router.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        request(self.router.address(), path).await
    }

    pub(crate) async fn json(&self, path: &str) -> anyhow::Result<Json> {
        let (status, body) = self.get(path).await?;
        ensure!(status == 200, "{path} answered {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    pub(crate) async fn pid(&self) -> anyhow::Result<i64> {
        self.json("/who").await?["pid"].as_i64().context("no pid")
    }

    /// The stack's processes, as the kernel has them.
    pub(crate) async fn processes(&self) -> anyhow::Result<Vec<String>> {
        let owned = self.provider.owned(Some(self.stack)).await?;
        // Launchers aren't the stack's but ours; that none is left over is seen at the end.
        let theirs = owned.into_iter().filter(|object| object.kind == "process" && !object.name.contains("(launcher."));
        Ok(theirs.map(|object| object.name).collect())
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.data.path().join("local/stacks").join(self.stack.to_string()).join("home")
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.provider.forget_stack(self.stack).await?;
        let left = self.provider.owned(Some(self.stack)).await?;
        ensure!(left.is_empty(), "left: {left:?}");
        self.router.shutdown(Duration::ZERO).await;
        Ok(())
    }
}

/// The first user of a range that no other test has, here or in another test run.
pub(crate) fn first_user() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    1_000_000_000 + std::process::id() % 40_000 * 20_000 + next * 100
}

/// Whatever a failed test left running is killed.
impl Drop for World {
    fn drop(&mut self) {
        let mark = format!("FREEHOLD_STACK={}", self.stack);
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes()) {
                let _ = std::process::Command::new("kill").arg("-9").arg(process.file_name()).status();
            }
        }
    }
}

pub(crate) async fn request(address: std::net::SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    request_with(address, path, "").await
}

/// The same with more fields in its header, each with the end of its line.
pub(crate) async fn request_with(
    address: std::net::SocketAddr,
    path: &str,
    more: &str,
) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{more}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).context("no status")?.parse()?;
    let body = answer.split_once("\r\n\r\n").context("no body")?.1;
    Ok((status, body.to_owned()))
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < limit, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn code(error: &ProviderError) -> Code {
    match error {
        ProviderError::Rejected(Problem { code, .. }) => *code,
        other => panic!("not a rejection: {other:?}"),
    }
}

pub(crate) fn detail(error: &ProviderError) -> String {
    match error {
        ProviderError::Rejected(Problem { lines: detail, .. }) => detail.join("\n"),
        other => panic!("not a rejection: {other:?}"),
    }
}

pub(crate) fn is_alive(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z')
}

pub(crate) fn kill(pid: i64) {
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
}

pub(crate) fn open_to_all(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711))
}

pub(crate) fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}
