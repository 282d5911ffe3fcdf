//! Clients that want to keep others out.

use std::net::SocketAddr;
use std::time::Duration;

use freehold_router::{Limits, Options, Router};
use futures::StreamExt as _;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::stage::{app, get, ok, router_with, serve, until, within};
use crate::streams::{echo_app, open_echo};

const LONG: Duration = Duration::from_secs(600);

/// A router with room for few connections and no other limit in reach.
async fn narrow(connections: usize, per_peer: usize) -> Router {
    let limits = Limits { connections, per_peer };
    router_with(Options { limits, head_timeout: LONG, write_timeout: LONG, ..Options::default() }).await
}

/// Connections that begin a head and leave it at that.
async fn idlers(router: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(router).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        all.push(stream);
    }
    all
}

#[tokio::test]
async fn connections_that_say_nothing_make_room_for_one_that_does() {
    let (address, _) = app(|_| async { ok("served") }).await;
    let router = narrow(20, 10).await;
    serve(&router, &[address], LONG, 0);
    let mut idle = idlers(router.address(), 100).await;
    for _ in 0..20 {
        assert_eq!(get(&router, "/").await.body, "served");
    }
    // The oldest had to go.
    let mut rest = Vec::new();
    let _ = within(idle[0].read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn who_has_all_connections_in_use_gets_no_more_until_one_ends() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let (address, count) = app(move |_| {
        let mut gone = gone.clone();
        async move {
            gone.wait_for(|go| *go).await.unwrap();
            ok("late")
        }
    })
    .await;
    let router = narrow(8, 4).await;
    serve(&router, &[address], LONG, 0);
    let mut busy = idlers(router.address(), 4).await;
    for stream in &mut busy {
        stream.write_all(b"acme.localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    }
    until(|| count.load(std::sync::atomic::Ordering::SeqCst) == 4).await;
    let mut refused = TcpStream::connect(router.address()).await.unwrap();
    let mut nothing = Vec::new();
    let _ = within(refused.read_to_end(&mut nothing)).await;
    assert!(nothing.is_empty());
    go.send(true).unwrap();
    for stream in &mut busy {
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.ends_with("late"), "{answer}");
    }
    drop(busy);
    assert_eq!(get(&router, "/").await.body, "late");
}

#[tokio::test]
async fn a_tunnel_counts_until_it_is_closed_and_one_that_carries_nothing_is_closed() {
    let address = echo_app().await;
    let limits = Limits { connections: 8, per_peer: 3 };
    let router =
        router_with(Options { limits, tunnel_timeout: Duration::from_millis(300), ..Options::default() }).await;
    serve(&router, &[address], LONG, 0);
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        tunnels.push(open_echo(router.address()).await);
    }
    let mut refused = TcpStream::connect(router.address()).await.unwrap();
    let _ = refused.write_all(b"GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n").await;
    let mut nothing = Vec::new();
    let _ = within(refused.read_to_end(&mut nothing)).await;
    assert!(nothing.is_empty(), "{}", String::from_utf8_lossy(&nothing));
    for tunnel in &mut tunnels {
        let mut rest = Vec::new();
        let _ = within(tunnel.read_to_end(&mut rest)).await;
    }
    until(|| router.in_flight(address) == 0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_disconnected() {
    let (address, _) = app(|_| async {
        let endless = futures::stream::repeat_with(|| Ok(Frame::data(vec![b'x'; 64 * 1024].into())));
        Response::new(StreamBody::new(endless.boxed()).boxed_unsync())
    })
    .await;
    let router = router_with(Options { write_timeout: Duration::from_millis(200), ..Options::default() }).await;
    serve(&router, &[address], LONG, 0);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(router.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n").await.unwrap();
    until(|| router.in_flight(address) == 1).await;
    until(|| router.in_flight(address) == 0).await;
}

#[tokio::test]
async fn a_body_that_trickles_is_ended_when_its_route_says_so() {
    let (address, _) = app(|request| async move {
        let _ = request.into_body().collect().await;
        ok("")
    })
    .await;
    let router = narrow(8, 8).await;
    serve(&router, &[address], Duration::from_secs(1), 0);
    let mut stream = TcpStream::connect(router.address()).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let trickling = async {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = Vec::new();
    within(async {
        tokio::select! {
            () = trickling => {}
            _ = reading.read_to_end(&mut answer) => {}
        }
    })
    .await;
    assert!(answer.starts_with(b"HTTP/1.1 504"), "{}", String::from_utf8_lossy(&answer));
    until(|| router.in_flight(address) == 0).await;
}

#[tokio::test]
async fn chunk_extensions_without_end_are_refused() {
    let (address, _) = app(|request| async move {
        let _ = request.into_body().collect().await;
        ok("")
    })
    .await;
    let router = narrow(8, 8).await;
    serve(&router, &[address], LONG, 0);
    let mut stream = TcpStream::connect(router.address()).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: acme.localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let flood = async {
        for _ in 0..1024 {
            if stream.write_all(format!("1;{}\r\nx\r\n", "e".repeat(1024)).as_bytes()).await.is_err() {
                return;
            }
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    };
    within(flood).await;
    until(|| router.in_flight(address) == 0).await;
}

#[test]
fn a_router_on_threads_of_its_own_serves_while_the_callers_are_held_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (address, _) = other.block_on(app(|_| async { ok("served") }));
    let router = runtime.block_on(router_with(Options { threads: 1, ..Options::default() }));
    serve(&router, &[address], Duration::from_secs(10), 0);
    // Nobody drives the runtime that it was made on.
    assert_eq!(other.block_on(get(&router, "/")).body, "served");
    runtime.block_on(router.shutdown(Duration::from_secs(5)));
    drop(router);
}
