//! Where requests come in: over the router's port by host and path, or over the inner address of one service.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::cors;
use crate::endpoint::Endpoint;
use crate::exchange::Exchange;
use crate::header::{self, Arrival, Found, REQUEST_ID};
use crate::listener::{Client, Service};
use crate::options::Options;
use crate::page::{Failure, accepts_html, page};
use crate::password::is_let_in;
use crate::path;
use crate::response_body::ResponseBody;
use crate::route::{Action, Patience, Rule};
use crate::state::Core;
use crate::table::{Answerer, Chosen, Entry, Host, host_name};

impl Core {
    fn exchange<'a>(&'a self, endpoint: &'a Endpoint, patience: Patience, client: &'a Client) -> Exchange<'a> {
        let (options, tunnels) = (&self.options, &self.tasks);
        Exchange { endpoint, options, patience, changes: None, max_body: None, client, tunnels }
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
        let (host, found) = match self.find(&mut request) {
            Ok(found) => found,
            Err(failure) => return refuse(request, failure, None),
        };
        let chosen = match host.choose(request.uri().path()) {
            Ok(Some(chosen)) => chosen,
            Ok(None) => return refuse(request, Failure::UnknownPath, host.label()),
            Err(why) => return refuse(request, Failure::Invalid(why), host.label()),
        };
        let cors = chosen.entry.route.policies.cors.as_ref();
        let permission = cors.and_then(|cors| cors.permission(request.headers()));
        let mut response = self.answer_along(chosen, request, found, client).await;
        if cors.is_some() {
            cors::settle(response.headers_mut(), permission);
        }
        response
    }
}

impl Outer {
    /// What the routes make of the host of a valid request.
    fn find(&self, request: &mut Request<Incoming>) -> Result<(Arc<Host>, Found), Failure> {
        let found = to_origin_form(request, &self.core.options)?;
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).and_then(host_name);
        let host = host.ok_or(Failure::Invalid("the Host header is not a host name"))?;
        let host = self.core.host(host.as_ref()).map_err(|hosts| Failure::UnknownHost { hosts })?;
        Ok((host, found))
    }

    /// The answer to a request that a route is there for.
    async fn answer_along(
        &self,
        chosen: &Chosen,
        mut request: Request<Incoming>,
        found: Found,
        client: &Client,
    ) -> Response<ResponseBody> {
        let route = &chosen.entry.route;
        let label = Some(route.label.as_str());
        let Some(answerer) = chosen.answerer() else { return refuse(request, Failure::UnknownPath, label) };
        let unknown = HeaderValue::from_static("80");
        let arrival = Arrival {
            address: client.address.ip().to_canonical(),
            port: self.port.get().unwrap_or(&unknown),
            proxies: &self.core.options.trusted_proxies,
            trusted: client.is_one_of(&self.core.options.trusted_proxies),
        };
        let rule = match answerer {
            // Who asks for a name that has moved is told so, whoever it is.
            Answerer::FirstHost(host) => return moved(request, host, &arrival),
            Answerer::Rule(rule, endpoint) => (rule, endpoint),
        };
        if let Err(failure) = admit(&chosen.entry, &request, &arrival) {
            return refuse(request, failure, label);
        }
        if let Some(preflight) = route.policies.cors.as_ref().and_then(|cors| cors.preflight(&request)) {
            let nothing = HeaderValue::from_static("text/plain");
            let mut response = fixed(request, StatusCode::NO_CONTENT, &Bytes::new(), &nothing);
            response.headers_mut().extend(preflight);
            return response;
        }
        if !route.policies.users.is_empty() {
            if !is_let_in(&route.policies.users, request.headers().get(AUTHORIZATION)) {
                return refuse(request, Failure::Unauthorized, label);
            }
            // The password is the entrance's, and none of the service's business.
            request.headers_mut().remove(AUTHORIZATION);
        }
        match rule {
            (Rule { action: Action::Forward { patience, .. }, .. }, Some(endpoint)) => {
                header::set_forwarded(request.headers_mut(), found, &arrival);
                let (changes, max_body) = (&route.policies.request_headers, route.policies.max_body);
                let exchange = self.core.exchange(endpoint, *patience, client);
                let exchange = Exchange { changes: Some(changes), max_body, ..exchange };
                let mut response = self.core.answer(exchange, request, found, label).await;
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    route.policies.response_headers.apply(response.headers_mut());
                }
                response
            }
            (Rule { action: Action::Redirect { to, keep_path, status }, prefix }, _) => {
                redirected(request, *status, to, keep_path.then_some(prefix.as_str()))
            }
            (Rule { action: Action::Respond { status, body, content_type }, .. }, _) => {
                fixed(request, *status, body, content_type)
            }
            (Rule { action: Action::Forward { .. }, .. }, None) => refuse(request, Failure::NoneLive, label),
        }
    }
}

/// Whether a route is open to the client of a request.
fn admit(entry: &Entry, request: &Request<Incoming>, arrival: &Arrival<'_>) -> Result<(), Failure> {
    let open = &entry.route.policies.allow_from;
    if open.is_empty() && entry.limiter.is_none() {
        return Ok(());
    }
    let client = header::client(request.headers(), arrival);
    if !open.is_empty() && !open.iter().any(|network| network.contains(&client)) {
        return Err(Failure::Forbidden);
    }
    let Some(limiter) = &entry.limiter else { return Ok(()) };
    limiter.take(client, Instant::now()).map_err(|wait| {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Failure::TooMany { seconds: seconds.max(1) }
    })
}

/// Leads to the same address of another host, with the scheme and the port that the client came by.
fn moved(request: Request<Incoming>, host: &str, arrival: &Arrival<'_>) -> Response<ResponseBody> {
    let origin = header::origin(request.headers(), host, arrival);
    redirected(request, StatusCode::MOVED_PERMANENTLY, &origin, Some(""))
}

/// A redirection. What follows `prefix` in the path is appended, if one is given; the query always is.
fn redirected(
    request: Request<Incoming>,
    status: StatusCode,
    to: &str,
    prefix: Option<&str>,
) -> Response<ResponseBody> {
    let rest = prefix.and_then(|prefix| request.uri().path().strip_prefix(prefix.trim_end_matches('/')));
    let to = match rest.unwrap_or_default() {
        "" => to.to_owned(),
        rest => match to.trim_end_matches('/') {
            // What begins with two slashes, or what browsers take for that, is another host.
            "" => format!("/{}", rest.trim_start_matches(['/', '\\'])),
            to => format!("{to}{rest}"),
        },
    };
    let (mark, query) = request.uri().query().map_or(("", ""), |query| ("?", query));
    let Ok(location) = HeaderValue::from_str(&format!("{to}{mark}{query}")) else {
        return refuse(request, Failure::Invalid("its path can't be redirected"), None);
    };
    let mut response = fixed(request, status, &Bytes::new(), &HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(LOCATION, location);
    response
}

fn fixed(
    mut request: Request<Incoming>,
    status: StatusCode,
    body: &Bytes,
    content_type: &HeaderValue,
) -> Response<ResponseBody> {
    let id = header::set_request_id(request.headers_mut());
    let mut response = Response::new(ResponseBody::page(body.clone()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, content_type.clone());
    }
    response
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
        let patience =
            Patience { timeout: options.inner_timeout, attempt_timeout: None, retries: options.inner_retries };
        let exchange = self.core.exchange(&self.endpoint, patience, client);
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
