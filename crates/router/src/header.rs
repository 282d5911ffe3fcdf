//! What is taken out of and put into the head of a message on its way.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Removes what concerns only the connection that the message came over (RFC 9110, 7.6.1), and what `Connection` names, except
/// what the router itself vouches for: a client must not be able to name `X-Forwarded-For` there and so remove it.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
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

/// As [`remove_hop_by_hop`], and what was meant for the router itself: it answers `Expect: 100-continue` by reading the body.
/// The willingness to take trailers is kept, since trailers are passed on.
pub(crate) fn remove_for_upstream(headers: &mut HeaderMap) {
    let trailers = headers.get_all(TE).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case("trailers"));
    remove_hop_by_hop(headers);
    headers.remove(EXPECT);
    headers.remove(PROXY_AUTHORIZATION);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// The protocol that a request asks to switch to. `h2c` is no such: behind a switched connection requests would pass by the rules,
/// so those requests are answered over HTTP/1.1.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
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
    headers.get_all(TRANSFER_ENCODING).iter().flat_map(tokens).any(|token| !token.eq_ignore_ascii_case("chunked"))
}

/// Says who asked, and how, in the place of whatever the client said about that.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, client: IpAddr, port: &HeaderValue) {
    // CGI-like servers see `X_Forwarded_For` as the same name, so the ones with underscores go too.
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in &claims {
        headers.remove(name);
    }
    let host = headers.get(HOST).cloned().unwrap_or_else(|| HeaderValue::from_static(""));
    let text = String::from_utf8_lossy(host.as_bytes());
    let element = match client {
        IpAddr::V4(address) => format!("for={address};host=\"{text}\";proto=http"),
        IpAddr::V6(address) => format!("for=\"[{address}]\";host=\"{text}\";proto=http"),
    };
    let values =
        [(FORWARDED, HeaderValue::try_from(element)), (FORWARDED_FOR, HeaderValue::try_from(client.to_string()))];
    for (name, value) in values {
        if let Ok(value) = value {
            headers.insert(name, value);
        }
    }
    headers.insert(FORWARDED_HOST, host);
    headers.insert(FORWARDED_PORT, port.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
}

fn is_vouched_for(name: &HeaderName) -> bool {
    [HOST, CONTENT_LENGTH, REQUEST_ID].contains(name) || is_claim(name.as_str())
}

fn is_claim(name: &str) -> bool {
    let starts = |prefix: &str| {
        name.len() >= prefix.len()
            && name.bytes().zip(prefix.bytes()).all(|(byte, want)| byte == want || (byte == b'_' && want == b'-'))
    };
    starts("x-forwarded-") || (name.len() == 9 && starts("x-real-ip")) || name == "forwarded" || name == "x_request_id"
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
    let id = format!("{:016x}{:016x}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
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
        remove_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn only_trailers_remain_of_te() {
        let mut map = headers(&[("te", "gzip;q=0.5, trailers"), ("expect", "100-continue")]);
        remove_for_upstream(&mut map);
        assert_eq!(map, headers(&[("te", "trailers")]));
    }

    #[test]
    fn spellings_with_underscores_are_claims_too() {
        for name in ["x-forwarded-for", "x_forwarded_for", "x-forwarded-prefix", "x_real_ip", "forwarded"] {
            assert!(is_claim(name), "{name}");
        }
        for name in ["x-forward", "x-real-ip-country", "forwarded-by", "host"] {
            assert!(!is_claim(name), "{name}");
        }
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
        assert!(upgrade(&headers(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")])).is_none());
        assert!(upgrade(&headers(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])).is_some());
    }
}
