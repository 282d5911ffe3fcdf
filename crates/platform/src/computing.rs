//! Work that takes a processor for longer than a moment: reading, checking, expanding and comparing definitions. It keeps no thread from
//! serving, and there is never more of it at once than half of the processors.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = available_parallelism().map_or(1, NonZero::get);
    Semaphore::new(processors.div_ceil(2))
});

/// Does some of it when it is its turn. Whatever else waits for the thread goes on elsewhere.
pub(super) async fn compute<T>(work: impl FnOnce() -> T) -> T {
    // The semaphore is never closed.
    let _turn = TURNS.acquire().await;
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        return tokio::task::block_in_place(work);
    }
    // There is no other thread that the work would be kept from.
    work()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_are_served_while_something_is_computed() {
        let computing = tokio::spawn(async {
            let (tell, told) = mpsc::channel();
            let other = tokio::spawn(async move { tell.send(()) });
            // The only thread waits here for what can only happen on it.
            assert_eq!(compute(move || told.recv()).await, Ok(()));
            assert!(other.await.is_ok());
        });
        assert!(computing.await.is_ok());
    }
}
