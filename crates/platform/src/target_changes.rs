//! Targets added, changed, checked and removed.
//!
//! Nothing is kept of a target that can't be used: the cluster is connected to, known again by its identity, and looked at; its scratch
//! namespace and Freehold's role on its database server are made; then facts and sealed credentials are kept in one transaction.

use std::collections::BTreeMap;

use freehold_graph::expand::{ClusterDatabases, KubernetesTarget};
use freehold_graph::{SecretText, Target};
use freehold_problem::{Code, Problem};
use freehold_spec::Name;
use freehold_store::{Credential, NewTarget, StoredTarget, UnreadableTarget};
use tracing::warn;

use super::factory::TargetChange;
use super::names::parse_name;
use super::settings::{Settings, identity};
use crate::Result;
use crate::actor::{Actor, Scope};
use crate::request::{TargetRequest, TargetSetting};
use crate::targets::Targets;
use crate::view::{Finding, TargetView, UnreadableFacts};

impl Targets {
    /// All targets, this machine first.
    pub async fn list(&self, actor: &Actor) -> Result<Vec<TargetView>> {
        actor.require(Scope::Targets)?;
        let stacks = self.stacks_of_targets(actor).await?;
        let local = self.local().map(|local| describe(&local.target, &stacks));
        let stored = self.stored().await?.into_iter().map(|stored| match stored {
            Ok(stored) => describe(&stored.facts, &stacks),
            Err(UnreadableTarget { name, kind, error }) => TargetView {
                stacks: stacks.get(&name).copied().unwrap_or_default(),
                name,
                facts: Err(UnreadableFacts { kind, problem: error.into() }),
            },
        });
        Ok(local.into_iter().chain(stored).collect())
    }

    /// One target by its name.
    pub async fn get(&self, actor: &Actor, name: &str) -> Result<TargetView> {
        actor.require(Scope::Targets)?;
        let runtime = self.find(&parse_name("target", name)?).await?;
        Ok(describe(&runtime.target, &self.stacks_of_targets(actor).await?))
    }

    async fn stacks_of_targets(&self, actor: &Actor) -> Result<BTreeMap<Name, usize>> {
        let mut tx = self.store.look(actor.access()).await?;
        Ok(tx.stacks_of_targets().await?)
    }

    /// Adds a target, or changes it.
    pub async fn put(&self, actor: &Actor, name: &str, request: &TargetRequest) -> Result<TargetView> {
        actor.require(Scope::Targets)?;
        let name = parse_name("target", name)?;
        self.refuse_local(&name)?;
        let _one = self.changing.lock().await;
        let before = self.stored_one(&name).await?;
        let mut settings = before.as_ref().map(Settings::read).transpose()?.unwrap_or_default().with(request);
        let credentials = self.credentials(&name, before.as_ref(), request, &settings).await?;
        settings.check(&name, credentials.contains_key(&Credential::Database))?;
        let change = TargetChange {
            name: &name,
            settings: &settings,
            credentials: &credentials,
            former: before.as_ref().and_then(cluster_of),
            replace_cluster: request.replace_cluster,
            platform: identity(&self.store).await?,
        };
        let connected = self.factory.connect(&change).await?;
        self.refuse_other_databases(actor, before.as_ref(), &connected.databases).await?;
        let facts = Target::Kubernetes(Box::new(connected.cluster.prepare().await?));
        settings.database_role = connected.database_role;
        let settings = serde_json::to_value(&settings).map_err(|error| {
            Problem::new(Code::Internal, format!("the settings of target {name} can't be kept: {error}"))
        })?;
        let new = NewTarget { facts: &facts, settings: &settings, credentials: &credentials, by: &actor.audited() };
        self.store.put_target(&new).await?;
        if let Some(stored) = self.stored_one(&name).await? {
            self.install(&stored).await?;
        }
        Ok(describe(&facts, &self.stacks_of_targets(actor).await?))
    }

    fn refuse_local(&self, name: &Name) -> Result<()> {
        if name.as_str() != "local" {
            return Ok(());
        }
        Err(Problem::new(
            Code::OtherKindOfTarget,
            "target local is the platform's own machine; it can't be added or removed",
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
            return Err(Problem::new(Code::TargetSettings, message).help("choose one of them"));
        }
        let given = [
            (Credential::Kubeconfig, &request.kubeconfig, !request.in_cluster),
            (Credential::Database, &request.database_url, !settings.settings.cloudnative_pg),
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
        let message =
            format!("the {stacks} stacks on {} would lose their databases, which are on another server", stored.name);
        Err(Problem::new(Code::TargetInUse, message).help("add another target, or destroy these stacks first"))
    }

    /// Looks whether a target has what deploys need.
    pub async fn check(&self, actor: &Actor, name: &str) -> Result<Vec<Finding>> {
        actor.require(Scope::Targets)?;
        let runtime = self.find(&parse_name("target", name)?).await?;
        Ok(runtime.inspect().await)
    }

    /// Forgets a target that has no stacks, and removes what was made there for the platform itself.
    pub async fn remove(&self, actor: &Actor, name: &str) -> Result<()> {
        actor.require(Scope::Targets)?;
        let name = parse_name("target", name)?;
        self.refuse_local(&name)?;
        let _one = self.changing.lock().await;
        let runtime = self.find(&name).await;
        if !self.store.remove_target(&name, &actor.audited()).await? {
            let unknown = || Problem::new(Code::UnknownTarget, format!("there is no target {name}"));
            return Err(runtime.err().unwrap_or_else(unknown));
        }
        self.forget(&name);
        // What is left of a cluster that is away holds nothing: it doesn't hinder forgetting it.
        if let Ok(runtime) = runtime
            && let Some(system) = &runtime.capabilities.system
            && let Err(error) = system.release().await
        {
            warn!(target = %name, "its scratch namespace could not be deleted: {error}");
        }
        Ok(())
    }
}

fn cluster_of(stored: &StoredTarget) -> Option<&KubernetesTarget> {
    match &stored.facts {
        Target::Kubernetes(facts) => Some(facts),
        Target::Local(_) => None,
    }
}

fn describe(target: &Target, stacks: &BTreeMap<Name, usize>) -> TargetView {
    let name = target.name().clone();
    TargetView { stacks: stacks.get(&name).copied().unwrap_or_default(), name, facts: Ok(target.clone()) }
}
