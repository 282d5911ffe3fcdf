//! The addresses of the loopback that Freehold itself takes: the API's and the router's.
//!
//! `localhost`, and what ends with it, is `127.0.0.1` and `::1`, and most programs try `::1` first. Freehold listens on `127.0.0.1`. A
//! tenant's program that listens on the same port of `::1` would be sent what is meant for Freehold: requests with cookies, by a browser
//! or a proxy, the API's token, passwords of databases. So that port is kept: a socket is bound to it and doesn't listen. Who asks there
//! is refused at once, and goes on to `127.0.0.1`.
//!
//! While the platform doesn't run its ports are anybody's. What a stack's program took meanwhile it loses, with its life.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::time::Duration;

use freehold_problem::Code;
use freehold_provider_local::{RunAs, free_port};
use freehold_router::{Options as RouterOptions, Proxy, Router, RouterError};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;

use crate::directory::Settings;
use crate::start::StartError;

/// How often it is tried to get any port on both addresses of the loopback.
const TRIES: u32 = 20;
/// For how long a port is waited for that nobody holds any more: what is left of connections keeps it for 60 s.
const REMAINS: Duration = Duration::from_secs(70);
/// How often it is tried meanwhile.
const AGAIN: Duration = Duration::from_millis(200);

/// A port of `::1` that nobody else gets as long as this lives. Nothing where the machine has no such address.
#[derive(Debug)]
pub(crate) struct Kept {
    _socket: Option<TcpSocket>,
}

impl Kept {
    /// # Errors
    /// Another program has the port.
    pub(crate) fn new(port: u16) -> io::Result<Self> {
        // Without SO_REUSEADDR: those who have it share an address as long as none of them listens.
        let bound = TcpSocket::new_v6().and_then(|socket| socket.bind(beside(port)).map(|()| socket));
        match bound {
            Ok(socket) => Ok(Self { _socket: Some(socket) }),
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)) => {
                Ok(Self { _socket: None })
            }
            Err(error) => Err(error),
        }
    }
}

/// What is kept.
fn beside(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::LOCALHOST, port))
}

/// Takes a port of ours, and tries again once those of stacks' programs are ended that took it while the platform wasn't running, and
/// nothing is left of their connections.
///
/// # Errors
/// Another program holds the port.
pub(crate) async fn freed<T>(
    users: RunAs,
    port: u16,
    take: impl AsyncFn() -> Result<T, StartError>,
) -> Result<T, StartError> {
    let until = Instant::now() + REMAINS;
    loop {
        let taken = take().await;
        match &taken {
            Err(error) if port != 0 && error.code == Code::PortTaken && Instant::now() < until => {}
            Ok(_) | Err(_) => return taken,
        }
        if !free_port(users, port).await.unwrap_or_default() {
            return taken;
        }
        tracing::info!(port, "waits for what is left of connections to this port, which takes a minute at the longest");
        tokio::time::sleep(AGAIN).await;
    }
}

/// The API's port; 0: any free one.
///
/// # Errors
/// Another program has it.
pub(crate) async fn listen(port: u16) -> Result<(TcpListener, Kept), StartError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut tries = if port == 0 { TRIES } else { 1 };
    loop {
        let taken = |error: std::io::Error| port_taken("API", address, &error);
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let port = listener.local_addr().map_err(taken)?.port();
        tries -= 1;
        match keep_beside("API", port) {
            Err(_) if tries > 0 => {}
            kept => return Ok((listener, kept?)),
        }
    }
}

fn keep_beside(what: &str, port: u16) -> Result<Kept, StartError> {
    Kept::new(port).map_err(|error| port_taken(what, beside(port), &error))
}

/// The router on its port.
///
/// # Errors
/// Another program has it, or the system gives no threads.
pub(crate) async fn start_router(port: u16, settings: &Settings) -> Result<(Router, Kept), StartError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // As many as there are processors: the system shares them out between what serves and what works.
    let threads = std::thread::available_parallelism().map_or(2, NonZero::get).clamp(1, 8);
    let trusted_proxies = trusted_proxies_of(settings)?;
    let options = RouterOptions { threads, trusted_proxies, ..RouterOptions::default() };
    let kept = if port == 0 { None } else { Some(keep_beside("router", port)?) };
    let router = Router::bind(address, options).await.map_err(|error| match error {
        RouterError::PortTaken { addr, source } | RouterError::Listen { addr, source } => {
            port_taken("router", addr, &source)
        }
        RouterError::Threads(source) => {
            StartError::new(Code::Internal, format!("the router gets no threads: {source}"))
                .help("raise the limit of processes (`ulimit -u`)")
        }
    })?;
    let kept = kept.map_or_else(|| keep_beside("router", router.address().port()), Ok)?;
    Ok((router, kept))
}

/// The proxies whose word on clients' addresses is taken. One that can't be read is no reason to go on without it: limits and logs would be
/// about the proxy then, and not about the clients.
fn trusted_proxies_of(settings: &Settings) -> Result<Vec<Proxy>, StartError> {
    let read = |proxy: &String| {
        proxy.parse().map_err(|error| {
            let message = format!("the trusted proxy {proxy:?} in settings.json can't be read: {error}");
            StartError::new(Code::DataNotWritable, message)
                .help("start once with --trusted-proxy for each of them, which replaces what is kept")
        })
    };
    settings.trusted_proxies.iter().map(read).collect()
}

fn port_taken(what: &str, address: SocketAddr, error: &std::io::Error) -> StartError {
    let option = if what == "API" { "--api-port" } else { "--port" };
    StartError::new(Code::PortTaken, format!("the {what} can't listen on {address}: {error}"))
        .help(format!("stop the program that uses port {}, or choose another one with {option}", address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_that_can_t_be_read_stops_the_start() {
        let of = |proxies: &[&str]| {
            let trusted_proxies = proxies.iter().map(|proxy| (*proxy).to_owned()).collect();
            trusted_proxies_of(&Settings { trusted_proxies, ..Settings::default() })
        };
        assert_eq!(of(&["10.0.0.0/8", "uid:33"]).unwrap().len(), 2);
        let refused = of(&["10.0.0.0/8", "socket:/run/proxy"]).unwrap_err();
        assert!(refused.message.contains("socket:/run/proxy"), "{}", refused.message);
    }

    /// Listens there in the ways that share an address, if they let it.
    fn taken(port: u16) -> io::Result<TcpListener> {
        let socket = TcpSocket::new_v6()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(beside(port))?;
        socket.listen(1)
    }

    #[tokio::test]
    async fn nobody_listens_where_names_lead_beside_the_platform_and_who_asks_there_is_refused_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let Ok(first) = taken(port) else {
            println!(
                "skipped: nobody_listens_where_names_lead_beside_the_platform_and_who_asks_there_is_refused_at_once: there is no ::1"
            );
            return;
        };
        assert_eq!(Kept::new(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let kept = Kept::new(port).unwrap();
        assert_eq!(taken(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let asked = tokio::net::TcpStream::connect(beside(port)).await;
        assert_eq!(asked.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        drop(kept);
        taken(port).unwrap();
    }
}
