//! Lines: connections to an endpoint's upstreams for protocols that the router doesn't speak. Bytes both ways, and nothing else.

use std::io;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::backend::Flight;
use crate::route::EndpointKey;
use crate::router::Router;

/// What is held of each direction, in bytes.
const BUFFER: usize = 16 << 10;

/// A connection to one of an endpoint's upstreams. It is in flight until this is dropped: [`Router::drain`] waits for it, and
/// [`Router::cut`] closes it.
pub struct Line {
    upstream: TcpStream,
    flight: Flight,
}

impl Line {
    /// Carries bytes both ways until both sides have ended, or the upstream is cut.
    ///
    /// # Errors
    /// One of the sides broke off.
    pub async fn carry(mut self, client: &mut TcpStream) -> io::Result<()> {
        tokio::select! {
            carried = copy_bidirectional_with_sizes(client, &mut self.upstream, BUFFER, BUFFER) => carried.map(drop),
            () = self.flight.backend().cut.given() => Ok(()),
        }
    }
}

impl Router {
    /// Connects to one of an endpoint's upstreams: the one with the fewest in flight, another one if it refuses. While the endpoint is
    /// [switching](Router::set_switching) it waits for an upstream, for up to [`Options::hold`](crate::Options::hold).
    ///
    /// # Errors
    /// There is none, or all of them refuse.
    pub async fn line(&self, endpoint: &EndpointKey) -> io::Result<Line> {
        let (endpoint, hold) = self.of_endpoint(endpoint);
        let hold_until = Instant::now() + hold;
        let mut tried = Vec::new();
        loop {
            let Some(flight) = endpoint.pick(&tried) else {
                if endpoint.wait(&tried, hold_until).await {
                    continue;
                }
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody serves it"));
            };
            match flight.open().await {
                Ok(upstream) => return Ok(Line { upstream, flight }),
                Err(error) => {
                    flight.backend().rest();
                    tried.push(flight.backend().address);
                    drop(flight);
                    let another = tried.len() < endpoint.count();
                    if another || endpoint.is_switching() && endpoint.wait(&tried, hold_until).await {
                        continue;
                    }
                    return Err(error);
                }
            }
        }
    }
}
