//! Where requests come in: over the router's port by host and path, or over the inner address of one service.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response};
use hyper::body::Incoming;

use crate::endpoint::Endpoint;
use crate::exchange::Exchange;
use crate::header::{self, Arrival, Found};
use crate::listener::{Client, Service};
use crate::options::Options;
use crate::page::{Failure, accepts_html, page};
use crate::path;
use crate::response_body::ResponseBody;
use crate::state::Core;
use crate::table::{Entry, host_name};

impl Core {
    fn exchange<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        timeout: Duration,
        retries: u32,
        client: &'a Client,
    ) -> Exchange<'a> {
        Exchange { endpoint, options: &self.options, timeout, retries, client, tunnels: &self.tasks }
    }

    /// The answer to a request that was let in, or the page that says why there is none.
    async fn answer(
        &self,
        exchange: Exchange<'_>,
        mut request: Request<Incoming>,
        found: Found,
        label: Option<&str>,
    ) -> Response<ResponseBody> {
        let id = header::set_request_id(request.headers_mut());
        let html = accepts_html(request.headers());
        let endpoint = exchange.endpoint;
        match exchange.run(request, found).await {
            Ok(response) => response,
            Err(failure) => {
                // A service that fails can be asked by anybody, as often as they like.
                if let Some(unsaid) = endpoint.failures.may_say() {
                    tracing::warn!(%failure, status = failure.status().as_u16(), stack = label, request_id = ?id, unsaid, "no answer from a service");
                }
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
    type Body = ResponseBody;

    async fn answer(&self, mut request: Request<Incoming>, client: &Client) -> Response<ResponseBody> {
        let (entry, found) = match self.find(&mut request) {
            Ok(found) => found,
            Err(failure) => return refuse(request, failure, None),
        };
        let label = entry.route.label.as_str();
        let Some(rule) = entry.rule(request.uri().path()) else {
            return refuse(request, Failure::UnknownPath, Some(label));
        };
        let unknown = HeaderValue::from_static("80");
        let address = client.address.ip().to_canonical();
        let arrival = Arrival {
            address,
            port: self.port.get().unwrap_or(&unknown),
            trusted: client.is_one_of(&self.core.options.trusted_proxies),
        };
        header::set_forwarded(request.headers_mut(), found, &arrival);
        let exchange = self.core.exchange(&entry.endpoint, rule.timeout, rule.retries, client);
        self.core.answer(exchange, request, found, Some(label)).await
    }
}

impl Outer {
    /// The route of a valid request.
    fn find(&self, request: &mut Request<Incoming>) -> Result<(Arc<Entry>, Found), Failure> {
        let found = to_origin_form(request, &self.core.options)?;
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).and_then(host_name);
        let host = host.ok_or(Failure::Invalid("the Host header is not a host name"))?;
        let entry = self.core.entry(host.as_ref()).map_err(|hosts| Failure::UnknownHost { hosts })?;
        Ok((entry, found))
    }
}

/// The page for a request that goes nowhere.
fn refuse(mut request: Request<Incoming>, failure: Failure, label: Option<&str>) -> Response<ResponseBody> {
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
    type Body = ResponseBody;

    async fn answer(&self, mut request: Request<Incoming>, client: &Client) -> Response<ResponseBody> {
        let found = match to_origin_form(&mut request, &self.core.options) {
            Ok(found) => found,
            Err(failure) => return refuse(request, failure, None),
        };
        let options = &self.core.options;
        let exchange = self.core.exchange(&self.endpoint, options.inner_timeout, options.inner_retries, client);
        self.core.answer(exchange, request, found, None).await
    }
}

/// Brings a request into the form for an upstream: `GET http://host/path` becomes `GET /path`, with the host of the first line in
/// `Host`, as RFC 9112, 3.2.2 has it. Refuses what this router does not carry.
fn to_origin_form(request: &mut Request<Incoming>, options: &Options) -> Result<Found, Failure> {
    let mut found = Found::in_head(request.headers());
    if request.headers().len() > options.max_head_fields || found.bytes > options.max_head_bytes {
        return Err(Failure::LargeHead { fields: options.max_head_fields, bytes: options.max_head_bytes });
    }
    if let Some(objection) = path::objection(request.uri().path()) {
        return Err(Failure::Invalid(objection));
    }
    if request.method() == Method::CONNECT {
        return Err(Failure::Unsupported("CONNECT"));
    }
    if found.coding && header::has_unknown_coding(request.headers()) {
        return Err(Failure::Unsupported("a transfer coding other than chunked"));
    }
    if found.hosts > 1 {
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
        found.hosts = 1;
        *request.uri_mut() = Uri::from(path);
    }
    if found.hosts == 1 { Ok(found) } else { Err(Failure::Invalid("there is no Host header")) }
}
