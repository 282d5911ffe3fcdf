//! What every platform does while it runs, wherever it runs: operations, housekeeping, the API.

use std::sync::Arc;
use std::time::Duration;

use freehold_store::EngineStore;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::executor::Executor;
use crate::platform::Platform;

/// How long answers under way may take when the API ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs operations until `stop`.
pub(crate) fn start_executor(
    platform: &Arc<Platform>,
    engine: EngineStore,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let signals = platform.store.signals_from_now();
    tokio::spawn(Executor::new(engine, Arc::clone(platform)).work(signals, stop.clone()))
}

/// Removes what has expired and what nothing refers to any more, now and then.
pub(crate) async fn keep_house(platform: Arc<Platform>, engine: EngineStore, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(600)) => {}
        }
        if let Err(failure) = engine.purge_expired().await {
            warn!("what has expired could not be removed: {failure}");
        }
        platform.collect_artifacts(&engine).await;
    }
}

/// Answers requests until `stop`, and then those that are under way.
pub(crate) fn serve_api(listener: TcpListener, platform: &Arc<Platform>, stop: CancellationToken) -> JoinHandle<()> {
    let service = crate::http::router(Arc::clone(platform));
    tokio::spawn(async move {
        let serve = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            result = serve.into_future() => {
                if let Err(failure) = result {
                    error!("the API has ended: {failure}");
                }
            }
            () = late => warn!("requests that were under way are given up"),
        }
    })
}
