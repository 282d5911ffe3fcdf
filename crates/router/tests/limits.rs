//! Time and size limits.

use std::time::Duration;

use freehold_router::Options;
use futures::StreamExt as _;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{app, get, ok, raw, request, router, router_to, router_with, send, serve, text, until, within};

/// Runs out in each test that has it, and not before an answer has begun, even on a busy machine.
const ENOUGH: Duration = Duration::from_secs(2);

#[tokio::test]
async fn no_answer_in_time_is_504() {
    let (address, _) = app(|_| std::future::pending()).await;
    let router = router().await;
    serve(&router, &[address], Duration::from_millis(100), 3);
    let reply = get(&router, "/").await;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(reply.body.contains("freehold logs --tenant acme"), "{}", reply.body);
    until(|| router.in_flight(address) == 0).await;
}

#[tokio::test]
async fn an_answer_that_takes_too_long_breaks_off_and_never_looks_complete() {
    let (address, _) = app(|_| async {
        let endless = futures::stream::iter([Ok(Frame::data("begun".into()))]).chain(futures::stream::pending());
        Response::new(StreamBody::new(endless).boxed_unsync())
    })
    .await;
    let router = router().await;
    serve(&router, &[address], ENOUGH, 0);
    let answer = raw(router.address(), "GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n").await;
    assert!(answer.contains("begun") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    let broken = send(router.address(), request("GET", "/").body(text("")).unwrap()).await;
    assert!(broken.is_err(), "{broken:?}");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_its_answer_breaks_off_ours() {
    let address = crate::stage::raw_app(|mut stream, _| async move {
        crate::stage::read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
    })
    .await;
    let router = router_to(&[address], 3).await;
    assert!(send(router.address(), request("GET", "/").body(text("")).unwrap()).await.is_err());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (address, _) = app(|_| async { ok("") }).await;
    let router = router_to(&[address], 0).await;
    let large = "x".repeat(100_000);
    let answer =
        raw(router.address(), &format!("GET / HTTP/1.1\r\nHost: acme.localhost\r\nCookie: {large}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_head_with_more_fields_or_bytes_than_allowed_is_refused_with_a_page() {
    let (address, count) = app(|_| async { ok("fine") }).await;
    let router = router_to(&[address], 0).await;
    let ask = |fields: usize, length: usize| {
        let fields: String = (0..fields).map(|number| format!("X-{number}: {}\r\n", "x".repeat(length))).collect();
        format!("GET / HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n{fields}\r\n")
    };
    // The router adds some, and the server of this test takes a hundred.
    assert!(raw(router.address(), &ask(90, 1)).await.ends_with("fine"));
    for (fields, length) in [(99, 1), (120, 1), (10, 7000)] {
        let answer = raw(router.address(), &ask(fields, length)).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(answer.contains("more than 100 fields or 65536 bytes"), "{answer}");
    }
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_disconnected() {
    let router = router_with(Options { head_timeout: Duration::from_millis(100), ..Options::default() }).await;
    let mut stream = TcpStream::connect(router.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: acme").await.unwrap();
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_client_that_stops_in_its_body_after_the_answer_is_disconnected_in_time() {
    let (address, _) = app(|_| async { ok("early") }).await;
    let router = router().await;
    serve(&router, &[address], ENOUGH, 0);
    let answer =
        raw(router.address(), "POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 100\r\n\r\nbegun").await;
    assert!(answer.ends_with("early"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_not_valid_is_the_clients_fault() {
    let (address, _) = app(|request| async move {
        let _ = request.into_body().collect().await;
        ok("")
    })
    .await;
    let router = router_to(&[address], 3).await;
    let answer =
        raw(router.address(), "POST / HTTP/1.1\r\nHost: acme.localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
            .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    until(|| router.in_flight(address) == 0).await;
}
