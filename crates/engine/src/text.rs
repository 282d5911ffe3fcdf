//! Text from bytes that arrive in pieces.

/// What a program prints as text, wherever it is cut: U+FFFD for what isn't UTF-8, and a character that isn't whole yet waits for its rest.
#[derive(Debug, Default)]
pub struct Utf8Pieces {
    rest: Vec<u8>,
}

impl Utf8Pieces {
    /// The text that is complete with these bytes.
    pub fn add(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let whole = match self.rest.utf8_chunks().last() {
            // At the very end, and the beginning of a character.
            Some(last) if std::str::from_utf8(last.invalid()).is_err_and(|error| error.error_len().is_none()) => {
                self.rest.len().saturating_sub(last.invalid().len())
            }
            Some(_) | None => self.rest.len(),
        };
        let rest = self.rest.split_off(whole);
        String::from_utf8_lossy(&std::mem::replace(&mut self.rest, rest)).into_owned()
    }

    /// What was left, when nothing more comes.
    pub fn end(self) -> String {
        String::from_utf8_lossy(&self.rest).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_same_wherever_it_is_cut() {
        let bytes = b"caf\xc3\xa9 \xe2\x82\xac \xff\xf0\x9f\x98\x80 \xe2\x82x \xf0\x9f";
        let expected = String::from_utf8_lossy(bytes);
        for size in 1..=bytes.len() {
            let mut pieces = Utf8Pieces::default();
            let mut text: String = bytes.chunks(size).map(|chunk| pieces.add(chunk)).collect();
            text.push_str(&pieces.end());
            assert_eq!(text, expected, "in pieces of {size}");
        }
        let mut pieces = Utf8Pieces::default();
        assert_eq!((pieces.add(b"a\xc3"), pieces.add(b"\xa9")), ("a".to_owned(), "é".to_owned()));
    }
}
