//! One upstream as the router sees it: the requests in flight to it, its idle connections, and whether it is resting.
//!
//! Connections are pooled here and not by hyper-util's client, because what may be sent again depends on whether a connection was
//! used before, and because taking an upstream out of service must close exactly its connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::connect::Connect;
use crate::options::Options;
use crate::signal::Signal;
use crate::upload::RequestBody;
use crate::wire::{Spent, UpstreamStream};
use crate::worker;

/// A connection to an upstream; a task of its own drives it until this is dropped.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<RequestBody>,
    /// Set when it can carry no other request.
    pub(crate) spent: Spent,
    driver: AbortHandle,
}

/// An upstream address, from when it is first put in a set until the last request to it has ended.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    connect: Arc<dyn Connect>,
    options: Arc<Options>,
    in_flight: AtomicUsize,
    /// Woken when `in_flight` reaches zero, if somebody waits for that.
    ended: Notify,
    waiting: AtomicUsize,
    /// Given when what is still open is to be closed.
    pub(crate) cut: Arc<Signal>,
    /// In no upstream set any more: connections that come back are closed.
    retired: AtomicBool,
    /// What is idle on each worker, and what is on none.
    pools: Box<[Pool]>,
    elsewhere: Pool,
    /// Until when no connection is tried while there is another upstream, in milliseconds since `started`.
    rest_until: AtomicU64,
    started: Instant,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// Connections that are idle, the one used last at the end. A cache line of its own, so that workers don't wait for one another's.
#[derive(Default)]
#[repr(align(128))]
struct Pool(Mutex<Vec<Idle>>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for the end of what is in flight.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Backend {
    pub(crate) fn new(address: SocketAddr, connect: Arc<dyn Connect>, options: &Arc<Options>) -> Arc<Backend> {
        Arc::new(Backend {
            address,
            connect,
            options: Arc::clone(options),
            in_flight: AtomicUsize::new(0),
            ended: Notify::new(),
            waiting: AtomicUsize::new(0),
            cut: Arc::default(),
            retired: AtomicBool::new(false),
            pools: std::iter::repeat_with(Pool::default).take(options.threads).collect(),
            elsewhere: Pool::default(),
            rest_until: AtomicU64::new(0),
            started: Instant::now(),
        })
    }

    pub(crate) fn connector(&self) -> &Arc<dyn Connect> {
        &self.connect
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// In a set (again).
    pub(crate) fn serve(&self) {
        self.rest_until.store(0, Ordering::Relaxed);
        self.retired.store(false, Ordering::SeqCst);
    }

    /// In no set any more: closes the idle connections, and the others as they come back.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        for pool in self.all_pools() {
            let closed = std::mem::take(&mut *pool.lock());
            drop(closed);
        }
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// Waits until nothing is in flight any more.
    pub(crate) async fn drained(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            ended.await;
        }
    }

    pub(crate) fn rest(&self) {
        self.rest_until.store(millis(self.started.elapsed() + self.options.rest), Ordering::Relaxed);
    }

    pub(crate) fn is_resting(&self) -> bool {
        let until = self.rest_until.load(Ordering::Relaxed);
        until != 0 && millis(self.started.elapsed()) < until
    }

    /// An idle connection that is open as far as can be seen; the one used last, so that the others can age and go.
    pub(crate) fn take_idle(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.pool().lock();
        let mut index = idle.len();
        while let Some(next) = index.checked_sub(1) {
            index = next;
            let candidate = idle.get(index)?;
            if candidate.connection.sender.is_closed()
                || now.duration_since(candidate.since) >= self.options.idle_timeout
            {
                drop(idle.swap_remove(index));
            } else if candidate.connection.sender.is_ready() {
                return Some(idle.swap_remove(index).connection);
            }
            // Neither closed nor ready: its last exchange is being wound up, so it stays for a later request.
        }
        None
    }

    fn put_idle(&self, connection: Connection) {
        if connection.spent.is_set() {
            // Whatever of the request was not sent yet is of no use any more, and keeps the client from ending.
            connection.driver.abort();
            return;
        }
        if connection.sender.is_closed() {
            return;
        }
        let most = self.options.idle_per_upstream.div_ceil(self.pools.len().max(1));
        let mut idle = self.pool().lock();
        // Read under the lock under which `retire` empties the pool, so that none is added after that.
        if !self.is_retired() && idle.len() < most {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes what was idle for too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let is_fresh = |one: &Idle| now.duration_since(one.since) < self.options.idle_timeout;
        for pool in self.all_pools() {
            let mut idle = pool.lock();
            idle.retain(|one| !one.connection.sender.is_closed() && is_fresh(one));
            if idle.is_empty() {
                idle.shrink_to_fit();
            }
        }
    }

    /// The pool of the calling worker.
    fn pool(&self) -> &Pool {
        worker::number().checked_sub(1).and_then(|index| self.pools.get(index)).unwrap_or(&self.elsewhere)
    }

    fn all_pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter().chain([&self.elsewhere])
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One request (or stream, or tunnel) in flight to a backend; it counts from when this is made until it is dropped.
pub(crate) struct Flight {
    backend: Arc<Backend>,
}

impl Flight {
    /// Called only under the lock of the upstream set (see the crate's header).
    pub(crate) fn begin(backend: &Arc<Backend>) -> Flight {
        backend.in_flight.fetch_add(1, Ordering::SeqCst);
        Flight { backend: Arc::clone(backend) }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The exchange is over and its connection can serve another.
    pub(crate) fn end_with(self, connection: Connection) {
        self.backend.put_idle(connection);
    }

    /// A connection on which nothing was sent yet.
    pub(crate) async fn open(&self) -> std::io::Result<TcpStream> {
        let options = &self.backend.options;
        let connecting = self.backend.connect.connect(self.backend.address);
        let stream = tokio::time::timeout(options.connect_timeout, connecting)
            .await
            .map_err(|_elapsed| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A new connection for requests, driven by a task of its own.
    pub(crate) async fn connect(&self) -> std::io::Result<Connection> {
        let options = &self.backend.options;
        let stream = self.open().await?;
        let spent = Spent::default();
        let stream = UpstreamStream::new(stream, spent.clone());
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(options.max_head_bytes)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        let cut = Arc::clone(&self.backend.cut);
        let driving = tokio::spawn(async move {
            tokio::select! {
                biased;
                () = cut.given() => {}
                // What went wrong is told to whoever waits for the answer; here it is only the end of the connection.
                ended = driver.with_upgrades() => if let Err(error) = ended {
                    tracing::trace!(%error, "connection to an upstream ended");
                },
            }
        });
        Ok(Connection { sender, spent, driver: driving.abort_handle() })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.backend.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.backend.waiting.load(Ordering::SeqCst) > 0
        {
            self.backend.ended.notify_waiters();
        }
    }
}
