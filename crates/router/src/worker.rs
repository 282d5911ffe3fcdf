//! The threads that connections are served on.
//!
//! Each worker has a runtime of its own. A connection stays on the worker that it was given to, and so do its requests and the
//! connections to upstreams that they use: no request waits until another thread has woken up, and none takes a lock that another
//! worker holds for longer than a count.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};
use tokio_util::sync::CancellationToken;

/// The nice value of the router's own threads: some nine times the processor time of a thread that has 0, as far as they want it.
const NICE: i32 = -10;

/// A yield that takes longer lets others do more than send what they have.
const LONG_YIELD: Duration = Duration::from_micros(1500);
/// So few requests and answers in a long yield were not worth it.
const FEW: u32 = 4;
/// How long a worker doesn't yield after one that was not worth it.
const YIELD_PAUSE: Duration = Duration::from_secs(1);

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
    static YIELDS: Cell<Yields> = const { Cell::new(Yields { handled: 0, was_long: false, paused_until: None }) };
}

/// The number of the worker that calls, from 1; 0 on every other thread.
pub(crate) fn number() -> usize {
    NUMBER.get()
}

/// Counts a request or an answer that the calling worker has handled.
pub(crate) fn count_handled() {
    let yields = YIELDS.get();
    YIELDS.set(Yields { handled: yields.handled.saturating_add(1), ..yields });
}

/// All workers of an entrance.
pub(crate) struct Workers {
    first: Worker,
    others: Box<[Worker]>,
    /// Whose turn it is to take the connections of another listener.
    turn: AtomicUsize,
    /// Ends the threads.
    stop: CancellationToken,
}

/// One thread, or the runtime of whoever made the entrance.
struct Worker {
    number: usize,
    handle: Handle,
    connections: Arc<AtomicUsize>,
}

/// A connection's share of a worker, until this is dropped.
pub(crate) struct Share {
    connections: Arc<AtomicUsize>,
    pub(crate) handle: Handle,
    /// The worker is the one that asked for it.
    pub(crate) is_here: bool,
}

impl Workers {
    /// So many threads; with 0 the runtime of the caller is the only worker.
    pub(crate) fn start(count: usize) -> std::io::Result<Workers> {
        if count == 0 {
            return Ok(Workers::here());
        }
        let stop = CancellationToken::new();
        // Ends those that were started already if a later one cannot be.
        let guard = stop.clone().drop_guard();
        let first = Worker::start(1, &stop)?;
        let others = (2..=count).map(|number| Worker::start(number, &stop)).collect::<Result<_, _>>()?;
        guard.disarm();
        Ok(Workers { first, others, turn: AtomicUsize::new(0), stop })
    }

    /// The runtime of the caller.
    pub(crate) fn here() -> Workers {
        let first = Worker { number: 0, handle: Handle::current(), connections: Arc::default() };
        Workers { first, others: Box::default(), turn: AtomicUsize::new(0), stop: CancellationToken::new() }
    }

    /// Runs a task that belongs to no connection.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.first.handle.spawn(task);
    }

    /// Enters the runtime of the worker that is to take the connections of the next listener.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        let worker = turn.checked_sub(1).and_then(|turn| self.others.get(turn)).unwrap_or(&self.first);
        worker.handle.enter()
    }

    /// A share of the worker with the fewest connections; of the calling one where no other has fewer.
    pub(crate) fn share(&self) -> Share {
        let here = number();
        let load = |worker: &Worker| (worker.connections.load(Ordering::Relaxed), worker.number != here);
        let lighter = |least, other| if load(other) < load(least) { other } else { least };
        let worker = self.others.iter().fold(&self.first, lighter);
        worker.connections.fetch_add(1, Ordering::Relaxed);
        Share {
            connections: Arc::clone(&worker.connections),
            handle: worker.handle.clone(),
            is_here: worker.number == 0 || worker.number == here,
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Not waited for: the last handle may be dropped on one of these threads.
        self.stop.cancel();
    }
}

impl Worker {
    fn start(number: usize, stop: &CancellationToken) -> std::io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(yield_before_sleep).build()?;
        let handle = runtime.handle().clone();
        let stop = stop.clone();
        std::thread::Builder::new().name("router".to_owned()).spawn(move || run(number, runtime, &stop))?;
        Ok(Worker { number, handle, connections: Arc::default() })
    }
}

fn run(number: usize, runtime: Runtime, stop: &CancellationToken) {
    NUMBER.set(number);
    go_first();
    runtime.block_on(stop.cancelled());
    runtime.shutdown_background();
}

/// Yields the processor before the worker sleeps.
///
/// A worker has priority, so each packet that wakes it interrupts the thread that sent it: a client with sixteen requests to send is
/// interrupted sixteen times. A worker that yields is awake and interrupts nobody, and those requests come in one batch.
fn yield_before_sleep() {
    let mut yields = YIELDS.get();
    let begin = Instant::now();
    if yields.is_due(begin) {
        std::thread::yield_now();
        yields.was_long = begin.elapsed() > LONG_YIELD;
    }
    YIELDS.set(yields);
}

/// Whether a worker yields. Where the other threads are busy with something else, such as a tenant's endless loop, it would wait for
/// the system's next tick each time: after a long yield that hardly anything came of it doesn't yield for a while.
#[derive(Clone, Copy, Debug)]
struct Yields {
    /// Requests and answers since the last one.
    handled: u32,
    was_long: bool,
    paused_until: Option<Instant>,
}

impl Yields {
    fn is_due(&mut self, now: Instant) -> bool {
        let (handled, was_long) = (std::mem::take(&mut self.handled), std::mem::take(&mut self.was_long));
        if was_long && handled <= FEW {
            self.paused_until = Some(now + YIELD_PAUSE);
        }
        self.paused_until.is_none_or(|until| now >= until)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets the calling thread run before others of its group: what it does takes microseconds, and a tenant whose programs are busy would
/// make everybody's requests wait for their turn. Only root may; for others it stays as it is.
fn go_first() {
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!(%error, "the router's threads run with no priority over others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_stops_yielding_for_a_while_to_threads_that_send_it_nothing() {
        let now = Instant::now();
        let after = |handled, was_long| Yields { handled, was_long, paused_until: None };
        assert!(after(0, false).is_due(now) && after(FEW + 1, true).is_due(now));
        let mut yields = after(FEW, true);
        assert!(!yields.is_due(now) && !yields.is_due(now + YIELD_PAUSE / 2));
        assert!(yields.is_due(now + YIELD_PAUSE));
    }
}
