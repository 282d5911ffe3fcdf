//! How many requests a client may send: the generic cell rate algorithm (ITU-T I.371), which keeps one moment for each client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The most clients that are kept of a route. Beyond them new ones are let through: whoever has so many addresses isn't hindered by a limit
/// for each, and those that are known stay limited.
const CLIENTS: usize = 16_384;
/// How often clients that owe nothing any more are looked for where there is no room.
const LOOK: Duration = Duration::from_secs(1);

/// So many requests in a period, which may come all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// At least one.
    pub requests: u32,
    /// After which so many may come again.
    pub per: Duration,
}

/// What the clients of a route have sent.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    limit: RateLimit,
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    /// When each would have sent all that it has if it had come evenly.
    due: HashMap<IpAddr, Instant>,
    looked: Option<Instant>,
}

impl RateLimiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, clients: Mutex::default() }
    }

    pub(crate) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Counts a request, or says when the next one may come.
    pub(crate) fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let each = self.limit.per / self.limit.requests.max(1);
        let all = self.limit.per.saturating_sub(each);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = network(client);
        let due = clients.due.get(&client).copied().unwrap_or(now).max(now);
        let early = due.saturating_duration_since(now);
        if early > all {
            return Err(early.saturating_sub(all));
        }
        if clients.due.len() < CLIENTS || clients.due.contains_key(&client) || clients.make_room(now) {
            clients.due.insert(client, due + each);
        }
        Ok(())
    }
}

impl Clients {
    /// Forgets those that owe nothing. Says whether there is room.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK) {
            self.looked = Some(now);
            self.due.retain(|_, due| *due > now);
        }
        self.due.len() < CLIENTS
    }
}

/// What counts as one client: an address, of IPv6 the network that each subscriber has many addresses in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_client_may_send_all_at_once_and_then_as_many_as_the_period_brings() {
        let limiter = RateLimiter::new(RateLimit { requests: 3, per: Duration::from_secs(6) });
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        for _ in 0..3 {
            assert_eq!(limiter.take(address(1), begin), Ok(()));
        }
        assert_eq!(limiter.take(address(1), begin), Err(Duration::from_secs(2)));
        assert_eq!(limiter.take(address(2), begin), Ok(()), "another client");
        assert_eq!(limiter.take(address(1), at(2)), Ok(()));
        assert_eq!(limiter.take(address(1), at(2)), Err(Duration::from_secs(2)));
        for _ in 0..3 {
            assert_eq!(limiter.take(address(1), at(100)), Ok(()));
        }
        assert!(limiter.take(address(1), at(100)).is_err());
    }

    #[test]
    fn addresses_of_one_subscriber_are_one_client() {
        let limiter = RateLimiter::new(RateLimit { requests: 1, per: Duration::from_secs(1) });
        let now = Instant::now();
        assert!(limiter.take("2001:db8::1".parse().unwrap(), now).is_ok());
        assert!(limiter.take("2001:db8::2".parse().unwrap(), now).is_err());
        assert!(limiter.take("2001:db8:0:1::1".parse().unwrap(), now).is_ok());
        assert!(limiter.take("192.0.2.1".parse().unwrap(), now).is_ok());
        assert!(limiter.take("::ffff:192.0.2.1".parse().unwrap(), now).is_err());
    }

    #[test]
    fn any_number_of_clients_takes_little_room() {
        let limiter = RateLimiter::new(RateLimit { requests: 1, per: Duration::from_secs(60) });
        let now = Instant::now();
        let known = u32::try_from(CLIENTS).unwrap();
        for number in 0..2 * known {
            assert_eq!(limiter.take(address(number), now), Ok(()));
        }
        assert_eq!(limiter.clients.lock().unwrap().due.len(), CLIENTS);
        assert!(limiter.take(address(0), now).is_err(), "those that are known stay limited");
        let later = now + Duration::from_secs(61);
        assert_eq!(limiter.take(address(3 * known), later), Ok(()));
        assert_eq!(limiter.clients.lock().unwrap().due.len(), 1);
    }
}
