//! Sending an artifact: its tar stream, written while it is read on the other side, however large it is.

use std::io::{self, Write};

use freehold_provider_local::artifact::Packed;
use tokio::sync::mpsc::{Sender, channel};

/// How large the pieces are.
const PIECE: usize = 256 * 1024;

/// The stream, as the body of a request.
pub(super) fn body(packed: Packed) -> reqwest::Body {
    let (sender, receiver) = channel::<io::Result<Vec<u8>>>(4);
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE) };
        if let Err(error) = packed.write_to(&mut pieces) {
            // The request fails with it.
            let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
        }
    });
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    });
    reqwest::Body::wrap_stream(stream)
}

struct Pieces {
    sender: Sender<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        if piece.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
