//! One request for all who ask for the same at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Mutex;
use tokio::time::Instant;

/// What a request was last answered, for as long as somebody waits for it. Nobody gets an answer to a request that was sent before they
/// asked.
#[derive(Debug)]
pub struct Newest<T> {
    answer: Mutex<Option<(Instant, T)>>,
    waiting: AtomicUsize,
}

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Self { answer: Mutex::new(None), waiting: AtomicUsize::new(0) }
    }
}

impl<T: Clone> Newest<T> {
    /// Asks, or takes the answer that somebody else got meanwhile: while one request is on its way all others wait for it, and for the
    /// one after it, which answers all of them.
    ///
    /// # Errors
    /// What the request failed with. The next who waits asks again.
    pub async fn get<E>(&self, request: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let asked = Instant::now();
        let waiting = Waiting::new(&self.waiting);
        let mut newest = self.answer.lock().await;
        drop(waiting);
        let known = newest.as_ref().filter(|(sent, _)| *sent >= asked).map(|(_, answer)| answer.clone());
        let answer = match known {
            Some(answer) => answer,
            None => {
                let sent = Instant::now();
                let answer = request.await?;
                *newest = Some((sent, answer.clone()));
                answer
            }
        };
        // It may be large.
        if self.waiting.load(Ordering::Relaxed) == 0 {
            *newest = None;
        }
        Ok(answer)
    }
}

/// Counts one who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(all)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_while_a_request_is_on_its_way_share_the_next_one() {
        let (newest, sent) = (Newest::default(), AtomicU32::new(0));
        let request = async || {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, ()>(number)
        };
        let late = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            join_all((0..10).map(|_| newest.get(request()))).await
        };
        let (first, late) = tokio::join!(newest.get(request()), late);
        assert_eq!(first, Ok(0));
        assert!(late.iter().all(|answer| *answer == Ok(1)), "{late:?}");
        assert_eq!(newest.get(request()).await, Ok(2), "what was sent before is not taken for an answer");
        assert!(newest.answer.lock().await.is_none(), "nothing is kept for nobody");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_behind_a_request_that_failed_asks_again() {
        let newest = Newest::default();
        assert_eq!(newest.get(async { Err::<u32, _>("away") }).await, Err("away"));
        assert_eq!(newest.get(async { Ok::<_, &str>(1) }).await, Ok(1));
    }
}
