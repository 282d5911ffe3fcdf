//! Requests whose ends could be read in two ways, and old or odd forms of requests.

use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    let router = router_to(&[address], 0).await;
    let answer = raw(router.address(), "GET / HTTP/1.0\r\nHost: acme.localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\nunknown"), "{answer}");
}

#[tokio::test]
async fn an_upstream_of_http_1_0_is_understood() {
    let address = crate::stage::raw_app(|mut stream, _| async move {
        crate::stage::read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nold").await.unwrap();
    })
    .await;
    let router = router_to(&[address], 0).await;
    for _ in 0..3 {
        assert_eq!(crate::stage::get(&router, "/").await.body, "old");
    }
}

const ASKING: &str =
    "POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_its_body_gets_it_from_the_service() {
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let (give, given) = tokio::sync::watch::channel(false);
    let address = crate::stage::raw_app(move |mut stream, _| {
        let (asked, mut given) = (asked.clone(), given.clone());
        async move {
            asked.send(crate::stage::read_head(&mut stream).await.unwrap()).unwrap();
            given.wait_for(|given| *given).await.unwrap();
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            let mut body = [0; 4];
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    })
    .await;
    let router = router_to(&[address], 0).await;
    crate::stage::within(async {
        let mut stream = tokio::net::TcpStream::connect(router.address()).await.unwrap();
        stream.write_all(ASKING.as_bytes()).await.unwrap();
        assert!(was_asked.recv().await.unwrap().contains("expect: 100-continue"));
        give.send(true).unwrap();
        assert_eq!(crate::stage::read_head(&mut stream).await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"body").await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("body"), "{rest}");
    })
    .await;
}

#[tokio::test]
async fn a_service_that_refuses_a_body_beforehand_is_not_sent_it() {
    let (rest, mut came) = tokio::sync::mpsc::unbounded_channel();
    let address = crate::stage::raw_app(move |mut stream, _| {
        let rest = rest.clone();
        async move {
            crate::stage::read_head(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
            let mut body = Vec::new();
            let _ = stream.read_to_end(&mut body).await;
            rest.send(body).unwrap();
        }
    })
    .await;
    let router = router_to(&[address], 0).await;
    let answer = raw(router.address(), ASKING).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("no"), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
    assert_eq!(crate::stage::within(came.recv()).await.unwrap(), b"");
}

#[tokio::test]
async fn a_service_that_knows_nothing_of_leave_gets_the_body_all_the_same() {
    let address = crate::stage::raw_app(|mut stream, _| async move {
        crate::stage::read_head(&mut stream).await.unwrap();
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let router = router_to(&[address], 0).await;
    let asked = format!("{ASKING}body");
    let answer = raw(router.address(), &asked).await;
    assert!(answer.contains("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_has_come_is_passed_on_though_the_service_cuts_the_upload() {
    // Closed with bytes unread, the service's end answers all further ones with a reset.
    let address = crate::stage::raw_app(|mut stream, _| async move {
        crate::stage::read_head(&mut stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge")
            .await
            .unwrap();
    })
    .await;
    let router = router_to(&[address], 0).await;
    for _ in 0..50 {
        let pieces = futures::stream::iter(0..64).map(|_| Ok(hyper::body::Frame::data(vec![b'x'; 64 * 1024].into())));
        let body = http_body_util::StreamBody::new(pieces).boxed_unsync();
        let reply = crate::stage::send(router.address(), crate::stage::request("POST", "/").body(body).unwrap()).await;
        let reply = reply.unwrap();
        assert_eq!((reply.status.as_u16(), reply.body.as_str()), (413, "large"));
    }
    crate::stage::until(|| router.in_flight(address) == 0).await;
}

#[tokio::test]
async fn no_spelling_of_a_request_becomes_two_for_the_service() {
    use futures::FutureExt as _;
    let (seen, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let address = crate::stage::raw_app(move |mut stream, _| {
        let seen = seen.clone();
        async move {
            let Some(head) = crate::stage::read_head(&mut stream).await else { return };
            // What stands for a length must be one thing only.
            let lengths = head.matches("content-length:").count() + head.matches("transfer-encoding:").count();
            seen.send((head, lengths)).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    let router = router_to(&[address], 0).await;
    let start = "POST / HTTP/1.1\r\nHost: acme.localhost\r\n";
    // Each is refused, or passed on as a request with one length and nothing of the second request in its head.
    for (fields, body) in [
        ("Content-Length: 4\r\nContent-Length: 4", "body"),
        ("Content-Length: 4, 4", "body"),
        ("Content-Length: 4\r\nTransfer-Encoding: identity", "body"),
        ("Content-Length:\t4", "body"),
        ("Content-Length: 4\r\nTransfer-Encoding:\x0bchunked", "body"),
        ("Content-Length: 4\r\nTransfer_Encoding: chunked", "body"),
        ("Content-Length: 4\r\nTransfer.Encoding: chunked", "body"),
        ("Content-Length: 4\r\nX: y\r\n Transfer-Encoding: chunked", "body"),
        ("Content-Length: 4\r\nX: y\rTransfer-Encoding: chunked", "body"),
        ("Content-Length: 4\r\nX: y\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("Content-Length : 4", "body"),
        ("Content-Length: 0x4", "body"),
        ("Content-Length: -4", "body"),
        ("Content-Length: 4e0", "body"),
        ("Content-Length: 99999999999999999999", "body"),
        ("Transfer-Encoding : chunked", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
        ("Transfer-Encoding: \u{e9}chunked", "0\r\n\r\n"),
        ("Transfer-Encoding: \"chunked\"", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked;q=1", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "4;a=b\r\nbody\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "4 \r\nbody\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "04\r\nbody\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "-4\r\nbody\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "0x4\r\nbody\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "10000000000000004\r\nbody\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "4\nbody\n0\n\n"),
        ("Transfer-Encoding: chunked", "4\r\nbodyXX0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "0\r\nHost: other.localhost\r\nContent-Length: 4\r\n\r\n"),
        ("Connection: transfer-encoding\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("Connection: content-length\r\nContent-Length: 4", "body"),
    ] {
        let request =
            format!("{start}{fields}\r\nConnection: close\r\n\r\n{body}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = raw(router.address(), &request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{fields:?} {body:?}: {answer}");
        while let Some(Some((head, lengths))) = heads.recv().now_or_never() {
            assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{fields:?} {body:?}: {head}");
            assert!(lengths <= 1 && !head.contains("smuggled"), "{fields:?} {body:?}: {head}");
            assert!(!head.contains("transfer_encoding") && !head.contains("transfer.encoding"), "{head}");
        }
    }
}

#[tokio::test]
async fn an_answer_with_a_length_and_a_coding_comes_whole_and_ends_where_the_coding_says() {
    let address = crate::stage::raw_app(|mut stream, _| async move {
        if crate::stage::read_head(&mut stream).await.is_none() {
            return;
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = "5\r\nwhole\r\n0\r\n\r\n";
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await;
    let router = router_to(&[address], 0).await;
    for _ in 0..2 {
        let reply = crate::stage::get(&router, "/").await;
        assert_eq!((reply.status.as_u16(), reply.body.as_str(), reply.header("content-length")), (200, "whole", ""));
    }
}
