//! What the tests share: servers that play a service, clients, and a router between them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use freehold_router::{Action, EndpointKey, Options, Patience, Policies, Route, RouteKey, Router, Rule, Upstream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Payload = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) const HOST: &str = "acme.localhost";

/// Everything that a test waits for has to come within this.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("the test waited in vain")
}

/// Waits until something is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    within(async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(crate) fn text(body: impl Into<Bytes>) -> Payload {
    Full::new(body.into()).boxed_unsync()
}

pub(crate) fn ok(body: impl Into<Bytes>) -> Response<Payload> {
    Response::new(text(body))
}

/// A server of HTTP/1.1 that answers with what `answer` returns, and counts its requests.
pub(crate) async fn app<A, F>(answer: A) -> (SocketAddr, Arc<AtomicUsize>)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Payload>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let (answer, counter) = (answer.clone(), Arc::clone(&counter));
            let service = service_fn(move |request| {
                counter.fetch_add(1, Ordering::SeqCst);
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), service).with_upgrades());
        }
    });
    (address, count)
}

/// A server that is told byte by byte what to do; `play` gets each connection and its number.
pub(crate) async fn raw_app<P, F>(play: P) -> SocketAddr
where
    P: Fn(TcpStream, usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(play(stream, number));
            number += 1;
        }
    });
    address
}

/// Reads up to the end of a head; `None` at the end of the stream.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// An address at which nothing listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// With threads of its own, as the platform starts it.
pub(crate) async fn router() -> Router {
    router_with(Options { threads: 2, ..Options::default() }).await
}

pub(crate) async fn router_with(options: Options) -> Router {
    Router::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap()
}

pub(crate) fn web() -> EndpointKey {
    EndpointKey("0198a000-0000-7000-8000-000000000000/service.web".to_owned())
}

/// The key of a route, of which a test mostly has one.
pub(crate) fn key() -> RouteKey {
    RouteKey("0198a000-0000-7000-8000-000000000000/acme/web".to_owned())
}

pub(crate) fn rule(prefix: &str, timeout: Duration, retries: u32) -> Rule {
    let patience = Patience { timeout, attempt_timeout: None, retries };
    Rule { prefix: prefix.to_owned(), action: Action::Forward { endpoint: web(), patience } }
}

pub(crate) fn route(rules: Vec<Rule>) -> Route {
    Route {
        hosts: vec![HOST.to_owned()],
        redirect_from: Vec::new(),
        rules,
        policies: Policies::default(),
        label: "guestbook/tenant/acme".to_owned(),
    }
}

pub(crate) fn upstreams(addresses: &[SocketAddr]) -> Vec<Upstream> {
    addresses.iter().map(|&address| Upstream::direct(address)).collect()
}

/// A router whose host [`HOST`] goes to these addresses, with ten seconds for a request.
pub(crate) async fn router_to(addresses: &[SocketAddr], retries: u32) -> Router {
    let router = router().await;
    serve(&router, addresses, Duration::from_secs(10), retries);
    router
}

pub(crate) fn serve(router: &Router, addresses: &[SocketAddr], timeout: Duration, retries: u32) {
    router.set_upstreams(&web(), upstreams(addresses));
    router.set_route(&key(), route(vec![rule("/", timeout, retries)]));
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A connection of a client.
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Payload> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", HOST)
}

/// Sends one request over a connection of its own; fails only if no complete answer comes.
pub(crate) async fn send(address: SocketAddr, request: Request<Payload>) -> Result<Reply, hyper::Error> {
    within(async {
        let response = connect(address).await.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() })
    })
    .await
}

pub(crate) async fn get(router: &Router, path: &str) -> Reply {
    send(router.address(), request("GET", path).body(text("")).unwrap()).await.unwrap()
}

pub(crate) async fn post(router: &Router, path: &str, body: &'static str) -> Reply {
    send(router.address(), request("POST", path).body(text(body)).unwrap()).await.unwrap()
}

/// Writes bytes as they are and returns all that comes until the other side closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &str) -> String {
    within(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        // A reset after the answer is an end as well.
        let _ = stream.read_to_end(&mut all).await;
        String::from_utf8_lossy(&all).into_owned()
    })
    .await
}
