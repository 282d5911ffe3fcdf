//! The router alone in front of one address, for `scripts/bench`: `router_bench UPSTREAM [LISTEN]`.
//! Requests for the host `bench.localhost` go to the upstream; it says where it listens on standard output.

use std::net::SocketAddr;
use std::num::NonZero;
use std::time::Duration;

use anyhow::Context as _;
use freehold_router::{Action, EndpointKey, Options, Patience, Policies, Route, RouteKey, Router, Rule, Upstream};

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let upstream: SocketAddr = arguments.next().context("usage: router_bench UPSTREAM [LISTEN]")?.parse()?;
    let listen: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:7080".to_owned()).parse()?;
    // As the platform starts it.
    let threads = std::thread::available_parallelism().map_or(2, NonZero::get).clamp(1, 8);
    let router = Router::bind(listen, Options { threads, ..Options::default() }).await?;
    let endpoint = EndpointKey("bench/service.web".to_owned());
    let patience = Patience { timeout: Duration::from_secs(30), attempt_timeout: None, retries: 3 };
    let rule = Rule { prefix: "/".to_owned(), action: Action::Forward { endpoint: endpoint.clone(), patience } };
    let route = Route {
        hosts: vec!["bench.localhost".to_owned()],
        redirect_from: Vec::new(),
        rules: vec![rule],
        policies: Policies::default(),
        label: "bench/stage/bench".to_owned(),
    };
    router.set_upstreams(&endpoint, vec![Upstream::direct(upstream)]);
    router.set_route(&RouteKey("bench".to_owned()), route);
    println!("{}", router.address());
    tokio::signal::ctrl_c().await?;
    router.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
