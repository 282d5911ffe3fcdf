//! What a program prints, as it comes: for whoever waits for it.

use std::io;
use std::path::PathBuf;

use super::open_log::OpenLog;

/// How much is read at once, in bytes.
const PIECE: usize = 64 * 1024;

/// The log of one run from its beginning, read once.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    /// Up to here it was read.
    at: u64,
}

impl Output {
    pub(crate) fn of(path: PathBuf) -> Self {
        Self { path, at: 0 }
    }

    /// What has come since; nothing if nothing has. What was dropped meanwhile, because it was too much, is left out.
    pub(crate) fn read(&mut self) -> io::Result<Vec<u8>> {
        let Some(log) = OpenLog::open(&self.path)? else { return Ok(Vec::new()) };
        // It was begun anew.
        if log.end < self.at {
            self.at = 0;
        }
        let from = log.data_from(self.at)?;
        let bytes = log.read(from, PIECE)?;
        self.at = from.saturating_add(bytes.len() as u64);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_printed_is_read_once_and_in_order() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut output = Output::of(file.path().to_owned());
        assert_eq!(output.read().unwrap(), b"");
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(output.read().unwrap(), b"one\ntw");
        assert_eq!(output.read().unwrap(), b"");
        file.write_all(&[b'x'; PIECE + 1]).unwrap();
        assert_eq!((output.read().unwrap().len(), output.read().unwrap().len()), (PIECE, 1));
        // As the trimmer and programs can.
        file.as_file().set_len(0).unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        assert_eq!(output.read().unwrap(), b"");
    }
}
