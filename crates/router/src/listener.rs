//! Taking connections on an address, and what is open on it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::task::TaskTracker;

use crate::answer::Answer;
use crate::options::Options;

/// How long to wait when no connection can be taken for want of descriptors or memory.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(50);
const BACKLOG: u32 = 4096;

/// Answers the requests of a listener.
pub(crate) trait Service: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>, client: SocketAddr) -> impl Future<Output = Response<Answer>> + Send;
}

/// An address that is listened on, until [`Listener::stop`].
pub(crate) struct Listener {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    open: Arc<Open>,
}

/// The connections that are open on a listener. Each has its own signal, so that a request takes no lock that all share.
#[derive(Default)]
struct Open {
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    by_number: HashMap<u64, Handle>,
}

struct Handle {
    /// Dropped to let the connection finish what it is at and close.
    stop: Option<oneshot::Sender<()>>,
    abort: AbortHandle,
}

impl Listener {
    /// Listens with SO_REUSEADDR, so that a restart need not wait for the connections of before to be forgotten.
    pub(crate) fn start<S: Service>(
        address: SocketAddr,
        options: &Options,
        tracker: &TaskTracker,
        service: Arc<S>,
    ) -> io::Result<Listener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let open = Arc::new(Open::default());
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(options.head_timeout)
            .max_header_size(options.max_head_bytes)
            .max_buf_size(options.max_head_bytes);
        let acceptor = Acceptor { protocol, tracker: tracker.clone(), open: Arc::clone(&open), service };
        Ok(Listener { address, accepting: tokio::spawn(acceptor.run(listener)), open })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections and lets the open ones finish the request that they are at. The address is free when the handle is
    /// done.
    pub(crate) fn stop(&mut self) {
        self.accepting.abort();
        for handle in self.open.connections().by_number.values_mut() {
            handle.stop = None;
        }
    }

    /// After [`Listener::stop`]: waits until the address is free.
    pub(crate) async fn stopped(self) {
        // The task was aborted: that it says so is no news.
        let _ = self.accepting.await;
    }

    /// Ends the connections that are still open.
    pub(crate) fn abort(&self) {
        for handle in self.open.connections().by_number.values() {
            handle.abort.abort();
        }
    }
}

impl Open {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a connection out of the books when its task ends, in whatever way.
struct Entered {
    open: Arc<Open>,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.open.connections().by_number.remove(&self.number);
    }
}

struct Acceptor<S> {
    protocol: http1::Builder,
    tracker: TaskTracker,
    open: Arc<Open>,
    service: Arc<S>,
}

impl<S: Service> Acceptor<S> {
    async fn run(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, client)) => self.enter(stream, client),
                Err(error) if is_exhaustion(&error) => {
                    tracing::warn!(%error, "the router can take no connection for the moment");
                    tokio::time::sleep(EXHAUSTED_WAIT).await;
                }
                // The client went away while it waited to be taken.
                Err(error) => tracing::debug!(%error, "a connection was lost before it was taken"),
            }
        }
    }

    fn enter(&self, stream: TcpStream, client: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was lost as it was taken");
            return;
        }
        let (stop, stopped) = oneshot::channel();
        // Held while the task is spawned, so that it cannot end before it is entered.
        let mut connections = self.open.connections();
        let number = connections.next;
        connections.next += 1;
        let entered = Entered { open: Arc::clone(&self.open), number };
        let service = Arc::clone(&self.service);
        let serving = service_fn(move |request| {
            let service = Arc::clone(&service);
            // Boxed, so that an idle connection does not keep room for a request.
            Box::pin(async move { Ok::<_, std::convert::Infallible>(service.answer(request, client).await) })
        });
        let connection = self.protocol.serve_connection(TokioIo::new(stream), serving).with_upgrades();
        let task = self.tracker.spawn(async move {
            let _entered = entered;
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                _ = stopped => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::trace!(%error, "a client's connection ended early");
            }
        });
        connections.by_number.insert(number, Handle { stop: Some(stop), abort: task.abort_handle() });
    }
}

/// Whether an error means that the process or the machine is out of descriptors, buffers or memory.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM on Linux; the kinds of std do not tell the first three.
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12)) || error.kind() == io::ErrorKind::OutOfMemory
}
