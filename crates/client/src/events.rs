//! The stream of an operation's events (server-sent events), parsed.

use std::pin::Pin;

use futures::{Stream, StreamExt};

use crate::client::ClientError;
use crate::wire::Event;

type Bytes = Pin<Box<dyn Stream<Item = reqwest::Result<Vec<u8>>> + Send>>;

/// An operation's events, in order, until it has finished.
pub struct EventStream {
    bytes: Bytes,
    buffer: Vec<u8>,
}

impl EventStream {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        let bytes = response.bytes_stream().map(|chunk| chunk.map(|chunk| chunk.to_vec()));
        Self { bytes: Box::pin(bytes), buffer: Vec::new() }
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
                Some(chunk) => self.buffer.extend(chunk.map_err(|error| ClientError::Broken(error.to_string()))?),
                None => return Ok(None),
            }
        }
    }

    /// Takes the first complete event off the buffer, skipping comments (heartbeats).
    fn take_event(&mut self) -> Result<Option<Event>, ClientError> {
        while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&block);
            let data: String =
                text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
            if !data.is_empty() {
                return serde_json::from_str(&data).map(Some).map_err(|error| ClientError::Answer(error.to_string()));
            }
        }
        Ok(None)
    }
}
