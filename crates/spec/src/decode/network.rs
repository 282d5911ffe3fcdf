//! Networks in CIDR notation.

use ipnet::IpNet;
use serde_json::{Value as Json, json};

use super::error::DecodeErrorKind;
use super::text::{Rejection, TextKind};
use crate::network::{NoBlock, read_block};

/// A network in CIDR notation, or one address.
pub(crate) struct Cidr;

impl TextKind for Cidr {
    type Value = IpNet;

    fn schema() -> Json {
        json!({ "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$" })
    }

    fn parse(text: &str) -> Result<IpNet, Rejection> {
        let rejection = |why: &str| Rejection::new(DecodeErrorKind::BadText, format!("{text:?} {why}"));
        read_block(text).map_err(|why| match why {
            NoBlock::Unreadable => {
                rejection("is no network").help("for example: \"192.0.2.0/24\", \"2001:db8::/32\", \"192.0.2.7\"")
            }
            NoBlock::Within(whole) => rejection("is an address within a network").help(format!("write \"{whole}\"")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_as_it_is_meant_or_not_at_all() {
        for (text, network) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(Cidr::parse(text).ok().map(|network| network.to_string()).as_deref(), Some(network));
        }
        for text in
            ["", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.0/33", "a.example", "10.0.0.0 /8"]
        {
            assert!(Cidr::parse(text).is_err(), "{text}");
        }
        assert!(Cidr::parse("10.1.2.3/8").is_err());
    }
}
