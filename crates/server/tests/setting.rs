//! Replicas of the platform in this process, and what tests deploy with them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use freehold::wire::{DeployRequest, Problem, TargetRequest};
use freehold::{Client, ClientError, Connection};
use freehold_graph::StackKind;
use freehold_provider_kubernetes::rbac;
use freehold_server::StartError;
use freehold_server::cluster::{self, Options};
use freehold_testkit::kubernetes::{ControlPlane, Image, Registry};
use freehold_testkit::postgres::TestServer;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(180);

/// A PostgreSQL of its own, and the files that every replica is given.
pub(crate) struct Setting {
    pub(crate) postgres: TestServer,
    folder: TempDir,
}

/// A running replica, with all that it does in a runtime of its own: where that ends, it is as dead as after `kill -9`.
pub(crate) struct Replica {
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), StartError>>>,
    runtime: Option<Runtime>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Setting {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("master-key"), [7; 32]).unwrap();
        std::fs::set_permissions(folder.path().join("master-key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        Self { postgres: TestServer::start().unwrap(), folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            database_url: self.postgres.url(),
            master_key_file: self.path().join("master-key"),
            token_file: self.path().join("token"),
            dump_directory: None,
            postgres_binaries: None,
            audit_days: None,
            linger: Duration::from_secs(1),
        }
    }

    pub(crate) async fn replica(&self) -> Replica {
        Self::start(self.options()).await
    }

    /// With other options.
    pub(crate) async fn start(options: Options) -> Replica {
        let stop = CancellationToken::new();
        let (sender, receiver) = oneshot::channel();
        let ready = move |ready: &cluster::Ready| sender.send(ready.address).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let task = runtime.spawn(cluster::run(options, ready, stop.clone()));
        let Ok(address) = timeout(SOON, receiver).await.unwrap() else { panic!("{:?}", task.await) };
        let connection = Connection { url: format!("http://{address}"), token: TOKEN.to_owned(), pid: 0 };
        Replica { client: Client::to(connection).unwrap(), address, stop, task: Some(task), runtime: Some(runtime) }
    }
}

impl Replica {
    pub(crate) fn tell_to_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stopped(mut self) {
        self.stop.cancel();
        timeout(SOON, self.task.take().unwrap()).await.unwrap().unwrap().unwrap();
    }

    /// Dies without a word.
    pub(crate) fn kill(self) {}

    /// The status and the document of `/health/ready`.
    pub(crate) async fn health(&self) -> (u16, Json) {
        let response = reqwest::get(format!("http://{}/health/ready", self.address)).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

pub(crate) fn problem<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> Problem {
    match answer {
        Err(ClientError::Problem(problem)) => *problem,
        other => panic!("{other:?}"),
    }
}

/// A control plane with a gateway, a registry with an image, and an account that may do what `target rbac` says and nothing else.
pub(crate) struct Fixture {
    pub(crate) control: &'static ControlPlane,
    pub(crate) registry: Registry,
    pub(crate) namespace: String,
    pub(crate) kubeconfig: String,
}

impl Fixture {
    pub(crate) fn new(test: &str) -> Option<Self> {
        let control = ControlPlane::for_test(test)?;
        let namespace = ControlPlane::unique("platform");
        control.apply(&rbac(&namespace, &namespace, &BTreeSet::new())).unwrap();
        let listener = json!({"name": "http", "port": 80, "protocol": "HTTP",
            "allowedRoutes": {"namespaces": {"from": "All"}}});
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "main", "namespace": namespace},
            "spec": {"gatewayClassName": "none", "listeners": [listener]},
        });
        control.apply(&gateway.to_string()).unwrap();
        let kubeconfig = control.service_account(&namespace, &namespace).unwrap().kubeconfig();
        let registry = Registry::start().unwrap();
        let image = Image::of_program(Path::new("/bin/true")).unwrap();
        registry.push("guestbook", "1", &image).unwrap();
        registry.push("guestbook", "2", &image.clone().label("version", "2")).unwrap();
        registry.push("guestbook", "arm", &image.architecture("arm64")).unwrap();
        Some(Self { control, registry, namespace, kubeconfig })
    }

    pub(crate) fn target(&self, setting: &Setting) -> TargetRequest {
        TargetRequest {
            kubeconfig: Some(self.kubeconfig.clone()),
            domain: Some("apps.example.org".to_owned()),
            gateway: Some(format!("{}/main", self.namespace)),
            data_plane_namespace: Some(self.namespace.clone()),
            database_url: Some(setting.postgres.url()),
            database_address: Some(format!("10.20.30.40:{}", setting.postgres.port())),
            ..TargetRequest::default()
        }
    }

    /// An app with a database, a job and a service, of the registry's image.
    pub(crate) fn definition(&self, app: &str) -> String {
        let registry = self.registry.address();
        format!(
            r#"
[app]
name = "{app}"
[database.main]
connections = 5
[secret.session-key]
generate = {{ bytes = 32, as = "hex" }}
[service.web]
image   = "{registry}/guestbook"
command = ["true"]
port    = 8080
health  = {{ ready = "/health/ready", live = "/health/live" }}
[service.web.env]
DATABASE_URL = "${{database.main.url}}"
SESSION_KEY  = "${{secret.session-key}}"
[job.migrate]
service = "web"
command = ["true"]
[job.migrate.env]
DATABASE_URL = "${{database.main.migration_url}}"
[tier.pro]
quota.cpu    = "4"
quota.memory = "4Gi"
quota.pods   = 20
"#
        )
    }
}

pub(crate) fn tenant(name: &str, definition: &str, image: Option<&str>) -> DeployRequest {
    DeployRequest {
        app: None,
        definition: Some(definition.to_owned()),
        files: BTreeMap::new(),
        target: None,
        kind: StackKind::Tenant,
        name: name.to_owned(),
        tier: Some("pro".to_owned()),
        stage: None,
        artifacts: BTreeMap::new(),
        images: image.iter().map(|image| ("web".to_owned(), (*image).to_owned())).collect(),
        adopt: Default::default(),
        delete_data: Default::default(),
        settle: true,
    }
}
