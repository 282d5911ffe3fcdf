//! The platform as one of several replicas on one PostgreSQL: no machine of its own, only clusters to deploy to.
//!
//! ```text
//!   master key, token (files) → store → signals from the other replicas → targets → executor → HTTP API
//! ```
//!
//! Any replica answers any request and takes up any operation; an operation's events are told from its journal, whoever works on it. One
//! that dies leaves leases, which end by themselves within seconds: nobody can know that it is dead, so nobody takes them before. One
//! that is told to stop gives its leases back at once, ends its streams, is not ready any more, and answers what still comes in until
//! it is called no longer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use freehold_api::{Api, Token};
use freehold_platform::{Facts, Platform, Targets};
use freehold_problem::Code;
use freehold_provider_postgres::Binaries;
use freehold_store::{MasterKey, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::listeners::{Essential, serve_api, start_executor, start_maintenance};
use crate::start::{StartError, prepare_store, server_at, store_failed};
use crate::targets::Wiring;

/// The shortest token, in characters.
const SHORTEST_TOKEN: usize = 24;

/// What `freehold serve` was told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the API listens; port 0: any.
    pub listen: SocketAddr,
    /// The PostgreSQL for the platform itself: a role that may make databases and roles.
    pub database_url: String,
    /// The file with the master key: 32 bytes, or these in Base64. Never made here: all replicas need the same.
    pub master_key_file: PathBuf,
    /// The file with the token that callers show.
    pub token_file: PathBuf,
    /// Where final dumps go: a volume that outlives the replica. Without, none are made, and a destroy has to say that none is wanted.
    pub dump_directory: Option<PathBuf>,
    /// Where PostgreSQL's programs are, for dumps, instead of the usual places.
    pub postgres_binaries: Option<PathBuf>,
    /// How many days lines of the audit log are kept. `None`: [`freehold_store::audit::KEPT_DAYS`].
    pub audit_days: Option<u32>,
    /// How long requests are still answered after the platform was told to stop: until everybody has heard that it isn't ready.
    pub linger: Duration,
}

/// What runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Where the API is.
    pub address: SocketAddr,
    /// PostgreSQL in words.
    pub postgres: String,
    /// The targets' names.
    pub targets: Vec<String>,
    /// How long the start took.
    pub milliseconds: u64,
}

/// Starts a replica, calls `ready`, and runs until `stop`.
///
/// # Errors
/// The store can't be reached or opened, a credential can't be read, or an address can't be listened on; or a part that the others can't do
/// without has ended.
pub async fn run(
    options: Options,
    ready: impl FnOnce(&Ready) + Send,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let begin = Instant::now();
    // Before anything is opened: the API keeps its limits by it.
    freehold_provider_local::descriptors::raise();
    let token = token(&options.token_file)?;
    let listener = TcpListener::bind(options.listen).await.map_err(|error| {
        StartError::new(Code::PortTaken, format!("the API can't listen on {}: {error}", options.listen))
            .help("choose another address with --listen")
    })?;
    let address = listener.local_addr().map_err(|error| StartError::new(Code::PortTaken, error.to_string()))?;
    let admin = server_at(&options.database_url)?;
    let (connections, master) = prepare_store(&admin, |check| MasterKey::load(&options.master_key_file, check)).await?;
    let store = Store::open(&connections, master).await.map_err(store_failed)?;
    store.listen().await.map_err(store_failed)?;
    let engine = store.engine(holder());
    let programs = options.dump_directory.as_ref().and_then(|_| binaries(options.postgres_binaries.as_deref()));
    let wiring = Wiring::new(&store, &engine, options.dump_directory.clone().unwrap_or_default(), programs);
    let postgres = format!("PostgreSQL at {}:{}", admin.get_host(), admin.get_port());
    let targets = Targets::load(&store, Arc::new(wiring), None).await?;
    let facts = Facts { data_directory: None, postgres: postgres.clone(), started_at: Utc::now(), started: begin };
    let platform = Arc::new(Platform::new(&store, targets, facts, stop.clone()));
    let executor = start_executor(&platform, &store, engine.clone(), &stop);
    let follower = Arc::clone(&platform.targets).follow(stop.clone());
    let follower = Essential::start("the follower of changed targets", &stop, follower);
    let maintenance = start_maintenance(&platform, engine, options.audit_days, &stop);
    let silent = CancellationToken::new();
    let api = Api { platform: Arc::clone(&platform), token: Token::new(&token), loopback_only: false };
    let http = serve_api(listener, api, silent.clone());
    let targets = platform.targets.all().iter().map(|runtime| runtime.target.name().to_string()).collect();
    let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    ready(&Ready { address, postgres, targets, milliseconds });
    stop.cancelled().await;
    info!("stopping: operations are left to other replicas, streams end, requests are still answered for a while");
    let lingers = tokio::time::sleep(options.linger);
    let (executor, follower, maintenance, ()) =
        tokio::join!(executor.ended(), follower.ended(), maintenance.ended(), lingers);
    silent.cancel();
    let _ = http.await;
    store.close().await;
    executor.or(follower).or(maintenance).map_or(Ok(()), Err)
}

fn token(file: &Path) -> Result<String, StartError> {
    let unusable = |why: String| {
        StartError::new(Code::DataNotWritable, format!("the token file {}: {why}", file.display())).help(format!(
            "it holds one line of at least {SHORTEST_TOKEN} characters, such as `openssl rand -hex 32` gives"
        ))
    };
    let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
    let token = text.trim();
    let fits = token.len() >= SHORTEST_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(token.to_owned()) } else { Err(unusable("the file contains no valid token".to_owned())) }
}

fn binaries(given: Option<&Path>) -> Option<Binaries> {
    Binaries::find_client(given).ok()
}

/// Who holds a lease, in words that an operator finds the Pod by.
fn holder() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    format!("{host}/{}", uuid::Uuid::new_v4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_that_nobody_guesses() {
        let folder = std::env::temp_dir().join(format!("freehold-token-{}", uuid::Uuid::new_v4()));
        for (content, fits) in [
            ("0123456789abcdef0123456789abcdef\n", true),
            ("short\n", false),
            ("", false),
            ("two words of which none would be long enough\n", false),
        ] {
            std::fs::write(&folder, content).unwrap();
            assert_eq!(token(&folder).is_ok(), fits, "{content:?}");
        }
        std::fs::remove_file(&folder).unwrap();
        assert!(token(&folder).is_err_and(|error| error.help.is_some()));
    }
}
