//! A control plane whose Pods, and whose gateway, are simulated: kwok does what the controller of a Gateway would do.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use freehold_testkit::kubernetes::{ControlPlane, Options, Parts, Registry};
use tempfile::TempDir;

/// Takes every HTTPRoute, and programs every Gateway, as soon as it has seen this generation of it.
const STAGES: &str = include_str!("simulated/stages.yaml");
/// A Gateway for `*.test.localhost`.
const GATEWAY: &str = include_str!("simulated/gateway.yaml");

/// A control plane with a simulated gateway, and a real registry.
pub struct Simulated {
    cluster: ControlPlane,
    registry: Registry,
    _controller: Controller,
}

/// The second kwok. It ends when its shell's standard input does: with the test process, whatever becomes of that.
struct Controller {
    shell: Child,
    _folder: TempDir,
}

impl Simulated {
    /// The one that all tests of this process share; or `None`, after a line `skipped: TEST: kubernetes: REASON`. It takes every route, which
    /// tests of other processes don't expect of the control plane that they share.
    ///
    /// # Panics
    /// It should be there but doesn't start.
    pub fn for_test(test: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Simulated> = OnceLock::new();
        can_be_had(test).then(|| SHARED.get_or_init(|| Self::start(&Options::default())))
    }

    /// One of one's own, for a test that stops it or breaks it.
    ///
    /// # Panics
    /// It should be there but doesn't start.
    pub fn own_for_test(test: &str, options: &Options) -> Option<Self> {
        can_be_had(test).then(|| Self::start(options))
    }

    #[allow(clippy::panic, reason = "for tests: there is nobody to tell but the test")]
    fn start(options: &Options) -> Self {
        ControlPlane::start_with(options)
            .and_then(Self::of)
            .unwrap_or_else(|error| panic!("no simulated cluster: {error:#}"))
    }

    fn of(cluster: ControlPlane) -> Result<Self> {
        let controller = Controller::start(&cluster)?;
        cluster.apply(GATEWAY)?;
        cluster.wait("the simulated gateway is programmed", Duration::from_secs(180), || {
            let gateway = cluster.get(&["gateway", "--namespace=freehold-gateway", "freehold-gateway"])?;
            let conditions = gateway.pointer("/status/conditions").and_then(serde_json::Value::as_array);
            Ok(conditions
                .is_some_and(|all| all.iter().any(|one| one["type"] == "Programmed" && one["status"] == "True")))
        })?;
        Ok(Self { cluster, registry: Registry::start()?, _controller: controller })
    }

    /// The control plane.
    pub fn cluster(&self) -> &ControlPlane {
        &self.cluster
    }

    /// The registry in which Freehold looks images up. Nobody pulls from it.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

/// Where it can't, a line says so.
#[allow(clippy::print_stdout, reason = "scripts/test counts these lines")]
fn can_be_had(test: &str) -> bool {
    let missing = ControlPlane::missing();
    if let Some(reason) = &missing {
        println!("skipped: {test}: kubernetes: {reason}");
    }
    missing.is_none()
}

impl Controller {
    fn start(cluster: &ControlPlane) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("freehold-gateway-").tempdir()?;
        let stages = folder.path().join("stages.yaml");
        fs::write(&stages, STAGES)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let shell = Command::new("sh")
            .args(["-c", r#""$@" </dev/null & daemon=$!; cat >/dev/null; kill -9 "$daemon""#, "sh"])
            .arg(Parts::find()?.program("kwok"))
            .arg(format!("--kubeconfig={}", cluster.kubeconfig_path().display()))
            // It looks after no Pods: the testkit's own kwok does.
            .args(["--manage-all-nodes=false", "--manage-single-node=none"])
            .arg(format!("--config={}", stages.display()))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the controller of the simulated gateway")?;
        Ok(Self { shell, _folder: folder })
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
