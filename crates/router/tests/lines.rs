//! Connections that carry something else than HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use freehold_router::{Drained, Options, Router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{nobody, raw_app, router_with, until, upstreams, web, within};

/// Sends back what it is sent.
async fn echo() -> SocketAddr {
    raw_app(|mut stream, _| async move {
        let mut piece = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            stream.write_all(&piece[..count]).await.unwrap();
        }
    })
    .await
}

async fn router() -> Router {
    router_with(Options { threads: 2, ..Options::default() }).await
}

/// A client that is carried to the endpoint.
async fn client(router: &Router) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    let line = within(router.line(&web())).await.unwrap();
    tokio::spawn(async move { line.carry(&mut accepted).await });
    client
}

async fn echoes(client: &mut TcpStream) {
    client.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    within(client.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"hello");
}

#[tokio::test]
async fn a_line_is_in_flight_until_it_ends_and_a_cut_ends_it() {
    let (router, address) = (router().await, echo().await);
    router.set_upstreams(&web(), upstreams(&[address]));
    let (mut one, mut other) = (client(&router).await, client(&router).await);
    echoes(&mut one).await;
    echoes(&mut other).await;
    assert_eq!(router.in_flight(address), 2);
    drop(one);
    until(|| router.in_flight(address) == 1).await;
    // Another version takes over: what is open goes on, and is waited for.
    router.set_upstreams(&web(), Vec::new());
    assert_eq!(router.drain(address, Duration::ZERO).await, Drained { open: 1 });
    echoes(&mut other).await;
    router.cut(address);
    assert_eq!(within(other.read(&mut [0; 8])).await.unwrap_or_default(), 0);
}

#[tokio::test]
async fn a_line_goes_to_one_that_takes_it_and_waits_for_one_that_is_to_come() {
    let (router, address) = (router().await, echo().await);
    router.set_upstreams(&web(), upstreams(&[nobody().await, address]));
    for _ in 0..4 {
        echoes(&mut client(&router).await).await;
    }
    router.set_upstreams(&web(), Vec::new());
    assert!(router.line(&web()).await.is_err());
    router.set_switching(&web(), true);
    let waiting = tokio::spawn({
        let router = router.clone();
        async move { router.line(&web()).await.map(drop) }
    });
    router.set_upstreams(&web(), upstreams(&[address]));
    within(waiting).await.unwrap().unwrap();
}
