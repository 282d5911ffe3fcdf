//! Where a request goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use freehold_router::{
    Action, Connect, Connecting, EndpointKey, Options, Patience, Route, Router, RouterError, Rule, Upstream,
};
use http::{Request, StatusCode};
use tokio::sync::Notify;

use crate::stage::{
    app, get, key, nobody, ok, raw, request, route, router, router_to, rule, send, serve, text, upstreams, web, within,
};

#[tokio::test]
async fn a_host_is_found_in_any_case_with_port_and_with_trailing_dot() {
    let (address, _) = app(|_| async { ok("here") }).await;
    let router = router_to(&[address], 0).await;
    for host in ["acme.localhost", "ACME.LocalHost", "acme.localhost:7080", "acme.localhost."] {
        let asked = Request::builder().uri("/").header("host", host).body(text("")).unwrap();
        assert_eq!(send(router.address(), asked).await.unwrap().body, "here", "{host}");
    }
    let asked = Request::builder().uri("/").header("host", "other.localhost").body(text("")).unwrap();
    assert_eq!(send(router.address(), asked).await.unwrap().status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_longest_prefix_by_whole_segments_sets_the_limits() {
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let (address, count) = app(move |_| {
        let released = Arc::clone(&released);
        async move {
            released.notified().await;
            ok("late")
        }
    })
    .await;
    let router = router().await;
    router.set_upstreams(&web(), upstreams(&[address]));
    let rules = vec![rule("/", Duration::from_millis(100), 0), rule("/slow/", Duration::from_secs(10), 0)];
    router.set_route(&key(), route(rules));
    let patient = tokio::spawn({
        let router = router.clone();
        async move { get(&router, "/slow/page").await }
    });
    within(async {
        while count.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(get(&router, "/slowly").await.status, StatusCode::GATEWAY_TIMEOUT);
    release.notify_waiters();
    assert_eq!(patient.await.unwrap().body, "late");
}

#[tokio::test]
async fn a_path_without_a_rule_is_not_found() {
    let (address, count) = app(|_| async { ok("") }).await;
    let router = router().await;
    router.set_upstreams(&web(), upstreams(&[address]));
    router.set_route(&key(), route(vec![rule("/api", Duration::from_secs(1), 0)]));
    assert_eq!(get(&router, "/api").await.status, StatusCode::OK);
    assert_eq!(get(&router, "/apis").await.status, StatusCode::NOT_FOUND);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn upstreams_share_the_requests() {
    let (one, count_one) = app(|_| async { ok("") }).await;
    let (two, count_two) = app(|_| async { ok("") }).await;
    let router = router_to(&[one, two], 0).await;
    for _ in 0..10 {
        get(&router, "/").await;
    }
    assert_eq!((count_one.load(Ordering::SeqCst), count_two.load(Ordering::SeqCst)), (5, 5));
}

#[tokio::test]
async fn a_busy_upstream_gets_fewer_requests() {
    let release = Arc::new(Notify::new());
    let (released, entered) = (Arc::clone(&release), Arc::new(Notify::new()));
    let seen = Arc::clone(&entered);
    let (one, count_one) = app(move |request| {
        let (released, seen) = (Arc::clone(&released), Arc::clone(&seen));
        async move {
            if request.uri().path() == "/stay" {
                seen.notify_one();
                released.notified().await;
            }
            ok("")
        }
    })
    .await;
    let (two, count_two) = app(|_| async { ok("") }).await;
    let router = router_to(&[one], 0).await;
    let staying = tokio::spawn({
        let router = router.clone();
        async move { get(&router, "/stay").await }
    });
    within(entered.notified()).await;
    serve(&router, &[one, two], Duration::from_secs(10), 0);
    for _ in 0..6 {
        get(&router, "/").await;
    }
    assert_eq!((count_one.load(Ordering::SeqCst), count_two.load(Ordering::SeqCst)), (1, 6));
    release.notify_one();
    assert_eq!(staying.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_in_absolute_form_goes_to_the_host_of_its_first_line() {
    let (address, _) =
        app(|request| async move { ok(format!("{} {:?}", request.uri(), request.headers().get("host").unwrap())) })
            .await;
    let router = router_to(&[address], 0).await;
    let answer = raw(
        router.address(),
        "GET http://acme.localhost:7080/a?b=c HTTP/1.1\r\nHost: other.localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.ends_with("/a?b=c \"acme.localhost:7080\""), "{answer}");
}

#[tokio::test]
async fn a_route_is_replaced_and_removed() {
    let (address, _) = app(|_| async { ok("first") }).await;
    let (other, _) = app(|_| async { ok("second") }).await;
    let router = router_to(&[address], 0).await;
    let second = EndpointKey("other/service.web".to_owned());
    router.set_upstreams(&second, upstreams(&[other]));
    let patience = Patience { timeout: Duration::from_secs(1), attempt_timeout: None, retries: 0 };
    let action = Action::Forward { endpoint: second, patience };
    let changed = route(vec![Rule { prefix: "/".to_owned(), action }]);
    router.set_route(&key(), Route { hosts: vec!["Acme.localhost".to_owned()], ..changed.clone() });
    assert_eq!(get(&router, "/").await.body, "second");
    assert_eq!(router.routes(), vec![(key(), changed)]);
    router.remove_route(&key());
    assert_eq!(get(&router, "/").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_route_outlives_its_endpoint() {
    let (address, _) = app(|_| async { ok("back") }).await;
    let router = router_to(&[address], 0).await;
    router.remove_endpoint(&web());
    assert_eq!(get(&router, "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    router.set_upstreams(&web(), upstreams(&[address]));
    assert_eq!(get(&router, "/").await.body, "back");
}

#[tokio::test]
async fn an_inner_address_goes_straight_to_the_service() {
    let (address, _) = app(|request| async move {
        let value = |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        ok(format!("{} {}", value("host"), value("x-forwarded-for")))
    })
    .await;
    let router = router_to(&[address], 0).await;
    let inner = nobody().await;
    router.listen(&web(), inner).await.unwrap();
    router.listen(&web(), inner).await.unwrap();
    let asked = || {
        Request::builder().uri("/").header("host", "api").header("x-forwarded-for", "8.8.8.8").body(text("")).unwrap()
    };
    assert_eq!(send(inner, asked()).await.unwrap().body, "api 8.8.8.8");
    // It can be given up and taken again at once.
    router.stop_listening(&web());
    router.listen(&web(), inner).await.unwrap();
    assert_eq!(send(inner, asked()).await.unwrap().status, StatusCode::OK);
    // A plain request to the port of clients is not a way in.
    assert_eq!(send(router.address(), asked()).await.unwrap().status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_port_in_use_is_told_as_such() {
    let first = router().await;
    match Router::bind(first.address(), Options::default()).await {
        Err(RouterError::PortTaken { addr, .. }) => assert_eq!(addr, first.address()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two routers on one port"),
    }
    let asked = request("GET", "/").body(text("")).unwrap();
    assert_eq!(send(first.address(), asked).await.unwrap().status, StatusCode::NOT_FOUND);
    first.shutdown(Duration::from_secs(1)).await;
    Router::bind(first.address(), Options::default()).await.map(|_| ()).unwrap();
}

/// Refuses every connection, as one does that can't prove who is at its other end.
#[derive(Debug)]
struct Unproved;

impl Connect for Unproved {
    fn connect(&self, _address: SocketAddr) -> Connecting<'_> {
        Box::pin(async {
            Err(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "somebody else listens there"))
        })
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_proved_gets_no_request() {
    let (address, count) = app(|_| async { ok("somebody else's answer") }).await;
    let router = router_to(&[address], 0).await;
    assert_eq!(get(&router, "/").await.body, "somebody else's answer");
    // The connection that is open already was made to another process: it isn't used again.
    router.set_upstreams(&web(), vec![Upstream { address, connect: Arc::new(Unproved) }]);
    assert_eq!(get(&router, "/").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn no_path_leads_out_of_the_prefix_that_it_was_let_in_by() {
    let (address, count) = app(|request| async move { ok(request.uri().path().to_owned()) }).await;
    let router = router_to(&[], 0).await;
    router.set_upstreams(&web(), crate::stage::upstreams(&[address]));
    router.set_route(&key(), route(vec![rule("/public", Duration::from_secs(10), 0)]));
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n");
    for (path, status) in [
        ("/public/../admin", "400"),
        ("/public/%2e%2e/admin", "400"),
        ("/public/..%2fadmin", "400"),
        ("/public/..%5cadmin", "400"),
        ("/public\\..\\admin", "400"),
        ("/public/..;/admin", "400"),
        ("http://acme.localhost/public/../admin", "400"),
        ("//public", "404"),
        ("/public%2fa", "404"),
        ("/%70ublic", "404"),
        ("*", "404"),
    ] {
        let answer = crate::stage::raw(router.address(), &ask(path)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
    for path in ["/public", "/public//a", "/public/a%2Fb", "/public/a.b", "/public/..."] {
        assert!(crate::stage::raw(router.address(), &ask(path)).await.ends_with(path), "{path}");
    }
}
