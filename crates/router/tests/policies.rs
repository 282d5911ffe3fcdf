//! What is done to requests at the entrance: redirections, fixed answers, headers, and who is let in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use freehold_router::{
    Action, Cors, EndpointKey, HeaderChanges, Options, PasswordHash, Patience, Policies, RateLimit, Route, RouteKey,
    Router, Rule,
};
use http::{HeaderValue, Request, StatusCode};
use tokio::sync::Notify;

use crate::stage::{
    Reply, app, get, key, ok, post, raw, request, route, router, router_with, rule, send, serve, text, upstreams, web,
};

const LONG: Duration = Duration::from_secs(10);

/// A router with one service behind a route with these policies; the service says what it was sent.
async fn with(policies: Policies) -> Router {
    let (address, _) = app(|request| async move {
        let mut response = ok(format!("{:?}", request.headers()));
        response.headers_mut().insert("server", HeaderValue::from_static("app/1.0"));
        response.headers_mut().insert("access-control-allow-origin", HeaderValue::from_static("*"));
        response
    })
    .await;
    let router = router().await;
    router.set_upstreams(&web(), upstreams(&[address]));
    router.set_route(&key(), Route { policies, ..route(vec![rule("/", LONG, 0)]) });
    router
}

async fn asked(router: &Router, host: &str, path: &str) -> Reply {
    let asked = Request::builder().uri(path).header("host", host).body(text("")).unwrap();
    send(router.address(), asked).await.unwrap()
}

#[tokio::test]
async fn all_hosts_of_a_route_serve_and_those_that_have_moved_lead_to_the_first() {
    let (address, _) = app(|_| async { ok("here") }).await;
    let router = router().await;
    router.set_upstreams(&web(), upstreams(&[address]));
    let (hosts, redirect_from) = (["www.a.example", "shop.a.example"], ["a.example", "old.a.example"]);
    let (hosts, redirect_from) = (hosts.map(str::to_owned).to_vec(), redirect_from.map(str::to_owned).to_vec());
    let first = Route { hosts, redirect_from, ..route(vec![rule("/", LONG, 0)]) };
    router.set_route(&key(), first.clone());
    for host in ["www.a.example", "SHOP.a.example:7080"] {
        assert_eq!(asked(&router, host, "/").await.body, "here", "{host}");
    }
    let moved = asked(&router, "a.example:7080", "/a/b?c=d").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (StatusCode::MOVED_PERMANENTLY, "http://www.a.example:7080/a/b?c=d")
    );
    assert_eq!(asked(&router, "old.a.example", "/").await.header("location"), "http://www.a.example/");
    // A host that goes is unknown at once; those that stay go on.
    router.set_route(&key(), Route { hosts: vec!["shop.a.example".to_owned()], redirect_from: Vec::new(), ..first });
    assert_eq!(asked(&router, "shop.a.example", "/").await.body, "here");
    for gone in ["www.a.example", "a.example"] {
        assert_eq!(asked(&router, gone, "/").await.status, StatusCode::NOT_FOUND, "{gone}");
    }
}

#[tokio::test]
async fn paths_of_one_host_lead_to_services_of_one_route_or_of_several() {
    let router = router().await;
    let mut actions = Vec::new();
    for name in ["web", "api", "docs"] {
        let (address, _) = app(move |_| async move { ok(name) }).await;
        let endpoint = EndpointKey(format!("stack/service.{name}"));
        router.set_upstreams(&endpoint, upstreams(&[address]));
        actions.push(Action::Forward {
            endpoint,
            patience: Patience { timeout: LONG, attempt_timeout: None, retries: 0 },
        });
    }
    let rule = |prefix: &str, action: usize| Rule { prefix: prefix.to_owned(), action: actions[action].clone() };
    let second = RouteKey("0198a000-0000-7000-8000-000000000000/acme/docs".to_owned());
    router.set_route(&key(), route(vec![rule("/", 0), rule("/api", 1)]));
    router.set_route(&second, route(vec![rule("/api/docs", 2)]));
    for (path, answer) in
        [("/", "web"), ("/apis", "web"), ("/api/x", "api"), ("/api/docs", "docs"), ("/api/docs/x", "docs")]
    {
        assert_eq!(get(&router, path).await.body, answer, "{path}");
    }
    router.remove_route(&key());
    assert_eq!(get(&router, "/").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&router, "/api/docs").await.body, "docs");
    // A route that takes the place of another one under a new key: at no moment there is none.
    router.set_route(&key(), route(vec![rule("/api/docs", 0)]));
    router.remove_route(&second);
    assert_eq!(get(&router, "/api/docs").await.body, "web");
}

#[tokio::test]
async fn the_entrance_redirects_and_answers_itself() {
    let redirect = |to: &str, keep_path, status| Action::Redirect {
        to: to.to_owned(),
        keep_path,
        status: StatusCode::from_u16(status).unwrap(),
    };
    let refusal = Action::Respond {
        status: StatusCode::FORBIDDEN,
        body: "not from here".into(),
        content_type: HeaderValue::from_static("text/plain; charset=utf-8"),
    };
    let rules = [
        ("/old", redirect("/new", false, 302)),
        ("/docs", redirect("https://docs.example.org/v2/", true, 308)),
        ("/root", redirect("https://example.org/", true, 301)),
        ("/up", redirect("/", true, 302)),
        ("/admin", refusal),
    ];
    let router = router().await;
    router.set_route(&key(), route(rules.map(|(prefix, action)| Rule { prefix: prefix.to_owned(), action }).to_vec()));
    for (path, status, location) in [
        ("/old/page?a=b", 302, "/new?a=b"),
        ("/docs", 308, "https://docs.example.org/v2/"),
        ("/docs/a/b?c", 308, "https://docs.example.org/v2/a/b?c"),
        ("/root/a", 301, "https://example.org/a"),
        ("/up", 302, "/"),
        ("/up/a/b?c", 302, "/a/b?c"),
        // A client can't be led to another host by what is appended.
        ("/up//evil.example/a", 302, "/evil.example/a"),
        ("/up/\\evil.example", 302, "/evil.example"),
        ("/root//evil.example", 301, "https://example.org//evil.example"),
    ] {
        let answer = get(&router, path).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (status, location), "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
    }
    let refused = post(&router, "/admin/users", "x").await;
    assert_eq!((refused.status, refused.body.as_str()), (StatusCode::FORBIDDEN, "not from here"));
    assert_eq!(refused.header("content-type"), "text/plain; charset=utf-8");
    // What a client writes can't lead elsewhere: a path that begins with two slashes stays a path.
    let odd =
        raw(router.address(), "GET //evil.example/..%2f HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n")
            .await;
    assert!(odd.starts_with("HTTP/1.1 400") || odd.starts_with("HTTP/1.1 404"), "{odd}");
}

#[tokio::test]
async fn headers_are_changed_on_the_way_there_and_back() {
    let field = |name: &'static str, value: &'static str| (name.parse().unwrap(), HeaderValue::from_static(value));
    let changes = |set: (&'static str, &'static str), add: (&'static str, &'static str), remove: &str| HeaderChanges {
        set: vec![field(set.0, set.1)],
        add: vec![field(add.0, add.1)],
        remove: vec![remove.parse().unwrap()],
    };
    let router = with(Policies {
        request_headers: changes(("x-set", "ours"), ("x-add", "ours"), "x-secret"),
        response_headers: changes(("strict-transport-security", "max-age=1"), ("x-more", "a"), "server"),
        ..Policies::default()
    })
    .await;
    // A client can neither have a field removed by naming it as one of the connection's nor write it in another way.
    let sent = request("GET", "/").header("x-set", "theirs").header("x-add", "theirs").header("x-secret", "1");
    let sent = sent.header("connection", "x-set").header("x_secret", "2").header("x.set", "3");
    let answer = send(router.address(), sent.body(text("")).unwrap()).await.unwrap();
    assert!(answer.body.contains("\"x-set\": \"ours\"") && !answer.body.contains("secret"), "{}", answer.body);
    assert!(!answer.body.contains("x.set"), "{}", answer.body);
    assert!(answer.body.contains("theirs") && answer.body.matches("x-add").count() == 2, "{}", answer.body);
    assert_eq!(answer.header("strict-transport-security"), "max-age=1");
    assert!(!answer.headers.contains_key("server") && answer.header("x-more") == "a");
    // Also where no service answers.
    router.set_upstreams(&web(), Vec::new());
    let failed = get(&router, "/").await;
    assert_eq!((failed.status.as_u16(), failed.header("strict-transport-security")), (503, "max-age=1"));
}

fn cors(credentials: bool) -> Policies {
    let cors = Cors {
        origins: vec!["https://app.example.org".to_owned(), "https://*.example.net".to_owned()],
        methods: HeaderValue::from_static("GET, PUT"),
        headers: HeaderValue::from_static("x-token"),
        expose: HeaderValue::from_static("x-total"),
        credentials,
        max_age: Duration::from_secs(600),
    };
    Policies { cors: Some(cors), ..Policies::default() }
}

#[tokio::test]
async fn a_page_of_another_origin_is_told_what_it_may() {
    let router = with(cors(true)).await;
    let ask = |method: &'static str, origin: &'static str, more: &'static str| {
        let mut asked = request(method, "/").header("origin", origin);
        if !more.is_empty() {
            asked = asked.header("access-control-request-method", more);
        }
        send(router.address(), asked.body(text("")).unwrap())
    };
    let preflight = ask("OPTIONS", "https://app.example.org", "PUT").await.unwrap();
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(preflight.header("access-control-allow-origin"), "https://app.example.org");
    assert_eq!(preflight.header("access-control-allow-methods"), "GET, PUT");
    assert_eq!(preflight.header("access-control-allow-headers"), "x-token");
    assert_eq!(preflight.header("access-control-allow-credentials"), "true");
    assert_eq!(preflight.header("access-control-max-age"), "600");
    let refused = ask("OPTIONS", "https://evil.example", "PUT").await.unwrap();
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (StatusCode::NO_CONTENT, ""));
    let answer = ask("GET", "https://a.example.net", "").await.unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), "https://a.example.net");
    assert_eq!(answer.header("access-control-expose-headers"), "x-total");
    assert!(answer.headers.get_all("vary").iter().any(|value| value == "Origin"));
    // What the service says of itself counts for nobody.
    let answer = ask("GET", "https://evil.example", "").await.unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), "");
    assert!(answer.headers.get_all("vary").iter().any(|value| value == "Origin"));
    // An OPTIONS that is no preflight is the service's.
    assert_eq!(ask("OPTIONS", "https://app.example.org", "").await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn only_users_with_their_passwords_are_let_in_and_the_service_never_sees_them() {
    let users = BTreeMap::from([("preview".to_owned(), PasswordHash::of("s3cret", [1; 16]))]);
    let router = with(Policies { users, ..Policies::default() }).await;
    let refused = get(&router, "/").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.header("www-authenticate").starts_with("Basic "), "{refused:?}");
    let with_password = |value: &'static str| {
        send(router.address(), request("GET", "/").header("authorization", value).body(text("")).unwrap())
    };
    // preview:s3cret, preview:secret
    let let_in = with_password("Basic cHJldmlldzpzM2NyZXQ=").await.unwrap();
    assert_eq!(let_in.status, StatusCode::OK);
    assert!(!let_in.body.contains("authorization"), "{}", let_in.body);
    assert_eq!(with_password("Basic cHJldmlldzpzZWNyZXQ=").await.unwrap().status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_rule_is_not_avoided_by_another_spelling_of_its_path() {
    let (address, count) = app(|_| async { ok("let in") }).await;
    let router = router().await;
    router.set_upstreams(&web(), upstreams(&[address]));
    router.set_route(&key(), route(vec![rule("/", LONG, 0)]));
    let users = BTreeMap::from([("ops".to_owned(), PasswordHash::of("s3cret", [1; 16]))]);
    let guarded = Route { policies: Policies { users, ..Policies::default() }, ..route(vec![rule("/admin", LONG, 0)]) };
    router.set_route(&RouteKey("0198a000-0000-7000-8000-000000000000/acme/admin".to_owned()), guarded);
    for (path, status) in [
        ("/admin", 401),
        ("/admin/x", 401),
        ("/%61dmin", 400),
        ("//admin", 400),
        ("/admin%2Fx", 400),
        ("/admin;x", 400),
        ("/admin\\x", 400),
    ] {
        let asked = format!("GET {path} HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n");
        let answer = raw(router.address(), &asked).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
    for path in ["/group%2Fproject", "/a//b", "/a;v=1"] {
        assert_eq!(get(&router, path).await.body, "let in", "{path}");
    }
}

#[tokio::test]
async fn only_clients_of_the_allowed_networks_are_let_in() {
    let only = |network: &str| Policies { allow_from: vec![network.parse().unwrap()], ..Policies::default() };
    assert_eq!(get(&with(only("127.0.0.0/8")).await, "/").await.status, StatusCode::OK);
    assert_eq!(get(&with(only("192.0.2.0/24")).await, "/").await.status, StatusCode::FORBIDDEN);
    // What a client says of itself counts only if a trusted proxy says it.
    let claim = |router: &Router| {
        send(router.address(), request("GET", "/").header("x-forwarded-for", "192.0.2.7").body(text("")).unwrap())
    };
    assert_eq!(claim(&with(only("192.0.2.0/24")).await).await.unwrap().status, StatusCode::FORBIDDEN);
    let trusted = vec!["127.0.0.1".parse().unwrap()];
    let router = router_with(Options { threads: 2, trusted_proxies: trusted, ..Options::default() }).await;
    let (address, _) = app(|_| async { ok("") }).await;
    router.set_upstreams(&web(), upstreams(&[address]));
    router.set_route(&key(), Route { policies: only("192.0.2.0/24"), ..route(vec![rule("/", LONG, 0)]) });
    assert_eq!(claim(&router).await.unwrap().status, StatusCode::OK);
    assert_eq!(get(&router, "/").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_it_may_again() {
    let limit = RateLimit { requests: 3, per: Duration::from_secs(3600) };
    let policies = Policies { rate_limit: Some(limit), ..Policies::default() };
    let router = with(policies.clone()).await;
    for _ in 0..3 {
        assert_eq!(get(&router, "/").await.status, StatusCode::OK);
    }
    let refused = get(&router, "/").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=1200).contains(&seconds), "{seconds}");
    // Another change of the route forgets nobody; another limit begins anew.
    router.set_route(&key(), Route { policies: policies.clone(), ..route(vec![rule("/", LONG, 1)]) });
    assert_eq!(get(&router, "/").await.status, StatusCode::TOO_MANY_REQUESTS);
    let policies = Policies { rate_limit: Some(RateLimit { requests: 4, ..limit }), ..policies };
    router.set_route(&key(), Route { policies, ..route(vec![rule("/", LONG, 1)]) });
    assert_eq!(get(&router, "/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_however_it_is_sent() {
    let (address, count) = app(|request| async move {
        use http_body_util::BodyExt as _;
        let read = request.into_body().collect().await.map(|body| body.to_bytes().len());
        ok(format!("{read:?}"))
    })
    .await;
    let router = router().await;
    router.set_upstreams(&web(), upstreams(&[address]));
    let policies = Policies { max_body: Some(10), ..Policies::default() };
    router.set_route(&key(), Route { policies, ..route(vec![rule("/", LONG, 0)]) });
    assert_eq!(post(&router, "/", "0123456789").await.body, "Ok(10)");
    assert_eq!(post(&router, "/", "0123456789a").await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(count.load(Ordering::SeqCst), 1, "the service never heard of it");
    let head = "POST / HTTP/1.1\r\nHost: acme.localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let fits = raw(
        router.address(),
        &format!("{}5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")),
    )
    .await;
    assert!(fits.contains("Ok(10)"), "{fits}");
    let larger = raw(router.address(), &format!("{head}5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n")).await;
    assert!(larger.starts_with("HTTP/1.1 413") && larger.contains("connection: close"), "{larger}");
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_tried_again_where_that_is_safe() {
    let stuck = Arc::new(Notify::new());
    let waiting = Arc::clone(&stuck);
    let (slow, slow_count) = app(move |_| {
        let waiting = Arc::clone(&waiting);
        async move {
            waiting.notified().await;
            ok("late")
        }
    })
    .await;
    let (quick, _) = app(|_| async { ok("quick") }).await;
    let router = router().await;
    serve(&router, &[slow], LONG, 0);
    let patience = Patience { timeout: LONG, attempt_timeout: Some(Duration::from_millis(50)), retries: 1 };
    let action = Action::Forward { endpoint: web(), patience };
    router.set_route(&key(), route(vec![Rule { prefix: "/".to_owned(), action }]));
    assert_eq!(get(&router, "/").await.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(slow_count.load(Ordering::SeqCst), 2, "tried once more");
    assert_eq!(post(&router, "/", "x").await.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(slow_count.load(Ordering::SeqCst), 3, "what may change something is sent once");
    router.set_upstreams(&web(), upstreams(&[slow, quick]));
    for _ in 0..4 {
        assert_eq!(get(&router, "/").await.body, "quick");
    }
}
