//! The provider itself: which call goes where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use freehold_engine::{Context, Lookup, OwnedObject, Performed, Provider, ProviderError, Readiness, Task};
use freehold_graph::kind::{PostgresKind, Served};
use freehold_graph::{ProviderName, ResourceId, ResourceKind, SecretText, StackId};
use freehold_plan::Observation;
use freehold_plan::observation::Ownership;
use freehold_problem::{Code, Problem};
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use crate::body;
use crate::catalog::{self, DatabaseRow};
use crate::dump;
use crate::failure::Doing;
use crate::fault::Fault;
use crate::inside::Key;
use crate::mark::Mark;
use crate::server::Binaries;
use crate::session::{Session, Sessions, Turn, single};
use crate::strangers::{self, Stranger};
use crate::{database, fence, logins, obstacles, own_logins, roles, usage};

/// How long a look may take. It has no deadline of its own in the interface.
const LOOK: Duration = Duration::from_secs(10);
/// Connections to the provisioner's own database.
const POOL: usize = 4;

/// How to reach the server, and what to do with dumps.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// How to connect as the provisioner to a database that is there. It works in one of its own, which is made where it isn't
    /// there. See [`crate::ensure_provisioner`].
    pub provisioner: PgConnectOptions,
    /// What the passwords of Freehold's own logins in the stacks' databases follow from. The same for as long as the server has
    /// stacks.
    pub login_key: SecretText,
    /// Where dumps go.
    pub dump_directory: PathBuf,
    /// PostgreSQL's programs; without them there are no dumps.
    pub binaries: Option<Binaries>,
    /// Connections that the platform keeps for itself: the store's pools and [`PostgresProvider::own_connections`].
    pub reserved_connections: u32,
    /// On a server that is the platform's alone: its own roles and databases there. Everything else that bears no mark is
    /// somebody's who has no business there.
    pub sole: Option<BTreeSet<String>>,
    /// How many steps at once. `CREATE DATABASE` writes some 7 MB: 30 tenants took 10.7 s one after the other, 5.3 s with 2 at
    /// once, 4.4 s with 4, 4.5 s with 8 (two cores, one disk).
    pub concurrency: usize,
    /// For tests: fails a statement.
    #[doc(hidden)]
    pub fault: Option<Fault>,
}

/// The server's connections: what there is, and what is promised to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// `max_connections` without those for superusers and for the platform itself.
    pub usable: u32,
    /// The sums of the limits of each stack's roles.
    pub promised: BTreeMap<StackId, u32>,
}

impl Capacity {
    /// What is left for a stack, what it has already included.
    pub fn available_to(&self, stack: StackId) -> u32 {
        let others = self.promised.iter().filter(|(other, _)| **other != stack).map(|(_, promised)| promised);
        self.usable.saturating_sub(others.sum())
    }

    /// Whether a stack may have so many: what it has already, it may always keep.
    pub fn allows(&self, stack: StackId, wanted: u32) -> bool {
        wanted <= self.promised.get(&stack).copied().unwrap_or_default().max(self.available_to(stack))
    }
}

/// Databases and their roles on one PostgreSQL server.
#[derive(Debug, Clone)]
pub struct PostgresProvider {
    sessions: Sessions,
    options: PostgresOptions,
}

impl PostgresProvider {
    /// The connections that a database's roles need besides those of its definition: the migrator's.
    pub const MIGRATOR_CONNECTIONS: u32 = roles::MIGRATOR_CONNECTIONS.unsigned_abs();

    /// How many connections it opens at the most: the kept ones, as many into databases beside them, and for each step up to
    /// three of its own (a dump's: of the provisioner, the dumper and its program).
    pub const fn own_connections(concurrency: u32) -> u32 {
        2 * POOL as u32 + 3 * concurrency
    }

    /// Doesn't connect yet.
    pub fn new(options: PostgresOptions) -> Self {
        let sessions = Sessions::new(options.provisioner.clone(), Key::new(options.login_key.clone()), POOL)
            .with_fault(options.fault.clone());
        Self { sessions, options }
    }

    /// What the server's connections are promised to.
    ///
    /// # Errors
    /// The server doesn't answer.
    pub async fn capacity(&self) -> Result<Capacity, ProviderError> {
        let doing = Doing("counting the connections of the PostgreSQL server".to_owned());
        let mut session = self.sessions.maintenance(Turn::None, &doing, Instant::now() + LOOK).await?;
        let usable: i32 = sqlx::query_scalar(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                - COALESCE(current_setting('reserved_connections', true)::int, 0)",
        )
        .fetch_one(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
        let marked = catalog::marked(&mut session, &doing).await?;
        session.finish().await;
        let mut logins = BTreeMap::new();
        for row in marked {
            let limit = row.connections.and_then(|limit| u32::try_from(limit).ok());
            let mark = Mark::parse(&row.comment).filter(|mark| !mark.values.contains_key(own_logins::KEY));
            if let (Some(limit), Some(mark)) = (limit, mark) {
                // Logins of several rotations take each other's place.
                let most: &mut u32 =
                    logins.entry((mark.stack, logins::without_rotation(&row.name).to_owned())).or_default();
                *most = limit.max(*most);
            }
        }
        let mut promised = BTreeMap::new();
        for ((stack, _), limit) in logins {
            *promised.entry(stack).or_default() += limit;
        }
        let usable = u32::try_from(usable).unwrap_or_default().saturating_sub(self.options.reserved_connections);
        Ok(Capacity { usable, promised })
    }

    /// Whether a dump of a database can be had, as far as that can be seen beforehand: what a plan that promises one has to know.
    ///
    /// # Errors
    /// Rows that no login of ours sees, tables that are locked: each is named, with what to do about it.
    pub async fn check_dump(&self, stack: StackId, lookup: &Lookup) -> Result<(), ProviderError> {
        let deadline = Instant::now() + LOOK;
        let look = obstacles::check(&self.sessions, &self.options, stack, lookup, deadline);
        match tokio::time::timeout_at(deadline, look).await {
            Ok(Err(ProviderError::Unknown(Problem { message, .. }))) => {
                Err(ProviderError::retryable(Code::PostgresUnreachable, message))
            }
            Ok(answer) => answer,
            Err(_) => Err(ProviderError::retryable(Code::PostgresUnreachable, "the PostgreSQL server does not answer")),
        }
    }

    /// What is on the server that nobody of ours made, where that concerns Freehold.
    ///
    /// # Errors
    /// The server doesn't answer.
    pub async fn strangers(&self) -> Result<Vec<Stranger>, ProviderError> {
        let doing = Doing("looking for what is not Freehold's on the PostgreSQL server".to_owned());
        let mut session = self.sessions.maintenance(Turn::None, &doing, Instant::now() + LOOK).await?;
        let found = strangers::find(&mut session, &self.options, &doing).await?;
        session.finish().await;
        Ok(found)
    }

    /// The server's version, as people write it: `15.18`.
    ///
    /// # Errors
    /// The server doesn't answer.
    pub async fn server_version(&self) -> Result<String, ProviderError> {
        let doing = Doing(VERSION.to_owned());
        let mut session = self.sessions.maintenance(Turn::None, &doing, Instant::now() + LOOK).await?;
        let version = version(&mut session, &doing).await?;
        session.finish().await;
        Ok(version)
    }

    async fn database_readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        let name = body::identifier(&lookup.identity)?;
        let doing = Doing::new("looking at database", name.as_str());
        let mut session = self.sessions.maintenance(Turn::None, &doing, Instant::now() + LOOK).await?;
        let row = DatabaseRow::read(&mut session, &name, &doing).await?;
        session.finish().await;
        Ok(match row {
            None => Readiness::Failed(format!("there is no database {}", name.as_str())),
            Some(row) if row.ownership(stack) != Ownership::Ours => {
                Readiness::Failed(format!("database {} is not ours", name.as_str()))
            }
            Some(row) if row.connection_limit == 0 || row.is_half_dropped() => {
                Readiness::Waiting(format!("database {} is not open yet", name.as_str()))
            }
            Some(row) => match row.mark().as_ref().and_then(usage::closed) {
                Some(why) => Readiness::Failed(format!(
                    "database {} is closed: {why}. Its data is kept; the next deploy of its stack opens it",
                    name.as_str()
                )),
                None => Readiness::Ready,
            },
        })
    }
}

#[async_trait]
impl Provider for PostgresProvider {
    fn name(&self) -> ProviderName {
        ProviderName::Postgres
    }

    fn concurrency(&self) -> usize {
        self.options.concurrency
    }

    async fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError> {
        let deadline = Instant::now() + LOOK;
        let look = async {
            match mine(lookup.kind, &lookup.id)? {
                PostgresKind::Roles => roles::observe(&self.sessions, stack, lookup, deadline).await,
                PostgresKind::Logins => logins::observe(&self.sessions, stack, lookup, deadline).await,
                PostgresKind::Database => database::observe(&self.sessions, stack, lookup, deadline).await,
            }
        };
        // Nothing was changed, so no answer is no more than that.
        match tokio::time::timeout_at(deadline, look).await {
            Ok(Err(ProviderError::Unknown(Problem { message, .. }))) => {
                Err(ProviderError::retryable(Code::PostgresUnreachable, message))
            }
            Ok(answer) => answer,
            Err(_) => Err(ProviderError::retryable(Code::PostgresUnreachable, "the PostgreSQL server does not answer")),
        }
    }

    async fn perform(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError> {
        let work = async {
            match task {
                Task::Apply { resource, desired, adopt, .. } => match mine(resource.kind, &resource.id)? {
                    PostgresKind::Roles => roles::apply(&self.sessions, context, resource, desired, *adopt).await,
                    PostgresKind::Logins => logins::apply(&self.sessions, context, resource).await,
                    PostgresKind::Database => database::apply(&self.sessions, context, resource, *adopt).await,
                },
                Task::Delete { lookup, object } => match mine(lookup.kind, &lookup.id)? {
                    PostgresKind::Roles => roles::delete(&self.sessions, context, lookup, object.as_deref()).await,
                    // They go with the roles.
                    PostgresKind::Logins => Ok(Performed::default()),
                    PostgresKind::Database => {
                        database::delete(&self.sessions, context, lookup, object.as_deref()).await
                    }
                },
                Task::Fence { lookup, object } if lookup.kind == ResourceKind::PostgresRoles => {
                    fence::raise(&self.sessions, context, lookup, object.as_deref()).await
                }
                Task::Lift { resource, object, .. } if resource.kind == ResourceKind::PostgresRoles => {
                    fence::lift(&self.sessions, context, resource, object.as_deref()).await
                }
                Task::Fence { lookup, .. } => Err(not_mine(&lookup.id)),
                Task::Lift { resource, .. } => Err(not_mine(&resource.id)),
                Task::Dump { lookup } => dump::write(&self.sessions, &self.options, context, lookup).await,
                Task::Run { run } => Err(not_mine(&run.id)),
            }
        };
        match tokio::time::timeout_at(context.deadline, work).await {
            Ok(answer) => answer,
            Err(_) => Err(ProviderError::unknown(
                Code::PostgresUnreachable,
                "the PostgreSQL server did not answer in time".to_owned(),
            )),
        }
    }

    async fn readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        if lookup.kind == ResourceKind::PostgresDatabase {
            return self.database_readiness(stack, lookup).await;
        }
        if lookup.kind == ResourceKind::PostgresLogins {
            return Ok(Readiness::Ready);
        }
        Ok(match self.observe(stack, lookup).await? {
            Some(observation) if observation.ownership == Ownership::Ours => Readiness::Ready,
            Some(_) => Readiness::Failed(format!("the roles of {} are not ours", lookup.identity)),
            None => Readiness::Failed(format!("there are no roles for {}", lookup.identity)),
        })
    }

    async fn owned(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        let doing = Doing("looking for all that bears a mark on the PostgreSQL server".to_owned());
        let mut session = self.sessions.maintenance(Turn::None, &doing, Instant::now() + LOOK).await?;
        let rows = catalog::marked(&mut session, &doing).await?;
        session.finish().await;
        let objects = rows.into_iter().filter_map(|row| {
            let mark = Mark::parse(&row.comment)?;
            Some(OwnedObject { stack: mark.stack, kind: row.kind, name: row.name })
        });
        Ok(objects.filter(|object| stack.is_none_or(|stack| object.stack == stack)).collect())
    }
}

const VERSION: &str = "asking the PostgreSQL server for its version";

/// The version of a server on which nothing of ours need be: `15.18`. Changes nothing there.
///
/// # Errors
/// The server doesn't answer, or doesn't let us in.
pub async fn version_of(options: &PgConnectOptions) -> Result<String, ProviderError> {
    let doing = Doing(VERSION.to_owned());
    let mut session = single(options, &doing, Instant::now() + LOOK).await?;
    let version = version(&mut session, &doing).await?;
    session.finish().await;
    Ok(version)
}

async fn version(session: &mut Session, doing: &Doing) -> Result<String, ProviderError> {
    let version: String = sqlx::query_scalar("SELECT current_setting('server_version')")
        .fetch_one(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    Ok(version.split_whitespace().next().unwrap_or_default().to_owned())
}

/// As which of ours a resource is meant.
fn mine(kind: ResourceKind, id: &ResourceId) -> Result<PostgresKind, ProviderError> {
    match kind.served() {
        Served::Postgres(kind) => Ok(kind),
        Served::Store(_) | Served::Local(_) | Served::Kubernetes(_) => Err(not_mine(id)),
    }
}

fn not_mine(id: &freehold_graph::ResourceId) -> ProviderError {
    ProviderError::rejected(Code::StepFailed, format!("{id} is not a thing of PostgreSQL's"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_that_asks_for_no_more_than_it_has_is_never_refused() {
        let [first, second] = [1, 2].map(|number| StackId(uuid::Uuid::from_u128(number)));
        let capacity = |usable| Capacity { usable, promised: BTreeMap::from([(first, 30), (second, 50)]) };
        // Two deploys at once, or somebody who lowered max_connections, have promised too much.
        let tight = capacity(60);
        assert!(tight.allows(first, 30) && tight.allows(second, 50) && tight.allows(second, 40));
        assert!(!tight.allows(first, 31) && !tight.allows(second, 51));
        assert!(capacity(100).allows(first, 50) && !capacity(100).allows(first, 51));
        assert!(!tight.allows(StackId(uuid::Uuid::from_u128(3)), 1));
    }
}
