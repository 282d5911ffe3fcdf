//! What every platform does while it runs, wherever it runs: operations, housekeeping, the API.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use freehold_api::Api;
use freehold_platform::{Executor, Platform};
use freehold_problem::Code;
use freehold_router::{Client, Door, Limits, Service, Terms};
use freehold_store::{EngineStore, Store};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{error, info, warn};

use crate::start::StartError;

/// How long answers under way may take when the API ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Work that the platform can't do without.
pub(crate) struct Essential(JoinHandle<Result<(), StartError>>);

impl Essential {
    /// Begins it. Its end before `stop` is a defect, and stops the whole platform: what goes on answering without it would accept what
    /// nobody does. Whatever restarts the process gets all of it back.
    pub(crate) fn start(
        what: &'static str,
        stop: &CancellationToken,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let stop = stop.clone();
        Self(tokio::spawn(async move {
            let why = match tokio::spawn(work).await {
                Ok(()) if stop.is_cancelled() => return Ok(()),
                Ok(()) => "it ended by itself".to_owned(),
                Err(error) => error.to_string(),
            };
            let failure = StartError::new(Code::Internal, format!("{what} has stopped working: {why}"))
                .help("start the platform again: what was under way continues; the lines of its log before this one belong into a report");
            error!("{}; the platform stops", failure.message);
            stop.cancel();
            Err(failure)
        }))
    }

    /// Waits for its end; why it ended, if that wasn't because of `stop`.
    pub(crate) async fn ended(self) -> Option<StartError> {
        let gone = |error: JoinError| Err(StartError::new(Code::Internal, error.to_string()));
        self.0.await.unwrap_or_else(gone).err()
    }
}

/// Runs operations until `stop`.
pub(crate) fn start_executor(
    platform: &Platform,
    store: &Store,
    engine: EngineStore,
    stop: &CancellationToken,
) -> Essential {
    let work = Executor::new(engine, Arc::clone(&platform.targets)).work(store.signals_from_now(), stop.clone());
    Essential::start("the executor of operations", stop, work)
}

/// Removes what has expired and what nothing refers to any more, now and then, until `stop`.
pub(crate) fn start_maintenance(
    platform: &Arc<Platform>,
    engine: EngineStore,
    audit_days: Option<u32>,
    stop: &CancellationToken,
) -> Essential {
    let work = maintain(Arc::clone(platform), engine, audit_days, stop.clone());
    Essential::start("the maintenance of the store", stop, work)
}

async fn maintain(platform: Arc<Platform>, engine: EngineStore, audit_days: Option<u32>, stop: CancellationToken) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_ends_before_it_is_to_stops_the_platform_and_says_why() {
        let stop = CancellationToken::new();
        let dies = Essential::start("the executor", &stop, async { panic!("a defect") });
        stop.cancelled().await;
        let failure = dies.ended().await.unwrap();
        assert_eq!(failure.code, Code::Internal);
        assert!(failure.message.starts_with("the executor has stopped working: "), "{}", failure.message);

        let stop = CancellationToken::new();
        let leaves = Essential::start("the executor", &stop, async {});
        stop.cancelled().await;
        assert_eq!(leaves.ended().await.unwrap().message, "the executor has stopped working: it ended by itself");
    }

    #[tokio::test]
    async fn work_that_ends_with_the_platform_is_no_failure() {
        let stop = CancellationToken::new();
        let work = Essential::start("the executor", &stop, stop.clone().cancelled_owned());
        stop.cancel();
        assert!(work.ended().await.is_none());
    }
}
