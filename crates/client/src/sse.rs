//! Server-sent events, as far as the platform sends them: `data` and comments. Other fields are skipped.
//!
//! Lines end with LF or CRLF. A CR alone ends none: nothing that the platform runs behind sends it, and it would make each read wait for
//! the next.

use crate::pieces::Pieces;

const BYTE_ORDER_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

/// The events of a stream, from its bytes.
pub(crate) struct Parser {
    lines: Pieces,
    /// Nothing was read yet.
    fresh: bool,
    /// Of the event that is being read.
    data: Option<String>,
}

impl Parser {
    pub(crate) fn new() -> Self {
        Self { lines: Pieces::until(b"\n"), fresh: true, data: None }
    }

    /// Takes in what has arrived. Fails where a line becomes larger than any that makes sense.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.lines.add(bytes)
    }

    /// The data of the next complete event. One that the stream's end cuts off never comes.
    pub(crate) fn take(&mut self) -> Option<String> {
        while let Some(line) = self.lines.take() {
            let line =
                if std::mem::take(&mut self.fresh) { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                if let Some(data) = self.data.take() {
                    return Some(data);
                }
            } else if let Some(value) = value(line, b"data") {
                let value = String::from_utf8_lossy(value);
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(&value);
                    }
                    None => self.data = Some(value.into_owned()),
                }
            }
        }
        None
    }
}

/// The value of a line if it is of this field: behind the colon and at most one space.
fn value<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(field)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}data: one\n\n: a comment\n\nretry: 100\nevent: step\r\ndata: two\r\ndata:lines\r\n\r\n\
                          id: 7\n\ndatabase: none\ndata:  a space\ndata\n\ndata: ü cut off";

    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut parser = Parser::new();
        let mut events = Vec::new();
        for chunk in chunks {
            parser.add(chunk).unwrap();
            events.extend(std::iter::from_fn(|| parser.take()));
        }
        events
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_is_split() {
        let bytes = STREAM.as_bytes();
        let expected = ["one", "two\nlines", " a space\n"];
        assert_eq!(read([bytes]), expected);
        assert_eq!(read(bytes.chunks(1)), expected);
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(read([first, second]), expected, "split at {at}");
        }
    }
}
