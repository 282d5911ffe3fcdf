//! What is kept of a program's output: a file whose beginning may have been dropped.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};

/// How much of a line is shown, in bytes. What is longer is cut, and says so.
pub(super) const LONGEST_LINE: usize = 16 * 1024;
/// How much text one answer holds, in bytes.
const MOST: usize = 8 << 20;
/// How much is read at once, and how much of a log is searched for its last lines: more than is ever kept, but a program may make its file
/// seem larger than it is.
const PIECE: usize = 64 * 1024;
const SEARCHED: u64 = 64 << 20;

/// An open log, and which part of it there was when it was opened.
pub(super) struct OpenLog {
    file: File,
    /// Where what is kept begins.
    pub(super) begin: u64,
    /// Where it ends.
    pub(super) end: u64,
}

/// A line and where it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: u64,
    pub(super) text: String,
}

/// The end of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) lines: Vec<Line>,
    /// There were more lines that were asked for, too many to be shown at once.
    pub(super) cut: bool,
}

impl OpenLog {
    /// Opens a log; `None` if it is gone.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let end = file.metadata()?.len();
        let mut kept = Self { file, begin: 0, end };
        kept.begin = kept.data_from(0)?;
        Ok(Some(kept))
    }

    /// The first place from here on that holds anything by now: the log may have been cut since it was opened, or have holes of the
    /// program's making. Where a file system knows no holes, that is this place.
    pub(super) fn data_from(&self, at: u64) -> io::Result<u64> {
        if at >= self.end {
            return Ok(self.end);
        }
        match seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) => Ok(data.min(self.end)),
            // There is none.
            Err(rustix::io::Errno::NXIO) => Ok(self.end),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok(at),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads up to `most` bytes from a place on.
    pub(super) fn read(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(most)];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// The last lines, the one that isn't ended included, each up to `longest` bytes. Reads backwards, a piece at a time.
    pub(super) fn last_lines(&self, count: usize, longest: usize) -> io::Result<Tail> {
        let mut tail = Tail { lines: Vec::new(), cut: false };
        if count == 0 || self.end == self.begin {
            return Ok(tail);
        }
        let ended = self.read(self.end - 1, 1)? == b"\n";
        let (mut end, mut size) = (if ended { self.end - 1 } else { self.end }, 0);
        let first = self.begin.max(self.end.saturating_sub(SEARCHED));
        loop {
            let begin = self.line_before(end, first)?;
            let text = self.text(begin, end, longest)?;
            size += text.len();
            tail.lines.push(Line { at: begin, text });
            if begin <= self.begin || tail.lines.len() == count {
                break;
            }
            if size > MOST || begin <= first {
                tail.cut = true;
                break;
            }
            end = begin - 1;
        }
        tail.lines.reverse();
        Ok(tail)
    }

    /// Where the line begins that ends at `end`, as far as it can be seen from `first` on.
    fn line_before(&self, end: u64, first: u64) -> io::Result<u64> {
        let mut to = end;
        while to > first {
            let from = to.saturating_sub(PIECE as u64).max(first);
            let piece = self.read(from, usize::try_from(to - from).unwrap_or(PIECE))?;
            if let Some(at) = memchr::memrchr(b'\n', &piece) {
                return Ok(from + at as u64 + 1);
            }
            to = from;
        }
        Ok(first)
    }

    fn text(&self, begin: u64, end: u64, longest: usize) -> io::Result<String> {
        let length = end - begin;
        let shown = usize::try_from(length).unwrap_or(usize::MAX).min(longest);
        let bytes = self.read(begin, shown)?;
        let mut text = decode(&bytes);
        if length > shown as u64 {
            text.push_str(&cut(length - shown as u64));
        }
        // The hole ends where a block does, hardly ever where a line does.
        Ok(if begin == self.begin && begin > 0 { format!("…{text}") } else { text })
    }
}

/// A line's bytes as text, without what ends it.
pub(super) fn decode(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.strip_suffix('\r').unwrap_or(&text).to_owned()
}

/// What stands at the end of a line that was cut.
pub(super) fn cut(left: u64) -> String {
    format!("… (and {} more in this line)", bytes(left))
}

/// A size as people read it: `312 bytes`, `64 kB`, `3.1 MB`.
pub(super) fn bytes(size: u64) -> String {
    match size {
        0..1_000 => format!("{size} bytes"),
        1_000..1_000_000 => format!("{} kB", size / 1_000),
        1_000_000..1_000_000_000 => format!("{}.{} MB", size / 1_000_000, size / 100_000 % 10),
        _ => format!("{}.{} GB", size / 1_000_000_000, size / 100_000_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(bytes: &[u8]) -> (tempfile::NamedTempFile, OpenLog) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let kept = OpenLog::open(file.path()).unwrap().unwrap();
        (file, kept)
    }

    fn texts(kept: &OpenLog, count: usize) -> Vec<String> {
        kept.last_lines(count, LONGEST_LINE).unwrap().lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn the_last_lines_are_found_from_the_end_and_an_unended_one_counts() {
        let (_file, kept) = kept(b"one\n\ntwo\r\nthree");
        assert_eq!(texts(&kept, 9), ["one", "", "two", "three"]);
        assert_eq!(texts(&kept, 2), ["two", "three"]);
        assert_eq!(texts(&kept, 0), Vec::<String>::new());
        let (_file, empty) = self::kept(b"");
        assert_eq!(texts(&empty, 9), Vec::<String>::new());
        let (_file, blank) = self::kept(b"\n");
        assert_eq!(texts(&blank, 9), [""]);
    }

    #[test]
    fn a_line_without_end_hides_nothing_before_it_and_is_cut() {
        let mut bytes = b"ERROR: the reason\n".to_vec();
        bytes.resize(bytes.len() + 3_000_000, b'B');
        let (_file, kept) = kept(&bytes);
        let lines = texts(&kept, 10);
        assert_eq!(lines.first().map(String::as_str), Some("ERROR: the reason"));
        assert!(
            lines[1].starts_with("BBB") && lines[1].ends_with("… (and 2.9 MB more in this line)"),
            "{}",
            lines[1].len()
        );
        assert!(lines[1].len() < LONGEST_LINE + 100);
    }

    #[test]
    fn an_answer_has_a_bound_and_says_when_it_was_reached() {
        let line = [b'x'; 10_000];
        let bytes: Vec<u8> = std::iter::repeat_n([line.as_slice(), b"\n"].concat(), 2_000).flatten().collect();
        let (_file, kept) = kept(&bytes);
        let tail = kept.last_lines(2_000, LONGEST_LINE).unwrap();
        assert!(tail.cut && tail.lines.len() < 1_000, "{}", tail.lines.len());
        assert!(!kept.last_lines(10, LONGEST_LINE).unwrap().cut);
    }

    #[test]
    fn a_size_that_a_program_made_up_costs_nothing() {
        let (file, _) = kept(b"one\n");
        std::fs::OpenOptions::new().write(true).open(file.path()).unwrap().set_len(1 << 40).unwrap();
        let kept = OpenLog::open(file.path()).unwrap().unwrap();
        assert_eq!((kept.begin, kept.end), (0, 1 << 40));
        let tail = kept.last_lines(10, LONGEST_LINE).unwrap();
        assert!(tail.cut && tail.lines.len() == 1);
        assert_eq!(kept.data_from(1 << 20).unwrap(), kept.end);
    }
}
