//! What an upstream is told about the client, and what is not passed on.

use freehold_router::Options;
use http::{Request, StatusCode};

use crate::stage::{Payload, Reply, app, ok, request, router_to, send, text};

/// Sends a request through a router and returns the head that the upstream saw, with the port of the router.
async fn seen(asked: Request<Payload>) -> (Vec<String>, u16) {
    let (address, _) = app(|request| async move {
        let lines = request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        ok(lines.collect::<Vec<_>>().join("\n"))
    })
    .await;
    let router = router_to(&[address], 0).await;
    let reply = send(router.address(), asked).await.unwrap();
    (reply.body.lines().map(str::to_owned).collect(), router.address().port())
}

#[tokio::test]
async fn what_a_client_says_about_itself_is_replaced() {
    let asked = Request::builder()
        .uri("/")
        .header("host", "acme.localhost:7080")
        .header("forwarded", "for=8.8.8.8")
        .header("x-forwarded-for", "8.8.8.8")
        .header("x-forwarded-for", "9.9.9.9")
        .header("x_forwarded_for", "8.8.8.8")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "bank.example")
        .header("x-forwarded-prefix", "/admin")
        .header("x-real-ip", "8.8.8.8")
        .body(text(""))
        .unwrap();
    let (lines, port) = seen(asked).await;
    let mut about: Vec<_> =
        lines.iter().filter(|line| line.contains("forward") || line.contains("real")).cloned().collect();
    about.sort();
    let expected = [
        "forwarded: for=127.0.0.1;host=\"acme.localhost:7080\";proto=http".to_owned(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-host: acme.localhost:7080".to_owned(),
        format!("x-forwarded-port: {port}"),
        "x-forwarded-proto: http".to_owned(),
    ];
    assert_eq!(about, expected);
    assert!(lines.contains(&"host: acme.localhost:7080".to_owned()));
}

#[tokio::test]
async fn a_client_cannot_have_our_headers_removed() {
    let asked = request("GET", "/")
        .header("connection", "x-forwarded-for, host, x-mine")
        .header("x-mine", "1")
        .body(text(""))
        .unwrap();
    let (lines, _) = seen(asked).await;
    assert!(
        lines.contains(&"x-forwarded-for: 127.0.0.1".to_owned()) && lines.contains(&"host: acme.localhost".to_owned())
    );
    assert!(!lines.iter().any(|line| line.starts_with("x-mine") || line.starts_with("connection")), "{lines:?}");
}

#[tokio::test]
async fn headers_of_the_connection_stay_on_it() {
    let asked = request("POST", "/")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("proxy-authorization", "Basic eA==")
        .header("te", "gzip")
        .header("upgrade", "h2c")
        .header("transfer_encoding", "chunked")
        .header("x.forwarded.for", "8.8.8.8")
        .header("accept", "*/*")
        .body(text("body"))
        .unwrap();
    let (lines, _) = seen(asked).await;
    let mut names: Vec<_> =
        lines.iter().filter_map(|line| line.split(": ").next()).filter(|name| !name.contains("forwarded")).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "content-length", "host", "x-request-id"]);
}

#[tokio::test]
async fn what_stands_behind_a_body_is_not_passed_on() {
    let (address, _) = app(|request| async move {
        assert!(request.headers().get("trailer").is_none(), "{:?}", request.headers());
        let collected = http_body_util::BodyExt::collect(request.into_body()).await.unwrap();
        let trailers = collected.trailers().cloned();
        ok(format!("{trailers:?} {:?}", collected.to_bytes()))
    })
    .await;
    let router = router_to(&[address], 0).await;
    let asked = "POST / HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: X-Forwarded-For, X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Forwarded-For: 8.8.8.8\r\nX-Sum: 1\r\n\r\n";
    let answer = crate::stage::raw(router.address(), asked).await;
    assert!(answer.ends_with("None b\"body\""), "{answer}");
}

#[tokio::test]
async fn a_trusted_proxy_says_how_its_client_came() {
    let options = Options { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Options::default() };
    let (address, _) = app(|request| async move {
        let get = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
        ok(format!("{} {}", get("x-forwarded-proto"), get("x-forwarded-for")))
    })
    .await;
    let router = crate::stage::router_with(options).await;
    crate::stage::serve(&router, &[address], std::time::Duration::from_secs(10), 0);
    let asked = request("GET", "/").header("x-forwarded-proto", "https").header("x-forwarded-for", "192.0.2.1");
    let reply = send(router.address(), asked.body(text("")).unwrap()).await.unwrap();
    assert_eq!(reply.body, "https 192.0.2.1, 127.0.0.1");
}

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() {
    let (lines, _) = seen(request("GET", "/").header("x-request-id", "mine-1").body(text("")).unwrap()).await;
    assert!(lines.contains(&"x-request-id: mine-1".to_owned()));
    let (lines, _) = seen(request("GET", "/").body(text("")).unwrap()).await;
    let id = lines.iter().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    assert_eq!(id.len(), 32);
}

#[tokio::test]
async fn headers_of_the_upstreams_connection_are_not_passed_back() {
    let address = crate::stage::raw_app(|mut stream, _| async move {
        crate::stage::read_head(&mut stream).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 1\r\n\r\nto the end";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
    })
    .await;
    let router = router_to(&[address], 0).await;
    let reply: Reply = send(router.address(), request("GET", "/").body(text("")).unwrap()).await.unwrap();
    assert_eq!((reply.status, reply.body.as_str(), reply.header("x-kept")), (StatusCode::OK, "to the end", "1"));
    assert_eq!((reply.header("x-hop"), reply.header("keep-alive"), reply.header("connection")), ("", "", ""));
}
