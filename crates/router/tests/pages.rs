//! What a client sees when no service answered.

use http::StatusCode;

use crate::stage::{HOST, get, nobody, raw, request, router, router_to, send, text, web};

#[tokio::test]
async fn a_browser_gets_a_page_and_a_program_gets_problem_details() {
    let router = router_to(&[], 0).await;
    let asked =
        request("GET", "/").header("accept", "text/html,*/*").header("x-request-id", "r-1").body(text("")).unwrap();
    let page = send(router.address(), asked).await.unwrap();
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("retry-after"), "1");
    for part in ["starting or stopped", "guestbook/tenant/acme", "freehold status --tenant acme", "r-1"] {
        assert!(page.body.contains(part), "{part} is not in {}", page.body);
    }
    let asked = request("GET", "/").header("x-request-id", "r-1").body(text("")).unwrap();
    let problem = send(router.address(), asked).await.unwrap();
    assert_eq!(problem.header("content-type"), "application/problem+json");
    let problem: serde_json::Value = serde_json::from_str(&problem.body).unwrap();
    let expected = serde_json::json!({
        "type": "about:blank", "title": "The service is not running", "status": 503,
        "detail": "the service is starting or stopped", "request_id": "r-1",
        "stack": "guestbook/tenant/acme", "next": "freehold status --tenant acme",
    });
    assert_eq!(problem, expected);
}

#[tokio::test]
async fn a_page_names_neither_other_hosts_nor_inner_addresses() {
    let address = nobody().await;
    let router = router_to(&[address], 0).await;
    let refused = get(&router, "/").await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY);
    assert!(!refused.body.contains(&address.port().to_string()) && !refused.body.contains("127."), "{}", refused.body);
    let asked = http::Request::builder().uri("/").header("host", "other.localhost").body(text("")).unwrap();
    let unknown = send(router.address(), asked).await.unwrap();
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.body.contains("1 other host") && !unknown.body.contains(HOST), "{}", unknown.body);
}

#[tokio::test]
async fn the_answer_to_head_has_no_body() {
    let router = router_to(&[], 0).await;
    let answer = raw(router.address(), "HEAD / HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("\r\n\r\n"), "{answer}");

    let (address, _) = crate::stage::app(|_| async {
        let mut response = crate::stage::ok("");
        response.headers_mut().insert("content-length", http::HeaderValue::from_static("1234"));
        response
    })
    .await;
    router.set_upstreams(&web(), crate::stage::upstreams(&[address]));
    let answer = raw(router.address(), "HEAD / HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.contains("content-length: 1234"), "{answer}");
}

#[tokio::test]
async fn without_a_route_the_router_says_so() {
    let router = router().await;
    let reply = get(&router, "/").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(reply.body.contains("freehold list"), "{}", reply.body);
}
