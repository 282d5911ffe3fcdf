//! The database servers beside a machine's own one, each with the name that its operator has given it.

use std::path::Path;
use std::sync::Arc;

use freehold_engine::ProviderError;
use freehold_graph::SecretText;
use freehold_graph::expand::PostgresServer;
use freehold_problem::{Code, Problem};
use freehold_provider_postgres::{
    Binaries, PostgresOptions, PostgresProvider, ensure_provisioner, is_encrypted, version_of,
};
use freehold_spec::Name;
use freehold_store::Store;
use tracing::warn;

use super::DATABASE_STEPS;
use super::access::{Result, database_url};
use super::cluster::OLDEST_POSTGRES;
use super::keys;
use crate::database_tls;

/// Such a server, as stacks reach it, and what works on it: in a role of Freehold's own, which is made or brought up to date there.
pub(crate) async fn connect(
    store: &Store,
    name: &Name,
    url: &str,
    dumps: &Path,
    binaries: Option<&Binaries>,
) -> Result<(PostgresServer, Arc<PostgresProvider>)> {
    let admin = database_url(&SecretText::new(url))?;
    let (host, port) = (admin.get_host().to_owned(), admin.get_port());
    let unusable = |error: ProviderError| {
        let message = format!("the database server {name} at {host}:{port} can't be used: {error}");
        Problem::new(Code::TargetDatabase, message)
            .help("check its URL, and that its role may make roles and databases")
    };
    let version = version_of(&admin).await.map_err(unusable)?.major;
    if version < OLDEST_POSTGRES {
        let message = format!("the server {name} runs PostgreSQL {version}; {OLDEST_POSTGRES} or newer is required");
        return Err(Problem::new(Code::TargetDatabase, message));
    }
    let offered = is_encrypted(&admin).await.map_err(unusable)?;
    let tls = database_tls::stated(&admin, url, Some(offered));
    let (role, password) = (keys::role_name(store, name).await?, keys::role_password(store, name).await?);
    let provisioner = match ensure_provisioner(&admin, &role, &password).await {
        Ok(()) => admin.username(&role).password(password.reveal()),
        Err(failure) => {
            // A managed server's administrator is no superuser. All but dumps of tables under forced row-level security works.
            warn!(server = %name, "the role of the database URL is used, for {role} could not be made: {failure}");
            admin
        }
    };
    let steps = u32::try_from(DATABASE_STEPS).unwrap_or_default();
    let provider = PostgresProvider::new(PostgresOptions {
        provisioner,
        login_key: keys::login_key(store, name).await?,
        dump_directory: dumps.to_owned(),
        binaries: binaries.cloned(),
        reserved_connections: PostgresProvider::own_connections(steps),
        sole: None,
        concurrency: DATABASE_STEPS,
        fault: None,
    });
    Ok((PostgresServer { tls, ..PostgresServer::new(host, port, version) }, Arc::new(provider)))
}
