//! Requests whose ends could be read in two ways, and old or odd forms of requests.

use std::sync::atomic::Ordering;

use http_body_util::BodyExt;

use crate::stage::{app, ok, raw, router_to};

#[tokio::test]
async fn a_request_with_two_lengths_cannot_smuggle_another() {
    // hyper follows RFC 9112, 6.1: the transfer coding counts, the length is dropped, the connection is closed after the answer.
    for headers in
        ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"]
    {
        let (address, count) = app(|request| async move {
            assert!(!request.headers().contains_key("content-length"));
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            ok(format!("{path} {}", String::from_utf8_lossy(&body)))
        })
        .await;
        let router = router_to(&[address], 0).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: acme.localhost\r\n\r\n";
        let bytes =
            format!("POST /first HTTP/1.1\r\nHost: acme.localhost\r\n{headers}\r\n\r\n2\r\nok\r\n0\r\n\r\n{smuggled}");
        let answer = raw(router.address(), &bytes).await;
        assert!(answer.ends_with("/first ok"), "{answer}");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn requests_that_are_not_valid_are_refused_and_reach_nobody() {
    let (address, count) = app(|_| async { ok("") }).await;
    let router = router_to(&[address], 0).await;
    let cases = [
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: acme.localhost\r\nHost: other.localhost\r\nConnection: close\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: acme.localhost:x\r\nConnection: close\r\n\r\n", "400"),
        ("GET http://me@acme.localhost/ HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"),
        ("POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: +1\r\n\r\na", "400"),
        ("POST / HTTP/1.1\r\nHost: acme.localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: acme.localhost\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
            "501",
        ),
        ("CONNECT acme.localhost:80 HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n", "501"),
        ("GET / HTTP/1.1\r\nHost: acme.localhost\r\nX : y\r\n\r\n", "400"),
        ("garbage\r\n\r\n", "400"),
    ];
    for (bytes, status) in cases {
        let answer = raw(router.address(), bytes).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{bytes}\n{answer}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn requests_sent_all_at_once_are_answered_in_order() {
    let (address, _) = app(|request| async move { ok(format!("<{}>", request.uri().path())) }).await;
    let router = router_to(&[address], 0).await;
    let ask = |path: &str, end: &str| format!("GET {path} HTTP/1.1\r\nHost: acme.localhost\r\n{end}\r\n");
    let post = "POST /2 HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 5\r\n\r\nfives";
    let bytes = [ask("/1", ""), post.to_owned(), ask("/3", ""), ask("/4", "Connection: close\r\n")].concat();
    let answer = raw(router.address(), &bytes).await;
    let places: Vec<_> = ["</1>", "</2>", "</3>", "</4>"].iter().map(|path| answer.find(path).expect(path)).collect();
    assert!(places.is_sorted());
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_an_answer_that_it_understands() {
    let (address, _) = app(|request| async move {
        assert_eq!(request.version(), http::Version::HTTP_11);
        let pieces = futures::stream::iter(["un", "known"]).map(|piece| Ok(hyper::body::Frame::data(piece.into())));
        http::Response::new(http_body_util::StreamBody::new(pieces).boxed_unsync())
    })
    .await;
    use futures::StreamExt as _;
    let router = router_to(&[address], 0).await;
    let answer = raw(router.address(), "GET / HTTP/1.0\r\nHost: acme.localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\nunknown"), "{answer}");
}

#[tokio::test]
async fn an_upstream_of_http_1_0_is_understood() {
    let address = crate::stage::raw_app(|mut stream, _| async move {
        crate::stage::read_head(&mut stream).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nold").await.unwrap();
    })
    .await;
    let router = router_to(&[address], 0).await;
    for _ in 0..3 {
        assert_eq!(crate::stage::get(&router, "/").await.body, "old");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_its_body_gets_it() {
    let (address, _) = app(|request| async move { ok(request.into_body().collect().await.unwrap().to_bytes()) }).await;
    let router = router_to(&[address], 0).await;
    crate::stage::within(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(router.address()).await.unwrap();
        let head = "POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(crate::stage::read_head(&mut stream).await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"body").await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("body"), "{rest}");
    })
    .await;
}
