//! The server: what it answers where, and how it starts and ends.

mod answer;
mod api;
mod events;
mod files;
mod health;
mod page;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use serde_json::json;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::database::{Database, DatabaseError};
use crate::fault::Fault;
use crate::feed::Feed;
use crate::log;
use crate::session::Signer;
use crate::settings::Serve;

use files::{Files, FilesError};

/// The largest body of a request, in bytes: a draft of the greatest length, written as badly as JSON allows.
const BODY_LIMIT: usize = 16 * 1024;
/// How long requests that have begun may take once the program was told to end.
const LAST_ORDERS: Duration = Duration::from_secs(8);
/// How long answers that have begun may take to be written then.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Why the server could not be started, or ended by itself.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error("{0}")]
    Files(#[from] FilesError),
    #[error("the connections to the database can't be set up: {0}")]
    Database(#[source] DatabaseError),
    #[error("{address} can't be listened on: {cause}")]
    Listen { address: SocketAddr, cause: std::io::Error },
    #[error("signals can't be received: {0}")]
    Signals(#[source] std::io::Error),
    #[error("the server ended: {0}")]
    Ended(#[source] std::io::Error),
}

/// What the handlers share.
struct Shared {
    settings: Serve,
    database: Database,
    feed: Feed,
    signer: Signer,
    files: Files,
    started: Instant,
    started_at: String,
    /// Becomes true once the program was told to end.
    stopping: watch::Sender<bool>,
    /// Requests that have no answer yet.
    in_flight: watch::Sender<usize>,
    /// Becomes true once the first connection to the database was made, or could not be.
    warm: watch::Sender<bool>,
}

type App = Arc<Shared>;

/// Answers requests until SIGTERM or SIGINT.
pub async fn serve(settings: Serve) -> Result<(), ServeError> {
    if let Fault::SlowStart(after) = settings.fault {
        tokio::time::sleep(after).await;
    }
    if let Fault::CrashAfter(after) = settings.fault {
        tokio::spawn(crash(after));
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let address = SocketAddr::new(settings.host, settings.port);
    let listener = TcpListener::bind(address).await.map_err(|cause| ServeError::Listen { address, cause })?;
    let app = Arc::new(Shared {
        database: Database::new(settings.database.clone()).map_err(ServeError::Database)?,
        feed: Feed::start(settings.database.clone()),
        signer: Signer::new(&settings.session_key),
        files: Files::load()?,
        started: Instant::now(),
        started_at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        stopping: watch::Sender::new(false),
        in_flight: watch::Sender::new(0),
        warm: watch::Sender::new(false),
        settings,
    });
    tokio::spawn(warm_up(app.clone()));
    tokio::spawn(app.database.clone().close_idle_connections());
    log::info("listening", json!({ "address": address.to_string(), "version": env!("CARGO_PKG_VERSION") }));

    let listener = listener.tap_io(|stream| {
        // An event is sent at once, however small it is.
        let _ = stream.set_nodelay(true);
    });
    let mut stopped = app.stopping.subscribe();
    let server = axum::serve(listener, router(app.clone())).with_graceful_shutdown(async move {
        let _ = stopped.wait_for(|stopping| *stopping).await;
    });
    let signals = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        log::info("ending", json!({ "requestsInFlight": *app.in_flight.borrow() }));
        app.stopping.send_replace(true);
        // Connections on which nothing was ever asked don't end by themselves; they are not waited for.
        let mut in_flight = app.in_flight.subscribe();
        let _ = tokio::time::timeout(LAST_ORDERS, in_flight.wait_for(|requests| *requests == 0)).await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        outcome = server.into_future() => outcome.map_err(ServeError::Ended)?,
        () = signals => {}
    }
    log::info("ended", json!({}));
    Ok(())
}

fn router(app: App) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/entries", post(page::write))
        .route("/api/entries", get(api::list).post(api::write))
        .route("/events", get(events::stream))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/version", get(health::version))
        .route("/static/{name}", get(files::file))
        .fallback(answer::not_found)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app)
}

/// Counts a request as in flight until its answer begins, and logs it.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    /// Counts down even when the client goes away.
    struct InFlight(App);
    impl Drop for InFlight {
        fn drop(&mut self) {
            self.0.in_flight.send_modify(|requests| *requests = requests.saturating_sub(1));
        }
    }
    app.in_flight.send_modify(|requests| *requests += 1);
    let _in_flight = InFlight(app);
    let begin = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answer = next.run(request).await;
    let milliseconds = begin.elapsed().as_secs_f64() * 1000.0;
    let fields =
        json!({ "method": method.as_str(), "path": path, "status": answer.status().as_u16(), "ms": milliseconds });
    log::debug("request", fields);
    answer
}

/// Makes the first connection while the first probe is on its way; that waits for it instead of making another one.
async fn warm_up(app: App) {
    if let Err(error) = app.database.probe().await {
        log::warn("the database is not there yet", json!({ "reason": error.to_string() }));
    }
    app.warm.send_replace(true);
}

async fn crash(after: Duration) {
    tokio::time::sleep(after).await;
    log::error("GUESTBOOK_FAULT=crash-after: ending as told", json!({}));
    std::process::exit(101);
}
