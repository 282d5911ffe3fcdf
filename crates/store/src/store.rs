//! The store as the server holds it: two small pools, the keys, and what was looked up once and doesn't change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freehold_graph::StackId;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgPool, Row};

use crate::bootstrap::Connections;
use crate::error::StoreError;
use crate::keys::MasterKey;
use crate::pool::pool;
use crate::seal::DataKey;
use crate::signal::Signals;
use crate::tenant_id::TenantId;

/// The most connections of each pool. Part of what the server has to have room for.
pub const POOL_SIZE: u32 = 6;

/// What Freehold keeps. Cheap to clone: all clones share the pools.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    tenant: PgPool,
    engine: PgPool,
    engine_options: PgConnectOptions,
    master: MasterKey,
    known: LookupCache,
    signals: Signals,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("engine_role", &self.inner.engine_options.get_username()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store that [`crate::bootstrap()`] has prepared. Connections are made when they are needed and closed when idle.
    ///
    /// # Errors
    /// [`StoreError::RoleTooPowerful`] if a pool's role could pass by row-level security, or a table doesn't force it;
    /// [`StoreError::Unavailable`] if the server doesn't answer.
    pub async fn open(connections: &Connections, master: MasterKey) -> Result<Self, StoreError> {
        let engine_options = session(&connections.engine, "freehold engine");
        let tenant = pool(session(&connections.tenant, "freehold tenant"), POOL_SIZE);
        let engine = pool(engine_options.clone(), POOL_SIZE);
        refuse_powerful(&tenant).await?;
        refuse_powerful(&engine).await?;
        let inner =
            Inner { tenant, engine, engine_options, master, known: LookupCache::default(), signals: Signals::new() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Closes all connections. What is under way ends first.
    pub async fn close(&self) {
        self.inner.tenant.close().await;
        self.inner.engine.close().await;
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1")
            .execute(self.engine_pool())
            .await
            .map(|_| ())
            .map_err(StoreError::from_sqlx("check the connection"))
    }

    pub(crate) fn tenant_pool(&self) -> &PgPool {
        &self.inner.tenant
    }

    pub(crate) fn engine_pool(&self) -> &PgPool {
        &self.inner.engine
    }

    pub(crate) fn engine_options(&self) -> &PgConnectOptions {
        &self.inner.engine_options
    }

    pub(crate) fn master(&self) -> &MasterKey {
        &self.inner.master
    }

    pub(crate) fn known(&self) -> &LookupCache {
        &self.inner.known
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.inner.signals
    }
}

/// How the pools' sessions are set up. No statement of the store is slow: one that takes long is stuck.
fn session(options: &PgConnectOptions, application: &str) -> PgConnectOptions {
    options.clone().application_name(application).log_statements(tracing::log::LevelFilter::Off).options([
        ("search_path", "public"),
        ("synchronous_commit", "on"),
        ("statement_timeout", "30s"),
        ("lock_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "60s"),
        ("jit", "off"),
    ])
}

/// Refuses a role for which row-level security doesn't hold, and a schema in which it isn't forced.
async fn refuse_powerful(pool: &PgPool) -> Result<(), StoreError> {
    let failed = "read its role";
    let row = sqlx::query(
        "SELECT current_user::text AS role, rolsuper, rolbypassrls, rolcreaterole,
                EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
                        AND pg_has_role(current_user, relowner, 'MEMBER')) AS owns,
                (SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class
                 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
                 AND NOT (relrowsecurity AND relforcerowsecurity)
                 AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'tenant_id')) AS unforced
         FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(pool)
    .await
    .map_err(StoreError::from_sqlx(failed))?;
    let role: String = row.try_get("role").map_err(StoreError::from_sqlx(failed))?;
    for (column, why) in [
        ("rolsuper", "is a superuser"),
        ("rolbypassrls", "has BYPASSRLS"),
        ("rolcreaterole", "has CREATEROLE"),
        ("owns", "owns the store's tables, or is a member of the role that does"),
    ] {
        if row.try_get(column).map_err(StoreError::from_sqlx(failed))? {
            return Err(StoreError::RoleTooPowerful { role, why: why.to_owned() });
        }
    }
    match row.try_get::<Option<String>, _>("unforced").map_err(StoreError::from_sqlx(failed))? {
        Some(tables) => {
            let why = format!("meets tables without forced row-level security ({tables})");
            Err(StoreError::RoleTooPowerful { role, why })
        }
        None => Ok(()),
    }
}

/// What was looked up once and doesn't change: names of tenants, owners of stacks, data keys.
#[derive(Default)]
pub(crate) struct LookupCache {
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    tenants: HashMap<String, TenantId>,
    stacks: HashMap<StackId, TenantId>,
    data_keys: HashMap<TenantId, Arc<DataKey>>,
}

impl LookupCache {
    pub(crate) fn tenant_named(&self, name: &str) -> Option<TenantId> {
        self.maps().tenants.get(name).copied()
    }

    pub(crate) fn remember_tenant(&self, name: &str, tenant: TenantId) {
        self.maps().tenants.insert(name.to_owned(), tenant);
    }

    pub(crate) fn tenant_of_stack(&self, stack: StackId) -> Option<TenantId> {
        self.maps().stacks.get(&stack).copied()
    }

    pub(crate) fn remember_stack(&self, stack: StackId, tenant: TenantId) {
        self.maps().stacks.insert(stack, tenant);
    }

    pub(crate) fn forget_stack(&self, stack: StackId) {
        self.maps().stacks.remove(&stack);
    }

    pub(crate) fn data_key(&self, tenant: TenantId) -> Option<Arc<DataKey>> {
        self.maps().data_keys.get(&tenant).cloned()
    }

    pub(crate) fn remember_data_key(&self, tenant: TenantId, key: Arc<DataKey>) {
        self.maps().data_keys.insert(tenant, key);
    }

    /// Every change of a map is a single insertion or removal: a panic elsewhere leaves no map half changed.
    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
