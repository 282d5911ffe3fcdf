//! Streams of JSON objects, one a line, parsed: the lines of a log, what comes of a command.

use std::marker::PhantomData;
use std::pin::Pin;

use futures::{Stream, StreamExt};
use serde::de::DeserializeOwned;

use crate::error::ClientError;
use crate::pieces::Pieces;
use crate::wire::{CommandEvent, LogLine};

type Bytes = Pin<Box<dyn Stream<Item = reqwest::Result<Vec<u8>>> + Send>>;

/// The lines of a log as they come.
pub type LogStream = LineStream<LogLine>;
/// What comes of a command. Dropped, it ends the command.
pub type CommandStream = LineStream<CommandEvent>;

/// Objects as they come. What was received and not yet taken is bounded by what one answer brings at once.
pub struct LineStream<T> {
    bytes: Bytes,
    pieces: Pieces,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> LineStream<T> {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        let bytes = response.bytes_stream().map(|chunk| chunk.map(|chunk| chunk.to_vec()));
        Self { bytes: Box::pin(bytes), pieces: Pieces::until(b"\n"), of: PhantomData }
    }

    /// The next object; `None` at the end. An empty line only says that the stream goes on.
    ///
    /// # Errors
    /// The connection broke, or a line can't be read.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            match self.pieces.take() {
                Some([]) => continue,
                Some(piece) => {
                    return serde_json::from_slice(piece)
                        .map(Some)
                        .map_err(|error| ClientError::Answer(error.to_string()));
                }
                None => {}
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
