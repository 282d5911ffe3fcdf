//! The provider itself: which call goes where.

use std::time::Duration;

use async_trait::async_trait;
use freehold_engine::provider::Proposal;
use freehold_engine::{Context, Lookup, OwnedObject, Performed, Provider, ProviderError, Readiness, Task};
use freehold_graph::kind::{PostgresKind, Served};
use freehold_graph::{ProviderName, ResourceId, ResourceKind, StackId};
use freehold_plan::observation::Ownership;
use freehold_plan::{Observation, Preview};
use freehold_problem::{Code, Problem};
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use crate::body;
use crate::catalog::{self, DatabaseRow};
use crate::dump;
use crate::failure::Doing;
use crate::in_database::Key;
use crate::mark::Mark;
use crate::options::PostgresOptions;
use crate::server::Version;
use crate::session::{Session, Sessions, Turn, single};
use crate::{database, dump_blockers, fence, logins, roles, usage};

/// How long a look may take. It has no deadline of its own in the interface.
pub(crate) const LOOK: Duration = Duration::from_secs(10);
/// Connections to the provisioner's own database.
const POOL: usize = 4;

/// Databases and their roles on one PostgreSQL server.
#[derive(Debug, Clone)]
pub struct PostgresProvider {
    pub(crate) sessions: Sessions,
    pub(crate) options: PostgresOptions,
}

impl PostgresProvider {
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

    /// The server's version.
    ///
    /// # Errors
    /// The server doesn't answer.
    pub async fn server_version(&self) -> Result<Version, ProviderError> {
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
            None => Readiness::failed(format!("there is no database {}", name.as_str())),
            Some(row) if row.ownership(stack) != Ownership::Ours => Readiness::failed_with(
                Code::NotOwned,
                format!("database {} is not managed by this stack", name.as_str()),
            ),
            Some(row) if row.connection_limit == 0 || row.is_half_dropped() => {
                Readiness::Waiting(format!("database {} is not open yet", name.as_str()))
            }
            Some(row) => match row.mark().as_ref().and_then(usage::closed) {
                Some(why) => Readiness::failed(format!(
                    "database {} is closed: {why}. Its data is kept; the next deploy of its stack opens it",
                    name.as_str()
                )),
                None => Readiness::Ready,
            },
        })
    }

    async fn roles_readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        Ok(match self.observe(stack, lookup).await? {
            Some(observation) if observation.ownership == Ownership::Ours => Readiness::Ready,
            Some(_) => Readiness::failed_with(
                Code::NotOwned,
                format!("the roles of {} are not managed by this stack", lookup.identity),
            ),
            None => Readiness::failed(format!("there are no roles for {}", lookup.identity)),
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

    async fn preview_dump(&self, stack: StackId, lookup: &Lookup) -> Result<(), ProviderError> {
        let deadline = Instant::now() + LOOK;
        let look = dump_blockers::check(&self.sessions, &self.options, stack, lookup, deadline);
        in_time(deadline, look).await
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
        in_time(deadline, look).await
    }

    async fn preview(&self, _: StackId, proposal: &Proposal<'_>) -> Result<Preview, ProviderError> {
        let Proposal { resource, desired, observed, .. } = proposal;
        match mine(resource.kind, &resource.id)? {
            PostgresKind::Database if database::would_be_made(*observed, desired) => {
                let deadline = Instant::now() + LOOK;
                in_time(deadline, database::preview(&self.sessions, resource, deadline)).await?;
            }
            PostgresKind::Database | PostgresKind::Roles | PostgresKind::Logins => {}
        }
        Ok(Preview::exact((*desired).clone()))
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
                Task::Fence { lookup, object } => match mine(lookup.kind, &lookup.id)? {
                    PostgresKind::Roles => fence::raise(&self.sessions, context, lookup, object.as_deref()).await,
                    // The fence of the roles is theirs, too.
                    PostgresKind::Logins | PostgresKind::Database => Err(not_served(&lookup.id)),
                },
                Task::Lift { resource, object, .. } => match mine(resource.kind, &resource.id)? {
                    PostgresKind::Roles => fence::lift(&self.sessions, context, resource, object.as_deref()).await,
                    PostgresKind::Logins | PostgresKind::Database => Err(not_served(&resource.id)),
                },
                Task::Dump { lookup } => dump::write(&self.sessions, &self.options, context, lookup).await,
                Task::Run { run } => Err(not_served(&run.id)),
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
        match mine(lookup.kind, &lookup.id)? {
            PostgresKind::Database => self.database_readiness(stack, lookup).await,
            PostgresKind::Roles => self.roles_readiness(stack, lookup).await,
            PostgresKind::Logins => Ok(Readiness::Ready),
        }
    }

    async fn owned(&self, stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        let doing = Doing("listing managed objects of the PostgreSQL server".to_owned());
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

/// For what changes nothing: no answer is no more than that.
async fn in_time<T>(
    deadline: Instant,
    look: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    match tokio::time::timeout_at(deadline, look).await {
        Ok(Err(ProviderError::Unknown(Problem { message, .. }))) => {
            Err(ProviderError::retryable(Code::PostgresUnreachable, message))
        }
        Ok(answer) => answer,
        Err(_) => Err(ProviderError::retryable(Code::PostgresUnreachable, "the PostgreSQL server does not answer")),
    }
}

const VERSION: &str = "asking the PostgreSQL server for its version";

/// The version of a server on which nothing of ours need be. Changes nothing there.
///
/// # Errors
/// The server doesn't answer, or doesn't let us in.
pub async fn version_of(options: &PgConnectOptions) -> Result<Version, ProviderError> {
    let doing = Doing(VERSION.to_owned());
    let mut session = single(options, &doing, Instant::now() + LOOK).await?;
    let version = version(&mut session, &doing).await?;
    session.finish().await;
    Ok(version)
}

/// Whether a connection to a server is encrypted, by what the server says of it.
///
/// # Errors
/// The server can't be reached, or refuses the login.
pub async fn is_encrypted(options: &PgConnectOptions) -> Result<bool, ProviderError> {
    let doing = Doing("asking whether the connection is encrypted".to_owned());
    let mut session = single(options, &doing, Instant::now() + LOOK).await?;
    let ssl = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()";
    let encrypted: bool =
        sqlx::query_scalar(ssl).fetch_one(session.connection()).await.map_err(|error| doing.failed(error))?;
    session.finish().await;
    Ok(encrypted)
}

async fn version(session: &mut Session, doing: &Doing) -> Result<Version, ProviderError> {
    let version: String = sqlx::query_scalar("SELECT current_setting('server_version')")
        .fetch_one(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    let unread =
        || doing.rejected(Code::StepFailed, &format!("the server's version can't be read: {version}"), None, None);
    Version::parse(&version).ok_or_else(unread)
}

/// As which of ours a resource is meant.
fn mine(kind: ResourceKind, id: &ResourceId) -> Result<PostgresKind, ProviderError> {
    match kind.served() {
        Served::Postgres(kind) => Ok(kind),
        Served::Store(_) | Served::Local(_) | Served::Kubernetes(_) => Err(not_served(id)),
    }
}

fn not_served(id: &freehold_graph::ResourceId) -> ProviderError {
    ProviderError::rejected(Code::StepFailed, format!("{id} is not served by provider postgres"))
}
