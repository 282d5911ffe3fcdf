//! How many connections may be open at once, and whose are closed to make room for another's.
//!
//! Each connection has a place among all of the same entrance. Places are counted for each peer: on this machine the user whose socket
//! it is, else the address. Nobody has more than their share; when all places are taken, whoever has the most gives some up to
//! whoever has fewer, idle ones first. So nobody's idle or slow connections keep others out.
//!
//! Taking up a connection costs more than making one. So that who makes many at once isn't ahead of everybody else, those of a peer
//! that has many on which nothing was asked yet are taken up one after another, at a pace.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::signal::Signal;
use crate::socket::connected;
use rustix::process::{Resource, geteuid, getrlimit};

/// Of a peer's connections one in so many is closed at once when room is needed, so that not each new one looks through all.
const BATCH: usize = 16;
/// So many connections of a peer on which nothing was asked yet are taken up at once.
const CROWD: usize = 64;
/// How long each further one waits behind the one before. It takes some 50 µs to take one up.
const PACE: Duration = Duration::from_millis(1);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Descriptors that connections never take: files, logs, databases, processes.
const RESERVE: u64 = 256;

/// How many connections an entrance has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of all peers together.
    pub connections: usize,
    /// Of one peer: a user of this machine, or an address that is somewhere else.
    pub per_peer: usize,
}

impl Limits {
    /// What this process's descriptors allow for connections that are passed on, each of which takes two. Nobody has more than half.
    pub fn of_a_router() -> Limits {
        Limits::half_each(spare() / 5 * 2, 50_000)
    }

    /// What they allow for connections that are answered by this process itself. Nobody has more than half.
    pub fn of_an_api() -> Limits {
        Limits::half_each(spare() / 8, 1024)
    }

    fn half_each(connections: u64, most: usize) -> Limits {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX).clamp(32, most);
        Limits { connections, per_peer: connections / 2 }
    }
}

/// The descriptors that connections may take, of whatever kind.
fn spare() -> u64 {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    descriptors.saturating_sub(RESERVE.max(descriptors / 4))
}

/// Who a connection is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// A user of this machine.
    User(u32),
    /// Somebody elsewhere; of IPv6 the /64, which is what one host gets.
    Address(IpAddr),
}

impl Peer {
    /// Who is at the other end of a connection that was taken.
    pub(crate) fn of(client: SocketAddr, ours: SocketAddr) -> Peer {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let ours = SocketAddr::new(ours.ip().to_canonical(), ours.port());
        if (client.ip().is_loopback() || client.ip() == ours.ip())
            && let Ok(Some(socket)) = connected(client, ours)
            && socket.inode != 0
        {
            return Peer::User(socket.user);
        }
        Peer::Address(match client.ip() {
            // A local client may take any of these.
            address if address.is_loopback() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The places of an entrance.
pub(crate) struct Admission {
    limits: Limits,
    started: Instant,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    next: u64,
    places: HashMap<u64, Arc<Place>>,
    counts: HashMap<Peer, Count>,
}

/// The connections of a peer.
#[derive(Default)]
struct Count {
    open: usize,
    /// Those of them on which nothing was asked yet.
    silent: Arc<AtomicUsize>,
}

/// The place of one open connection.
pub(crate) struct Place {
    peer: Peer,
    /// Requests and tunnels under way.
    busy: AtomicUsize,
    /// Since when nothing is under way, in milliseconds since the entrance was opened.
    idle_since: AtomicU64,
    started: Instant,
    /// Something was asked on it, or it is gone: it isn't counted as silent any more.
    heard: AtomicBool,
    /// How many connections of its peer are silent.
    silent: Arc<AtomicUsize>,
    /// How long it is to wait before it is taken up.
    pause: Duration,
    /// Left HTTP: what comes is no longer ours to read.
    tunnel: AtomicBool,
    closed: Signal,
}

/// A place that is taken until this is dropped.
pub(crate) struct Taken {
    place: Arc<Place>,
    number: u64,
    admission: Arc<Admission>,
}

/// Something is under way on a connection until this is dropped.
pub(crate) struct Busy(Arc<Place>);

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Admission> {
        Arc::new(Admission { limits, started: Instant::now(), books: Mutex::default() })
    }

    /// A place for a connection; `None` if its peer has all that it may have, and each is in use. `unlimited` peers may take all places.
    pub(crate) fn enter(self: &Arc<Self>, peer: Peer, unlimited: bool) -> Option<Taken> {
        let mut books = self.books();
        let mine = books.count(peer);
        if !unlimited && mine >= self.limits.per_peer && !books.make_room(peer, false) {
            return None;
        }
        if books.places.len() >= self.limits.connections && !books.make_room_for(peer) {
            return None;
        }
        let count = books.counts.entry(peer).or_default();
        count.open += 1;
        let silent = Arc::clone(&count.silent);
        let before = silent.fetch_add(1, Ordering::AcqRel);
        let place = Arc::new(Place {
            peer,
            busy: AtomicUsize::new(0),
            idle_since: AtomicU64::new(millis(self.started)),
            started: self.started,
            heard: AtomicBool::new(false),
            silent,
            pause: if unlimited { Duration::ZERO } else { pause(before) },
            tunnel: AtomicBool::new(false),
            closed: Signal::default(),
        });
        let number = books.next;
        books.next += 1;
        books.places.insert(number, Arc::clone(&place));
        Some(Taken { place, number, admission: Arc::clone(self) })
    }

    /// Closes some idle connections of whoever has the most of them: the process is out of descriptors.
    pub(crate) fn relieve(&self) {
        let mut books = self.books();
        if let Some(peer) = books.heaviest() {
            books.make_room(peer, false);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn count(&self, peer: Peer) -> usize {
        self.counts.get(&peer).map_or(0, |count| count.open)
    }

    /// Who has the most places. Freehold's own user, where it is root, is nobody's attacker.
    fn heaviest(&self) -> Option<Peer> {
        let ours = |peer: &Peer| geteuid().is_root() && *peer == Peer::User(0);
        let others = self.counts.iter().filter(|(peer, _)| !ours(peer)).max_by_key(|(_, count)| count.open);
        others.or_else(|| self.counts.iter().next()).map(|(peer, _)| *peer)
    }

    /// Takes places from whoever has the most: from the newcomer itself only idle ones, from another who has more, others too.
    fn make_room_for(&mut self, newcomer: Peer) -> bool {
        let Some(heaviest) = self.heaviest() else { return false };
        let unfair = self.count(heaviest) > self.count(newcomer) + 1;
        self.make_room(heaviest, unfair) || self.make_room(newcomer, false)
    }

    /// Closes the connections of a peer that have been idle for longest, or one in use if there is no idle one and it has to be.
    fn make_room(&mut self, peer: Peer, in_use_too: bool) -> bool {
        let theirs = || self.places.iter().filter(|(_, place)| place.peer == peer);
        let mut idle: Vec<(u64, u64)> = theirs()
            .filter(|(_, place)| place.busy.load(Ordering::Acquire) == 0)
            .map(|(number, place)| (place.idle_since.load(Ordering::Relaxed), *number))
            .collect();
        idle.sort_unstable();
        idle.truncate((self.count(peer) / BATCH).max(1));
        let mut chosen: Vec<u64> = idle.into_iter().map(|(_, number)| number).collect();
        if chosen.is_empty() && in_use_too {
            chosen.extend(theirs().map(|(number, _)| *number).min());
        }
        for number in &chosen {
            self.leave(*number);
        }
        !chosen.is_empty()
    }

    fn leave(&mut self, number: u64) {
        let Some(place) = self.places.remove(&number) else { return };
        place.closed.give();
        place.hear();
        if let Some(count) = self.counts.get_mut(&place.peer) {
            count.open = count.open.saturating_sub(1);
            if count.open == 0 {
                self.counts.remove(&place.peer);
            }
        }
    }
}

impl Place {
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::AcqRel);
        self.hear();
        Busy(Arc::clone(self))
    }

    fn hear(&self) {
        if !self.heard.swap(true, Ordering::AcqRel) {
            self.silent.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// How long to wait before it is taken up.
    pub(crate) fn pause(&self) -> Duration {
        self.pause
    }

    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// Completes when the place was given to another: the connection is to be closed at once.
    pub(crate) async fn closed(&self) {
        self.closed.given().await;
    }

    pub(crate) fn set_tunnel(&self) {
        self.tunnel.store(true, Ordering::Release);
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Acquire)
    }
}

impl Taken {
    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.admission.books().leave(self.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(millis(self.0.started), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How long a connection waits whose peer has so many silent ones.
fn pause(silent: usize) -> Duration {
    let ahead = u32::try_from(silent.saturating_sub(CROWD)).unwrap_or(u32::MAX);
    PACE.saturating_mul(ahead).min(LONGEST_PAUSE)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Peer = Peer::User(1001);
    const OTHER: Peer = Peer::User(1002);

    fn admission(connections: usize, per_peer: usize) -> Arc<Admission> {
        Admission::new(Limits { connections, per_peer })
    }

    fn is_closed(taken: &Taken) -> bool {
        taken.place.closed.is_given()
    }

    #[test]
    fn who_has_all_they_may_have_loses_an_idle_connection_for_a_new_one_or_gets_none() {
        let admission = admission(10, 2);
        let first = admission.enter(ONE, false).unwrap();
        let second = admission.enter(ONE, false).unwrap();
        let busy = [first.place().busy(), second.place().busy()];
        assert!(admission.enter(ONE, false).is_none());
        assert!(admission.enter(OTHER, false).is_some());
        drop(busy);
        let third = admission.enter(ONE, false).unwrap();
        assert_eq!([&first, &second, &third].map(is_closed).iter().filter(|closed| **closed).count(), 1);
        assert!(!is_closed(&third));
    }

    #[test]
    fn the_last_places_are_taken_from_who_has_the_most() {
        let admission = admission(4, 4);
        let many: Vec<Taken> = (0..4).map(|_| admission.enter(ONE, false).unwrap()).collect();
        let _busy: Vec<Busy> = many.iter().map(|taken| taken.place().busy()).collect();
        assert!(admission.enter(ONE, false).is_none());
        let _two = [admission.enter(OTHER, false).unwrap(), admission.enter(OTHER, false).unwrap()];
        assert_eq!(many.iter().filter(|taken| is_closed(taken)).count(), 2);
        let _used: Vec<Busy> = _two.iter().map(|taken| taken.place().busy()).collect();
        assert!(admission.enter(OTHER, false).is_none(), "they have as many as the other");
    }

    #[test]
    fn what_was_closed_and_what_has_left_is_counted_no_more() {
        let admission = admission(4, 2);
        for _ in 0..100 {
            drop(admission.enter(ONE, false).unwrap());
        }
        let _kept: Vec<Taken> = (0..100).map(|_| admission.enter(ONE, false).unwrap()).collect();
        assert_eq!(admission.books().count(ONE), 2);
        drop(_kept);
        assert!(admission.books().counts.is_empty() && admission.books().places.is_empty());
    }

    #[test]
    fn who_has_many_connections_and_asks_nothing_is_taken_up_at_a_pace_and_nobody_else() {
        let admission = admission(1000, 1000);
        let crowd: Vec<Taken> = (0..CROWD + 3).map(|_| admission.enter(ONE, false).unwrap()).collect();
        let pauses: Vec<Duration> = crowd.iter().map(|taken| taken.place().pause()).collect();
        assert!(pauses.iter().take(CROWD + 1).all(Duration::is_zero));
        assert_eq!(pauses.last(), Some(&(2 * PACE)));
        assert!(admission.enter(OTHER, false).unwrap().place().pause().is_zero());
        assert!(admission.enter(ONE, true).unwrap().place().pause().is_zero(), "a proxy that is trusted");
        // What has asked is no part of it, also while it is idle, nor is what has left.
        crowd.iter().take(2).for_each(|taken| drop(taken.place().busy()));
        assert_eq!(admission.enter(ONE, false).unwrap().place().pause(), PACE);
        drop(crowd);
        assert!(admission.enter(ONE, false).unwrap().place().pause().is_zero());
        assert_eq!(pause(usize::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn local_clients_are_counted_by_user_and_cannot_be_many_by_their_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(ours).unwrap();
        assert_eq!(Peer::of(client.local_addr().unwrap(), ours), Peer::User(geteuid().as_raw()));
        let nobody = |text: &str| Peer::of(text.parse().unwrap(), ours);
        assert_eq!(nobody("127.9.9.9:1"), nobody("127.0.0.1:2"));
        assert_eq!(nobody("[2001:db8::1]:1"), nobody("[2001:db8::2]:2"));
        assert_ne!(nobody("192.0.2.1:1"), nobody("192.0.2.2:1"));
    }
}
