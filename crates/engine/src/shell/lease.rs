//! Keeps an operation's lease, and says at once when it can't be relied on any more.
//!
//! ```text
//! granted           renewed at ⅓            held until ⅔                expires (by the store's clock)
//!    ├────────────────────┼────────────────────────┼─────────────────────────┤ a successor may take over
//!    │  calls go on, new ones may start            │ no call of ours is left │
//! ```
//!
//! All times count from *before* the request was sent, on the monotonic clock, so the holder's idea of the end is never later
//! than the store's. The last third is for what has left this process already, a statement that a server is still
//! working on, say: it ends in it, before anybody else can begin.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::error::RunError;
use crate::journal::{Fence, JournalError, Lease, Leases, OperationId};

/// How long the store may take to answer a request for a lease.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// How long to wait before a lease that another process holds is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What became of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseChange {
    /// It could not be renewed in time: no call may go on.
    Lapsed,
    /// It was renewed after all; nobody else had it.
    Restored,
    /// Somebody else has it.
    Lost,
    /// The store has been out of reach for too long.
    GivenUp,
}

/// Renews a lease for as long as it is polled.
pub(super) struct LeaseHolder {
    leases: Arc<dyn Leases>,
    operation: OperationId,
    fence: Fence,
    hold_until: Instant,
    renew_at: Instant,
    give_up_at: Instant,
    patience: Duration,
    lapsed: bool,
    request: Option<(Instant, BoxFuture<'static, Result<Lease, JournalError>>)>,
    alarm: Pin<Box<Sleep>>,
}

impl LeaseHolder {
    /// Waits for the lease.
    pub(super) async fn acquire(
        leases: Arc<dyn Leases>,
        operation: OperationId,
        patience: Duration,
        while_busy: Duration,
    ) -> Result<Self, RunError> {
        let begin = Instant::now();
        loop {
            let sent = Instant::now();
            let problem = match timeout(ANSWER, leases.acquire(operation)).await {
                Ok(Ok(Some(lease))) => return Ok(Self::new(leases, operation, sent, &lease, patience)),
                Ok(Ok(None)) => RunError::Busy,
                // Another process was quicker, and has ended the operation by now: there is nothing to wait for.
                Ok(Err(JournalError::Fenced)) => return Err(RunError::LeaseLost),
                Ok(Err(JournalError::Unavailable(message))) => RunError::Unavailable(message),
                Ok(Err(error @ (JournalError::Unreadable(_) | JournalError::Damaged(_)))) => return Err(error.into()),
                Err(_) => RunError::Unavailable(format!("no answer within {} s", ANSWER.as_secs())),
            };
            let most = if problem == RunError::Busy { while_busy } else { patience };
            if begin.elapsed() >= most {
                return Err(problem);
            }
            sleep(ASK_AGAIN).await;
        }
    }

    fn new(leases: Arc<dyn Leases>, operation: OperationId, sent: Instant, lease: &Lease, patience: Duration) -> Self {
        let mut holder = Self {
            leases,
            operation,
            fence: lease.fence,
            hold_until: sent,
            renew_at: sent,
            give_up_at: sent,
            patience,
            lapsed: false,
            request: None,
            alarm: Box::pin(sleep_until(sent)),
        };
        holder.extend(sent, lease);
        holder
    }

    fn extend(&mut self, sent: Instant, lease: &Lease) {
        self.fence = lease.fence;
        self.renew_at = sent + lease.remaining / 3;
        self.hold_until = sent + lease.remaining / 3 * 2;
        self.give_up_at = sent + self.patience;
    }

    pub(super) fn fence(&self) -> Fence {
        self.fence
    }

    /// Whether calls may go on at this very moment.
    pub(super) fn holds(&self) -> bool {
        !self.lapsed && Instant::now() < self.hold_until
    }

    /// The next change. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> LeaseChange {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<LeaseChange> {
        loop {
            let now = Instant::now();
            // First of all, and without trusting the timer: a process that was stopped for a while may be woken by something else.
            if !self.lapsed && now >= self.hold_until {
                self.lapsed = true;
                return Poll::Ready(LeaseChange::Lapsed);
            }
            if self.lapsed && now >= self.give_up_at {
                return Poll::Ready(LeaseChange::GivenUp);
            }
            if let Some((sent, request)) = &mut self.request
                && let Poll::Ready(answer) = request.as_mut().poll(context)
            {
                let sent = *sent;
                self.request = None;
                match answer {
                    Ok(lease) => {
                        self.extend(sent, &lease);
                        if std::mem::take(&mut self.lapsed) {
                            return Poll::Ready(LeaseChange::Restored);
                        }
                    }
                    Err(JournalError::Fenced) => return Poll::Ready(LeaseChange::Lost),
                    Err(JournalError::Unavailable(_) | JournalError::Unreadable(_) | JournalError::Damaged(_)) => {
                        self.renew_at = now + ASK_AGAIN
                    }
                }
                continue;
            }
            if self.request.is_none() && now >= self.renew_at {
                self.request = Some((now, self.renewal()));
                continue;
            }
            let end = if self.lapsed { self.give_up_at } else { self.hold_until };
            let wake = if self.request.is_some() { end } else { end.min(self.renew_at) };
            self.alarm.as_mut().reset(wake);
            ready!(self.alarm.as_mut().poll(context));
        }
    }

    fn renewal(&self) -> BoxFuture<'static, Result<Lease, JournalError>> {
        let (leases, operation, fence) = (Arc::clone(&self.leases), self.operation, self.fence);
        Box::pin(async move {
            let answer = timeout(ANSWER, leases.renew(operation, fence)).await;
            answer.unwrap_or_else(|_| Err(JournalError::Unavailable("no answer".to_owned())))
        })
    }

    /// Gives the lease back, so that the next operation needn't wait for its end.
    pub(super) async fn release(self) {
        let answer = timeout(ANSWER, self.leases.release(self.operation, self.fence)).await;
        if !matches!(answer, Ok(Ok(()))) {
            tracing::debug!(operation = %self.operation, "the lease was not released; it lapses by itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leases of a store in which the operation has ended.
    struct Ended;

    #[async_trait::async_trait]
    impl Leases for Ended {
        async fn acquire(&self, _: OperationId) -> Result<Option<Lease>, JournalError> {
            Err(JournalError::Fenced)
        }

        async fn renew(&self, _: OperationId, _: Fence) -> Result<Lease, JournalError> {
            Err(JournalError::Fenced)
        }

        async fn release(&self, _: OperationId, _: Fence) -> Result<(), JournalError> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_another_process_has_ended_is_not_waited_for() {
        let begun = Instant::now();
        let operation = OperationId(uuid::Uuid::nil());
        let lease = LeaseHolder::acquire(Arc::new(Ended), operation, Duration::from_secs(900), Duration::ZERO).await;
        assert_eq!(lease.err(), Some(RunError::LeaseLost));
        assert!(begun.elapsed() < ASK_AGAIN);
    }
}
