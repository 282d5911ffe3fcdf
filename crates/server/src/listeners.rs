//! What every platform does while it runs, wherever it runs: operations, housekeeping, the API.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use freehold_api::Api;
use freehold_platform::{Executor, Platform};
use freehold_router::{Client, Door, Limits, Service, Terms};
use freehold_store::{EngineStore, Store};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{error, info, warn};

/// How long answers under way may take when the API ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs operations until `stop`.
pub(crate) fn start_executor(
    platform: &Platform,
    store: &Store,
    engine: EngineStore,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let signals = store.signals_from_now();
    tokio::spawn(Executor::new(engine, Arc::clone(&platform.targets)).work(signals, stop.clone()))
}

/// Removes what has expired and what nothing refers to any more, now and then.
pub(crate) async fn run_maintenance(
    platform: Arc<Platform>,
    engine: EngineStore,
    audit_days: Option<u32>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(600)) => {}
        }
        if let Err(failure) = engine.purge_expired().await {
            warn!("what has expired could not be removed: {failure}");
        }
        match engine.collect_history().await {
            Ok(0) => {}
            Ok(removed) => info!(removed, "old revisions and operations were removed"),
            Err(failure) => warn!("old revisions could not be removed: {failure}"),
        }
        match engine.collect_audit(audit_days.unwrap_or(freehold_store::audit::KEPT_DAYS)).await {
            Ok(0) => {}
            Ok(removed) => info!(removed, "old lines of the audit log were removed"),
            Err(failure) => warn!("old lines of the audit log could not be removed: {failure}"),
        }
        platform.artifacts.collect(&engine).await;
    }
}

/// Answers requests until `stop`, and then those that are under way.
pub(crate) fn serve_api(listener: TcpListener, api: Api, stop: CancellationToken) -> JoinHandle<()> {
    let service = Arc::new(BehindDoor(freehold_api::router(api)));
    tokio::spawn(async move {
        let door = match Door::open(listener, &terms(), Limits::of_an_api(), service) {
            Ok(door) => door,
            Err(failure) => return error!("the API can't be opened: {failure}"),
        };
        stop.cancelled().await;
        if !door.close(PATIENCE).await {
            warn!("requests that were under way are given up");
        }
    })
}

/// What the API keeps to. Whoever follows a log may stop reading for a while.
fn terms() -> Terms {
    Terms {
        max_head_bytes: 64 << 10,
        max_head_fields: 100,
        head_timeout: Duration::from_secs(30),
        write_timeout: Duration::from_secs(600),
        trusted: Vec::new(),
    }
}

/// The API behind the door that the router has, too: with the same limits for each peer, and the same patience.
struct BehindDoor(axum::Router);

impl Service for BehindDoor {
    type Body = Body;

    async fn answer(&self, request: Request<Incoming>, _client: &Client) -> Response<Body> {
        match self.0.clone().oneshot(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
