//! Ways out of a stack and into it: who is on the other side, and the port.
//!
//! ```text
//! smtp.example.net:587      a host of the internet: three labels or more, or a dot at the end (`example.org.:25`)
//! otel.monitoring:4317      the Pods of a namespace, by the name of a Service and its namespace; also `otel.monitoring.svc:4317`
//! 10.0.0.0/8:5432           addresses; `10.0.0.5:5432`, `[fd00::/8]:5432`
//! monitoring:9464           of what comes in: the Pods of a namespace
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

/// Where a program's connections may lead besides what references say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Who is there.
    pub to: Destination,
    /// The port; of Pods, their own.
    pub port: u16,
}

/// Who is at the other side of a way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A host of the internet.
    Host(String),
    /// A Service of another namespace.
    Service {
        /// Of the Service: `otel`.
        name: String,
        /// Where it is: `monitoring`.
        namespace: String,
    },
    /// Addresses that begin with the same bits.
    Block(IpNet),
}

/// From where a service may be reached besides what references and routes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingress {
    /// Who is there.
    pub from: Origin,
    /// The port of the service's Pods.
    pub port: u16,
}

/// Who is at the other side of a way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// All Pods of a namespace.
    Namespace(String),
    /// Addresses that begin with the same bits.
    Block(IpNet),
}

/// Why a text is no way.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// Nothing behind a colon that is a port.
    #[error("has no port from 1 to 65535 at its end")]
    Port,
    /// Neither a name nor addresses.
    #[error("names neither a host nor a block of addresses")]
    Host,
    /// A name of one label.
    #[error("names no namespace: services of the stack are reached through references")]
    OwnService,
    /// A name of two labels that may be a host as well.
    #[error("may be a host or a Service: write `{0}.` for the host, `{0}.svc` for the Service")]
    Unclear(String),
    /// A namespace of the cluster's own.
    #[error("leads into {0}, which is the cluster's own")]
    ClusterNamespace(String),
    /// A block that has bits behind its length, or a length that its addresses don't have.
    #[error("is no block of addresses: {0}")]
    Block(String),
    /// Addresses that no program of a stack may reach.
    #[error("leads to addresses that no stack may reach: {0}")]
    Closed(&'static str),
    /// The port of API servers, at addresses that may be those of the cluster.
    #[error("leads to port {0} of addresses that are not public, where the cluster's API may be")]
    ApiServer(u16),
}

/// Blocks that no program of a stack reaches, whatever its definition says: what they are, and each block.
pub const CLOSED: [(&str, IpNet); 13] = [
    ("the host itself", v4([0, 0, 0, 0], 8)),
    ("the loopback", v4([127, 0, 0, 0], 8)),
    ("link-local addresses, where clouds keep credentials", v4([169, 254, 0, 0], 16)),
    ("Azure's own address, where it keeps credentials", v4([168, 63, 129, 16], 32)),
    ("protocols' own, where Oracle's cloud keeps credentials", v4([192, 0, 0, 0], 24)),
    ("Alibaba's own address, where it keeps credentials", v4([100, 100, 100, 200], 32)),
    ("multicast and reserved addresses", v4([224, 0, 0, 0], 3)),
    ("the loopback and addresses of IPv4", v6([0, 0, 0, 0, 0, 0, 0, 0], 8)),
    ("Amazon's own address, where it keeps credentials", v6([0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0], 32)),
    ("Google's own address, where it keeps credentials", v6([0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254], 128)),
    ("Oracle's own address, where it keeps credentials", v6([0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128)),
    ("link-local addresses", v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10)),
    ("multicast addresses", v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8)),
];
/// Blocks in which a cluster has its own addresses.
const PRIVATE: [IpNet; 6] = [
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
];
/// Where API servers and kubelets listen.
const CLUSTERS_OWN: [u16; 5] = [443, 2379, 2380, 6443, 10_250];
/// Last labels of hosts that are hardly a namespace. Those of two letters are countries' anyway.
const OF_HOSTS: [&str; 8] = ["biz", "com", "edu", "gov", "info", "int", "net", "org"];
/// The longest label of a name in DNS, and the longest name.
const LONGEST: (usize, usize) = (63, 253);

const fn v4(first: [u8; 4], length: u8) -> IpNet {
    let [a, b, c, d] = first;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(first: [u16; 8], length: u8) -> IpNet {
    let [a, b, c, d, e, f, g, h] = first;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length))
}

/// Why a text is no block of addresses.
pub(crate) enum NoBlock {
    /// It isn't written as one.
    Unreadable,
    /// It has bits behind its length: an address within this block.
    Within(IpNet),
}

/// Reads one address or a block of them. What is read differently by those who cut bits off and those who don't is none.
pub(crate) fn read_block(text: &str) -> Result<IpNet, NoBlock> {
    let block = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    let block = block.map_err(|_| NoBlock::Unreadable)?;
    match block.trunc() {
        whole if whole == block => Ok(block),
        whole => Err(NoBlock::Within(whole)),
    }
}

fn block(text: &str) -> Result<IpNet, NetworkError> {
    read_block(text).map_err(|why| {
        NetworkError::Block(match why {
            NoBlock::Unreadable => format!("{text:?} isn't written as 10.0.0.0/8 is"),
            NoBlock::Within(whole) => format!("{text:?} is an address within {whole}"),
        })
    })
}

/// The side and the port, without the brackets of an address of IPv6.
fn parts(text: &str) -> Result<(&str, u16), NetworkError> {
    let (host, port) = text.rsplit_once(':').ok_or(NetworkError::Port)?;
    let digits = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port > 0).ok_or(NetworkError::Port)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // Without the brackets the last group of an address would be the port.
    if bare.is_none() && host.contains(':') {
        return Err(NetworkError::Block(format!("{host:?}: an address of IPv6 stands in brackets")));
    }
    Ok((bare.unwrap_or(host), port))
}

/// Whether a text is meant as addresses: names don't end with a figure.
fn is_block(host: &str) -> bool {
    host.contains([':', '/']) || host.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn is_label(label: &str) -> bool {
    let inner = label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    inner && !label.is_empty() && label.len() <= LONGEST.0 && !label.starts_with('-') && !label.ends_with('-')
}

impl Destination {
    fn of_name(host: &str) -> Result<Self, NetworkError> {
        let labels: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
        if host.len() > LONGEST.1 || !labels.iter().all(|label| is_label(label)) {
            return Err(NetworkError::Host);
        }
        let service = |name: &str, namespace: &str| match namespace.starts_with("kube-") {
            true => Err(NetworkError::ClusterNamespace(namespace.to_owned())),
            false => Ok(Self::Service { name: name.to_owned(), namespace: namespace.to_owned() }),
        };
        match labels.as_slice() {
            _ if host.ends_with('.') && labels.len() > 1 => Ok(Self::Host(host.trim_end_matches('.').to_owned())),
            [name, namespace, "svc"] | [name, namespace, "svc", "cluster", "local"] => service(name, namespace),
            [_, last] if OF_HOSTS.contains(last) || last.len() == 2 => Err(NetworkError::Unclear(host.to_owned())),
            [name, namespace] => service(name, namespace),
            [] | [_] => Err(NetworkError::OwnService),
            [..] => Ok(Self::Host(host.to_owned())),
        }
    }
}

impl FromStr for Egress {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (host, port) = parts(text)?;
        if !is_block(host) {
            return Ok(Self { to: Destination::of_name(host)?, port });
        }
        let block = block(host)?;
        if let Some((what, _)) = CLOSED.iter().find(|(_, closed)| closed.contains(&block)) {
            return Err(NetworkError::Closed(what));
        }
        if CLUSTERS_OWN.contains(&port)
            && PRIVATE.iter().any(|private| private.contains(&block) || block.contains(private))
        {
            return Err(NetworkError::ApiServer(port));
        }
        Ok(Self { to: Destination::Block(block), port })
    }
}

impl FromStr for Ingress {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (host, port) = parts(text)?;
        if is_block(host) {
            return Ok(Self { from: Origin::Block(block(host)?), port });
        }
        if is_label(host) {
            Ok(Self { from: Origin::Namespace(host.to_owned()), port })
        } else {
            Err(NetworkError::Host)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> Result<Egress, NetworkError> {
        text.parse()
    }

    #[test]
    fn a_way_out_leads_to_a_host_a_service_or_addresses() {
        let host = |text: &str| Ok(Destination::Host(text.to_owned()));
        let service = || Ok(Destination::Service { name: "otel".to_owned(), namespace: "monitoring".to_owned() });
        for (text, expected) in [
            ("smtp.example.net:587", host("smtp.example.net")),
            ("example.org.:25", host("example.org")),
            ("otel.monitoring:4317", service()),
            ("otel.monitoring.svc:4317", service()),
            ("otel.monitoring.svc.cluster.local:4317", service()),
        ] {
            assert_eq!(out(text).map(|way| way.to), expected, "{text}");
        }
        for (text, shown) in [
            ("10.0.0.0/8:5432", "10.0.0.0/8"),
            ("10.1.2.3:5432", "10.1.2.3/32"),
            ("[fd12:3456::/32]:5432", "fd12:3456::/32"),
            ("0.0.0.0/0:5432", "0.0.0.0/0"),
            ("203.0.113.7:443", "203.0.113.7/32"),
        ] {
            let Ok(Egress { to: Destination::Block(block), .. }) = out(text) else { panic!("{text}: {:?}", out(text)) };
            assert_eq!(block.to_string(), shown);
        }
    }

    #[test]
    fn what_is_unclear_is_an_error_and_not_a_guess() {
        for text in ["", "smtp.example.net", "smtp.example.net:0", "smtp.example.net:70000", "a.b.c:+5", "a.b.c:"] {
            assert_eq!(out(text), Err(NetworkError::Port), "{text}");
        }
        for text in
            ["*.example.org:443", "Smtp.example.org:25", "a..b.c:25", "-a.b.c:1", "https//a.b.c\n:1", " a.b.c:1"]
        {
            assert!(out(text).is_err(), "{text:?}: {:?}", out(text));
        }
        assert_eq!(out("redis:6379"), Err(NetworkError::OwnService));
        assert_eq!(out("example.org:25"), Err(NetworkError::Unclear("example.org".to_owned())));
        assert_eq!(out("example.de:25"), Err(NetworkError::Unclear("example.de".to_owned())));
        for text in
            ["10.0.0.1/8:1", "10.0.0.0/33:1", "10.0.0.0/x:1", "10.0.0:1", "::1:5432", "[::/129]:1", "1.2.3.4/:1"]
        {
            assert!(matches!(out(text), Err(NetworkError::Block(_))), "{text}: {:?}", out(text));
        }
    }

    #[test]
    fn credentials_of_clouds_and_the_clusters_api_stay_shut() {
        for text in [
            "169.254.169.254:80",
            "169.254.0.0/16:80",
            "168.63.129.16:80",
            "127.0.0.1:5432",
            "[::1]:80",
            "[fd00:ec2::254]:80",
            "[::ffff:169.254.169.254]:80",
            "239.1.1.1:80",
        ] {
            assert!(matches!(out(text), Err(NetworkError::Closed(_))), "{text}: {:?}", out(text));
        }
        for text in
            ["10.96.0.1:443", "10.0.0.0/8:6443", "0.0.0.0/0:443", "192.168.1.10:10250", "[fd00::/8]:443", "[::/0]:6443"]
        {
            assert!(matches!(out(text), Err(NetworkError::ApiServer(_))), "{text}: {:?}", out(text));
        }
        assert_eq!(out("x.kube-system:53"), Err(NetworkError::ClusterNamespace("kube-system".to_owned())));
    }

    #[test]
    fn a_way_in_comes_from_a_namespace_or_from_addresses() {
        let way = |text: &str| text.parse::<Ingress>();
        assert_eq!(
            way("monitoring:9464"),
            Ok(Ingress { from: Origin::Namespace("monitoring".to_owned()), port: 9464 })
        );
        assert_eq!(way("acme--shop:8080").map(|way| way.port), Ok(8080));
        assert!(matches!(way("10.0.0.0/8:8080"), Ok(Ingress { from: Origin::Block(_), .. })));
        for text in ["monitoring", "a.b:1", "Monitoring:1", "10.0.0.1/8:1"] {
            assert!(way(text).is_err(), "{text}");
        }
    }
}
