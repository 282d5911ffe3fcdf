//! How targets are made. The platform decides which there are and what is kept of them; what talks to a cluster or a database server is
//! known to whoever wires the platform up.

use std::collections::BTreeMap;

use async_trait::async_trait;
use freehold_graph::SecretText;
use freehold_graph::expand::{ClusterDatabases, KubernetesTarget};
use freehold_spec::Name;
use freehold_store::{Credential, StoredTarget};
use uuid::Uuid;

use crate::Result;
use crate::runtime::TargetRuntime;
use crate::settings::Settings;

/// Makes targets of providers.
#[async_trait]
pub trait TargetFactory: Send + Sync {
    /// A cluster as it is stored, ready for work. Connects to nothing: a cluster or a server that is away hinders nobody until it is used.
    ///
    /// # Errors
    /// The stored settings or credentials can't be used.
    async fn make(&self, stored: &StoredTarget) -> Result<TargetRuntime>;

    /// It is the one that is worked with from now on: operations that work with an earlier runtime of the same target reach its cluster with
    /// the credentials of this one.
    fn installed(&self, runtime: &TargetRuntime);

    /// Connects to what is to become a target, or to stay one in another way. Changes nothing in the cluster; on the database server
    /// Freehold's own role is made or brought up to date.
    ///
    /// # Errors
    /// The cluster or the server can't be used, or the cluster is another one than before.
    async fn connect(&self, change: &TargetChange<'_>) -> Result<Connected>;
}

/// A target that is to be added or changed.
#[derive(Clone, Copy)]
pub struct TargetChange<'a> {
    /// What the target is, or will be, called.
    pub name: &'a Name,
    /// All that was ever asked for.
    pub settings: &'a Settings,
    /// All that it is to have.
    pub credentials: &'a BTreeMap<Credential, SecretText>,
    /// The facts so far, where there is such a target.
    pub former: Option<&'a KubernetesTarget>,
    /// It may be another cluster than before.
    pub replace_cluster: bool,
    /// Which platform this is, for marks that others see.
    pub platform: Uuid,
}

/// A cluster that answers, and where its databases are to be.
pub struct Connected {
    /// On a server, or in the cluster.
    pub databases: ClusterDatabases,
    /// Freehold's own role on that server, where it could be made.
    pub database_role: Option<String>,
    /// The connection, for what is to be done next.
    pub cluster: Box<dyn ConnectedCluster>,
}

/// A cluster that is about to become a target.
#[async_trait]
pub trait ConnectedCluster: Send {
    /// Finds out what stacks need to know of it, and makes what the platform itself needs there.
    ///
    /// # Errors
    /// The cluster lacks something that stacks need: the error names everything that is missing.
    async fn prepare(self: Box<Self>) -> Result<KubernetesTarget>;
}
