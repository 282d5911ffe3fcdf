//! Ports for the instances: on the loopback network, below the range that the system takes outgoing ports from, and apart from the
//! range of the services' fixed addresses (12000 and up).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketType, bind, socket};

/// The range that is used unless another is given.
pub const PORTS: RangeInclusive<u16> = 10_000..=11_999;

/// Hands out ports.
#[derive(Debug)]
pub(crate) struct Ports {
    range: RangeInclusive<u16>,
    taken: Mutex<BTreeSet<u16>>,
}

impl Ports {
    pub(crate) fn new(range: RangeInclusive<u16>) -> Self {
        Self { range, taken: Mutex::default() }
    }

    /// A port that nobody listens on now; `None` if there is none. It is ours until [`Ports::give_back`].
    pub(crate) fn take(&self) -> Option<u16> {
        let (first, last) = (*self.range.start(), *self.range.end());
        // Beginning anywhere keeps two platforms on one machine, and a quick succession of instances, out of each other's way.
        let begin = uuid::Uuid::new_v4().as_u128() % (u128::from(last - first) + 1);
        let begin = first + u16::try_from(begin).unwrap_or_default();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let port = (begin..=last).chain(first..begin).find(|port| !taken.contains(port) && is_free(*port))?;
        taken.insert(port);
        Some(port)
    }

    /// Notes the port of an instance that is running already.
    pub(crate) fn occupy(&self, port: u16) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    pub(crate) fn give_back(&self, port: u16) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
    }
}

/// Whether a program that isn't careful (no SO_REUSEADDR, all addresses) could listen on it. Bound, never listened on.
pub(crate) fn is_free(port: u16) -> bool {
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    socket(AddressFamily::INET, SocketType::STREAM, None).is_ok_and(|socket| bind(&socket, &any).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_not_given_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(Ports::new(port..=port).take(), None);
    }

    #[test]
    fn a_port_is_given_out_once() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = Ports::new(free..=free);
        assert_eq!(ports.take(), Some(free));
        assert_eq!(ports.take(), None);
        ports.give_back(free);
        assert_eq!(ports.take(), Some(free));
    }
}
