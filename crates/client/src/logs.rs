//! The stream of a log's lines (a JSON object each), parsed.

use std::pin::Pin;

use futures::{Stream, StreamExt};

use crate::error::ClientError;
use crate::pieces::Pieces;
use crate::wire::LogLine;

type Bytes = Pin<Box<dyn Stream<Item = reqwest::Result<Vec<u8>>> + Send>>;

/// The lines of a log as they come. What was received and not yet taken is bounded by what one answer brings at once.
pub struct LogStream {
    bytes: Bytes,
    pieces: Pieces,
}

impl LogStream {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        let bytes = response.bytes_stream().map(|chunk| chunk.map(|chunk| chunk.to_vec()));
        Self { bytes: Box::pin(bytes), pieces: Pieces::until(b"\n") }
    }

    /// The next line; `None` at the end of the log, or of the following.
    ///
    /// # Errors
    /// The connection broke, or a line can't be read.
    pub async fn next(&mut self) -> Result<Option<LogLine>, ClientError> {
        loop {
            if let Some(piece) = self.pieces.take() {
                return serde_json::from_slice(piece).map(Some).map_err(|error| ClientError::Answer(error.to_string()));
            }
            match self.bytes.next().await {
                Some(chunk) => {
                    let chunk = chunk.map_err(|error| ClientError::Broken(error.to_string()))?;
                    self.pieces.add(&chunk).map_err(|error| ClientError::Answer(error.to_owned()))?;
                }
                None => return Ok(None),
            }
        }
    }
}
