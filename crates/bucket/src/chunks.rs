//! Bodies that come in signed chunks (`aws-chunked`): a chunk's signature follows the whole of it, so each is held in memory until then. How
//! large one may be is for the server to say.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// The largest chunk that is taken, in bytes. SDKs send 64 KiB to 8 MiB.
const LARGEST: u64 = 16 << 20;
/// The longest line before a chunk, in bytes.
const LONGEST_LINE: usize = 4 << 10;

/// A body whose chunks are looked at while they pass.
pub(crate) struct Chunks {
    body: Incoming,
    place: Place,
}

/// Where in the body it is.
enum Place {
    /// In the line before a chunk; what there was of it.
    Line(Vec<u8>),
    /// In a chunk, so many bytes before its end.
    Chunk(u64),
    /// Behind the last one.
    Behind,
}

impl Chunks {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, place: Place::Line(Vec::new()) }
    }
}

impl Place {
    /// Where it is after these bytes.
    ///
    /// # Errors
    /// A chunk is too large, or a line is no chunk's.
    fn after(mut self, mut bytes: &[u8]) -> io::Result<Self> {
        while let Some((first, rest)) = bytes.split_first() {
            self = match self {
                Self::Line(mut line) => {
                    bytes = rest;
                    line.push(*first);
                    match first {
                        b'\n' => Self::of_line(&line)?,
                        _ if line.len() >= LONGEST_LINE => return Err(refused("the line before a chunk is too long")),
                        _ => Self::Line(line),
                    }
                }
                Self::Chunk(left) => {
                    let here = left.min(bytes.len() as u64);
                    bytes = bytes.get(usize::try_from(here).unwrap_or(bytes.len())..).unwrap_or_default();
                    match left - here {
                        0 => Self::Line(Vec::new()),
                        left => Self::Chunk(left),
                    }
                }
                Self::Behind => return Ok(Self::Behind),
            };
        }
        Ok(self)
    }

    /// Behind a line: `SIZE;chunk-signature=…`, the size in hexadecimal digits.
    fn of_line(line: &[u8]) -> io::Result<Self> {
        let digits = line.split(|byte| matches!(byte, b';' | b'\r' | b'\n')).next().unwrap_or_default();
        let size = str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
        match size {
            None => Err(refused("a chunk without a size")),
            Some(0) => Ok(Self::Behind),
            Some(size) if size > LARGEST => Err(refused("a chunk of more than 16 MiB")),
            // With the line end behind it.
            Some(size) => Ok(Self::Chunk(size + 2)),
        }
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        if let Some(data) = frame.data_ref() {
            let place = std::mem::replace(&mut self.place, Place::Behind);
            match place.after(data) {
                Ok(place) => self.place = place,
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(pieces: &[&[u8]]) -> bool {
        let start = Ok(Place::Line(Vec::new()));
        pieces.iter().fold(start, |place: io::Result<Place>, piece| place?.after(piece)).is_ok()
    }

    #[test]
    fn a_chunk_that_is_too_large_is_refused_before_it_comes() {
        assert!(passes(&[b"5;chunk-signature=0\r\nhello\r\n0;chunk-signature=0\r\n\r\nx-amz-checksum-crc32:AAAA\r\n"]));
        assert!(passes(&[b"1000000;", b"chunk-signature=0\r", b"\n", b"hello"]));
        assert!(!passes(&[b"1000001;chunk-signature=0\r\n"]));
        assert!(!passes(&[b"ffff", b"ffff\r\n"]));
        assert!(!passes(&[b"5\r\nhello\r\nffffffff;chunk-signature=0\r\n"]));
        assert!(!passes(&[b"hello\r\n"]));
        assert!(!passes(&[&[b'0'; LONGEST_LINE]]));
    }
}
