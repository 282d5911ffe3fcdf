//! One process of a service takes over from another, under load and with streams open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use freehold_router::{Drained, Options};
use futures::StreamExt as _;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{
    app, connect, get, nobody, ok, post, raw_app, read_head, request, router_to, router_with, send, serve, text, until,
    upstreams, web, within,
};
use crate::streams::{echo_app, open_echo};

/// More than a test waits for anything.
const LONG: Duration = Duration::from_secs(600);

/// Whether there is no answer for a while.
async fn is_held(answer: impl Future) -> bool {
    tokio::time::timeout(Duration::from_millis(200), answer).await.is_err()
}

/// A server that answers each request after it has yielded, and ends in the hardest way when told: it stops to listen and closes
/// its idle connections.
async fn mortal(
    posts: Arc<AtomicUsize>,
) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>, tokio_util::sync::CancellationToken) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let end = tokio_util::sync::CancellationToken::new();
    let ended = end.clone();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Some(accepted) = ended.run_until_cancelled(listener.accept()).await {
            let (mut stream, _) = accepted.unwrap();
            let posts = Arc::clone(&posts);
            connections.spawn(async move {
                while let Some(head) = read_head(&mut stream).await {
                    if head.starts_with("POST") {
                        let mut body = [0; 4];
                        stream.read_exact(&mut body).await.unwrap();
                        posts.fetch_add(1, Ordering::SeqCst);
                    }
                    tokio::task::yield_now().await;
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, task, end)
}

/// Ten clients that ask over kept-alive connections until told to stop; returns how many requests were answered, and panics on one
/// that failed.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<(usize, usize)>>,
}

impl Load {
    fn start(router: std::net::SocketAddr) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..10)
            .map(|number| {
                let stop = Arc::clone(&stop);
                tokio::spawn(async move {
                    let mut client = connect(router).await;
                    let (mut asked, mut posted) = (0, 0);
                    while !stop.load(Ordering::SeqCst) {
                        let is_post = (asked + number) % 5 == 0;
                        let (method, body) = if is_post { ("POST", "body") } else { ("GET", "") };
                        client.ready().await.unwrap();
                        let response =
                            client.send_request(request(method, "/").body(text(body)).unwrap()).await.unwrap();
                        let status = response.status();
                        let body = response.into_body().collect().await.unwrap().to_bytes();
                        assert_eq!((status, body.as_ref()), (StatusCode::OK, b"ok".as_slice()), "{method} {asked}");
                        asked += 1;
                        posted += usize::from(is_post);
                    }
                    (asked, posted)
                })
            })
            .collect();
        Load { stop, clients }
    }

    async fn finish(self) -> (usize, usize) {
        self.stop.store(true, Ordering::SeqCst);
        let mut sum = (0, 0);
        for client in self.clients {
            let (asked, posted) = within(client).await.unwrap();
            sum = (sum.0 + asked, sum.1 + posted);
        }
        sum
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_and_no_post_is_done_twice_while_versions_follow_one_another() {
    let posts = Arc::new(AtomicUsize::new(0));
    let (mut address, mut task, mut end) = mortal(Arc::clone(&posts)).await;
    // No retries: nothing but the order of events keeps requests from failing.
    let router = router_to(&[address], 0).await;
    let load = Load::start(router.address());
    for _ in 0..30 {
        let next = mortal(Arc::clone(&posts)).await;
        router.set_upstreams(&web(), upstreams(&[next.0]));
        assert_eq!(within(router.drain(address, Duration::from_secs(10))).await, Drained { open: 0 });
        end.cancel();
        within(task).await.unwrap();
        (address, task, end) = next;
        let served = posts.load(Ordering::SeqCst);
        until(|| posts.load(Ordering::SeqCst) > served + 20).await;
    }
    let (asked, posted) = load.finish().await;
    assert!(asked > 3000, "{asked}");
    assert_eq!(posts.load(Ordering::SeqCst), posted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_a_service_is_recreated() {
    let posts = Arc::new(AtomicUsize::new(0));
    let (mut address, mut task, mut end) = mortal(Arc::clone(&posts)).await;
    let router = router_to(&[address], 0).await;
    let load = Load::start(router.address());
    for _ in 0..10 {
        router.set_switching(&web(), true);
        router.set_upstreams(&web(), vec![]);
        assert_eq!(within(router.drain(address, Duration::from_secs(10))).await, Drained { open: 0 });
        end.cancel();
        within(task).await.unwrap();
        (address, task, end) = mortal(Arc::clone(&posts)).await;
        router.set_upstreams(&web(), upstreams(&[address]));
        let served = posts.load(Ordering::SeqCst);
        until(|| posts.load(Ordering::SeqCst) > served + 20).await;
    }
    let (asked, posted) = load.finish().await;
    assert!(asked > 1000, "{asked}");
    assert_eq!(posts.load(Ordering::SeqCst), posted);
}

#[tokio::test]
async fn a_request_is_held_only_while_the_endpoint_is_switching_and_only_so_long() {
    let router = router_with(Options { hold: Duration::from_millis(200), ..Options::default() }).await;
    serve(&router, &[], Duration::from_secs(10), 0);
    assert_eq!(get(&router, "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    router.set_switching(&web(), true);
    let asked = std::time::Instant::now();
    assert_eq!(get(&router, "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(asked.elapsed() >= Duration::from_millis(200));
    // Given up: those who wait are told, long before the time is over.
    let router = router_with(Options { hold: LONG, ..Options::default() }).await;
    serve(&router, &[], LONG, 0);
    router.set_switching(&web(), true);
    let mut waiting = tokio::spawn({
        let router = router.clone();
        async move { get(&router, "/").await }
    });
    assert!(is_held(&mut waiting).await);
    router.set_switching(&web(), false);
    assert_eq!(waiting.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn replicas_that_leave_one_after_the_other_leave_the_endpoint_switching() {
    let (one, _) = app(|_| async { ok("old") }).await;
    let (two, _) = app(|_| async { ok("old") }).await;
    let router = router_with(Options { hold: LONG, ..Options::default() }).await;
    serve(&router, &[one, two], LONG, 0);
    router.set_switching(&web(), true);
    router.set_upstreams(&web(), upstreams(&[two]));
    router.set_upstreams(&web(), vec![]);
    assert!(is_held(get(&router, "/")).await);
    router.set_upstreams(&web(), upstreams(&[one]));
    router.set_upstreams(&web(), vec![]);
    assert_eq!(get(&router, "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_request_that_is_refused_while_switching_waits_for_the_next_process() {
    let gone = nobody().await;
    let router = router_to(&[gone], 0).await;
    router.set_switching(&web(), true);
    let waiting = tokio::spawn({
        let router = router.clone();
        async move { post(&router, "/", "once").await }
    });
    let (address, count) = app(|_| async { ok("new") }).await;
    router.set_upstreams(&web(), upstreams(&[address]));
    assert_eq!(waiting.await.unwrap().body, "new");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn drain_waits_for_requests_and_streams_alike() {
    let (release, released) = tokio::sync::watch::channel(false);
    let (address, _) = app(move |_| {
        let mut released = released.clone();
        async move {
            let begun = futures::stream::iter([Ok(Frame::data("begun".into()))]);
            let end = futures::stream::once(async move {
                released.wait_for(|released| *released).await.unwrap();
                Ok(Frame::data("ended".into()))
            });
            Response::new(StreamBody::new(begun.chain(end)).boxed_unsync())
        }
    })
    .await;
    let router = router_to(&[address], 0).await;
    let asked = request("GET", "/").body(text("")).unwrap();
    let response = within(connect(router.address()).await.send_request(asked)).await.unwrap();
    router.set_upstreams(&web(), vec![]);
    assert_eq!(router.drain(address, Duration::from_millis(50)).await, Drained { open: 1 });
    let draining = tokio::spawn({
        let router = router.clone();
        async move { router.drain(address, Duration::from_secs(10)).await }
    });
    release.send(true).unwrap();
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, "begunended");
    assert_eq!(within(draining).await.unwrap(), Drained { open: 0 });
    assert_eq!(router.cut(address), 0);
}

fn endless(media: &'static str) -> Response<crate::stage::Payload> {
    let body = futures::stream::iter([Ok(Frame::data("data: 1\n\n".into()))]).chain(futures::stream::pending());
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    response.headers_mut().insert("content-type", HeaderValue::from_static(media));
    response
}

#[tokio::test]
async fn a_cut_ends_event_streams_in_order_and_breaks_off_everything_else() {
    let (address, _) = app(|request| async move {
        endless(if request.uri().path() == "/events" { "text/event-stream; charset=utf-8" } else { "text/csv" })
    })
    .await;
    let router = router_to(&[address], 0).await;
    let events = tokio::spawn(send(router.address(), request("GET", "/events").body(text("")).unwrap()));
    let table = tokio::spawn(send(router.address(), request("GET", "/table").body(text("")).unwrap()));
    until(|| router.in_flight(address) == 2).await;
    // Both have their heads, or the cut would be an error before the answer.
    let probe = request("GET", "/events").body(text("")).unwrap();
    let mut probed = within(connect(router.address()).await.send_request(probe)).await.unwrap().into_body();
    within(probed.frame()).await.unwrap().unwrap();
    router.set_upstreams(&web(), vec![]);
    assert_eq!(router.drain(address, Duration::from_millis(200)).await, Drained { open: 3 });
    assert_eq!(router.cut(address), 3);
    assert!(within(probed.frame()).await.is_none());
    assert_eq!(within(events).await.unwrap().unwrap().body, "data: 1\n\n");
    assert!(within(table).await.unwrap().is_err());
    until(|| router.in_flight(address) == 0).await;
}

#[tokio::test]
async fn a_cut_closes_tunnels() {
    let address = echo_app().await;
    let router = router_to(&[address], 0).await;
    let mut stream = open_echo(router.address()).await;
    stream.write_all(b"x").await.unwrap();
    within(stream.read_u8()).await.unwrap();
    router.set_upstreams(&web(), vec![]);
    assert_eq!(router.cut(address), 1);
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_cut_request_that_had_no_answer_yet_is_done_by_the_next_process() {
    let entered = Arc::new(tokio::sync::Notify::new());
    let seen = Arc::clone(&entered);
    let old = raw_app(move |mut stream, _| {
        let seen = Arc::clone(&seen);
        async move {
            read_head(&mut stream).await.unwrap();
            seen.notify_one();
            std::future::pending().await
        }
    })
    .await;
    let (new, _) = app(|_| async { ok("new") }).await;
    let router = router_to(&[old], 1).await;
    let asking = tokio::spawn({
        let router = router.clone();
        async move { get(&router, "/").await }
    });
    within(entered.notified()).await;
    router.set_upstreams(&web(), upstreams(&[new]));
    assert_eq!(router.cut(old), 1);
    assert_eq!(within(asking).await.unwrap().body, "new");
}

#[tokio::test]
async fn an_address_that_was_cut_can_be_used_again() {
    let (address, _) = app(|_| async { ok("again") }).await;
    let router = router_to(&[address], 0).await;
    router.set_upstreams(&web(), vec![]);
    router.cut(address);
    router.set_upstreams(&web(), upstreams(&[address]));
    assert_eq!(get(&router, "/").await.body, "again");
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way_and_ends_streams() {
    let (release, released) = tokio::sync::watch::channel(false);
    let (address, count) = app(move |request| {
        let mut released = released.clone();
        async move {
            if request.uri().path() == "/events" {
                return endless("text/event-stream");
            }
            released.wait_for(|released| *released).await.unwrap();
            ok("finished")
        }
    })
    .await;
    let router = router_to(&[address], 0).await;
    let events = tokio::spawn(send(router.address(), request("GET", "/events").body(text("")).unwrap()));
    let request = tokio::spawn(send(router.address(), request("GET", "/").body(text("")).unwrap()));
    until(|| count.load(Ordering::SeqCst) == 2).await;
    // One that was let in: it has had an answer.
    let mut idle = connect(router.address()).await;
    let asked = Request::builder().uri("/").header("host", "nobody.localhost").body(text("")).unwrap();
    let unknown = within(idle.send_request(asked)).await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    within(unknown.into_body().collect()).await.unwrap();
    let stopping = tokio::spawn({
        let router = router.clone();
        async move { router.shutdown(Duration::from_secs(5)).await }
    });
    until(|| idle.is_closed()).await;
    release.send(true).unwrap();
    assert_eq!(within(request).await.unwrap().unwrap().body, "finished");
    assert_eq!(within(events).await.unwrap().unwrap().body, "data: 1\n\n");
    within(stopping).await.unwrap();
    assert!(tokio::net::TcpStream::connect(router.address()).await.is_err());
}
