//! A real node: a kubelet on this machine, with real Pods and real traffic through a real gateway.
//!
//! ```text
//!   this machine                  bridge freehold0, 10.244.77.0/24
//!   test ── 10.244.77.1 ──┬── :6443 API   :30080, :30443 gateway   :5000, :5001 registries   :53 DNS
//!                         ├── Pod 10.244.77.10 …  app        they reach each other, Services, and 10.244.77.1; not the Internet
//!                         └── Pod 10.244.77.11 …  Envoy
//! ```
//!
//! Names, addresses and ports are fixed, so there is one on a machine at a time: a lock makes others wait. It needs root,
//! Linux's bridge, veth, nftables and overlayfs, and Debian's containerd, runc, CNI plugins, nftables and conntrack;
//! `scripts/kubernetes node` installs and builds all that, and [`Node::missing`] says what isn't there. When the test
//! process ends, however it does, everything goes: processes, containers, mounts, bridge, tables, cgroups; sysctls are put
//! back.
//!
//! NetworkPolicies are not enforced, and there are no volumes beyond `emptyDir`.

use std::env;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use uuid::Uuid;

use super::control_plane::ControlPlane;
use super::flags::Listen;
use super::forward::Forward;
use super::gateway;
use super::image::Image;
use super::parts::Parts;
use super::processes::Processes;
use super::registry::Registry;

const BRIDGE: &str = "freehold0";
/// This machine's address on the bridge.
const ADDRESS: &str = "10.244.77.1";
const NAME: &str = "real-0";
const LOCK: &str = "/run/lock/freehold-node";
const START: Duration = Duration::from_secs(240);

/// A running node with its cluster.
#[derive(Debug)]
pub struct Node {
    cluster: ControlPlane,
    registry: Registry,
    private_registry: Registry,
}

impl Node {
    /// This machine, as Pods see it and as the gateway's address.
    pub const ADDRESS: &str = ADDRESS;
    /// The gateway that routes attach to: namespace.
    pub const GATEWAY_NAMESPACE: &str = gateway::NAMESPACE;
    /// The gateway that routes attach to: name. Its listeners: `http` (any host), `wildcard` (HTTP) and `https`, both for
    /// `*.test.localhost`.
    pub const GATEWAY: &str = gateway::NAME;
    /// Where the gateway's own Pods run, which NetworkPolicies have to let in.
    pub const DATA_PLANE_NAMESPACE: &str = gateway::DATA_PLANE_NAMESPACE;

    /// Why there can't be one here, if so.
    pub fn missing() -> Option<String> {
        static MISSING: OnceLock<Option<String>> = OnceLock::new();
        MISSING.get_or_init(|| probe().err().map(|error| format!("{error:#}"))).clone()
    }

    /// The one that all tests of this process share; or `None`, after a line `skipped: TEST: kubernetes: REASON`.
    /// `FREEHOLD_TEST_NODE`, the kubeconfig of one that runs (`scripts/kubernetes node-up`), is used instead.
    ///
    /// # Panics
    /// If it should be there but doesn't start.
    #[expect(clippy::print_stdout, reason = "scripts/test counts these lines")]
    #[expect(clippy::panic, reason = "for tests: there is nobody to tell but the test")]
    pub fn for_test(test: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Node> = OnceLock::new();
        if let Some(reason) = Self::missing() {
            println!("skipped: {test}: kubernetes: {reason}");
            return None;
        }
        Some(SHARED.get_or_init(|| {
            let given = env::var_os("FREEHOLD_TEST_NODE").filter(|kubeconfig| !kubeconfig.is_empty());
            given
                .map_or_else(Self::start, |kubeconfig| Self::existing(Path::new(&kubeconfig)))
                .unwrap_or_else(|error| panic!("no node for the tests: {error:#}"))
        }))
    }

    /// Starts one with its gateway; waits for another's end first. It ends when dropped.
    ///
    /// # Errors
    /// Something is missing, or doesn't start.
    pub fn start() -> anyhow::Result<Self> {
        let node = Self::start_without_gateway()?;
        gateway::install(&node.cluster, &node.registry).context("installing the gateway")?;
        Ok(node)
    }

    /// Starts one without a gateway, which is quicker.
    ///
    /// # Errors
    /// Something is missing, or doesn't start.
    pub fn start_without_gateway() -> anyhow::Result<Self> {
        let parts = Parts::find()?;
        let processes = Processes::new("freehold-node-", Some(Path::new(LOCK)))?;
        begin(processes.folder())?;
        let registry =
            |name, port, user| Registry::start_among(&processes, &parts, name, &format!("{ADDRESS}:{port}"), user);
        let (registry, private_registry) =
            (registry("registry", 5000, false)?, registry("private-registry", 5001, true)?);
        start_containerd(&processes, &[&registry, &private_registry])?;
        registry.push("pause", "1", &Image::of_program(&parts.program("pause"))?)?;

        let flags = [
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--kubelet-preferred-address-types=InternalIP",
        ];
        let token = Uuid::new_v4().to_string();
        let kubelet = format!(r#"{token},system:node:{NAME},3,"system:nodes""#);
        let listen = Listen { address: ADDRESS, port: 6443 };
        let flags = flags.map(str::to_owned).to_vec();
        let cluster = ControlPlane::launch_api(parts, processes, &listen, flags, &[kubelet])?;
        cluster.start_controllers()?;
        let node = Self { cluster, registry, private_registry };
        node.start_kubelet(&token)?;
        node.start_proxy()?;
        node.start_dns()?;
        node.cluster
            .wait("the node has registered", START, || node.cluster.kubectl(&["get", "node", NAME]).map(|_| true))?;
        node.cluster.kubectl(&["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s"])?;
        node.cluster.wait_for_service_account()?;
        Ok(node)
    }

    /// One that another process runs.
    fn existing(kubeconfig: &Path) -> anyhow::Result<Self> {
        let cluster = ControlPlane::existing(kubeconfig)?;
        let registry = |port, user| Registry::existing(format!("{ADDRESS}:{port}"), user);
        Ok(Self { cluster, registry: registry(5000, false), private_registry: registry(5001, true) })
    }

    /// Its API, and everything that a control plane offers.
    pub fn cluster(&self) -> &ControlPlane {
        &self.cluster
    }

    /// The registry that the node pulls from without credentials.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The registry that wants [`super::REGISTRY_USER`] to ask.
    pub fn private_registry(&self) -> &Registry {
        &self.private_registry
    }

    /// Makes an image of a program (static, or with the libraries that it needs) and puts it into the registry; returns
    /// its reference by digest.
    ///
    /// # Errors
    /// It can't be read, or the registry doesn't take it.
    pub fn push_program(&self, name: &str, program: &Path) -> anyhow::Result<String> {
        self.registry.push(name, "latest", &Image::of_program(program)?)
    }

    /// Lets Pods (and this machine, at the bridge's address) reach what listens on a port of 127.0.0.1.
    ///
    /// # Errors
    /// There is no free port.
    pub fn forward(&self, port: u16) -> anyhow::Result<Forward> {
        Forward::start(ADDRESS, port)
    }

    /// `kill -9` of the kubelet: containers run on, the node is `NotReady` after a while.
    ///
    /// # Errors
    /// It doesn't run.
    pub fn kill_kubelet(&self) -> anyhow::Result<()> {
        self.cluster.processes()?.kill("kubelet")
    }

    /// Starts the kubelet again.
    ///
    /// # Errors
    /// It doesn't start.
    pub fn restart_kubelet(&self) -> anyhow::Result<()> {
        self.run_kubelet(self.cluster.processes()?)
    }

    fn start_kubelet(&self, token: &str) -> anyhow::Result<()> {
        let processes = self.cluster.processes()?;
        let folder = processes.folder();
        fs::write(folder.join("kubelet.kubeconfig"), self.cluster.admin().with_token(token).kubeconfig())?;
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "healthzPort": 0,
            // The API server alone can reach it; it asks without credentials.
            "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": format!("unix://{}", folder.join("containerd.sock").display()),
            "podLogsDir": folder.join("pod-logs"),
            "volumePluginDir": folder.join("volume-plugins"),
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": false,
            "failSwapOn": false,
            "oomScoreAdj": 0,
            "maxOpenFiles": 20000,
            "makeIPTablesUtilChains": false,
            "clusterDNS": [ADDRESS],
            "clusterDomain": "cluster.local",
            "serializeImagePulls": false,
            "eventRecordQPS": 0,
            "registryPullQPS": 0,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {
                "memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
            },
        });
        fs::write(folder.join("kubelet.json"), config.to_string())?;
        self.run_kubelet(processes)
    }

    fn run_kubelet(&self, processes: &Processes) -> anyhow::Result<()> {
        let root = processes.folder().join("kubelet");
        let flags = [
            "--config=kubelet.json".to_owned(),
            "--kubeconfig=kubelet.kubeconfig".to_owned(),
            format!("--hostname-override={NAME}"),
            format!("--node-ip={ADDRESS}"),
            format!("--root-dir={}", root.display()),
            format!("--cert-dir={}", root.join("certificates").display()),
        ];
        processes.start("kubelet", &self.cluster.parts().program("kubelet"), &flags)
    }

    fn start_proxy(&self) -> anyhow::Result<()> {
        let processes = self.cluster.processes()?;
        let config = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "bindAddress": ADDRESS,
            "healthzBindAddress": format!("{ADDRESS}:10256"),
            "metricsBindAddress": format!("{ADDRESS}:10249"),
            "hostnameOverride": NAME,
            "clientConnection": {"kubeconfig": self.cluster.kubeconfig_path(), "qps": 200, "burst": 400},
            "detectLocalMode": "BridgeInterface",
            "detectLocal": {"bridgeInterface": BRIDGE},
            "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
            // The machine's own settings stay.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        });
        fs::write(processes.folder().join("kube-proxy.json"), config.to_string())?;
        let flags = ["--config=kube-proxy.json".to_owned()];
        processes.start("kube-proxy", &self.cluster.parts().program("kube-proxy"), &flags)
    }

    fn start_dns(&self) -> anyhow::Result<()> {
        let processes = self.cluster.processes()?;
        let config = format!(
            ".:53 {{\n  bind {ADDRESS}\n  errors\n  kubernetes cluster.local {{\n    kubeconfig {}\n  }}\n  forward . /etc/resolv.conf\n  cache 1\n}}\n",
            self.cluster.kubeconfig_path().display()
        );
        fs::write(processes.folder().join("Corefile"), config)?;
        let flags = ["-conf".to_owned(), "Corefile".to_owned()];
        processes.start("coredns", &self.cluster.parts().program("coredns"), &flags)?;
        self.cluster.wait("DNS listens", START, || Ok(TcpStream::connect((ADDRESS, 53)).is_ok()))
    }
}

/// Whether everything is there that a node needs.
fn probe() -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "a real node needs root");
    let parts = Parts::find()?;
    let build = "run scripts/kubernetes node";
    let built = ["coredns", "envoy-gateway", "envoy", "pause", "registry"].map(|name| parts.program(name));
    let built = built.iter().all(|program| program.exists()) && parts.share("gateway.yaml").exists();
    ensure!(built, "a real node's programs are not built: {build}");
    for name in ["containerd", "runc", "nft", "conntrack", "ip", "flock"] {
        ensure!(is_on_path(name), "{name} is not installed: {build}");
    }
    ensure!(Path::new("/usr/lib/cni/bridge").exists(), "the CNI plugins are not installed: {build}");
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    ensure!(filesystems.lines().any(|line| line.ends_with("overlay")), "the kernel has no overlayfs");
    let cgroups = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cgroup.controllers"];
    ensure!(cgroups.iter().any(|path| Path::new(path).exists()), "no cgroups are mounted");
    // The name is this process's own: others may probe at the same time.
    let bridge = format!("fh{}", std::process::id());
    let script = r#"ip link add "$1" type bridge && ip link delete "$1" && nft list tables"#;
    let output = Command::new("sh").args(["-c", script, "sh", &bridge]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "bridges or nftables can't be used here: {said}");
    Ok(())
}

/// The bridge and the sysctls; from here on the folder knows how to take them away.
fn begin(folder: &Path) -> anyhow::Result<()> {
    for path in ["/sys/fs/cgroup/kubepods", "/sys/fs/cgroup/memory/kubepods"] {
        ensure!(!Path::new(path).exists(), "{path} exists: another kubelet runs on this machine");
    }
    fs::write(folder.join("end.sh"), include_str!("node/end.sh"))?;
    let output = Command::new("sh")
        .args(["-c", include_str!("node/begin.sh"), "sh"])
        .arg(folder)
        .args([BRIDGE, &format!("{ADDRESS}/24")])
        .output()?;
    ensure!(output.status.success(), "making the bridge: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn start_containerd(processes: &Processes, registries: &[&Registry]) -> anyhow::Result<()> {
    let folder = processes.folder();
    for registry in registries {
        let hosts = folder.join("certs.d").join(registry.address());
        fs::create_dir_all(&hosts)?;
        let server = format!("http://{}", registry.address());
        let text = format!("server = \"{server}\"\n[host.\"{server}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
        fs::write(hosts.join("hosts.toml"), text)?;
    }
    let network = json!({
        "cniVersion": "0.4.0",
        "name": "freehold-node",
        "plugins": [{
            "type": "bridge", "bridge": BRIDGE, "isDefaultGateway": true, "hairpinMode": true, "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": folder.join("addresses"),
                "ranges": [[{"subnet": "10.244.77.0/24", "rangeStart": "10.244.77.10", "gateway": ADDRESS}]],
            },
        }],
    });
    fs::create_dir(folder.join("cni"))?;
    fs::write(folder.join("cni/freehold-node.conflist"), network.to_string())?;
    let sandbox = format!("{ADDRESS}:5000/pause:1");
    let config = include_str!("node/containerd.toml")
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@PAUSE@", &sandbox);
    fs::write(folder.join("containerd.toml"), config)?;
    let flags = ["--config=containerd.toml".to_owned()];
    processes.start("containerd", Path::new("containerd"), &flags)?;
    let socket = folder.join("containerd.sock");
    processes.wait("containerd listens", START, || Ok(std::os::unix::net::UnixStream::connect(&socket).map(|_| ())?))
}

fn is_on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).exists())
}
