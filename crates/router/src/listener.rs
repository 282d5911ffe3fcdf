//! Taking connections on an address, and what is open on it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, Busy, Limits, Peer, Place};
use crate::alarm::{Alarm, HeadTimer};
use crate::client::ClientStream;
use crate::network::Proxy;
use crate::quiet::Quiet;
use crate::worker::{self, Share, Workers};

/// How long to wait when no connection can be taken for want of descriptors or memory.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(50);
const BACKLOG: u32 = 4096;
/// What hyper reads beyond what is allowed, so that the refusal can be a page of ours.
const HEAD_MARGIN: usize = 2;

/// Answers the requests of a listener.
pub trait Service: Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static;

    /// The answer to a request.
    fn answer(&self, request: Request<Incoming>, client: &Client) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// The peer of a connection.
#[derive(Clone)]
pub struct Client {
    /// Where the connection comes from.
    pub address: SocketAddr,
    pub(crate) place: Arc<Place>,
    /// Rings for what its connection waits for.
    pub(crate) alarm: Arc<Alarm>,
}

impl Client {
    pub(crate) fn is_one_of(&self, proxies: &[Proxy]) -> bool {
        proxies.iter().any(|proxy| proxy.is(self.address.ip(), self.place.peer()))
    }
}

/// What a listener keeps to.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The largest request head, in bytes; a much larger one is answered 431 without a word. At least 8192.
    pub max_head_bytes: usize,
    /// The most header fields of a request; of a much larger number the answer is 431 without a word.
    pub max_head_fields: usize,
    /// How long a client may take to send the head of a request. It also ends a kept-alive connection on which nothing comes.
    pub head_timeout: Duration,
    /// How long a client may read nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// Clients that are counted for nobody: proxies that are trusted.
    pub trusted: Vec<Proxy>,
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
        terms: &Terms,
        admission: &Arc<Admission>,
        tracker: &TaskTracker,
        workers: &Arc<Workers>,
        service: Arc<S>,
    ) -> io::Result<Listener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Listener::take(socket.listen(BACKLOG)?, terms, admission, tracker, workers, service)
    }

    /// Takes the connections of a socket that listens already.
    pub(crate) fn take<S: Service>(
        listener: TcpListener,
        terms: &Terms,
        admission: &Arc<Admission>,
        tracker: &TaskTracker,
        workers: &Arc<Workers>,
        service: Arc<S>,
    ) -> io::Result<Listener> {
        let address = listener.local_addr()?;
        let open = Arc::new(Open::default());
        // hyper panics on a smaller buffer.
        let head = terms.max_head_bytes.max(8192).saturating_mul(HEAD_MARGIN);
        let mut protocol = http1::Builder::new();
        protocol
            .header_read_timeout(terms.head_timeout)
            .max_headers(terms.max_head_fields.saturating_mul(HEAD_MARGIN))
            .max_header_size(head)
            .max_buf_size(head);
        let acceptor = Acceptor {
            protocol,
            terms: terms.clone(),
            admission: Arc::clone(admission),
            tracker: tracker.clone(),
            workers: Arc::clone(workers),
            open: Arc::clone(&open),
            service,
            exhausted: Quiet::default(),
            refused: Quiet::default(),
        };
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

/// An entrance of its own on a socket that listens already, for something other than the router: the API.
pub struct Door {
    listener: Listener,
    tasks: TaskTracker,
}

impl Door {
    /// Takes connections from now on.
    ///
    /// # Errors
    /// The socket has no address.
    pub fn open<S: Service>(listener: TcpListener, terms: &Terms, limits: Limits, service: Arc<S>) -> io::Result<Door> {
        let tasks = TaskTracker::new();
        let (admission, workers) = (Admission::new(limits), Arc::new(Workers::here()));
        let listener = Listener::take(listener, terms, &admission, &tasks, &workers, service)?;
        Ok(Door { listener, tasks })
    }

    /// Takes no more connections, lets the requests under way finish within `limit`, and closes the rest. Says whether all finished.
    pub async fn close(mut self, limit: Duration) -> bool {
        self.listener.stop();
        self.tasks.close();
        let finished = tokio::time::timeout(limit, self.tasks.wait()).await.is_ok();
        if !finished {
            self.listener.abort();
        }
        self.listener.stopped().await;
        finished
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
    _share: Share,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.open.connections().by_number.remove(&self.number);
    }
}

struct Acceptor<S> {
    protocol: http1::Builder,
    terms: Terms,
    admission: Arc<Admission>,
    tracker: TaskTracker,
    workers: Arc<Workers>,
    open: Arc<Open>,
    service: Arc<S>,
    exhausted: Quiet,
    refused: Quiet,
}

impl<S: Service> Acceptor<S> {
    async fn run(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, client)) => {
                    self.enter(stream, client);
                    // Whoever makes many connections does not hold up the requests of this worker's others.
                    tokio::task::yield_now().await;
                }
                Err(error) if is_exhaustion(&error) => {
                    if let Some(unsaid) = self.exhausted.may_say() {
                        tracing::warn!(%error, unsaid, "no connection can be taken for the moment");
                    }
                    self.admission.relieve();
                    sleep(EXHAUSTED_WAIT).await;
                }
                // The client went away while it waited to be taken.
                Err(error) => tracing::debug!(%error, "a connection was lost before it was taken"),
            }
        }
    }

    fn enter(&self, stream: TcpStream, client: SocketAddr) {
        let ours = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
            Ok(ours) => ours,
            Err(error) => return tracing::debug!(%error, "a connection was lost as it was taken"),
        };
        let peer = Peer::of(client, ours);
        let trusted = self.terms.trusted.iter().any(|proxy| proxy.is(client.ip(), peer));
        let Some(taken) = self.admission.enter(peer, trusted) else {
            if let Some(unsaid) = self.refused.may_say() {
                tracing::warn!(?peer, unsaid, "a connection was refused: its peer has all that one may have in use");
            }
            return;
        };
        let share = self.workers.share();
        let arrived = match share.is_here {
            true => Ok(Arrived::Here(stream)),
            false => stream.into_std().map(Arrived::Elsewhere),
        };
        let arrived = match arrived {
            Ok(arrived) => arrived,
            Err(error) => return tracing::debug!(%error, "a connection was lost as it was handed over"),
        };
        let place = Arc::clone(taken.place());
        let alarm = Arc::<Alarm>::default();
        let limit = self.terms.write_timeout;
        let mut protocol = self.protocol.clone();
        protocol.timer(HeadTimer(Arc::clone(&alarm)));
        let asked = Arc::new(Asked {
            service: Arc::clone(&self.service),
            client: Client { address: client, place: Arc::clone(&place), alarm },
        });
        let (stop, mut stopped) = oneshot::channel();
        // Held while the task is spawned, so that it cannot end before it is entered.
        let mut connections = self.open.connections();
        let number = connections.next;
        connections.next += 1;
        let handle = share.handle.clone();
        let entered = Entered { open: Arc::clone(&self.open), number, _share: share };
        let serving = async move {
            let _entered = entered;
            if !place.pause().is_zero() {
                tokio::select! {
                    () = sleep(place.pause()) => {}
                    () = place.closed() => return,
                    _ = &mut stopped => return,
                }
            }
            let stream = match arrived.here() {
                Ok(stream) => ClientStream::new(stream, taken, limit),
                Err(error) => return tracing::debug!(%error, "a connection was lost as it was handed over"),
            };
            let connection = protocol.serve_connection(TokioIo::new(stream), serve(asked)).with_upgrades();
            tokio::pin!(connection);
            let ended = tokio::select! {
                biased;
                () = place.closed() => return,
                ended = connection.as_mut() => ended,
                _ = stopped => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::trace!(%error, "a client's connection ended early");
            }
        };
        let task = self.tracker.spawn_on(serving, &handle);
        connections.by_number.insert(number, Handle { stop: Some(stop), abort: task.abort_handle() });
    }
}

/// A connection that was taken, where the system's events about it are waited for by now.
enum Arrived {
    /// On the worker that serves it.
    Here(TcpStream),
    /// Nowhere: another worker has taken it.
    Elsewhere(std::net::TcpStream),
}

impl Arrived {
    fn here(self) -> io::Result<TcpStream> {
        match self {
            Arrived::Here(stream) => Ok(stream),
            Arrived::Elsewhere(stream) => TcpStream::from_std(stream),
        }
    }
}

/// What is asked on one connection, and who asks.
struct Asked<S> {
    service: Arc<S>,
    client: Client,
}

fn serve<S: Service>(
    asked: Arc<Asked<S>>,
) -> impl hyper::service::HttpService<Incoming, ResBody = Answered<S::Body>, Error = Infallible, Future: Send> {
    service_fn(move |request| {
        let asked = Arc::clone(&asked);
        // Boxed, so that an idle connection does not keep room for a request.
        Box::pin(async move {
            let busy = asked.client.place.busy();
            worker::count_handled();
            let answer = asked.service.answer(request, &asked.client).await;
            worker::count_handled();
            Ok(answer.map(|body| Answered { body, _busy: busy }))
        })
    })
}

/// The body of an answer; its connection is in use until this is dropped.
struct Answered<B> {
    body: B,
    _busy: Busy,
}

impl<B: Body + Unpin> Body for Answered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether an error means that the process or the machine is out of descriptors, buffers or memory.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM on Linux; the kinds of std do not tell the first three.
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12)) || error.kind() == io::ErrorKind::OutOfMemory
}
