//! One request on its way: where it goes, what is tried again, and when to give up.
//!
//! Three kinds of failure are told apart, because only they decide what may be sent again:
//! - *Refused*: no connection was made, so no byte was sent. Any request may go elsewhere.
//! - *Stale*: a connection from the pool ended before a byte of the answer. Upstreams close idle connections whenever they like, and
//!   a request can cross that on the way. Only requests that may be repeated are ever sent over a used connection, and they are
//!   sent again over a new one at once; it does not count as a retry.
//! - *Broken*: a new connection ended before a byte of the answer. The upstream may have done the work: only a request that may be
//!   repeated is sent again, as often as its rule says.
//!
//! An answer of whatever status is an answer, and is never tried again.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::backend::{Connection, Flight};
use crate::endpoint::Endpoint;
use crate::header::{self, Found};
use crate::listener::{Client, is_exhaustion};
use crate::options::Options;
use crate::page::Failure;
use crate::response_body::{Relay, ResponseBody};
use crate::route::{HeaderChanges, Patience};
use crate::tunnel::tunnel;
use crate::upload::{Leave, RequestBody, Upload, UploadError};

/// The first wait between two attempts; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// A request that was accepted for an endpoint, with its limits.
pub(crate) struct Exchange<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) options: &'a Options,
    pub(crate) patience: Patience,
    /// What is changed in the request's header, last of all.
    pub(crate) changes: Option<&'a HeaderChanges>,
    /// The largest body of the request, in bytes.
    pub(crate) max_body: Option<u64>,
    /// The peer that the request came from, for limits and the forwarded fields.
    pub(crate) client: &'a Client,
    /// Where the tunnels of upgraded connections run.
    pub(crate) tunnels: &'a TaskTracker,
}

/// Why one attempt gave no answer.
enum Miss {
    /// No byte was sent.
    Refused(std::io::Error),
    /// A used connection was closed under the request.
    Stale,
    /// A connection broke after the request may have been sent.
    Broken(hyper::Error),
    /// The client's body could not be read to its end.
    Upload,
    /// The client's body is larger than it may be.
    TooLarge,
    /// The answer didn't begin within the time of an attempt.
    Slow,
    /// The upstream was cut off before it answered.
    Cut,
}

impl Exchange<'_> {
    /// Carries the request to a live upstream and brings back the head of the answer; the body follows as it is read.
    pub(crate) async fn run(self, request: Request<Incoming>, found: Found) -> Result<Response<ResponseBody>, Failure> {
        let deadline = Instant::now() + self.patience.timeout;
        if let Some(most) = self.max_body
            && request.body().size_hint().exact().is_some_and(|length| length > most)
        {
            return Err(Failure::LargeBody { most });
        }
        let mut message = Message::new(request, found, deadline, self.changes, self.max_body);
        let answered = self.client.alarm.limit(deadline, self.attempts(&mut message, deadline)).await;
        let (response, flight, connection) = answered.ok_or(Failure::TimedOut)??;
        if message.leave.as_ref().is_some_and(Leave::end) {
            connection.spent.set();
        }
        self.deliver(response, flight, connection, message.upgrade, deadline)
    }

    async fn attempts(
        &self,
        message: &mut Message,
        deadline: Instant,
    ) -> Result<(Response<Incoming>, Flight, Connection), Failure> {
        let hold_until = deadline.min(Instant::now() + self.options.hold);
        let mut used_too = message.is_repeatable();
        let mut tried: Vec<SocketAddr> = Vec::new();
        let mut retries = 0;
        loop {
            let Some(flight) = self.endpoint.pick(&tried) else {
                if self.endpoint.wait(&tried, hold_until).await {
                    continue;
                }
                return Err(Failure::NoneLive);
            };
            let address = flight.backend().address;
            let (failure, limit) = match self.attempt(flight, message, used_too).await {
                Ok(answered) => return Ok(answered),
                Err(Miss::Stale) => {
                    used_too = false;
                    continue;
                }
                Err(Miss::Refused(error)) if is_exhaustion(&error) => {
                    (Failure::Exhausted, self.patience.retries.max(1))
                }
                Err(Miss::Refused(error)) => {
                    self.tell_refused(address, &error);
                    // Another upstream is asked even where the rule allows no retry: nothing was sent.
                    (Failure::Refused, self.patience.retries.max(others(self.endpoint)))
                }
                Err(Miss::Broken(error)) => {
                    tracing::debug!(%address, %error, "an upstream broke off the connection");
                    (Failure::Broken, self.patience.retries)
                }
                Err(Miss::Upload) => return Err(Failure::Invalid("its body broke off")),
                Err(Miss::TooLarge) => {
                    return Err(Failure::LargeBody { most: self.max_body.unwrap_or_default() });
                }
                Err(Miss::Slow) => (Failure::TimedOut, self.patience.retries),
                Err(Miss::Cut) => (Failure::Broken, self.patience.retries),
            };
            if !message.is_here() {
                return Err(failure);
            }
            tried.push(address);
            if retries >= limit {
                // During an exchange a process that no longer listens is replaced shortly.
                if failure == Failure::Refused
                    && self.endpoint.is_switching()
                    && self.endpoint.wait(&tried, hold_until).await
                {
                    retries = 0;
                    tried.clear();
                    continue;
                }
                return Err(failure);
            }
            retries += 1;
            if tried.len() >= self.endpoint.count() {
                tokio::time::sleep(retry_pause(retries)).await;
            }
        }
    }

    /// One attempt, which may be given less time than there is.
    async fn attempt(
        &self,
        flight: Flight,
        message: &mut Message,
        used_too: bool,
    ) -> Result<(Response<Incoming>, Flight, Connection), Miss> {
        let attempt = attempt(flight, message, used_too);
        match self.patience.attempt_timeout {
            Some(limit) => tokio::time::timeout(limit, attempt).await.unwrap_or(Err(Miss::Slow)),
            None => attempt.await,
        }
    }

    fn tell_refused(&self, address: SocketAddr, error: &std::io::Error) {
        tracing::debug!(%address, %error, "an upstream refused the connection");
        // What the system says has no words of its own; these are of whoever found somebody else there.
        if error.get_ref().is_some()
            && let Some(unsaid) = self.endpoint.unproved.may_say()
        {
            tracing::warn!(%address, %error, unsaid, "a request was kept from what answers in the place of a service");
        }
    }

    /// Turns the upstream's answer into ours.
    fn deliver(
        &self,
        response: Response<Incoming>,
        flight: Flight,
        connection: Connection,
        client: Option<(OnUpgrade, HeaderValue)>,
        deadline: Instant,
    ) -> Result<Response<ResponseBody>, Failure> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(response, flight, client);
        }
        let found = Found::in_head(response.headers());
        if found.coding && header::has_unknown_coding(response.headers()) {
            return Err(Failure::Broken);
        }
        let (mut head, incoming) = response.into_parts();
        let ends_anywhere =
            head.headers.get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"));
        // Of an answer with both the coding counts (RFC 9112, 6.3); it would be cut off, or never be whole, at the length.
        if found.coding {
            head.headers.remove(CONTENT_LENGTH);
        }
        header::remove_hop_by_hop(&mut head.headers, found);
        head.version = Version::HTTP_11;
        head.extensions = http::Extensions::new();
        let alarm = Arc::clone(&self.client.alarm);
        let body = ResponseBody::Relay(Relay::new(incoming, flight, connection, deadline, alarm, ends_anywhere));
        Ok(Response::from_parts(head, body))
    }

    fn switch(
        &self,
        mut response: Response<Incoming>,
        flight: Flight,
        client: Option<(OnUpgrade, HeaderValue)>,
    ) -> Result<Response<ResponseBody>, Failure> {
        let Some((client, asked)) = client else { return Err(Failure::Broken) };
        let upstream = hyper::upgrade::on(&mut response);
        let place = Arc::clone(&self.client.place);
        place.set_tunnel();
        self.tunnels.spawn(tunnel(client, upstream, flight, place, self.options.tunnel_timeout));
        let (mut head, _nothing) = response.into_parts();
        let protocol = head.headers.get(http::header::UPGRADE).cloned().unwrap_or(asked);
        let found = Found::in_head(&head.headers);
        header::remove_hop_by_hop(&mut head.headers, found);
        header::set_upgrade(&mut head.headers, protocol);
        head.version = Version::HTTP_11;
        head.extensions = http::Extensions::new();
        Ok(Response::from_parts(head, ResponseBody::Page(None)))
    }
}

fn others(endpoint: &Endpoint) -> u32 {
    u32::try_from(endpoint.count().saturating_sub(1)).unwrap_or(u32::MAX)
}

fn retry_pause(retry: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << retry.saturating_sub(1).min(10)).min(LONGEST_WAIT)
}

/// Sends the message once and waits for the head of the answer.
async fn attempt(
    flight: Flight,
    message: &mut Message,
    used_too: bool,
) -> Result<(Response<Incoming>, Flight, Connection), Miss> {
    let used = if used_too { flight.backend().take_idle() } else { None };
    let is_used = used.is_some();
    let mut connection = match used {
        Some(connection) => connection,
        None => flight.connect().await.map_err(|error| refused(error, &flight))?,
    };
    let Some(request) = message.take() else { return Err(Miss::Cut) };
    match connection.sender.try_send_request(request).await {
        Ok(response) => Ok((response, flight, connection)),
        Err(mut error) => {
            if let Some(unsent) = error.take_message() {
                message.put_back(unsent);
            }
            let error = error.into_error();
            Err(match error {
                // A cut ends the connections to the upstream.
                _ if flight.backend().cut.is_given() => Miss::Cut,
                error if error.is_user() => unread(&error),
                _ if is_used => Miss::Stale,
                error => Miss::Broken(error),
            })
        }
    }
}

/// Why a client's body was not read to its end.
fn unread(error: &hyper::Error) -> Miss {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<UploadError>());
    match cause {
        Some(UploadError::TooLarge) => Miss::TooLarge,
        Some(UploadError::Client(_) | UploadError::TimedOut) | None => Miss::Upload,
    }
}

fn refused(error: std::io::Error, flight: &Flight) -> Miss {
    // Being out of descriptors is a failure of the router and says nothing about the upstream.
    if !is_exhaustion(&error) {
        flight.backend().rest();
    }
    Miss::Refused(error)
}

/// The request as the upstream gets it.
struct Message {
    request: Option<Request<RequestBody>>,
    /// May be sent any number of times: the method is idempotent (RFC 9110, 9.2.2) and there is no body.
    repeatable: bool,
    /// The client asks first whether it may send the body.
    leave: Option<Leave>,
    upgrade: Option<(OnUpgrade, HeaderValue)>,
}

impl Message {
    fn new(
        mut request: Request<Incoming>,
        found: Found,
        deadline: Instant,
        changes: Option<&HeaderChanges>,
        max_body: Option<u64>,
    ) -> Message {
        let is_new = request.version() == Version::HTTP_11;
        let protocol = if is_new { header::upgrade(request.headers(), found) } else { None };
        let upgrade = protocol.map(|protocol| (hyper::upgrade::on(&mut request), protocol));
        let asks = header::asks_for_leave(&request, found) && !request.body().is_end_stream();
        let leave = asks.then(Leave::default);
        let (mut head, incoming) = request.into_parts();
        header::remove_for_upstream(&mut head.headers, found);
        // Behind what a client can have removed by naming it in `Connection`.
        if let Some(changes) = changes {
            header::change_request(&mut head.headers, changes);
        }
        if asks {
            head.headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        }
        if let Some((_, protocol)) = &upgrade {
            header::set_upgrade(&mut head.headers, protocol.clone());
        }
        head.version = Version::HTTP_11;
        head.extensions = http::Extensions::new();
        let body = if incoming.is_end_stream() {
            RequestBody::Empty
        } else {
            if incoming.size_hint().exact().is_none() {
                // hyper would send a GET of unknown length without its body.
                head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            RequestBody::Client(Upload::new(incoming, deadline, leave.clone(), max_body))
        };
        let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE]
            .contains(&head.method);
        let repeatable = idempotent && matches!(body, RequestBody::Empty);
        let mut request = Request::from_parts(head, body);
        if let Some(leave) = leave.clone() {
            hyper::ext::on_informational(&mut request, move |answer| {
                if answer.status() == StatusCode::CONTINUE {
                    leave.give();
                }
            });
        }
        Message { request: Some(request), repeatable, leave, upgrade }
    }

    fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Whether there is anything (left) to send.
    fn is_here(&self) -> bool {
        self.request.is_some()
    }

    /// The request for an attempt: a copy if it may be needed again, else itself.
    fn take(&mut self) -> Option<Request<RequestBody>> {
        if !self.repeatable {
            return self.request.take();
        }
        let original = self.request.as_ref()?;
        let mut copy = Request::new(RequestBody::Empty);
        *copy.method_mut() = original.method().clone();
        *copy.uri_mut() = original.uri().clone();
        *copy.headers_mut() = original.headers().clone();
        Some(copy)
    }

    /// Takes back a request of which nothing was sent.
    fn put_back(&mut self, request: Request<RequestBody>) {
        self.request = Some(request);
    }
}
