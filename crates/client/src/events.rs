//! The stream of an operation's events (server-sent events), parsed.

use std::pin::Pin;

use futures::{Stream, StreamExt};

use crate::error::ClientError;
use crate::sse::Parser;
use crate::wire::Event;

type Bytes = Pin<Box<dyn Stream<Item = reqwest::Result<Vec<u8>>> + Send>>;

/// An operation's events, in order, until it has finished.
pub struct EventStream {
    bytes: Bytes,
    parser: Parser,
}

impl EventStream {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        let bytes = response.bytes_stream().map(|chunk| chunk.map(|chunk| chunk.to_vec()));
        Self { bytes: Box::pin(bytes), parser: Parser::new() }
    }

    /// The next event; `None` when the stream has ended.
    ///
    /// # Errors
    /// The connection broke, or an event can't be read.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.take_event()? {
                return Ok(Some(event));
            }
            match self.bytes.next().await {
                Some(chunk) => {
                    let chunk = chunk.map_err(|error| ClientError::Broken(error.to_string()))?;
                    self.parser.add(&chunk).map_err(|error| ClientError::Answer(error.to_owned()))?;
                }
                None => return Ok(None),
            }
        }
    }

    /// The first complete event.
    fn take_event(&mut self) -> Result<Option<Event>, ClientError> {
        let event = self.parser.take().map(|data| serde_json::from_str(&data));
        event.transpose().map_err(|error| ClientError::Answer(error.to_string()))
    }
}
