//! A TCP connection with something to say about what comes of writing to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a kind of connection makes of the outcomes of writing.
pub(crate) trait Ending: Unpin {
    /// `length` bytes were to be written.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>>;

    /// Closes it for writing, so that the peer reads its end.
    fn shut(&mut self, context: &mut Context<'_>, stream: Pin<&mut TcpStream>) -> Poll<io::Result<()>>;
}

/// A connection of one kind.
pub(crate) struct Stream<E> {
    stream: TcpStream,
    ending: E,
}

impl<E> Stream<E> {
    pub(crate) fn with(stream: TcpStream, ending: E) -> Self {
        Self { stream, ending }
    }
}

impl<E: Unpin> AsyncRead for Stream<E> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<E: Ending> AsyncWrite for Stream<E> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.ending.written(context, bytes.len(), outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.ending.written(context, slices.iter().map(|slice| slice.len()).sum(), outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, ending } = &mut *self;
        ending.shut(context, Pin::new(stream))
    }
}
