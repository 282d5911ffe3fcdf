//! One question over HTTP and its answer: TLS, redirects, limits, deadline. Knows nothing about registries.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::RegistryError;
use crate::error::LinkFault;
use crate::limits::{BODY_LIMIT, DEADLINE};

/// How often an exchange may be sent on.
const MOST_REDIRECTS: usize = 5;

pub(crate) struct Question<'a> {
    pub(crate) uri: Uri,
    /// What is fetched, for messages: `the manifest of ghcr.io/acme/web:1.4`.
    pub(crate) what: &'a str,
    pub(crate) accept: &'static str,
    pub(crate) authorization: Option<HeaderValue>,
}

/// An answer, whatever its status.
pub(crate) struct RegistryResponse {
    /// The host that gave it: another one after a redirect.
    pub(crate) host: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The way to all hosts.
pub(crate) struct Exchange {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    insecure: BTreeSet<String>,
}

impl Exchange {
    /// With the system's authorities and those in `authorities` (PEM). `SSL_CERT_FILE` and `SSL_CERT_DIR` count.
    pub(crate) fn new(insecure: BTreeSet<String>, authorities: &[u8]) -> Result<Self, RegistryError> {
        let mut roots = RootCertStore::empty();
        // A machine without any has no trusted registry, but may well have one on loopback.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            let certificate = certificate.map_err(|error| RegistryError::Authorities(error.to_string()))?;
            roots.add(certificate).map_err(|error| RegistryError::Authorities(error.to_string()))?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), insecure })
    }

    /// The schemes to try with this host, in this order. Plain HTTP only where it was named, with or without its port, or is
    /// loopback.
    pub(crate) fn schemes(&self, authority: &str) -> &'static [&'static str] {
        if self.may_be_plain(authority) { &["https", "http"] } else { &["https"] }
    }

    fn may_be_plain(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => host,
            _ => authority,
        };
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || self.insecure.contains(host)
            || self.insecure.contains(authority)
    }

    /// Whether what this host says may lead us there. Plain HTTP only from a host that may be plain to another that may: else any
    /// registry could send us to what listens on loopback.
    pub(crate) fn may_lead_to(&self, from: &str, to: &Uri) -> bool {
        to.scheme_str() == Some("https") || (self.may_be_plain(from) && self.may_be_plain(&host_of(to)))
    }

    /// Asks, follows redirects, and reads the answer to its end.
    pub(crate) async fn ask(&self, question: Question<'_>) -> Result<RegistryResponse, RegistryError> {
        let host = host_of(&question.uri);
        match tokio::time::timeout(DEADLINE, self.follow(question)).await {
            Ok(answer) => answer,
            Err(_) => Err(RegistryError::TimedOut { host }),
        }
    }

    async fn follow(&self, mut question: Question<'_>) -> Result<RegistryResponse, RegistryError> {
        let what = question.what;
        for _ in 0..=MOST_REDIRECTS {
            let uri = question.uri.clone();
            let answer = self.once(&question).await?;
            let location = answer.headers.get(LOCATION).filter(|_| answer.status.is_redirection());
            let Some(location) = location else { return Ok(answer) };
            let unusable =
                |why: &str| RegistryError::Unusable { host: host_of(&uri), what: what.to_owned(), why: why.into() };
            question.uri = redirected(&uri, location)
                .ok_or_else(|| unusable("it sends us on to an address that can't be read"))?;
            if !self.may_lead_to(&host_of(&uri), &question.uri) {
                return Err(plain_refused(&question.uri));
            }
            if origin(&uri) != origin(&question.uri) {
                question.authorization = None;
            }
        }
        Err(RegistryError::Unusable {
            host: host_of(&question.uri),
            what: what.to_owned(),
            why: format!("it was sent on more than {MOST_REDIRECTS} times"),
        })
    }

    async fn once(&self, question: &Question<'_>) -> Result<RegistryResponse, RegistryError> {
        let host = host_of(&question.uri);
        let unreachable = |fault, why| RegistryError::Unreachable { host: host.clone(), why, fault };
        let mut request = Request::get(question.uri.clone())
            .header(USER_AGENT, concat!("freehold/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, question.accept);
        if let Some(authorization) = &question.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let request =
            request.body(Empty::new()).map_err(|error| unreachable(LinkFault::Connection, error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| {
            let (fault, why) = fault(&error);
            unreachable(fault, why)
        })?;
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(RegistryError::TooLarge { host, what: question.what.to_owned() });
            }
            Err(error) => return Err(unreachable(LinkFault::Connection, innermost(error.as_ref()))),
        };
        Ok(RegistryResponse { host, status: head.status, headers: head.headers, body })
    }
}

/// A refusal to go there over plain HTTP.
pub(crate) fn plain_refused(uri: &Uri) -> RegistryError {
    RegistryError::Unreachable {
        host: host_of(uri),
        why: "it would have to be asked over plain HTTP".to_owned(),
        fault: LinkFault::Plain,
    }
}

/// Host and port, as they are written.
pub(crate) fn host_of(uri: &Uri) -> String {
    uri.authority()
        .map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default().to_owned())
        .unwrap_or_default()
}

/// What a credential is bound to.
fn origin(uri: &Uri) -> (Option<&str>, Option<&str>, Option<u16>) {
    let standard = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    (uri.scheme_str(), uri.host(), uri.port_u16().or(Some(standard)))
}

/// Where a redirect leads: a whole address, or a path at the same host.
fn redirected(from: &Uri, location: &HeaderValue) -> Option<Uri> {
    let location = location.to_str().ok()?;
    let uri: Uri = if location.starts_with('/') && !location.starts_with("//") {
        format!("{}://{}{location}", from.scheme_str()?, from.authority()?).parse().ok()?
    } else {
        location.parse().ok()?
    };
    matches!(uri.scheme_str(), Some("https" | "http")).then_some(uri)
}

/// What kind of fault it was, and its innermost cause in words.
fn fault(error: &(dyn Error + 'static)) -> (LinkFault, String) {
    let mut kind = LinkFault::Connection;
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(_)) => kind = LinkFault::Certificate,
            Some(rustls::Error::InvalidMessage(_)) => {
                return (LinkFault::NoTls, "it doesn't speak TLS".to_owned());
            }
            _ => {}
        }
        next = deeper(error);
    }
    (kind, innermost(error))
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(error) = deeper(innermost) {
        innermost = error;
    }
    innermost.to_string()
}

/// The cause. An I/O error that wraps another error gives that, where `source` would leave it out.
fn deeper<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_only_for_loopback_and_hosts_that_were_named() {
        let named = ["registry.lan".to_owned(), "10.0.0.7:5000".to_owned()];
        let exchange = Exchange::new(named.into(), b"").unwrap();
        for plain in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:5000",
            "registry.lan:1",
            "10.0.0.7:5000",
        ] {
            assert!(exchange.may_be_plain(plain), "{plain}");
        }
        for never in
            ["localhost.example.com", "127.0.0.1.example.com", "10.0.0.7:5001", "10.0.0.7", "ghcr.io", "[::2]:80", ""]
        {
            assert!(!exchange.may_be_plain(never), "{never}");
        }
    }

    #[test]
    fn only_a_host_that_may_be_plain_itself_leads_to_plain_http() {
        let exchange = Exchange::new(["registry.lan".to_owned()].into(), b"").unwrap();
        for (from, to, may) in [
            ("ghcr.io", "https://cdn.example.com/x", true),
            ("ghcr.io", "http://127.0.0.1:80/x", false),
            ("ghcr.io", "http://registry.lan/x", false),
            ("registry.lan", "http://registry.lan:5001/x", true),
            ("registry.lan", "http://cdn.example.com/x", false),
        ] {
            assert_eq!(exchange.may_lead_to(from, &to.parse().unwrap()), may, "{from} {to}");
        }
    }

    #[test]
    fn a_redirect_may_name_a_path_or_a_whole_address() {
        let from: Uri = "https://ghcr.io/v2/a".parse().unwrap();
        let to =
            |location: &'static str| redirected(&from, &HeaderValue::from_static(location)).map(|uri| uri.to_string());
        assert_eq!(to("/v2/b?c=d").as_deref(), Some("https://ghcr.io/v2/b?c=d"));
        assert_eq!(to("https://cdn.example.com/b").as_deref(), Some("https://cdn.example.com/b"));
        assert_eq!(to("//cdn.example.com/b"), None);
        assert_eq!(to("file:///etc/passwd"), None);
    }

    #[test]
    fn a_port_that_goes_without_saying_is_the_same_origin() {
        let origin_of = |uri: &'static str| format!("{:?}", origin(&uri.parse().unwrap()));
        assert_eq!(origin_of("https://a.io/x"), origin_of("https://a.io:443/y"));
        assert_ne!(origin_of("https://a.io/x"), origin_of("http://a.io/x"));
        assert_ne!(origin_of("https://a.io/x"), origin_of("https://a.io:444/x"));
        assert_ne!(origin_of("https://a.io/x"), origin_of("https://b.io/x"));
    }
}
