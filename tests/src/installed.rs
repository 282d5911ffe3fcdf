//! A Freehold that runs in the cluster that it deploys to, in several replicas: what `freehold install` prints, applied.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_testkit::kubernetes::{ControlPlane, Forward, HTTP_PORT, Image, Node};
use freehold_testkit::postgres::TestServer;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::call::{Call, Run, binary};
use crate::site::{DOMAIN, TARGET};
use crate::wait::eventually;

const NAMESPACE: &str = "freehold-itself";
const SELECTOR: &str = "app.kubernetes.io/name=freehold";

/// Freehold on a node, and the command line that calls it.
pub struct Installed<'a> {
    node: &'a Node,
    directory: TempDir,
    binary: PathBuf,
    url: String,
    token: String,
    server: TestServer,
    /// The way of the replicas, and of Pods, to that server.
    forward: Forward,
}

impl<'a> Installed<'a> {
    /// Three replicas, with the cluster around them as target [`TARGET`].
    ///
    /// # Errors
    /// They don't get ready.
    pub fn start(node: &'a Node) -> Result<Self> {
        let server = TestServer::start()?;
        let forward = node.forward(server.port())?;
        let directory = tempfile::tempdir()?;
        let binary = binary()?;
        let mut installed = Self { node, directory, binary, url: String::new(), token: String::new(), server, forward };
        let image = installed.image()?;
        let database = installed.server.url();
        let database = database
            .replace(&format!("127.0.0.1:{}", installed.server.port()), &installed.forward.address().to_string());
        let install = ["install", "--dry-run", "--namespace", NAMESPACE, "--image", &image, "--database-url-stdin"];
        let manifests = installed.call(install).run_with_input(&format!("{database}\n"))?.succeeded()?.stdout;
        installed.cluster().apply(&manifests)?;
        installed.rolled_out().with_context(|| installed.logs().unwrap_or_default())?;
        // This machine reaches the cluster's Services.
        let part = |kind: &str, path: &str| {
            let path = format!("jsonpath={path}");
            installed.cluster().kubectl(&["get", kind, "freehold", "-n", NAMESPACE, "-o", &path])
        };
        let (url, token) =
            (format!("http://{}", part("service", "{.spec.clusterIP}")?), part("secret", "{.data.token}")?);
        installed.url = url;
        installed.token = decoded(&token)?;
        let (port, registry) = (HTTP_PORT.to_string(), node.registry().address());
        let mut add = vec!["target", "add", TARGET, "--in-cluster", "--domain", DOMAIN, "--listener", "wildcard"];
        add.extend([
            "--gateway",
            "freehold-gateway/freehold-gateway",
            "--port",
            &port,
            "--insecure-registry",
            registry,
        ]);
        add.push("--database-url-stdin");
        installed.call(add).run_with_input(&format!("{database}\n"))?.succeeded().context("adding the target")?;
        Ok(installed)
    }

    /// The program as an image, without what only a debugger reads.
    fn image(&self) -> Result<String> {
        let program = self.directory.path().join("freehold");
        let output = Command::new("strip").arg("-o").arg(&program).arg(&self.binary).output()?;
        ensure!(output.status.success(), "strip: {}", String::from_utf8_lossy(&output.stderr));
        self.node.registry().push("freehold", "1", &Image::of_program(&program)?)
    }

    fn cluster(&self) -> &'a ControlPlane {
        self.node.cluster()
    }

    fn call<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Call {
        let call = Call::new(&self.binary, self.directory.path());
        call.env("FREEHOLD_URL", &self.url).env("FREEHOLD_TOKEN", &self.token).with(arguments)
    }

    /// Calls the binary and waits for it.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Run> {
        self.call(arguments).run()
    }

    /// Starts the binary and doesn't wait.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Child> {
        self.call(arguments).start()
    }

    /// Waits for such a run.
    ///
    /// # Errors
    /// It can't be waited for.
    pub fn ended(&self, child: Child) -> Result<Run> {
        Ok(child.wait_with_output()?.into())
    }

    /// Waits until all replicas are the newest and ready.
    ///
    /// # Errors
    /// They aren't within five minutes.
    pub fn rolled_out(&self) -> Result<()> {
        let rollout = ["rollout", "status", "deployment/freehold", "-n", NAMESPACE, "--timeout=300s"];
        self.cluster().kubectl(&rollout).map(|_| ())
    }

    /// Replaces all replicas, one after another.
    ///
    /// # Errors
    /// The cluster doesn't want to.
    pub fn restart(&self) -> Result<()> {
        self.cluster().kubectl(&["rollout", "restart", "deployment/freehold", "-n", NAMESPACE]).map(|_| ())
    }

    /// The replica that works on an operation now: the Pod's name and uid.
    pub fn worker(&self) -> (String, String) {
        let holder =
            "SELECT split_part(holder, '/', 1) FROM leases WHERE expires_at > now() AND holder IS NOT NULL LIMIT 1";
        let url = format!("{}freehold", self.server.url().trim_end_matches("postgres"));
        eventually("a replica works on an operation", || {
            let output = Command::new("psql").args(["-XAtq", &url, "-c", holder]).output().ok()?;
            let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
            let pod = (!name.is_empty()).then(|| self.cluster().get(&["pod", &name, "-n", NAMESPACE]))?.ok()?;
            let uid = pod.pointer("/metadata/uid").and_then(Value::as_str)?.to_owned();
            Some((name, uid))
        })
    }

    /// `kill -9` of the program in a Pod, as the kernel would when there is no memory left.
    ///
    /// # Errors
    /// It doesn't run.
    pub fn kill(&self, uid: &str) -> Result<()> {
        let in_pod = |pid: &i32| {
            let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            read("cgroup").contains(uid) && read("cmdline").contains("serve")
        };
        let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let pid = pids.filter(in_pod).find_map(Pid::from_raw).context("the replica doesn't run")?;
        Ok(kill_process(pid, Signal::KILL)?)
    }

    /// Deletes a Pod at once.
    ///
    /// # Errors
    /// There is none.
    pub fn delete(&self, pod: &str) -> Result<()> {
        self.cluster().kubectl(&["delete", "pod", pod, "-n", NAMESPACE, "--grace-period=0", "--force"]).map(|_| ())
    }

    /// What the replicas have logged.
    ///
    /// # Errors
    /// The cluster doesn't say.
    pub fn logs(&self) -> Result<String> {
        let events = self.cluster().kubectl(&["get", "events,pods", "-n", NAMESPACE])?;
        let logs = ["logs", "-n", NAMESPACE, "-l", SELECTOR, "--prefix", "--tail=50"];
        Ok(format!("{events}\n{}", self.cluster().kubectl(&logs).unwrap_or_default()))
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        let _ = self.cluster().kubectl(&["delete", "namespace", NAMESPACE, "--timeout=60s"]);
        let _ = self.cluster().kubectl(&[
            "delete",
            "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding",
            "freehold",
        ]);
    }
}

fn decoded(text: &str) -> Result<String> {
    Ok(String::from_utf8(STANDARD.decode(text)?)?)
}
