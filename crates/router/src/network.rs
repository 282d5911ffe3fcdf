//! Networks in CIDR notation, and the proxies that are believed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::admission::Peer;

/// The addresses that begin with the same bits: `10.0.0.0/8`, `127.0.0.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    /// How many leading bits count.
    bits: u8,
}

/// A proxy whose word about the client is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// Whoever comes from there. From the loopback, that is every program of the machine.
    Network(Network),
    /// A program of this machine that runs as this user.
    User(u32),
}

/// Why a text is no network and no proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no proxy; write an address, a CIDR or a user id of this machine: 127.0.0.1, 10.0.0.0/8, fd00::/8, uid:33"
)]
pub struct NetworkError(String);

impl Proxy {
    pub(crate) fn is(&self, address: IpAddr, peer: Peer) -> bool {
        match self {
            Proxy::Network(network) => network.contains(address),
            Proxy::User(user) => peer == Peer::User(*user),
        }
    }
}

impl FromStr for Proxy {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("uid:") {
            Some(user) => user.parse().map(Proxy::User).map_err(|_| NetworkError(text.to_owned())),
            None => text.parse().map(Proxy::Network),
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

impl Network {
    /// Whether an address belongs to it. IPv4 in IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let skipped = |width: u8| u32::from(width - self.bits.min(width));
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(skipped(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(skipped(128)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || NetworkError(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().map_err(|_| error())?,
            Some(_) => return Err(error()),
            None => widest,
        };
        if bits <= widest { Ok(Network { address, bits }) } else { Err(error()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_begins_with_its_bits() {
        for (network, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::1"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn a_proxy_is_known_by_its_network_or_its_user() {
        let (near, far): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "10.1.2.3".parse().unwrap());
        for (text, address, peer) in [
            ("uid:33", near, Peer::User(33)),
            ("10.0.0.0/8", far, Peer::Address(far)),
            ("127.0.0.1/32", near, Peer::User(7)),
        ] {
            let proxy: Proxy = text.parse().unwrap();
            assert_eq!(proxy.to_string(), text);
            assert!(proxy.is(address, peer) && !proxy.is("192.0.2.1".parse().unwrap(), Peer::User(34)), "{text}");
        }
        assert!("uid:www-data".parse::<Proxy>().is_err());
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "example.org"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
