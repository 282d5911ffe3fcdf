//! One timer for everything that is waited for on a connection, one thing after another.
//!
//! Each request has two limits of time that almost never run out: for its head, and for its exchange. A timer of its own for each
//! would be set and taken back twice a request. This one stays set; when it rings too early it is set again, for the rest.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of a connection. Polled by the connection's task only.
#[derive(Default)]
pub(crate) struct Alarm(Mutex<Option<Pin<Box<Sleep>>>>);

impl Alarm {
    /// Ready once the deadline has passed.
    pub(crate) fn poll(&self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// What comes of `work` until the deadline; `None` if that passes before.
    pub(crate) async fn limit<T>(&self, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll(deadline, context).map(|()| None),
        })
        .await
    }
}

/// The alarm of a connection as hyper asks for it: for the head of each request.
pub(crate) struct HeadTimer(pub(crate) Arc<Alarm>);

struct HeadWait {
    alarm: Arc<Alarm>,
    deadline: Instant,
}

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until((Instant::now() + duration).into_std())
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HeadWait { alarm: Arc::clone(&self.0), deadline: deadline.into() })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

impl Future for HeadWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll(self.deadline, context)
    }
}

impl hyper::rt::Sleep for HeadWait {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_that_is_set_already_rings_at_each_deadline_and_never_before() {
        let (alarm, begin) = (Alarm::default(), Instant::now());
        for milliseconds in [10, 30, 40] {
            let deadline = begin + Duration::from_millis(milliseconds);
            // Something that ends long before its own deadline.
            let later = deadline + Duration::from_secs(100);
            assert_eq!(alarm.limit(later, tokio::task::yield_now()).await, Some(()));
            assert_eq!(alarm.limit(deadline, std::future::pending::<()>()).await, None);
            assert!(Instant::now() >= deadline);
        }
    }
}
