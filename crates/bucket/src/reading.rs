//! Contents on their way out.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;

use crate::error::BucketError;
use crate::index::{Piece, SMALL};
use crate::store::Store;

/// What is read at once, in bytes.
const CHUNK: u64 = 256 << 10;
/// How many of these wait for a slow reader.
const AHEAD: usize = 2;

/// The pieces of a version, which stay until this is dropped.
pub(crate) struct Pinned {
    pub(crate) store: Arc<Store>,
    pub(crate) pieces: Vec<Piece>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.store.unpin(&self.pieces);
    }
}

impl Pinned {
    /// The bytes from `at` in one piece, at most [`CHUNK`]. Blocks.
    fn read(&self, piece: &Piece, at: u64, most: u64) -> Result<Bytes, BucketError> {
        let length = most.min(CHUNK);
        if !piece.small {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            let file = self.store.room.files.read(piece.id).map_err(BucketError::file)?;
            file.read_exact_at(&mut bytes, at).map_err(BucketError::file)?;
            return Ok(bytes.into());
        }
        self.store.index.read(|transaction| {
            let table = transaction.open_table(SMALL).map_err(BucketError::index)?;
            let found = table.get(piece.id.as_u128()).map_err(BucketError::index)?;
            let from = usize::try_from(at).unwrap_or(usize::MAX);
            let to = usize::try_from(at + length).unwrap_or(usize::MAX);
            let bytes = found.and_then(|found| found.value().get(from..to).map(Bytes::copy_from_slice));
            bytes.ok_or_else(|| BucketError::File(io::ErrorKind::NotFound.into()))
        })
    }

    /// What comes at `at` of the whole, up to `end`. Blocks.
    pub(crate) fn next(&self, at: u64, end: u64) -> Result<Bytes, BucketError> {
        let mut begins = 0;
        for piece in &self.pieces {
            if at < begins + piece.size {
                return self.read(piece, at - begins, end.min(begins + piece.size) - at);
            }
            begins += piece.size;
        }
        Err(BucketError::File(io::ErrorKind::UnexpectedEof.into()))
    }

    /// A range of the whole as a stream. Whoever reads slowly holds memory for a few chunks, and no thread.
    pub(crate) fn stream(self, range: Range<u64>) -> Outgoing {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let pinned = Arc::new(self);
        tokio::spawn(async move {
            let mut at = range.start;
            while at < range.end {
                let (pinned, end) = (Arc::clone(&pinned), range.end);
                let read = tokio::task::spawn_blocking(move || pinned.next(at, end)).await;
                let read = read.unwrap_or(Err(BucketError::Closed));
                at += read.as_ref().map_or(0, |bytes| bytes.len() as u64);
                let failed = read.is_err();
                if sender.send(read).await.is_err() || failed {
                    return;
                }
            }
        });
        Outgoing(receiver)
    }
}

/// A body on its way out.
pub(crate) struct Outgoing(mpsc::Receiver<Result<Bytes, BucketError>>);

impl Stream for Outgoing {
    type Item = Result<Bytes, BucketError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
