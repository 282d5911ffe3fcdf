//! Something that happens at the most once, and that is asked about with every request.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use tokio_util::sync::CancellationToken;

/// A cancellation of which those who wait take no lock that others need, but once each.
#[derive(Default)]
pub(crate) struct Signal {
    given: AtomicBool,
    token: CancellationToken,
}

impl Signal {
    pub(crate) fn give(&self) {
        self.given.store(true, Ordering::SeqCst);
        self.token.cancel();
    }

    pub(crate) fn is_given(&self) -> bool {
        self.given.load(Ordering::SeqCst)
    }

    /// Completes when it is given. To be polled by one task only, since it keeps the waker of the first time.
    pub(crate) async fn given(&self) {
        let mut token = pin!(self.token.cancelled());
        let mut waits = false;
        poll_fn(|context| {
            if waits && !self.is_given() {
                return Poll::Pending;
            }
            waits = true;
            token.as_mut().poll(context)
        })
        .await;
    }
}
