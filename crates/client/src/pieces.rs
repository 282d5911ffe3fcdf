//! Cuts a stream of bytes into pieces at a mark. Each byte is looked at once and moved at most once, however it arrives.

/// The most that one piece may hold, in bytes: far more than the platform ever sends.
const LARGEST: usize = 64 << 20;

/// What has arrived and was not yet taken.
pub(crate) struct Pieces {
    mark: &'static [u8],
    bytes: Vec<u8>,
    /// Up to here it was taken.
    taken: usize,
    /// Up to here there is no mark.
    searched: usize,
}

impl Pieces {
    pub(crate) fn until(mark: &'static [u8]) -> Self {
        Self { mark, bytes: Vec::new(), taken: 0, searched: 0 }
    }

    /// Takes in what has arrived. Fails where a piece becomes larger than any that makes sense.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        if self.bytes.len() + bytes.len() > LARGEST {
            return Err("a part of the response is larger than 64 MB");
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next complete piece, without its mark. What is left is moved to the front only when more arrives.
    pub(crate) fn take(&mut self) -> Option<&[u8]> {
        let rest = self.bytes.get(self.searched..).unwrap_or_default();
        match rest.windows(self.mark.len()).position(|window| window == self.mark) {
            Some(at) => {
                let (begin, end) = (self.taken, self.searched + at);
                self.taken = end + self.mark.len();
                self.searched = self.taken;
                self.bytes.get(begin..end)
            }
            None => {
                // The mark may have begun at the end.
                let end = self.bytes.len().saturating_sub(self.mark.len() - 1);
                self.searched = end.max(self.searched);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_whole_however_they_arrive() {
        let mut pieces = Pieces::until(b"\n\n");
        let mut found = Vec::new();
        for byte in b"one\n\n\ntwo\n\nthree" {
            pieces.add(&[*byte]).unwrap();
            while let Some(piece) = pieces.take() {
                found.push(String::from_utf8_lossy(piece).into_owned());
            }
        }
        assert_eq!(found, ["one", "\ntwo"]);
        pieces.add(b"\n\nfour\n\n").unwrap();
        assert_eq!(pieces.take(), Some(b"three".as_slice()));
        assert_eq!(pieces.take(), Some(b"four".as_slice()));
        assert_eq!(pieces.take(), None);
    }

    #[test]
    fn a_hundred_thousand_pieces_at_once_take_no_time_to_speak_of() {
        let mut pieces = Pieces::until(b"\n");
        pieces.add(&b"a line of a log that is not short\n".repeat(100_000)).unwrap();
        assert_eq!(std::iter::from_fn(|| pieces.take().map(<[u8]>::len)).count(), 100_000);
        let endless = vec![b'x'; LARGEST];
        assert!(pieces.add(&endless).is_ok() && pieces.add(b"x").is_err());
    }
}
