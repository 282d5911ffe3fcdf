//! A [`Site`]: a Freehold whose stacks run in a cluster, with a PostgreSQL server for their databases.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use freehold_testkit::kubernetes::{ControlPlane, Forward, HTTP_PORT, Image, Node, Registry};
use freehold_testkit::postgres::TestServer;
use serde_json::Value;

use crate::call::Run;
use crate::guestbook;
use crate::installation::Installation;
use crate::simulated::Simulated;
use crate::wait::eventually;

/// What hosts end with, on every cluster of the tests.
pub const DOMAIN: &str = "test.localhost";
/// What the target is called unless a test adds others.
pub const TARGET: &str = "prod";

/// What `doctor` warns of where the tests run: a full disk, that these clusters have no storage, no metrics and no retries, and that
/// everybody gets into some databases of the server that many tests share.
const KNOWN: [&str; 5] =
    ["disk", "prod gateway api", "prod storage class", "prod metrics api", "prod postgresql access"];

/// A cluster and what belongs to it.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// Pods and gateway are simulated.
    Simulated(&'a Simulated),
    /// A real node.
    Node(&'a Node),
}

/// A Freehold with a target.
pub struct Site<'a> {
    /// The platform, and its command line.
    pub freehold: Installation,
    /// Where its stacks are.
    pub place: Place<'a>,
    server: TestServer,
    forward: Option<Forward>,
    account: Mutex<Option<(String, String)>>,
    tenants: Mutex<BTreeSet<String>>,
}

impl<'a> Place<'a> {
    /// The cluster's API.
    pub fn cluster(self) -> &'a ControlPlane {
        match self {
            Self::Simulated(simulated) => simulated.cluster(),
            Self::Node(node) => node.cluster(),
        }
    }

    /// Where images are.
    pub fn registry(self) -> &'a Registry {
        match self {
            Self::Simulated(simulated) => simulated.registry(),
            Self::Node(node) => node.registry(),
        }
    }

    /// Puts the guestbook's image there, and returns what `--image` takes.
    ///
    /// # Errors
    /// It can't be built or pushed.
    pub fn guestbook(self) -> Result<String> {
        self.push("guestbook", "1", &guestbook::image()?).map(|image| format!("web={image}"))
    }

    /// Puts an image there; returns its reference by tag.
    ///
    /// # Errors
    /// The registry doesn't take it.
    pub fn push(self, name: &str, tag: &str, image: &Image) -> Result<String> {
        self.registry().push(name, tag, image)?;
        Ok(format!("{}/{name}:{tag}", self.registry().address()))
    }
}

impl<'a> Site<'a> {
    /// Starts the platform and a PostgreSQL server, and adds the cluster as target [`TARGET`], with exactly the permissions that
    /// `freehold target rbac` asks for.
    ///
    /// # Errors
    /// Something doesn't start, or the target isn't taken.
    pub fn start(place: Place<'a>) -> Result<Self> {
        let site = Self::without_target(place)?;
        site.add_target(TARGET, &site.kubeconfig()?)?.succeeded().context("adding the target")?;
        Ok(site)
    }

    /// Starts the platform and a PostgreSQL server.
    ///
    /// # Errors
    /// Something doesn't start.
    pub fn without_target(place: Place<'a>) -> Result<Self> {
        let server = TestServer::start()?;
        let forward = match place {
            Place::Simulated(_) => None,
            Place::Node(node) => Some(node.forward(server.port())?),
        };
        let freehold = Installation::start()?;
        Ok(Self { freehold, place, server, forward, account: Mutex::default(), tenants: Mutex::default() })
    }

    /// The cluster's API.
    pub fn cluster(&self) -> &'a ControlPlane {
        self.place.cluster()
    }

    /// A kubeconfig of a new service account with the permissions that Freehold asks for, and no others.
    ///
    /// # Errors
    /// They aren't taken.
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        let name = ControlPlane::unique("freehold");
        let manifests = self.freehold.run(["target", "rbac", "--service-account", &name])?.succeeded()?.stdout;
        self.cluster().apply(&manifests)?;
        let namespace = manifests
            .split("---")
            .find(|manifest| manifest.contains("kind: ServiceAccount\n") && !manifest.contains("subjects:"))
            .and_then(|manifest| manifest.lines().find_map(|line| line.trim().strip_prefix("namespace: ")))
            .context("there is no service account among the manifests")?;
        let access = self.cluster().service_account(namespace.trim(), &name)?;
        *self.account.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((name.clone(), namespace.trim().to_owned()));
        self.write(&format!("{name}.kubeconfig"), &access.kubeconfig())
    }

    /// The service account, and its namespace, of the last [`Site::kubeconfig`].
    ///
    /// # Errors
    /// There was none.
    pub fn account(&self) -> Result<(String, String)> {
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.clone().context("no service account was made")
    }

    /// A file in the installation's folder.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.freehold.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// `freehold target add`, with everything that this site's stacks need.
    ///
    /// # Errors
    /// The binary can't be started.
    pub fn add_target(&self, name: &str, kubeconfig: &Path) -> Result<Run> {
        self.add_target_and(name, kubeconfig, &[])
    }

    /// The same with more arguments.
    ///
    /// # Errors
    /// The binary can't be started.
    pub fn add_target_and(&self, name: &str, kubeconfig: &Path, more: &[&str]) -> Result<Run> {
        let kubeconfig = kubeconfig.display().to_string();
        let registry = self.place.registry().address();
        let database = self.database_address();
        let port = HTTP_PORT.to_string();
        let mut arguments = vec!["target", "add", name, "--kubeconfig", &kubeconfig, "--domain", DOMAIN];
        arguments.extend(["--gateway", "freehold-gateway/freehold-gateway", "--listener", "wildcard"]);
        arguments.extend(["--insecure-registry", registry, "--database-url-stdin", "--database-address", &database]);
        match self.place {
            Place::Simulated(_) => arguments.extend(["--data-plane-namespace", "freehold-gateway"]),
            Place::Node(_) => arguments.extend(["--port", &port]),
        }
        arguments.extend(more);
        self.freehold.run_with_input(arguments, &format!("{}\n", self.server.url()))
    }

    /// The PostgreSQL server of the stacks as Pods reach it.
    pub fn database_address(&self) -> String {
        match &self.forward {
            Some(forward) => forward.address().to_string(),
            // Nobody ever asks there.
            None => "192.0.2.1:5432".to_owned(),
        }
    }

    /// That server's URL, as this machine reaches it.
    pub fn database_url(&self) -> String {
        self.server.url()
    }

    /// One statement on that server, as its superuser; rows as text.
    ///
    /// # Errors
    /// It fails.
    pub fn sql(&self, statement: &str) -> Result<String> {
        let output = Command::new("psql").args(["-XAtq", &self.server.url(), "-c", statement]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Holds a table of a tenant's database for so long; returns once it is held.
    ///
    /// # Errors
    /// There is no such table.
    pub fn locked(&self, tenant: &str, table: &str, length: Duration) -> Result<JoinHandle<Result<()>>> {
        let pattern = tenant.replace('-', "_");
        let database = self.sql(&format!("SELECT datname FROM pg_database WHERE datname LIKE '{pattern}%'"))?;
        let url = format!("{}{database}", self.server.url().trim_end_matches("postgres"));
        let statement = format!("BEGIN; LOCK TABLE {table}; SELECT pg_sleep({})", length.as_secs_f64());
        let session = thread::spawn(move || {
            let output = Command::new("psql").args(["-XAtq", &url, "-c", &statement]).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        });
        let held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        eventually("the table is held", || (session.is_finished() || self.sql(held).ok()? != "0").then_some(()));
        Ok(session)
    }

    /// `freehold deploy` of the guestbook to a tenant, to [`TARGET`]; with everything else that is given.
    ///
    /// # Errors
    /// The binary can't be started.
    pub fn deploy(&self, tenant: &str, more: &[&str]) -> Result<Run> {
        let folder = guestbook::folder();
        self.deploy_folder(&folder, tenant, more)
    }

    /// The same for another app.
    ///
    /// # Errors
    /// The binary can't be started.
    pub fn deploy_folder(&self, folder: &str, tenant: &str, more: &[&str]) -> Result<Run> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.to_owned());
        let mut arguments = vec!["deploy", folder, "--tenant", tenant, "--target", TARGET, "--yes", "--json"];
        arguments.extend(more);
        self.freehold.run(arguments)
    }

    /// `freehold destroy` of a tenant.
    ///
    /// # Errors
    /// The binary can't be started.
    pub fn destroy(&self, tenant: &str) -> Result<Run> {
        self.freehold.run(["destroy", "--tenant", tenant, "--confirm", tenant])
    }

    /// What is left of a tenant anywhere: its namespace, objects that bear its mark, its databases, its roles.
    ///
    /// # Errors
    /// Cluster or server don't answer.
    pub fn left(&self, tenant: &str) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for kind in self.kinds()? {
            let selector = format!("app.kubernetes.io/managed-by=freehold,app.kubernetes.io/instance={tenant}");
            let found =
                self.cluster().kubectl(&["get", &kind, "--all-namespaces", "--selector", &selector, "-o", "name"])?;
            left.extend(found.lines().map(str::to_owned));
        }
        let pattern = tenant.replace('-', "_");
        for (table, column) in [("pg_database", "datname"), ("pg_roles", "rolname")] {
            let statement = format!("SELECT {column} FROM {table} WHERE replace({column}, '-', '_') LIKE '{pattern}%'");
            left.extend(self.sql(&statement)?.lines().map(|name| format!("{table} {name}")));
        }
        Ok(left)
    }

    /// Every kind of object that can be listed, as kubectl names it.
    fn kinds(&self) -> Result<Vec<String>> {
        let kinds = self.cluster().kubectl(&["api-resources", "--verbs=list", "-o", "name", "--cached"])?;
        // In one request: kubectl takes a list. Events name what is gone for an hour.
        let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
        Ok(vec![kinds.join(",")])
    }

    /// Fails unless `freehold doctor` has nothing but good to say of this site's tenants, and of all else. What other platforms have
    /// in a cluster that tests share are orphans to it, and not looked at here.
    ///
    /// # Errors
    /// It has; with what it says.
    pub fn is_well(&self) -> Result<()> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_orphan =
            |finding: &Value| finding["subject"].as_str().is_some_and(|subject| subject.ends_with("orphan"));
        let names_one = |finding: &Value| tenants.iter().any(|tenant| finding.to_string().contains(tenant));
        let run = self.freehold.run(["doctor", "--json"])?;
        let findings = run.json()?;
        let bad: Vec<&Value> = findings
            .as_array()
            .context("no findings")?
            .iter()
            .filter(|finding| finding["level"] != "ok" && !KNOWN.iter().any(|known| finding["subject"] == *known))
            .filter(|finding| !is_orphan(finding) || names_one(finding))
            .collect();
        ensure!(bad.is_empty(), "doctor: {bad:#?}");
        Ok(())
    }

    /// GET through the gateway of a node: status and body.
    ///
    /// # Errors
    /// No answer.
    pub fn get(&self, tenant: &str, path: &str) -> Result<(u16, String)> {
        let client = reqwest::blocking::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
        let response = client.get(url(path)).header("host", host(tenant)).send()?;
        Ok((response.status().as_u16(), response.text()?))
    }

    /// Writes an entry into a tenant's guestbook through the gateway of a node: the entry.
    ///
    /// # Errors
    /// It isn't taken.
    pub fn write_entry(&self, tenant: &str, message: &str) -> Result<Value> {
        let client = reqwest::blocking::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
        let body = serde_json::json!({"author": "Ada", "message": message});
        let response = client.post(url("/api/entries")).header("host", host(tenant)).json(&body).send()?;
        ensure!(response.status().as_u16() == 201, "status {}", response.status());
        Ok(response.json()?)
    }
}

/// The host name of a tenant's guestbook.
pub fn host(tenant: &str) -> String {
    format!("{tenant}.{DOMAIN}")
}

/// The namespace of a tenant's guestbook.
pub fn namespace(tenant: &str) -> String {
    format!("{tenant}--guestbook")
}

/// An address of the node's gateway.
pub fn url(path: &str) -> String {
    format!("http://{}:{HTTP_PORT}{path}", Node::ADDRESS)
}
