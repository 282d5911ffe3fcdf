//! A connection that left HTTP (WebSocket and the like): bytes both ways until one side ends it.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use crate::backend::Flight;

/// Copies both ways. The request stays in flight until the end, so that a drain waits for it, and a cut closes both sides. The time
/// limit of the rule ended with the answer 101: a tunnel has no length that could be known beforehand.
pub(crate) async fn tunnel(client: OnUpgrade, upstream: OnUpgrade, flight: Flight) {
    let (client, upstream) = match tokio::try_join!(client, upstream) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "a connection could not be upgraded");
            return;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {
            if let Err(error) = copied {
                tracing::trace!(%error, "a tunnel broke off");
            }
        }
        () = flight.backend().cut.cancelled() => {
            // Whether a side is still there to be told does not matter.
            let _ = tokio::join!(client.shutdown(), upstream.shutdown());
        }
    }
}
