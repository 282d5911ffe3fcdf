//! The addresses of what is not the router's, caches, buckets and ports of services: who may connect is led to the server.
//!
//! ```text
//!   accept ──► who connects? the stack's user, or we ──► room left? ──► the server: both ways until one of them closes
//!                       └── anybody else: closed             └── none: closed
//! ```
//!
//! Each address has a thread of its own: what one stack's programs send takes processor time from the others' as any program does, and no turn
//! in a queue that all share. The descriptors are shared by all of Freehold, so connections are counted: for each stack, and all together.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freehold_graph::StackId;
use freehold_graph::cache::MOST_CLIENTS;
use freehold_router::socket::connected;
use freehold_router::{EndpointKey, Router};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::account::Accounts;
use crate::cache::socket::CacheSocket;
use crate::descriptors;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 256;
/// How long to wait when none can be accepted for want of descriptors or memory.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(50);
/// How long its thread may take to end.
const LONGEST_END: Duration = Duration::from_secs(1);
/// Threads of an address for what blocks: what a bucket reads and writes.
const BLOCKING: usize = 8;
/// What is held of each connection and direction, in bytes.
const BUFFER: usize = 16 << 10;
/// Which part of Freehold's descriptors all these connections may take together. Each takes two.
const SHARE: u64 = 4;
/// The descriptors that there are where no limit is known.
const DESCRIPTORS: u64 = 1024;

/// What connections are led to.
#[derive(Debug, Clone)]
pub(crate) enum Server {
    /// The server of a cache.
    Cache(CacheSocket),
    /// A port of a service, whichever of its processes serve it.
    Service(EndpointKey),
    /// The server of a bucket, within Freehold.
    Bucket(freehold_bucket::Server),
}

impl Server {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cache(one), Self::Cache(other)) => one.folder == other.folder,
            (Self::Service(one), Self::Service(other)) => one == other,
            (Self::Bucket(one), Self::Bucket(other)) => one.is(other),
            (Self::Cache(_), Self::Service(_) | Self::Bucket(_))
            | (Self::Service(_), Self::Cache(_) | Self::Bucket(_))
            | (Self::Bucket(_), Self::Cache(_) | Self::Service(_)) => false,
        }
    }
}

/// The addresses that are listened on, and the connections that are open.
pub(crate) struct Forwards {
    router: Router,
    accounts: Arc<Accounts>,
    open: Mutex<BTreeMap<EndpointKey, Forward>>,
    seats: Arc<Seats>,
}

/// Ends when it is dropped, and then it doesn't listen any more.
struct Forward {
    address: SocketAddr,
    stack: StackId,
    server: Server,
    guard: Option<DropGuard>,
    /// Closed by its thread.
    ended: Receiver<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        drop(self.guard.take());
        // One that doesn't end is a thread that doesn't get a turn: it is no reason to wait for ever.
        let _ = self.ended.recv_timeout(LONGEST_END);
    }
}

impl Forwards {
    pub(crate) fn new(router: Router, accounts: Arc<Accounts>) -> Self {
        let all = descriptors::limit().unwrap_or(DESCRIPTORS) / SHARE / 2;
        Self { router, accounts, open: Mutex::default(), seats: Arc::new(Seats { all, taken: Mutex::default() }) }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<EndpointKey, Forward>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leads connections to an address to a server of this stack. Where that is so already, nothing changes.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub(crate) fn listen(&self, key: &EndpointKey, stack: StackId, address: SocketAddr, to: Server) -> io::Result<()> {
        let mut open = self.open();
        if open.get(key).is_some_and(|forward| forward.address == address && forward.server.is(&to)) {
            return Ok(());
        }
        open.remove(key);
        let stopped = CancellationToken::new();
        let (listening, listens) = std::sync::mpsc::channel();
        let (ending, ended) = std::sync::mpsc::channel::<()>();
        let (token, seats) = (stopped.clone(), Arc::clone(&self.seats));
        let (router, accounts) = (self.router.clone(), Arc::clone(&self.accounts));
        let leading = Leading { stack, server: to.clone(), router, accounts };
        let thread = std::thread::Builder::new().name("forward".to_owned()).spawn(move || {
            let _ending = ending;
            let runtime =
                match tokio::runtime::Builder::new_current_thread().max_blocking_threads(BLOCKING).enable_all().build()
                {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(listening.send(Err(error))),
                };
            LocalSet::new().block_on(&runtime, async move {
                let listener = match bind(address).await {
                    Ok(listener) => listener,
                    Err(error) => return drop(listening.send(Err(error))),
                };
                let _ = listening.send(Ok(()));
                tokio::select! {
                    () = accept(&listener, address, &leading, &seats) => {}
                    () = token.cancelled() => {}
                }
            });
        });
        thread?;
        listens.recv().map_err(|_ended| io::Error::other("its thread ended"))??;
        let forward = Forward { address, stack, server: to, guard: Some(stopped.drop_guard()), ended };
        open.insert(key.clone(), forward);
        Ok(())
    }

    /// Closes an address, and the connections to it.
    pub(crate) fn stop(&self, key: &EndpointKey) {
        self.open().remove(key);
    }

    /// The same for all ports of a service, or a cache.
    pub(crate) fn stop_all_at(&self, own: &EndpointKey) {
        let named = format!("{}:", own.0);
        self.open().retain(|key, _| key != own && !key.0.starts_with(&named));
    }

    /// The same for all of a stack.
    pub(crate) fn stop_all_of(&self, stack: StackId) {
        self.open().retain(|_, forward| forward.stack != stack);
    }
}

/// Where the listener of before is about to be closed, it is waited for.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let mut tries = 0;
    loop {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < 20 => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => return other,
        }
    }
}

/// Who may connect to what.
#[derive(Clone)]
struct Leading {
    stack: StackId,
    server: Server,
    router: Router,
    accounts: Arc<Accounts>,
}

impl Leading {
    /// Whether a user's programs may connect: the stack's, and ours. Where all stacks run as one user, that is ours.
    fn lets_in(&self, user: u32) -> bool {
        let ours = rustix::process::geteuid().as_raw();
        user == ours || self.accounts.user(self.stack).is_ok_and(|own| own == Some(user))
    }

    async fn lead(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        match &self.server {
            Server::Cache(socket) => {
                let mut server = socket.connect().await?;
                copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await?;
                Ok(())
            }
            Server::Service(endpoint) => self.router.line(endpoint).await?.carry(&mut client).await,
            Server::Bucket(server) => server.serve(client).await.map_err(io::Error::other),
        }
    }
}

async fn accept(listener: &TcpListener, address: SocketAddr, leading: &Leading, seats: &Arc<Seats>) {
    loop {
        let Ok((client, from)) = listener.accept().await else {
            tokio::time::sleep(EXHAUSTED_WAIT).await;
            continue;
        };
        // Whose it is has to be known: what can't be found out is nobody's.
        let whose = connected(from, address).ok().flatten().map(|socket| socket.user);
        if !whose.is_some_and(|user| leading.lets_in(user)) {
            continue;
        }
        let Some(seat) = Seats::take(seats, leading.stack) else { continue };
        let leading = leading.clone();
        tokio::task::spawn_local(async move {
            let _seat = seat;
            // One of them closes, or the server isn't there: the client connects again.
            let _ = leading.lead(client).await;
        });
    }
}

/// How many connections are open.
#[derive(Debug)]
struct Seats {
    all: u64,
    taken: Mutex<BTreeMap<StackId, u64>>,
}

/// A connection that counts.
#[derive(Debug)]
struct Seat {
    seats: Arc<Seats>,
    stack: StackId,
}

impl Seats {
    /// One for a connection of this stack, as long as it has fewer than a server takes, and fewer than half of what is left to all: so no few
    /// stacks can have them all.
    fn take(seats: &Arc<Self>, stack: StackId) -> Option<Seat> {
        let mut taken = seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: u64 = taken.values().sum();
        let own = taken.entry(stack).or_default();
        let left = seats.all.saturating_sub(all);
        if *own >= u64::from(MOST_CLIENTS) || left == 0 || *own > 0 && *own >= left {
            if *own == 0 {
                taken.remove(&stack);
            }
            return None;
        }
        *own += 1;
        Some(Seat { seats: Arc::clone(seats), stack })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.stack) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.stack);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_stack_that_takes_all_it_can_leaves_connections_to_the_others() {
        let seats = Arc::new(Seats { all: 100, taken: Mutex::default() });
        let stack = |number| StackId(Uuid::from_u128(number));
        let greedy: Vec<Seat> = std::iter::from_fn(|| Seats::take(&seats, stack(1))).collect();
        assert_eq!(greedy.len(), 50);
        let second: Vec<Seat> = std::iter::from_fn(|| Seats::take(&seats, stack(2))).collect();
        assert_eq!(second.len(), 25);
        let third = Seats::take(&seats, stack(3));
        assert!(third.is_some());
        drop((greedy, second, third));
        assert!(seats.taken.lock().unwrap().is_empty());
    }
}
