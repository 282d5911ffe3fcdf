//! What is taken out of and put into the head of a message on its way.

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Request, Version};

use crate::network::Proxy;
use crate::route::HeaderChanges;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What of a head concerns the router, found in one pass over it. Hardly any head has most of it, and then it isn't looked for again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// The length of all fields as they were sent.
    pub(crate) bytes: usize,
    pub(crate) hosts: usize,
    pub(crate) coding: bool,
    /// `Connection`, or another field that is for one hop only.
    hop: bool,
    upgrade: bool,
    expect: bool,
    /// Somebody says who the client is.
    claim: bool,
    disguise: bool,
}

impl Found {
    pub(crate) fn in_head(headers: &HeaderMap) -> Found {
        let mut found = Found::default();
        for (name, value) in headers {
            found.bytes += name.as_str().len() + value.len() + 4;
            match name.as_str() {
                "host" => found.hosts += 1,
                "transfer-encoding" => (found.hop, found.coding) = (true, true),
                "upgrade" => (found.hop, found.upgrade) = (true, true),
                "expect" => (found.hop, found.expect) = (true, true),
                "connection" | "keep-alive" | "proxy-authorization" | "proxy-connection" | "te" | "trailer" => {
                    found.hop = true;
                }
                other => {
                    found.claim |= is_claim(other);
                    found.disguise |= is_disguised(other);
                }
            }
        }
        found
    }
}

/// Removes what concerns only the connection that the message came over (RFC 9110, 7.6.1), and what `Connection` names, except
/// what the router itself vouches for: a client must not be able to name `X-Forwarded-For` there and so remove it.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap, found: Found) {
    if found.hop {
        let mut named: Vec<HeaderName> = Vec::new();
        for token in headers.get_all(CONNECTION).iter().flat_map(tokens) {
            // The usual ones are removed below; this spares parsing them.
            if !["close", "keep-alive", "upgrade", "te"].iter().any(|usual| token.eq_ignore_ascii_case(usual))
                && let Ok(name) = HeaderName::from_bytes(token.as_bytes())
                && !is_vouched_for(&name)
            {
                named.push(name);
            }
        }
        for name in named.iter().chain(&[CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE]) {
            headers.remove(name);
        }
    }
    if found.disguise {
        remove_if(headers, is_disguised);
    }
}

/// Removes from the trailers of an answer what would count as a field of its header: a client that adds them to those must not be led to
/// read the connection, or the next answer, in another way.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    let found = Found::in_head(trailers);
    remove_hop_by_hop(trailers, found);
    remove_if(trailers, |name| is_of_the_connection(name) || SET_BY_US.contains(&name) || name == "set-cookie");
}

fn remove_if(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in &names {
        headers.remove(name);
    }
}

/// What says how a message is framed, or is for the next hop only.
const OF_THE_CONNECTION: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "content-encoding",
];

/// What services rely on, because the router sets it.
const SET_BY_US: [&str; 5] = ["host", "forwarded", "x-real-ip", "x-request-id", "x-forwarded-for"];

fn is_of_the_connection(name: &str) -> bool {
    OF_THE_CONNECTION.contains(&name)
}

/// A name that a server takes for another one. What becomes a variable of the environment (CGI, WSGI, PHP) has all that is neither
/// letter nor digit turned into `_`, so `X_Forwarded_For` and `X.Forwarded.For` are `X-Forwarded-For` there.
fn is_disguised(name: &str) -> bool {
    undisguised(name).is_some_and(|plain| {
        is_of_the_connection(&plain) || SET_BY_US.contains(&plain.as_str()) || plain.starts_with("x-forwarded-")
    })
}

/// The name that such a server takes this one for; `None` for itself.
fn undisguised(name: &str) -> Option<String> {
    let odd = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'-';
    let plain = || name.bytes().map(|byte| if odd(byte) { '-' } else { char::from(byte) }).collect();
    name.bytes().any(odd).then(plain)
}

/// Changes the header of a request, and takes out what a server takes for one of the fields that are set or taken out.
pub(crate) fn change_request(headers: &mut HeaderMap, changes: &HeaderChanges) {
    let replaced =
        |plain: &str| changes.set.iter().map(|(name, _)| name).chain(&changes.remove).any(|name| name == plain);
    remove_if(headers, |name| undisguised(name).is_some_and(|plain| replaced(&plain)));
    changes.apply(headers);
}

/// As [`remove_hop_by_hop`], and what was meant for the router itself. The willingness to take trailers is kept, since trailers are passed on.
pub(crate) fn remove_for_upstream(headers: &mut HeaderMap, found: Found) {
    let trailers =
        found.hop && headers.get_all(TE).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case("trailers"));
    remove_hop_by_hop(headers, found);
    if !found.hop {
        return;
    }
    for name in [EXPECT, PROXY_AUTHORIZATION, TRAILER] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether the client waits to be told that it may send its body. In HTTP/1.0 there is no such thing.
pub(crate) fn asks_for_leave<B>(request: &Request<B>, found: Found) -> bool {
    let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    found.expect && request.version() == Version::HTTP_11 && request.headers().get(EXPECT).is_some_and(expects)
}

/// The protocol that a request asks to switch to. `h2c` is no such: behind a switched connection requests would pass by the rules,
/// so those requests are answered over HTTP/1.1.
pub(crate) fn upgrade(headers: &HeaderMap, found: Found) -> Option<HeaderValue> {
    if !found.upgrade {
        return None;
    }
    let protocol = headers.get(UPGRADE)?;
    let asked = headers.get_all(CONNECTION).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let plain = tokens(protocol).any(|token| token.eq_ignore_ascii_case("h2c"));
    (asked && !plain).then(|| protocol.clone())
}

/// Asks the upstream for a switch, or tells the client that it was made.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Whether the message has a transfer coding besides `chunked`, which hyper would hand on undecoded.
pub(crate) fn has_unknown_coding(headers: &HeaderMap) -> bool {
    let known = |value: &HeaderValue| {
        value.to_str().is_ok() && tokens(value).all(|token| token.eq_ignore_ascii_case("chunked"))
    };
    !headers.get_all(TRANSFER_ENCODING).iter().all(known)
}

/// How a client came to the router's port.
pub(crate) struct Arrival<'a> {
    pub(crate) address: IpAddr,
    pub(crate) port: &'a HeaderValue,
    /// Those whose word about the client is believed.
    pub(crate) proxies: &'a [Proxy],
    /// It is a proxy, whose word about the client is believed.
    pub(crate) trusted: bool,
}

/// Says who asked, and how. What the client says about that is believed if it is a trusted proxy, and replaced if not.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, found: Found, arrival: &Arrival<'_>) {
    let told = if arrival.trusted { Told::read(headers) } else { Told::default() };
    let keep_others = arrival.trusted;
    if found.claim {
        remove_if(headers, |name| {
            let ours = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"];
            is_claim(name) && (!keep_others || ours.contains(&name))
        });
    }
    let host = told.host.or_else(|| headers.get(HOST).cloned()).unwrap_or_else(|| HeaderValue::from_static(""));
    let proto = if told.https { "https" } else { "http" };
    let text = String::from_utf8_lossy(host.as_bytes());
    let (mut nodes, mut list) = (String::with_capacity(128), String::with_capacity(64));
    // The first one is the client; each proxy adds whom it was asked by. To write to a string never fails.
    for address in told.clients.iter().chain([&arrival.address]) {
        let is_first = list.is_empty();
        let comma = if is_first { "" } else { ", " };
        let _ = write!(list, "{comma}{address}");
        let _ = match address {
            IpAddr::V4(address) => write!(nodes, "{comma}for={address}"),
            IpAddr::V6(address) => write!(nodes, "{comma}for=\"[{address}]\""),
        };
        if is_first {
            nodes.extend([";host=\"", &text, "\";proto=", proto]);
        }
    }
    for (name, value) in [(FORWARDED, nodes), (FORWARDED_FOR, list)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers.insert(FORWARDED_PORT, told.port.unwrap_or_else(|| arrival.port.clone()));
    headers.insert(FORWARDED_HOST, host);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
}

/// The address of the client: of the last one in the chain whom no trusted proxy is.
pub(crate) fn client(headers: &HeaderMap, arrival: &Arrival<'_>) -> IpAddr {
    if !arrival.trusted {
        return arrival.address;
    }
    let told = Told::read(headers).clients;
    let is_proxy = |address: &IpAddr| arrival.proxies.iter().any(|proxy| proxy.is_at(*address));
    let client = told.iter().rev().find(|address| !is_proxy(address)).or(told.first());
    client.map_or(arrival.address, IpAddr::to_canonical)
}

/// `https://www.example.org`, as the client would have to write it: with the scheme and the port that it came by.
pub(crate) fn origin(headers: &HeaderMap, host: &str, arrival: &Arrival<'_>) -> String {
    let told = if arrival.trusted { Told::read(headers) } else { Told::default() };
    let asked = told.host.as_ref().or_else(|| headers.get(HOST)).and_then(|host| host.to_str().ok());
    // A port of the proxy's own is none of the client's.
    let port = asked.and_then(|asked| asked.rsplit_once(':')).map(|(_, port)| port).filter(|port| !port.is_empty());
    let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let scheme = if told.https { "https" } else { "http" };
    format!("{scheme}://{host}{}", port.map(|port| format!(":{port}")).unwrap_or_default())
}

/// What a trusted proxy says in `X-Forwarded-…`, or in `Forwarded` if there is no such field.
#[derive(Default)]
struct Told {
    clients: Vec<IpAddr>,
    https: bool,
    host: Option<HeaderValue>,
    port: Option<HeaderValue>,
}

/// How many proxies may have stood before this one; more are cut off at the front.
const PROXIES: usize = 20;

impl Told {
    fn read(headers: &HeaderMap) -> Told {
        let last = |name: HeaderName| headers.get_all(name).iter().flat_map(tokens).last();
        let mut told = Told {
            clients: forwarded_for(headers),
            https: last(FORWARDED_PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case("https")),
            host: last(FORWARDED_HOST).and_then(name_of_host),
            port: last(FORWARDED_PORT)
                .filter(|port| port.parse::<u16>().is_ok())
                .and_then(|port| HeaderValue::from_str(port).ok()),
        };
        let mut elements = headers.get_all(FORWARDED).iter().flat_map(tokens).peekable();
        // Where a proxy says the one, the other is the client's own, which a proxy that doesn't know it passes on.
        if !headers.contains_key(FORWARDED_FOR) && elements.peek().is_some() {
            let mut proto = "";
            for element in elements {
                for (name, value) in element.split(';').filter_map(|pair| pair.trim().split_once('=')) {
                    let value = value.trim_matches('"');
                    match name.to_ascii_lowercase().as_str() {
                        "for" => match address(value) {
                            Some(address) => told.clients.push(address),
                            None => told.clients.clear(),
                        },
                        "proto" => proto = value,
                        "host" => told.host = name_of_host(value),
                        _ => {}
                    }
                }
            }
            told.https |= proto.eq_ignore_ascii_case("https");
        }
        let surplus = told.clients.len().saturating_sub(PROXIES);
        told.clients.drain(..surplus);
        told
    }
}

/// The addresses of `X-Forwarded-For`, as far as they can be read from the end: behind what can't be read nothing is known of whoever
/// wrote what stands before it.
fn forwarded_for(headers: &HeaderMap) -> Vec<IpAddr> {
    let mut clients: Vec<IpAddr> = Vec::new();
    for line in headers.get_all(FORWARDED_FOR) {
        for element in line.as_bytes().split(|byte| *byte == b',') {
            let element = std::str::from_utf8(element).unwrap_or("?").trim();
            match address(element) {
                Some(address) => clients.push(address),
                None if element.is_empty() => {}
                None => clients.clear(),
            }
        }
    }
    clients
}

/// An address as proxies write it: alone, with a port, in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches('"');
    bare.parse()
        .or_else(|_| bare.parse::<std::net::SocketAddr>().map(|place| place.ip()))
        .or_else(|_| bare.trim_start_matches('[').trim_end_matches(']').parse())
        .ok()
}

fn name_of_host(text: &str) -> Option<HeaderValue> {
    crate::table::host_name(text)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    text.bytes().all(plain).then(|| HeaderValue::from_str(text).ok())?
}

fn is_vouched_for(name: &HeaderName) -> bool {
    [HOST, CONTENT_LENGTH, REQUEST_ID].contains(name) || is_claim(name.as_str())
}

/// What says who the client is.
fn is_claim(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name == "x-real-ip" || name == "forwarded"
}

/// The id of the request: the one it came with, if that is fit for a log line, else a new one.
pub(crate) fn set_request_id(headers: &mut HeaderMap) -> HeaderValue {
    if let Some(given) = headers.get(REQUEST_ID)
        && (1..=128).contains(&given.len())
        && given.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
    {
        return given.clone();
    }
    let id = new_request_id();
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// Sixteen digits for the process and sixteen for the request: unique, and in order within a process. Nothing relies on it being
/// hard to guess.
fn new_request_id() -> HeaderValue {
    static PROCESS: std::sync::LazyLock<u64> =
        std::sync::LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = u128::from(*PROCESS) << 64 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let mut id = [b'0'; 32];
    let mut rest = number;
    for place in id.iter_mut().rev() {
        *place = match u8::try_from(rest & 15).unwrap_or_default() {
            digit @ 0..=9 => b'0' + digit,
            digit => b'a' + digit - 10,
        };
        rest >>= 4;
    }
    HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_the_connection_header_names_is_removed() {
        let mut map = headers(&[
            ("connection", "close, X-Internal"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("accept", "*/*"),
        ]);
        let found = Found::in_head(&map);
        remove_hop_by_hop(&mut map, found);
        assert_eq!(map, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn only_trailers_remain_of_te() {
        let mut map = headers(&[("te", "gzip;q=0.5, trailers"), ("expect", "100-continue")]);
        let found = Found::in_head(&map);
        remove_for_upstream(&mut map, found);
        assert_eq!(map, headers(&[("te", "trailers")]));
    }

    #[test]
    fn names_that_a_server_takes_for_others_are_removed() {
        for name in [
            "x_forwarded_for",
            "x-forwarded_for",
            "x.forwarded.proto",
            "x_forwarded_prefix",
            "x_real_ip",
            "x_request_id",
            "transfer_encoding",
            "transfer.encoding",
            "transfer~encoding",
            "content_length",
            "keep_alive",
            "proxy!connection",
        ] {
            let mut map = headers(&[("accept", "*/*"), ("api_key", "1"), ("x.y", "2"), (name, "x")]);
            let found = Found::in_head(&map);
            remove_hop_by_hop(&mut map, found);
            assert_eq!(map, headers(&[("accept", "*/*"), ("api_key", "1"), ("x.y", "2")]), "{name}");
        }
        for name in ["x-forward", "x-real-ip-country", "forwarded-by", "host", "x-forwarded-for"] {
            assert!(!is_disguised(name), "{name}");
        }
    }

    fn forwarded(pairs: &[(&'static str, &'static str)], trusted: bool) -> Vec<String> {
        let mut map = headers(&[("host", "acme.localhost")]);
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        let port = HeaderValue::from_static("7080");
        let found = Found::in_head(&map);
        let arrival = Arrival { address: "127.0.0.1".parse().unwrap(), port: &port, proxies: &[], trusted };
        set_forwarded(&mut map, found, &arrival);
        let names = [FORWARDED, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PORT, FORWARDED_PROTO];
        names.map(|name| map[name].to_str().unwrap().to_owned()).to_vec()
    }

    #[test]
    fn only_a_trusted_proxy_says_who_the_client_is() {
        let said = [
            ("x-forwarded-for", "8.8.8.8, 10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "www.example.org"),
            ("x-forwarded-port", "443"),
        ];
        let nobody =
            ["for=127.0.0.1;host=\"acme.localhost\";proto=http", "127.0.0.1", "acme.localhost", "7080", "http"];
        assert_eq!(forwarded(&said, false), nobody);
        let expected = [
            "for=8.8.8.8;host=\"www.example.org\";proto=https, for=10.0.0.1, for=127.0.0.1",
            "8.8.8.8, 10.0.0.1, 127.0.0.1",
            "www.example.org",
            "443",
            "https",
        ];
        assert_eq!(forwarded(&said, true), expected);
        let by_rfc = forwarded(&[("forwarded", "For=\"[2001:db8::1]:4711\";proto=https;host=www.example.org")], true);
        assert_eq!(by_rfc[1..], ["2001:db8::1, 127.0.0.1", "www.example.org", "7080", "https"]);
    }

    #[test]
    fn the_client_is_whom_the_last_trusted_proxy_was_asked_by() {
        let port = HeaderValue::from_static("7080");
        let proxies: Vec<Proxy> = ["127.0.0.1", "10.0.0.0/8", "uid:33"].map(|proxy| proxy.parse().unwrap()).to_vec();
        let seen = |said: &'static str, trusted: bool| {
            let arrival = Arrival { address: "127.0.0.1".parse().unwrap(), port: &port, proxies: &proxies, trusted };
            client(&headers(&[("x-forwarded-for", said)]), &arrival).to_string()
        };
        assert_eq!(seen("8.8.8.8", false), "127.0.0.1");
        assert_eq!(seen("8.8.8.8", true), "8.8.8.8");
        // Whatever the client itself wrote stands before what the proxies add.
        assert_eq!(seen("1.1.1.1, 8.8.8.8, 10.0.0.7", true), "8.8.8.8");
        assert_eq!(seen("10.0.0.1, 10.0.0.7", true), "10.0.0.1");
        assert_eq!(seen("nonsense", true), "127.0.0.1");
        // What can't be read hides whoever wrote it: nothing before it counts.
        assert_eq!(seen("192.0.2.1, unknown", true), "127.0.0.1");
        let arrival = Arrival { address: "127.0.0.1".parse().unwrap(), port: &port, proxies: &proxies, trusted: true };
        let mut both = headers(&[("forwarded", "for=192.0.2.1")]);
        both.insert("x-forwarded-for", HeaderValue::from_bytes(b"\x80").unwrap());
        assert_eq!(client(&both, &arrival).to_string(), "127.0.0.1");
        both.insert("x-forwarded-for", HeaderValue::from_bytes(b"\x80, 8.8.8.8").unwrap());
        assert_eq!(client(&both, &arrival).to_string(), "8.8.8.8");
    }

    #[test]
    fn a_name_that_has_moved_keeps_the_scheme_and_the_port_of_the_client() {
        let port = HeaderValue::from_static("7080");
        let to = |pairs: &[_], trusted: bool| {
            let arrival = Arrival { address: "127.0.0.1".parse().unwrap(), port: &port, proxies: &[], trusted };
            origin(&headers(pairs), "www.a.example", &arrival)
        };
        assert_eq!(to(&[("host", "a.example:7080")], false), "http://www.a.example:7080");
        assert_eq!(to(&[("host", "a.example")], false), "http://www.a.example");
        let behind = [("host", "a.example"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a.example")];
        assert_eq!(to(&behind, true), "https://www.a.example");
        assert_eq!(to(&behind, false), "http://www.a.example");
    }

    #[test]
    fn what_a_trusted_proxy_passes_on_of_a_client_cannot_forge_a_field() {
        let said = [
            ("x-forwarded-for", "8.8.8.8\";for=evil, 8.8.4.4"),
            ("x-forwarded-proto", "https, javascript"),
            ("x-forwarded-host", "a\";by=evil"),
            ("x-forwarded-port", "443;x"),
        ];
        let expected = [
            "for=8.8.4.4;host=\"acme.localhost\";proto=http, for=127.0.0.1",
            "8.8.4.4, 127.0.0.1",
            "acme.localhost",
            "7080",
            "http",
        ];
        assert_eq!(forwarded(&said, true), expected);
    }

    #[test]
    fn trailers_cannot_say_what_belongs_into_a_header() {
        let mut map = headers(&[("x-sum", "42"), ("content-length", "0"), ("set-cookie", "a=b"), ("grpc-status", "0")]);
        clean_trailers(&mut map);
        assert_eq!(map, headers(&[("x-sum", "42"), ("grpc-status", "0")]));
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        let mut map = headers(&[("x-request-id", "abc-123")]);
        assert_eq!(set_request_id(&mut map), "abc-123");
        let mut map = headers(&[("x-request-id", "a b\tc")]);
        let id = set_request_id(&mut map);
        assert_eq!(id.len(), 32);
        assert_eq!(map.get("x-request-id"), Some(&id));
    }

    #[test]
    fn clear_text_http_2_is_no_upgrade() {
        let upgrade = |pairs: &[_]| upgrade(&headers(pairs), Found::in_head(&headers(pairs)));
        assert!(upgrade(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")]).is_none());
        assert!(upgrade(&[("upgrade", "websocket")]).is_none());
        assert!(upgrade(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]).is_some());
    }
}
