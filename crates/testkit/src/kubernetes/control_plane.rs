//! The control plane with simulated nodes: the processes, their flags, and what a test does with them.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use super::access::Access;
use super::flags::{CONTROLLER_MANAGER, Listen, api_server_flags, etcd_flags, node};
use super::parts::Parts;
use super::processes::{Processes, free_port};

/// The first of the simulated nodes; the others follow by number.
pub const NODE: &str = "simulated-0";
const NODES: u32 = 3;
/// How long each step of the start may take, on a machine that does other work as well.
const START: Duration = Duration::from_secs(240);
const API_SERVER: &str = "kube-apiserver";

/// What can be different about a control plane of one's own.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More flags of kube-apiserver, such as `--max-requests-inflight=4`.
    pub api_server: Vec<String>,
    /// Lines `token,user,uid,"group1,group2"` of more users. `admin` and `nobody` are always there.
    pub users: Vec<String>,
    /// Without the definitions of Gateway API, cert-manager and CloudNativePG.
    pub bare: bool,
}

/// A running control plane, or an existing cluster that is used instead.
#[derive(Debug)]
pub struct ControlPlane {
    parts: Parts,
    admin: Access,
    kubeconfig: PathBuf,
    /// Where kubectl keeps what it has discovered.
    folder: PathBuf,
    own: Option<Own>,
    /// Removes the folder of an existing cluster.
    _folder: Option<Processes>,
}

/// Of a control plane that this process has started.
#[derive(Debug)]
struct Own {
    processes: Processes,
    api_server: Vec<String>,
}

impl ControlPlane {
    /// Why there can't be one here, if so.
    pub fn missing() -> Option<String> {
        Parts::find().err().map(|error| format!("{error:#}"))
    }

    /// The one that all tests of this process share; or `None`, after a line `skipped: TEST: kubernetes: REASON`.
    ///
    /// # Panics
    /// If it should be there but doesn't start.
    #[expect(clippy::print_stdout, reason = "scripts/test counts these lines")]
    pub fn for_test(test: &str) -> Option<&'static Self> {
        if let Some(reason) = Self::missing() {
            println!("skipped: {test}: kubernetes: {reason}");
            return None;
        }
        Some(Self::shared())
    }

    /// The one that all tests of this process share; started by the first that asks.
    ///
    /// # Panics
    /// If it can't be had.
    #[expect(clippy::panic, reason = "for tests: there is nobody to tell but the test")]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ControlPlane> = OnceLock::new();
        SHARED.get_or_init(|| {
            let given = |name| env::var_os(name).filter(|value| !value.is_empty());
            given("FREEHOLD_TEST_KUBECONFIG")
                .or_else(|| given("FREEHOLD_TEST_CONTROL_PLANE"))
                .map_or_else(Self::start, |kubeconfig| Self::existing(Path::new(&kubeconfig)))
                .unwrap_or_else(|error| panic!("no Kubernetes for the tests: {error:#}"))
        })
    }

    /// One of one's own, for tests that stop it or its API server. It ends when dropped.
    ///
    /// # Errors
    /// The programs are missing, or one of them doesn't start.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&Options::default())
    }

    /// One of one's own, with other flags.
    ///
    /// # Errors
    /// The programs are missing, or one of them doesn't start.
    pub fn start_with(options: &Options) -> anyhow::Result<Self> {
        let parts = Parts::find()?;
        // Somebody else may take a free port first: then there are others.
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::launch(parts.clone(), options) {
                Err(error) if tries < 3 && format!("{error:#}").contains("address already in use") => {}
                result => return result,
            }
        }
    }

    /// A cluster that runs already, by its kubeconfig.
    pub(super) fn existing(kubeconfig: &Path) -> anyhow::Result<Self> {
        let parts = Parts::find()?;
        // For its guard, which removes the folder when the process ends.
        let folder = Processes::new("freehold-kubernetes-", None)?;
        let mut cluster = Self {
            parts,
            admin: Access { server: String::new(), authority: String::new(), token: String::new() },
            kubeconfig: kubeconfig.to_owned(),
            folder: folder.folder().to_owned(),
            own: None,
            _folder: Some(folder),
        };
        let config = cluster.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"])?;
        cluster.admin = Access::of_kubeconfig(&config)?;
        cluster.kubectl(&["get", "--raw", "/readyz"]).context("the given cluster doesn't answer")?;
        Ok(cluster)
    }

    fn launch(parts: Parts, options: &Options) -> anyhow::Result<Self> {
        let processes = Processes::new("freehold-kubernetes-", None)?;
        let listen = Listen { address: "127.0.0.1", port: free_port()? };
        let mut flags: Vec<String> = options.api_server.clone();
        // Its Endpoints would have to be off loopback.
        flags.extend(["--endpoint-reconciler-type=none", "--authorization-mode=RBAC"].map(str::to_owned));
        let cluster = Self::launch_api(parts, processes, &listen, flags, &options.users)?;
        cluster.start_controllers()?;
        cluster.start_kwok()?;
        cluster.furnish(options)?;
        Ok(cluster)
    }

    /// etcd and the API server, ready to answer.
    pub(super) fn launch_api(
        parts: Parts,
        processes: Processes,
        listen: &Listen,
        flags: Vec<String>,
        users: &[String],
    ) -> anyhow::Result<Self> {
        let folder = processes.folder().to_owned();
        let (etcd, peers) = (free_port()?, free_port()?);
        let key = Command::new(parts.program("service-account-key")).output().context("making a key")?;
        ensure!(key.status.success(), "service-account-key: {}", String::from_utf8_lossy(&key.stderr));
        fs::write(folder.join("service-accounts.key"), key.stdout)?;
        let token = Uuid::new_v4().to_string();
        let mut lines = vec![format!(r#"{token},admin,1,"system:masters""#), format!("{},nobody,2", Self::NOBODY)];
        lines.extend(users.iter().cloned());
        fs::write(folder.join("users.csv"), lines.join("\n"))?;

        processes.start("etcd", &parts.program("etcd"), &etcd_flags(etcd, peers))?;
        processes.wait("etcd listens", START, || Ok(std::net::TcpStream::connect(("127.0.0.1", etcd))?))?;
        let mut api_server = api_server_flags(etcd, listen);
        api_server.extend(flags);
        processes.start(API_SERVER, &parts.program(API_SERVER), &api_server)?;
        let authority = folder.join("certificates/apiserver.crt");
        let authority = processes.wait("the API server has a certificate", START, || {
            let text = fs::read_to_string(&authority)?;
            // It is made before it is written.
            ensure!(text.trim_end().ends_with("-----END CERTIFICATE-----"), "it is being written");
            Ok(text)
        })?;

        let admin = Access { server: format!("https://{}:{}", listen.address, listen.port), authority, token };
        let kubeconfig = folder.join("kubeconfig");
        fs::write(&kubeconfig, admin.kubeconfig())?;
        let own = Some(Own { processes, api_server });
        let cluster = Self { parts, admin, kubeconfig, folder, own, _folder: None };
        cluster.wait_for_api_server()?;
        Ok(cluster)
    }

    /// The controllers and the scheduler.
    pub(super) fn start_controllers(&self) -> anyhow::Result<()> {
        let processes = self.processes()?;
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.display());
        let scheduler = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": self.kubeconfig, "qps": 500, "burst": 1000},
            "leaderElection": {"leaderElect": false},
        });
        fs::write(self.folder.join("scheduler.json"), scheduler.to_string())?;
        let start = |name: &str, flags: Vec<String>| processes.start(name, &self.parts.program(name), &flags);
        start(
            "kube-controller-manager",
            [&[kubeconfig.as_str()], &CONTROLLER_MANAGER[..]].concat().into_iter().map(str::to_owned).collect(),
        )?;
        start("kube-scheduler", vec!["--config=scheduler.json".to_owned(), "--secure-port=0".to_owned()])?;
        Ok(())
    }

    fn start_kwok(&self) -> anyhow::Result<()> {
        let mut flags = vec![
            format!("--kubeconfig={}", self.kubeconfig.display()),
            "--manage-all-nodes=true".to_owned(),
            "--node-lease-duration-seconds=40".to_owned(),
        ];
        for stage in fs::read_dir(self.parts.share("stages"))? {
            flags.push(format!("--config={}", stage?.path().display()));
        }
        self.processes()?.start("kwok", &self.parts.program("kwok"), &flags)
    }

    /// Nodes and definitions; waits until both are in use.
    fn furnish(&self, options: &Options) -> anyhow::Result<()> {
        let nodes: Vec<Value> = (0..NODES).map(node).collect();
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": nodes}).to_string())?;
        if !options.bare {
            let definitions = self.parts.share("definitions").display().to_string();
            self.kubectl(&["apply", "--server-side", "-f", &definitions])?;
            self.wait_for_definitions()?;
        }
        self.kubectl(&["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=300s"])?;
        self.wait_for_service_account()
    }

    /// Before that, their kinds are unknown.
    pub(super) fn wait_for_definitions(&self) -> anyhow::Result<()> {
        let all = ["wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=300s"];
        self.kubectl(&all).map(drop)
    }

    /// Every Pod needs it, and a controller makes it.
    pub(super) fn wait_for_service_account(&self) -> anyhow::Result<()> {
        self.wait("the default service account", START, || {
            self.kubectl(&["get", "serviceaccount", "default"]).map(|_| true)
        })
    }

    /// The token of a user without any rights.
    pub const NOBODY: &str = "nobody-of-a-test";

    /// The administrator's access.
    pub fn admin(&self) -> &Access {
        &self.admin
    }

    /// The administrator's kubeconfig, as a file.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// The administrator's kubeconfig.
    ///
    /// # Errors
    /// The file is gone.
    pub fn kubeconfig(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(&self.kubeconfig)?)
    }

    /// `https://127.0.0.1:PORT`
    pub fn server(&self) -> &str {
        &self.admin.server
    }

    /// A name that no other test uses, also in a cluster that several processes share: `prefix-1f3a9-7`.
    pub fn unique(prefix: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static PROCESS: OnceLock<String> = OnceLock::new();
        let process = PROCESS.get_or_init(|| Uuid::new_v4().simple().to_string().chars().take(5).collect());
        format!("{prefix}-{process}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// The access of a service account, with a token that is good for an hour. It loses it when the account is deleted.
    ///
    /// # Errors
    /// There is no such account.
    pub fn service_account(&self, namespace: &str, name: &str) -> anyhow::Result<Access> {
        let token = self.kubectl(&["create", "token", name, "--namespace", namespace, "--duration=1h"])?;
        Ok(self.admin.with_token(token.trim()))
    }

    /// A new service account with exactly these rules of a ClusterRole, and its access. Its full user name is
    /// `system:serviceaccount:default:NAME`.
    ///
    /// # Errors
    /// The rules are refused.
    pub fn account_with_rules(&self, name: &str, rules: &Value) -> anyhow::Result<Access> {
        let rbac = "rbac.authorization.k8s.io";
        let items = json!([
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}},
            {"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
            {"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
             "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
             "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}]},
        ]);
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
        self.service_account("default", name)
    }

    /// Runs kubectl as administrator, and returns what it prints.
    ///
    /// # Errors
    /// It fails: the error is what it says.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_with_input(arguments, "")
    }

    /// Runs kubectl with `--output json`.
    ///
    /// # Errors
    /// It fails, or doesn't print JSON.
    pub fn get(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self.kubectl(&[&["get", "--output", "json"], arguments].concat())?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// Applies a YAML (or JSON) document, as field manager `testkit`.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&self, document: &str) -> anyhow::Result<()> {
        self.apply_as("testkit", document)
    }

    /// The same in the name of a field manager.
    pub fn apply_as(&self, manager: &str, document: &str) -> anyhow::Result<()> {
        let manager = format!("--field-manager={manager}");
        let arguments = ["apply", "--server-side", "--force-conflicts", &manager, "-f", "-"];
        self.kubectl_with_input(&arguments, document).map(|_| ())
    }

    fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut child = Command::new(self.parts.program("kubectl"))
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.folder.join("kubectl"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("running kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            // It may not read what it is given, and says why itself.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks again and again until the answer is `true`.
    ///
    /// # Errors
    /// It isn't before the limit; or a daemon has ended.
    pub fn wait(
        &self,
        what: &str,
        limit: Duration,
        mut attempt: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let attempt = || if attempt()? { Ok(()) } else { bail!("still waiting for {what}") };
        match &self.own {
            Some(own) => own.processes.wait(what, limit, attempt),
            None => super::processes::wait(what, limit, attempt, || Ok(())),
        }
    }

    /// `kill -9` of the API server. Its port stays free for it; etcd and the controllers go on.
    ///
    /// # Errors
    /// It doesn't run, or is not ours.
    pub fn kill_api_server(&self) -> anyhow::Result<()> {
        self.own()?.processes.kill(API_SERVER)
    }

    /// Starts the API server again after [`Self::kill_api_server`], at the same address, and waits until it is ready.
    ///
    /// # Errors
    /// It doesn't start.
    pub fn restart_api_server(&self) -> anyhow::Result<()> {
        let own = self.own()?;
        own.processes.start(API_SERVER, &self.parts.program(API_SERVER), &own.api_server)?;
        self.wait_for_api_server()
    }

    /// Stops the API server where it is: connections stay open and get no answer. [`Self::thaw_api_server`] lets it go on.
    ///
    /// # Errors
    /// It doesn't run, or is not ours.
    pub fn freeze_api_server(&self) -> anyhow::Result<()> {
        self.own()?.processes.signal(API_SERVER, Signal::STOP)
    }

    /// Lets the API server go on.
    ///
    /// # Errors
    /// It doesn't run, or is not ours.
    pub fn thaw_api_server(&self) -> anyhow::Result<()> {
        self.own()?.processes.signal(API_SERVER, Signal::CONT)
    }

    /// What a daemon has logged: `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `kwok`, `etcd`.
    pub fn log(&self, daemon: &str) -> String {
        self.own.as_ref().map(|own| own.processes.log(daemon)).unwrap_or_default()
    }

    fn wait_for_api_server(&self) -> anyhow::Result<()> {
        let address = self.admin.server.trim_start_matches("https://");
        self.wait("the API server is ready", START, || {
            // Asked first, since it costs nothing.
            std::net::TcpStream::connect(address)?;
            self.kubectl(&["get", "--raw", "/readyz"]).map(|_| true)
        })
    }

    pub(super) fn processes(&self) -> anyhow::Result<&Processes> {
        Ok(&self.own()?.processes)
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    fn own(&self) -> anyhow::Result<&Own> {
        self.own.as_ref().context("this cluster was started by somebody else: use ControlPlane::start")
    }
}
