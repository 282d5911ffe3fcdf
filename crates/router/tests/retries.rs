//! What is sent again, and what never is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{
    app, get, nobody, ok, post, raw_app, read_head, request, router_to, send, text, until, upstreams, web, within,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

/// A server that breaks its first `broken` connections after it has read the request, and what it was asked.
async fn breaking(broken: usize) -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let address = raw_app(move |mut stream, number| {
        let seen = Arc::clone(&seen);
        async move {
            while let Some(head) = read_head(&mut stream).await {
                seen.lock().unwrap().push(head.lines().next().unwrap().to_owned());
                if number < broken {
                    return;
                }
                stream.write_all(ANSWER).await.unwrap();
            }
        }
    })
    .await;
    (address, asked)
}

#[tokio::test]
async fn a_get_is_tried_as_often_as_its_rule_says() {
    let (address, asked) = breaking(2).await;
    let router = router_to(&[address], 2).await;
    assert_eq!(get(&router, "/").await.body, "done");
    assert_eq!(asked.lock().unwrap().len(), 3);

    let (address, asked) = breaking(2).await;
    let router = router_to(&[address], 1).await;
    assert_eq!(get(&router, "/").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let (address, asked) = breaking(1).await;
    let router = router_to(&[address], 5).await;
    assert_eq!(post(&router, "/", "").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(*asked.lock().unwrap(), ["POST / HTTP/1.1"]);
}

#[tokio::test]
async fn a_put_whose_body_was_begun_is_not_sent_twice() {
    let (address, asked) = breaking(1).await;
    let router = router_to(&[address], 5).await;
    let put = request("PUT", "/").body(text("new")).unwrap();
    assert_eq!(send(router.address(), put).await.unwrap().status, StatusCode::BAD_GATEWAY);
    assert_eq!(asked.lock().unwrap().len(), 1);
    // Without a body it may be.
    let (address, asked) = breaking(1).await;
    let router = router_to(&[address], 5).await;
    let delete = request("DELETE", "/").body(text("")).unwrap();
    assert_eq!(send(router.address(), delete).await.unwrap().body, "done");
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_upstream_that_refuses_is_passed_over_even_for_a_post() {
    let (address, count) = app(|_| async { ok("done") }).await;
    let router = router_to(&[nobody().await, address], 0).await;
    for _ in 0..4 {
        assert_eq!(post(&router, "/", "once").await.body, "done");
    }
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_broken_request_is_tried_at_the_other_upstream() {
    let (bad, asked) = breaking(usize::MAX).await;
    let (good, count) = app(|_| async { ok("done") }).await;
    let router = router_to(&[bad, good], 1).await;
    for _ in 0..4 {
        assert_eq!(get(&router, "/").await.body, "done");
    }
    assert_eq!(count.load(Ordering::SeqCst), 4);
    assert!(!asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_is_never_tried_again_whatever_its_status() {
    let (address, count) = app(|_| async {
        let mut response = ok("not now");
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    })
    .await;
    let router = router_to(&[address], 3).await;
    assert_eq!(get(&router, "/").await.body, "not now");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// A server that keeps each connection for one request and closes it when the second arrives, as one does whose idle timeout runs
/// out at that moment.
async fn closing_when_reused() -> (std::net::SocketAddr, Arc<Mutex<Vec<(usize, String)>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let address = raw_app(move |mut stream, number| {
        let seen = Arc::clone(&seen);
        async move {
            if let Some(head) = read_head(&mut stream).await {
                seen.lock().unwrap().push((number, head.split(' ').next().unwrap().to_owned()));
                stream.write_all(ANSWER).await.unwrap();
                let _ = stream.read_u8().await;
            }
        }
    })
    .await;
    (address, asked)
}

#[tokio::test]
async fn a_pooled_connection_that_the_upstream_closes_fails_no_get() {
    let (address, asked) = closing_when_reused().await;
    let router = router_to(&[address], 0).await;
    for _ in 0..20 {
        assert_eq!(get(&router, "/").await.body, "done");
    }
    assert_eq!(asked.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn a_post_never_takes_a_pooled_connection() {
    let (address, asked) = closing_when_reused().await;
    let router = router_to(&[address], 0).await;
    for _ in 0..10 {
        assert_eq!(get(&router, "/").await.body, "done");
        assert_eq!(post(&router, "/", "").await.body, "done");
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|(_, method)| method == "POST").count(), 10);
}

#[tokio::test]
async fn connections_are_used_again() {
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let address = raw_app(move |mut stream, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            while read_head(&mut stream).await.is_some() {
                stream.write_all(ANSWER).await.unwrap();
            }
        }
    })
    .await;
    let router = router_to(&[address], 0).await;
    for _ in 0..50 {
        assert_eq!(get(&router, "/").await.body, "done");
        until(|| router.in_flight(address) == 0).await;
    }
    let opened = opened.load(Ordering::SeqCst);
    assert!(opened <= 5, "{opened} connections for 50 requests one after the other");
}

#[tokio::test]
async fn a_service_that_comes_back_within_the_retries_is_reached() {
    let (broken, asked) = breaking(usize::MAX).await;
    let router = router_to(&[broken], 10).await;
    let asking = tokio::spawn({
        let router = router.clone();
        async move { get(&router, "/").await }
    });
    until(|| asked.lock().unwrap().len() >= 2).await;
    let (back, _) = app(|_| async { ok("back") }).await;
    router.set_upstreams(&web(), upstreams(&[back]));
    assert_eq!(within(asking).await.unwrap().body, "back");
}
