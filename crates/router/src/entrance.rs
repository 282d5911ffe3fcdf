//! Where requests come in: over the router's port by host and path, or over the inner address of one service.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response};
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::endpoint::Endpoint;
use crate::exchange::Exchange;
use crate::header;
use crate::listener::Service;
use crate::page::{Failure, accepts_html, page};
use crate::router::Core;
use crate::table::{Entry, host_name};

impl Core {
    fn exchange(&self, endpoint: &Arc<Endpoint>, timeout: Duration, retries: u32) -> Exchange {
        Exchange {
            endpoint: Arc::clone(endpoint),
            options: Arc::clone(&self.options),
            timeout,
            retries,
            tunnels: self.tasks.clone(),
        }
    }

    /// The answer to a request that was let in, or the page that says why there is none.
    async fn answer(
        &self,
        exchange: Exchange,
        mut request: Request<Incoming>,
        label: Option<&str>,
    ) -> Response<Answer> {
        let id = header::set_request_id(request.headers_mut());
        let html = accepts_html(request.headers());
        match exchange.run(request).await {
            Ok(response) => response,
            Err(failure) => {
                tracing::warn!(%failure, status = failure.status().as_u16(), stack = label, request_id = ?id, "no answer from a service");
                page(failure, label, html, &id)
            }
        }
    }
}

/// Answers clients: by host, then by path.
pub(crate) struct Outer {
    pub(crate) core: Arc<Core>,
    /// The port that clients come to; it is known only once it is listened on.
    pub(crate) port: Arc<OnceLock<HeaderValue>>,
}

impl Service for Outer {
    async fn answer(&self, mut request: Request<Incoming>, client: SocketAddr) -> Response<Answer> {
        let entry = match self.find(&mut request) {
            Ok(entry) => entry,
            Err(failure) => return refuse(request, failure, None),
        };
        let label = entry.route.label.as_str();
        let Some(rule) = entry.rule(request.uri().path()) else {
            return refuse(request, Failure::UnknownPath, Some(label));
        };
        let unknown = HeaderValue::from_static("80");
        header::set_forwarded(request.headers_mut(), client.ip(), self.port.get().unwrap_or(&unknown));
        let exchange = self.core.exchange(&entry.endpoint, rule.timeout, rule.retries);
        self.core.answer(exchange, request, Some(label)).await
    }
}

impl Outer {
    /// The route of a valid request.
    fn find(&self, request: &mut Request<Incoming>) -> Result<Arc<Entry>, Failure> {
        to_origin_form(request)?;
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).and_then(host_name);
        let host = host.ok_or(Failure::Invalid("the Host header is not a host name"))?;
        let table = self.core.table();
        table.get(host.as_ref()).map(Arc::clone).ok_or(Failure::UnknownHost { hosts: table.len() })
    }
}

/// The page for a request that goes nowhere.
fn refuse(mut request: Request<Incoming>, failure: Failure, label: Option<&str>) -> Response<Answer> {
    let id = header::set_request_id(request.headers_mut());
    page(failure, label, accepts_html(request.headers()), &id)
}

/// Answers the services of a stack at the inner address of one of them. It is a direct line: no route, no rule, and the forwarded
/// headers stay as the caller set them, as they would between two services in a cluster.
pub(crate) struct Inner {
    pub(crate) core: Arc<Core>,
    pub(crate) endpoint: Arc<Endpoint>,
}

impl Service for Inner {
    async fn answer(&self, mut request: Request<Incoming>, _client: SocketAddr) -> Response<Answer> {
        if let Err(failure) = to_origin_form(&mut request) {
            return refuse(request, failure, None);
        }
        let options = &self.core.options;
        let exchange = self.core.exchange(&self.endpoint, options.inner_timeout, options.inner_retries);
        self.core.answer(exchange, request, None).await
    }
}

/// Brings a request into the form for an upstream: `GET http://host/path` becomes `GET /path`, with the host of the first line in
/// `Host`, as RFC 9112, 3.2.2 has it. Refuses what this router does not carry.
fn to_origin_form(request: &mut Request<Incoming>) -> Result<(), Failure> {
    if request.method() == Method::CONNECT {
        return Err(Failure::Unsupported("CONNECT"));
    }
    if header::has_unknown_coding(request.headers()) {
        return Err(Failure::Unsupported("a transfer coding other than chunked"));
    }
    if request.headers().get_all(HOST).iter().count() > 1 {
        return Err(Failure::Invalid("there is more than one Host header"));
    }
    if let Some(authority) = request.uri().authority() {
        let host = authority.as_str();
        if host.contains('@') {
            return Err(Failure::Invalid("the address contains a user name"));
        }
        let host = HeaderValue::from_str(host).map_err(|_| Failure::Invalid("the host is not valid"))?;
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = Uri::from(path);
    }
    if request.headers().contains_key(HOST) { Ok(()) } else { Err(Failure::Invalid("there is no Host header")) }
}
