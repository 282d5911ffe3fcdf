//! A connection to an upstream, below HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::stream::{Ending, Stream};

/// Whether a connection can carry another request.
#[derive(Clone, Default)]
pub(crate) struct Spent(Arc<AtomicBool>);

impl Spent {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A stream whose writes never fail once the upstream takes nothing more: an upstream may answer and close in the middle of an upload,
/// and then its answer is still there to be read. Without one, the end of the stream says that it broke off.
pub(crate) type UpstreamStream = Stream<Spent>;

impl UpstreamStream {
    pub(crate) fn new(stream: TcpStream, spent: Spent) -> UpstreamStream {
        Stream::with(stream, spent)
    }
}

impl Ending for Spent {
    fn written(
        &mut self,
        _context: &mut Context<'_>,
        length: usize,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Err(error)) if is_closed(&error) => {
                self.set();
                Poll::Ready(Ok(length))
            }
            outcome => outcome,
        }
    }

    fn shut(&mut self, context: &mut Context<'_>, stream: Pin<&mut TcpStream>) -> Poll<io::Result<()>> {
        match stream.poll_shutdown(context) {
            Poll::Ready(Err(error)) if is_closed(&error) => Poll::Ready(Ok(())),
            closed => closed,
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}
