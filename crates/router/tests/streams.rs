//! Bodies that come in pieces, both ways, and connections that leave HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{Payload, app, connect, ok, request, router_to, text, until, within};

type Sender = futures::channel::mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

/// A body whose frames the test sends one by one.
fn piecewise() -> (Sender, Payload) {
    let (sender, receiver) = futures::channel::mpsc::channel(0);
    (sender, StreamBody::new(receiver).boxed_unsync())
}

/// A server that answers with a piecewise body and hands its sender to the test.
async fn piecewise_app(media: &'static str) -> (std::net::SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Sender>) {
    let (bodies, opened) = tokio::sync::mpsc::unbounded_channel();
    let (address, _) = app(move |_| {
        let (sender, body) = piecewise();
        bodies.send(sender).unwrap();
        async move {
            let mut response = Response::new(body);
            response.headers_mut().insert("content-type", HeaderValue::from_static(media));
            response
        }
    })
    .await;
    (address, opened)
}

async fn next(body: &mut Incoming) -> Bytes {
    within(body.frame()).await.unwrap().unwrap().into_data().unwrap()
}

#[tokio::test]
async fn an_event_arrives_before_the_next_is_made() {
    let (address, mut opened) = piecewise_app("text/event-stream").await;
    let router = router_to(&[address], 0).await;
    let asked = connect(router.address()).await.send_request(request("GET", "/").body(text("")).unwrap());
    let (response, upstream) = within(async { tokio::join!(asked, opened.recv()) }).await;
    let (mut body, mut upstream) = (response.unwrap().into_body(), upstream.unwrap());
    for number in 0..20 {
        let event = Bytes::from(format!("data: {number}\n\n"));
        within(upstream.send(Ok(Frame::data(event.clone())))).await.unwrap();
        assert_eq!(next(&mut body).await, event);
    }
    drop(upstream);
    assert!(within(body.frame()).await.is_none());
    until(|| router.in_flight(address) == 0).await;
}

#[tokio::test]
async fn request_and_answer_stream_at_the_same_time() {
    let (address, _) = app(|request| async move {
        Response::new(request.into_body().map_err(|error| panic!("{error}")).boxed_unsync())
    })
    .await;
    let router = router_to(&[address], 0).await;
    let (mut sending, body) = piecewise();
    let response =
        within(connect(router.address()).await.send_request(request("POST", "/").body(body).unwrap())).await.unwrap();
    let mut body = response.into_body();
    for number in 0..20 {
        let piece = Bytes::from(format!("piece {number}"));
        within(sending.send(Ok(Frame::data(piece.clone())))).await.unwrap();
        assert_eq!(next(&mut body).await, piece);
    }
}

#[tokio::test]
async fn a_get_with_a_body_of_unknown_length_keeps_it() {
    let (address, _) = app(|request| async move { ok(request.into_body().collect().await.unwrap().to_bytes()) }).await;
    let router = router_to(&[address], 0).await;
    let raw = "GET / HTTP/1.1\r\nHost: acme.localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nasked\r\n0\r\n\r\n";
    let answer = crate::stage::raw(router.address(), raw).await;
    assert!(answer.ends_with("\r\n\r\nasked"), "{answer}");
}

#[tokio::test]
async fn trailers_are_passed_on() {
    let (address, _) = app(|request| async move {
        assert_eq!(request.headers().get("te").unwrap(), "trailers");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        let frames = [Ok(Frame::data(Bytes::from("body"))), Ok(Frame::trailers(trailers))];
        let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync());
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        response
    })
    .await;
    let router = router_to(&[address], 0).await;
    let asked = request("GET", "/").header("te", "trailers").header("connection", "te").body(text("")).unwrap();
    let response = within(connect(router.address()).await.send_request(asked)).await.unwrap();
    let collected = within(response.into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap().get("x-sum").unwrap(), "42");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_to_the_upstream() {
    let (address, mut opened) = piecewise_app("text/event-stream").await;
    let router = router_to(&[address], 0).await;
    let mut client = connect(router.address()).await;
    let asked = client.send_request(request("GET", "/").body(text("")).unwrap());
    let (response, upstream) = within(async { tokio::join!(asked, opened.recv()) }).await;
    assert_eq!(router.in_flight(address), 1);
    drop((response, client));
    // The stream is silent: only the closed connection tells.
    let mut upstream = upstream.unwrap();
    within(std::future::poll_fn(|context| {
        if upstream.is_closed() {
            std::task::Poll::Ready(Ok(()))
        } else {
            upstream.poll_ready(context).map(|_| Err(()))
        }
    }))
    .await
    .ok();
    until(|| upstream.is_closed()).await;
    until(|| router.in_flight(address) == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_the_request_to_the_upstream() {
    struct Gone(Arc<AtomicUsize>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let (address, count) = app(move |_| {
        let gone = Gone(Arc::clone(&counter));
        async move {
            let _gone = gone;
            std::future::pending().await
        }
    })
    .await;
    let router = router_to(&[address], 3).await;
    let mut client = connect(router.address()).await;
    let asked = tokio::spawn(client.send_request(request("GET", "/").body(text("")).unwrap()));
    until(|| count.load(Ordering::SeqCst) == 1).await;
    asked.abort();
    drop(client);
    until(|| ended.load(Ordering::SeqCst) == 1 && router.in_flight(address) == 0).await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

const PIECE: usize = 64 * 1024;
const PIECES: usize = 1024;

fn pattern(index: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(index % 251).unwrap(); PIECE])
}

/// Reads a body of [`PIECES`] pieces and returns its length; panics where a byte is not the one that was sent.
async fn check(mut body: Incoming) -> usize {
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let mut data = frame.unwrap().into_data().unwrap();
        while !data.is_empty() {
            let same = data.split_to(data.len().min(PIECE - total % PIECE));
            assert!(pattern(total / PIECE).starts_with(&same), "at {total}");
            total += same.len();
        }
    }
    total
}

#[tokio::test]
async fn a_large_answer_comes_whole_and_waits_for_a_slow_client() {
    let produced = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&produced);
    let (address, _) = app(move |_| {
        let counter = Arc::clone(&counter);
        async move {
            let pieces = futures::stream::iter(0..PIECES).map(move |index| {
                counter.fetch_add(1, Ordering::SeqCst);
                Ok(Frame::data(pattern(index)))
            });
            Response::new(StreamBody::new(pieces).boxed_unsync())
        }
    })
    .await;
    let router = router_to(&[address], 0).await;
    let response = within(connect(router.address()).await.send_request(request("GET", "/").body(text("")).unwrap()))
        .await
        .unwrap();
    // Nobody reads: the upstream has to stop when the buffers on the way are full.
    let all = async {
        while produced.load(Ordering::SeqCst) < PIECES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let overrun = tokio::time::timeout(Duration::from_millis(300), all).await;
    assert!(overrun.is_err(), "64 MiB were buffered on the way");
    assert_eq!(within(check(response.into_body())).await, PIECE * PIECES);
}

#[tokio::test]
async fn a_large_request_comes_whole_and_waits_for_a_slow_upstream() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let (address, _) = app(move |request: Request<Incoming>| {
        let mut gone = gone.clone();
        async move {
            gone.wait_for(|go| *go).await.unwrap();
            ok(check(request.into_body()).await.to_string())
        }
    })
    .await;
    let router = router_to(&[address], 0).await;
    let produced = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&produced);
    let pieces = futures::stream::iter(0..PIECES).map(move |index| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(Frame::data(pattern(index)))
    });
    let body = StreamBody::new(pieces).boxed_unsync();
    let asked = tokio::spawn(crate::stage::send(router.address(), request("POST", "/").body(body).unwrap()));
    let all = async {
        while produced.load(Ordering::SeqCst) < PIECES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(300), all).await.is_err(), "64 MiB were buffered on the way");
    go.send(true).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().body, (PIECE * PIECES).to_string());
}

/// A server that switches to a protocol of echoes.
pub(crate) async fn echo_app() -> std::net::SocketAddr {
    let (address, _) = app(|mut request| async move {
        assert_eq!(request.headers().get("upgrade").unwrap(), "echo");
        tokio::spawn(async move {
            let mut stream = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..count]).await.unwrap();
            }
        });
        let mut response = ok("");
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
        response.headers_mut().insert("upgrade", HeaderValue::from_static("echo"));
        response
    })
    .await;
    address
}

pub(crate) async fn open_echo(router: std::net::SocketAddr) -> TokioIo<hyper::upgrade::Upgraded> {
    let asked = request("GET", "/").header("connection", "Upgrade").header("upgrade", "echo").body(text("")).unwrap();
    let response = within(connect(router).await.send_request(asked)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers().get("upgrade").unwrap(), "echo");
    TokioIo::new(within(hyper::upgrade::on(response)).await.unwrap())
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways_until_it_is_closed() {
    let address = echo_app().await;
    let router = router_to(&[address], 0).await;
    let mut stream = open_echo(router.address()).await;
    for number in 0..20_u8 {
        stream.write_all(&[number; 100]).await.unwrap();
        let mut echo = [0; 100];
        within(stream.read_exact(&mut echo)).await.unwrap();
        assert_eq!(echo, [number; 100]);
    }
    assert_eq!(router.in_flight(address), 1);
    drop(stream);
    until(|| router.in_flight(address) == 0).await;
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let (address, _) = app(|_| async {
        let mut response = ok("no");
        *response.status_mut() = StatusCode::FORBIDDEN;
        response
    })
    .await;
    let router = router_to(&[address], 0).await;
    let asked = request("GET", "/").header("connection", "Upgrade").header("upgrade", "echo").body(text("")).unwrap();
    let reply = crate::stage::send(router.address(), asked).await.unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::FORBIDDEN, "no"));
}
