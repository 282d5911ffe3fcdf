//! The proxies that are believed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::admission::Peer;

/// A proxy whose word about the client is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// Whoever comes from there. From the loopback, that is every program of the machine.
    Network(IpNet),
    /// A program of this machine that runs as this user.
    User(u32),
}

/// Why a text is no proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no proxy; write an address, a CIDR or a user id of this machine: 127.0.0.1, 10.0.0.0/8, fd00::/8, uid:33"
)]
pub struct ProxyError(String);

impl Proxy {
    pub(crate) fn is(&self, address: IpAddr, peer: Peer) -> bool {
        match self {
            Proxy::Network(network) => network.contains(&address.to_canonical()),
            Proxy::User(user) => peer == Peer::User(*user),
        }
    }

    /// Whether it may be what has an address. A user has none of its own.
    pub(crate) fn is_at(&self, address: IpAddr) -> bool {
        match self {
            Proxy::Network(network) => network.contains(&address.to_canonical()),
            Proxy::User(_) => false,
        }
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("uid:") {
            Some(user) => user.parse().map(Proxy::User).map_err(|_| ProxyError(text.to_owned())),
            None => {
                let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
                network.map(Proxy::Network).map_err(|_| ProxyError(text.to_owned()))
            }
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proxy::Network(network) => network.fmt(f),
            Proxy::User(user) => write!(f, "uid:{user}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_its_network_or_its_user() {
        let (near, far): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "10.1.2.3".parse().unwrap());
        for (text, address, peer) in [
            ("uid:33", near, Peer::User(33)),
            ("10.0.0.0/8", far, Peer::Address(far)),
            ("10.0.0.0/8", "::ffff:10.1.2.3".parse().unwrap(), Peer::Address(far)),
            ("127.0.0.1/32", near, Peer::User(7)),
        ] {
            let proxy: Proxy = text.parse().unwrap();
            assert_eq!(proxy.to_string(), text);
            assert!(proxy.is(address, peer) && !proxy.is("192.0.2.1".parse().unwrap(), Peer::User(34)), "{text}");
        }
        assert!("uid:www-data".parse::<Proxy>().is_err());
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        for text in ["", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "example.org"] {
            assert!(text.parse::<Proxy>().is_err(), "{text}");
        }
    }
}
