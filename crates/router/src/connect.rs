//! How a connection to an upstream is made, and what is known of its other end before anything is sent.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

/// A connection that is being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + 'a>>;

/// Makes connections to an upstream.
///
/// Nothing has been sent on a connection that it returns. Where ports can be taken by others, this is the place to prove that what
/// answers is the upstream itself: a connection that isn't proved is an error, which the router treats as one that was refused. One
/// with words of its own (`io::Error::new`) is also a line in the log.
pub trait Connect: fmt::Debug + Send + Sync {
    /// Connects to `address`. The caller sets the time limit.
    ///
    /// # Errors
    /// Nothing listens at the address, or another process than the service's does.
    fn connect(&self, address: SocketAddr) -> Connecting<'_>;
}

/// Connects to whoever listens. For upstreams whose ports nobody else can take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

impl Connect for Direct {
    fn connect(&self, address: SocketAddr) -> Connecting<'_> {
        Box::pin(TcpStream::connect(address))
    }
}
