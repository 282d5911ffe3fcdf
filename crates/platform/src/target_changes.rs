//! Targets added, changed, checked and removed.
//!
//! Nothing is kept of a target that can't be used: the cluster is connected to, known again by its identity, and looked at; its scratch
//! namespace and Freehold's role on its database server are made; then facts and sealed credentials are kept in one transaction.

use std::collections::BTreeMap;

use freehold_graph::expand::{ClusterDatabases, KubernetesTarget};
use freehold_graph::{SecretText, Target};
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{self as kubernetes, Cluster, ClusterError};
use freehold_provider_postgres::{ensure_provisioner, version_of};
use freehold_spec::Name;
use freehold_store::{Credential, NewTarget, StoredTarget};
use sqlx::postgres::PgConnectOptions;
use tracing::warn;

use super::Platform;
use super::planning::parse_name;
use super::runtime::{TargetRuntime, access, database_url, registry_of};
use super::settings::{Settings, identity, role_name, role_password};
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::request::{TargetRequest, TargetSetting};
use crate::view::{Finding, Level, TargetView};

/// The oldest major version of PostgreSQL that databases can be on.
const OLDEST_POSTGRES: u32 = 15;

impl Platform {
    /// All targets, this machine first.
    pub async fn target_list(&self, actor: &Actor) -> Result<Vec<TargetView>> {
        actor.require(Scope::Targets)?;
        let stacks = self.stacks_of_targets(actor).await?;
        let local = self.targets.local().map(|local| local.target.clone());
        let stored = self.targets.stored().await?.into_iter().map(|stored| stored.facts);
        Ok(local.into_iter().chain(stored).map(|target| describe(&target, &stacks)).collect())
    }

    /// One target.
    pub async fn target(&self, actor: &Actor, name: &str) -> Result<TargetView> {
        actor.require(Scope::Targets)?;
        let runtime = self.targets.find(&parse_name("target", name)?).await?;
        Ok(describe(&runtime.target, &self.stacks_of_targets(actor).await?))
    }

    async fn stacks_of_targets(&self, actor: &Actor) -> Result<BTreeMap<Name, usize>> {
        let mut tx = self.store.look(actor.access()).await?;
        Ok(tx.stacks_of_targets().await?)
    }

    /// Adds a target, or changes it.
    pub async fn put_target(&self, actor: &Actor, name: &str, request: &TargetRequest) -> Result<TargetView> {
        actor.require(Scope::Targets)?;
        let name = parse_name("target", name)?;
        self.refuse_local(&name)?;
        let _one = self.targets.changing.lock().await;
        let before = self.targets.stored_one(&name).await?;
        let mut settings = before.as_ref().map(Settings::read).transpose()?.unwrap_or_default().with(request);
        let credentials = self.credentials(&name, before.as_ref(), request, &settings).await?;
        settings.check(&name, credentials.contains_key(&Credential::Database))?;
        registry_of(credentials.get(&Credential::Registry), settings.wanted.insecure_registries.clone())?;
        let cluster = Cluster::connect(&access(credentials.get(&Credential::Kubeconfig).cloned())).await?;
        if let Some(pinned) = before.as_ref().and_then(cluster_of)
            && pinned.cluster != cluster.identity()
            && !request.replace_cluster
        {
            let (expected, found) = (pinned.cluster.clone(), cluster.identity().to_owned());
            let error = Problem::from(ClusterError::WrongCluster { expected, found });
            return Err(error.help("if it was made anew on purpose, take it with --replace-cluster"));
        }
        let databases = self.databases(&name, &mut settings, credentials.get(&Credential::Database)).await?;
        self.refuse_other_databases(actor, before.as_ref(), &databases).await?;
        let wanted = settings.wanted(&name, databases, credentials.contains_key(&Credential::Registry));
        let mut facts = kubernetes::discover(&cluster, &wanted).await?;
        facts.platform = Some(identity(&self.store).await?);
        kubernetes::prepare(&cluster, &mut facts).await?;
        let facts = Target::Kubernetes(Box::new(facts));
        let settings = serde_json::to_value(&settings).unwrap_or_default();
        let new = NewTarget { facts: &facts, settings: &settings, credentials: &credentials, by: &actor.audited() };
        self.store.put_target(&new).await?;
        if let Some(stored) = self.targets.stored_one(&name).await? {
            self.targets.take_in(&stored).await?;
        }
        Ok(describe(&facts, &self.stacks_of_targets(actor).await?))
    }

    fn refuse_local(&self, name: &Name) -> Result<()> {
        if name.as_str() != "local" {
            return Ok(());
        }
        Err(Problem::new(
            Code::OtherKindOfTarget,
            "local is the machine that a platform runs on, and can't be added or removed",
        )
        .help("give the cluster another name"))
    }

    /// All credentials of a target: those that were given, and those that it has and that are still meant.
    async fn credentials(
        &self,
        name: &Name,
        before: Option<&StoredTarget>,
        request: &TargetRequest,
        settings: &Settings,
    ) -> Result<BTreeMap<Credential, SecretText>> {
        if request.in_cluster && request.kubeconfig.is_some() {
            let message = format!("target {name} can't have a kubeconfig and the platform's own service account");
            return Err(Problem::new(Code::TargetSettings, message).help("give one of them"));
        }
        let given = [
            (Credential::Kubeconfig, &request.kubeconfig, !request.in_cluster),
            (Credential::Database, &request.database_url, !settings.wanted.cloudnative_pg),
            (
                Credential::Registry,
                &request.registry_credentials,
                !request.unset.contains(&TargetSetting::RegistryCredentials),
            ),
        ];
        let mut credentials = BTreeMap::new();
        for (credential, given, stays) in given {
            let text = match (given, before.filter(|_| stays)) {
                (Some(text), _) => Some(SecretText::new(text.clone())),
                (None, Some(_)) => self.store.target_credential(name, credential).await?,
                (None, None) => None,
            };
            credentials.extend(text.map(|text| (credential, text)));
        }
        Ok(credentials)
    }

    /// Where the databases are; on a server, in a role of our own that is made or brought up to date.
    async fn databases(
        &self,
        name: &Name,
        settings: &mut Settings,
        url: Option<&SecretText>,
    ) -> Result<ClusterDatabases> {
        let Some(url) = url else {
            settings.database_role = None;
            return Ok(Settings::cloudnative_pg());
        };
        let admin = database_url(url)?;
        let reached = (admin.get_host().to_owned(), admin.get_port());
        let unusable = |error: freehold_engine::ProviderError| {
            let message =
                format!("the database server at {}:{} can't be used: {error}", admin.get_host(), admin.get_port());
            Problem::new(Code::TargetDatabase, message)
                .help("check the URL, and that its role may make roles and databases")
        };
        // First of all whether the server is there and lets us in: only then does a refusal of the role say something.
        let version = version(&admin).await.map_err(unusable)?;
        let role = role_name(&self.store, name).await?;
        let password = role_password(&self.store, name).await?;
        settings.database_role = match ensure_provisioner(&admin, &role, &password).await {
            Ok(()) => Some(role),
            Err(failure) => {
                // A managed server's administrator is no superuser. All but dumps of tables under forced row-level security works.
                warn!(target = %name, "the role of the database URL is used, for {role} could not be made: {failure}");
                None
            }
        };
        if version < OLDEST_POSTGRES {
            let message = format!(
                "the database server has PostgreSQL {version}, and {OLDEST_POSTGRES} is the oldest that will do"
            );
            return Err(Problem::new(Code::TargetDatabase, message));
        }
        settings.server(reached, version).await
    }

    /// Stacks whose databases are on a server can't suddenly have them in the cluster, nor the other way round.
    async fn refuse_other_databases(
        &self,
        actor: &Actor,
        before: Option<&StoredTarget>,
        databases: &ClusterDatabases,
    ) -> Result<()> {
        let Some((stored, facts)) = before.and_then(|stored| Some((stored, cluster_of(stored)?))) else {
            return Ok(());
        };
        let on_server = |databases: &ClusterDatabases| matches!(databases, ClusterDatabases::Server { .. });
        let stacks = self.stacks_of_targets(actor).await?.get(&stored.name).copied().unwrap_or_default();
        if stacks == 0 || on_server(&facts.databases) == on_server(databases) {
            return Ok(());
        }
        let message = format!("the {stacks} stacks on {} would lose their databases: they are elsewhere", stored.name);
        Err(Problem::new(Code::TargetInUse, message).help("add another target, or destroy these stacks first"))
    }

    /// Looks whether a target has what deploys need.
    pub async fn check_target(&self, actor: &Actor, name: &str) -> Result<Vec<Finding>> {
        actor.require(Scope::Targets)?;
        let runtime = self.targets.find(&parse_name("target", name)?).await?;
        Ok(self.look_at(&runtime).await)
    }

    /// All that there is to say about a target itself: its cluster, its database server, its machine.
    pub(super) async fn look_at(&self, runtime: &TargetRuntime) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(local) = &runtime.local {
            findings.extend(self.room());
            findings.extend(self.files());
            findings.push(isolation(&local.provider.not_enforced()));
        }
        if let (Some(provider), Target::Kubernetes(facts)) = (&runtime.kubernetes, &runtime.target) {
            match provider.cluster().await {
                Ok(cluster) => {
                    let found = kubernetes::check(&cluster, facts).await;
                    findings.extend(found.into_iter().map(|found| Finding {
                        level: match found.level {
                            kubernetes::Level::Ok => Level::Ok,
                            kubernetes::Level::Warning => Level::Warning,
                            kubernetes::Level::Error => Level::Error,
                        },
                        subject: found.subject,
                        message: found.message,
                        help: found.fix,
                    }));
                }
                Err(error) => {
                    let problem = Problem::from(error);
                    let subject = "cluster".to_owned();
                    findings.push(Finding {
                        level: Level::Error,
                        subject,
                        message: problem.message,
                        help: problem.help,
                    });
                }
            }
        }
        findings.extend(self.database_server(runtime).await);
        findings.extend(self.strangers(runtime).await);
        findings
    }

    /// Forgets a target that has no stacks, and removes what was made there for the platform itself.
    pub async fn remove_target(&self, actor: &Actor, name: &str) -> Result<()> {
        actor.require(Scope::Targets)?;
        let name = parse_name("target", name)?;
        self.refuse_local(&name)?;
        let _one = self.targets.changing.lock().await;
        let runtime = self.targets.find(&name).await;
        let Some(removed) = self.store.remove_target(&name, &actor.audited()).await? else {
            return Err(runtime
                .err()
                .unwrap_or_else(|| Problem::new(Code::UnknownTarget, format!("there is no target {name}"))));
        };
        self.targets.forget(&name);
        // What is left of a cluster that is away holds nothing: it doesn't hinder forgetting it.
        if let (Ok(runtime), Some(facts)) = (runtime, cluster_of(&removed))
            && let Some(provider) = &runtime.kubernetes
        {
            let release = async { Ok::<_, Problem>(kubernetes::release(&*provider.cluster().await?, facts).await?) };
            if let Err(refusal) = release.await {
                warn!(target = %name, "its scratch namespace is left: {}", refusal.message);
            }
        }
        Ok(())
    }
}

/// The major version of a server.
async fn version(admin: &PgConnectOptions) -> Result<u32, freehold_engine::ProviderError> {
    let version = version_of(admin).await?;
    Ok(version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default())
}

fn cluster_of(stored: &StoredTarget) -> Option<&KubernetesTarget> {
    match &stored.facts {
        Target::Kubernetes(facts) => Some(facts),
        Target::Local(_) => None,
    }
}

fn describe(target: &Target, stacks: &BTreeMap<Name, usize>) -> TargetView {
    TargetView { stacks: stacks.get(target.name()).copied().unwrap_or_default(), target: target.clone() }
}

/// How far the stacks of this machine are kept apart.
fn isolation(missing: &[&str]) -> Finding {
    let (level, message, help) = if missing.is_empty() {
        (Level::Ok, "stacks are kept apart: users, files, processes, ports".to_owned(), None)
    } else {
        let help = "run Freehold as root, on a kernel with control groups and mount namespaces, if its tenants don't trust each other";
        (Level::Warning, format!("not enforced here: {}", missing.join("; ")), Some(help.to_owned()))
    };
    Finding { level, subject: "isolation".to_owned(), message, help }
}
