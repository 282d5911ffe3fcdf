//! Ports for the instances: on the loopback network, below the range that the system takes outgoing ports from, and apart from the
//! range of the services' fixed addresses (12000 and up).

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use crate::exhaustion::is_exhaustion;

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
    ///
    /// # Errors
    /// We lack what it takes to try one.
    pub(crate) fn take(&self) -> io::Result<Option<u16>> {
        let (first, last) = (*self.range.start(), *self.range.end());
        // Beginning anywhere keeps two platforms on one machine, and a quick succession of instances, out of each other's way.
        let begin = uuid::Uuid::new_v4().as_u128() % (u128::from(last - first) + 1);
        let begin = first + u16::try_from(begin).unwrap_or_default();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for port in (begin..=last).chain(first..begin) {
            if !taken.contains(&port) && is_free(port)? {
                taken.insert(port);
                return Ok(Some(port));
            }
        }
        Ok(None)
    }

    /// Notes the port of an instance that is running already.
    pub(crate) fn occupy(&self, port: u16) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    /// Whether a port is one of ours that no instance has been given.
    pub(crate) fn is_spare(&self, port: u16) -> bool {
        self.range.contains(&port) && !self.taken.lock().unwrap_or_else(PoisonError::into_inner).contains(&port)
    }

    pub(crate) fn give_back(&self, port: u16) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
    }
}

/// Whether a program that isn't careful (no SO_REUSEADDR, all addresses) could listen on it. Bound, never listened on.
///
/// # Errors
/// We lack what it takes to try.
fn is_free(port: u16) -> io::Result<bool> {
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    // Closed by whatever is started at this very moment: a program that inherited it would hold the port for as long as it runs.
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let tried = socket.and_then(|socket| bind(&socket, &any));
    match tried.map_err(io::Error::from) {
        Ok(()) => Ok(true),
        Err(error) if is_exhaustion(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_not_given_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(Ports::new(port..=port).take().unwrap(), None);
    }

    #[test]
    fn a_port_is_given_out_once() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = Ports::new(free..=free);
        assert_eq!(ports.take().unwrap(), Some(free));
        assert_eq!(ports.take().unwrap(), None);
        ports.give_back(free);
        assert_eq!(ports.take().unwrap(), Some(free));
    }
}
