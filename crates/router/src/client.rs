//! A client's connection: it has a place, it may not stop reading for ever, and it is closed without losing the last answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::admission::Taken;
use crate::stream::{Ending, Stream};

/// How long, and how much, is read of what a client still sends after the last answer. Closed at once, the kernel would answer with
/// a reset, which takes the answer out of the client's hands.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;

/// A connection that was let in.
pub(crate) type ClientStream = Stream<Patience>;

/// How long a client is waited for.
pub(crate) struct Patience {
    taken: Taken,
    /// How long the client may take nothing of what is written.
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    lingering: Option<Lingering>,
}

struct Lingering {
    end: Pin<Box<Sleep>>,
    bytes: usize,
}

impl ClientStream {
    pub(crate) fn new(stream: TcpStream, taken: Taken, limit: Duration) -> ClientStream {
        Stream::with(stream, Patience { taken, limit, stalled: None, lingering: None })
    }
}

impl Patience {
    fn poll_linger(&mut self, context: &mut Context<'_>, mut stream: Pin<&mut TcpStream>) -> Poll<()> {
        let lingering =
            self.lingering.get_or_insert_with(|| Lingering { end: Box::pin(sleep(LINGER)), bytes: LINGER_BYTES });
        loop {
            let mut scratch = [0; 4096];
            let mut buffer = ReadBuf::new(&mut scratch);
            match stream.as_mut().poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && lingering.bytes > 0 => {
                    lingering.bytes = lingering.bytes.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return lingering.end.as_mut().poll(context),
            }
        }
    }
}

impl Ending for Patience {
    /// Ends a write that makes no progress for too long.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        _length: usize,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        stalled.as_mut().poll(context).map(|()| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }

    fn shut(&mut self, context: &mut Context<'_>, mut stream: Pin<&mut TcpStream>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(stream.as_mut().poll_shutdown(context))?;
        }
        // A tunnel may be closed on one side only.
        if !self.taken.place().is_tunnel() {
            ready!(self.poll_linger(context, stream));
        }
        Poll::Ready(Ok(()))
    }
}
