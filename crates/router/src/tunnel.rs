//! A connection that left HTTP (WebSocket and the like): bytes both ways until one side ends it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::admission::Place;
use crate::backend::Flight;

const PIECE: usize = 16 * 1024;

/// Copies both ways. The request stays in flight until the end, so that a drain waits for it, and a cut closes both sides. The time
/// limit of the rule ended with the answer 101: a tunnel has no length that could be known beforehand, but one that carries nothing for
/// `idle` is closed, and so is one whose client's place was given to another.
pub(crate) async fn tunnel(client: OnUpgrade, upstream: OnUpgrade, flight: Flight, place: Arc<Place>, idle: Duration) {
    let _busy = place.busy();
    let (client, upstream) = match tokio::try_join!(client, upstream) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "a connection could not be upgraded");
            return;
        }
    };
    let (mut client_reads, mut client_writes) = tokio::io::split(TokioIo::new(client));
    let (mut upstream_reads, mut upstream_writes) = tokio::io::split(TokioIo::new(upstream));
    let carried = AtomicU64::new(0);
    let both = async {
        tokio::try_join!(
            carry(&mut client_reads, &mut upstream_writes, &carried),
            carry(&mut upstream_reads, &mut client_writes, &carried)
        )
    };
    let closed = tokio::select! {
        copied = both => {
            if let Err(error) = copied {
                tracing::trace!(%error, "a tunnel broke off");
            }
            false
        }
        () = place.closed() => false,
        () = quiet_for(idle, &carried) => true,
        () = flight.backend().cut.given() => true,
    };
    if closed {
        // Whether a side is still there to be told does not matter.
        let _ = tokio::join!(client_writes.shutdown(), upstream_writes.shutdown());
    }
}

/// Copies one way until the end, and passes that on.
async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    carried: &AtomicU64,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece).await?;
        let Some(read @ [_, ..]) = piece.get(..count) else { break };
        carried.fetch_add(1, Ordering::Relaxed);
        to.write_all(read).await?;
        to.flush().await?;
    }
    to.shutdown().await
}

/// Completes when nothing was carried for so long, or at the most twice as long.
async fn quiet_for(idle: Duration, carried: &AtomicU64) {
    let mut before = None;
    loop {
        let now = carried.load(Ordering::Relaxed);
        if before == Some(now) {
            return;
        }
        before = Some(now);
        tokio::time::sleep(idle).await;
    }
}
