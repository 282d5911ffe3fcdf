//! Following logs: what is new in them, a bounded piece at a time.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use freehold_engine::capability::LogLine;
use freehold_graph::{ResourceId, StackId};
use futures::{Stream, stream};

use super::instance_of;
use super::line::{among, of_freehold};
use super::open_log::{LONGEST_LINE, Line, OpenLog, bytes, cut, decode};
use super::reader::LogReader;
use super::remark;

/// How often a followed log is looked at.
const PAUSE: Duration = Duration::from_millis(150);
/// The most that is read of one file in one look, and of all of them.
const PIECE: usize = 256 * 1024;
const MOST: usize = 1 << 20;

impl LogReader {
    /// The last `count` lines and then every line as it comes, from instances that begin later too, a few at a time. What could not be
    /// shown is said in a line of Freehold's. Files are read on threads that serve nobody else, and only as fast as somebody takes what
    /// was read. Ends only when it is dropped.
    pub fn follow(
        &self,
        stack: StackId,
        resource: &ResourceId,
        count: usize,
    ) -> impl Stream<Item = io::Result<Vec<LogLine>>> + Send + use<> {
        Follower::new(self.clone(), stack, resource.clone(), count).stream()
    }
}

/// Somebody who follows the logs of a service or a job. What was read and not yet taken is one look's worth.
pub(super) struct Follower {
    reader: LogReader,
    stack: StackId,
    resource: ResourceId,
    positions: BTreeMap<PathBuf, Position>,
    /// How many lines to begin with; `None` once that was done.
    begin: Option<usize>,
    /// The file that was read last when one look wasn't enough for all.
    last: Option<PathBuf>,
}

/// How far a file was read.
#[derive(Default)]
struct Position {
    at: u64,
    line: PartialLine,
    /// How many remarks were shown.
    remarks: usize,
    /// There was more when it was read last.
    behind: bool,
}

/// The beginning of a line that hasn't ended.
#[derive(Default)]
struct PartialLine {
    at: u64,
    bytes: Vec<u8>,
    /// How many bytes of it were left out.
    dropped: u64,
    /// Its beginning was dropped from the log.
    headless: bool,
}

impl Follower {
    pub(super) fn new(reader: LogReader, stack: StackId, resource: ResourceId, count: usize) -> Self {
        Self { reader, stack, resource, positions: BTreeMap::new(), begin: Some(count), last: None }
    }

    /// What is new, whenever something is.
    pub(super) fn stream(self) -> impl Stream<Item = io::Result<Vec<LogLine>>> + Send + use<> {
        stream::unfold(Some(self), |follower| async move {
            let mut follower = follower?;
            loop {
                // On a thread for what blocks: those that serve read no files.
                let looking = tokio::task::spawn_blocking(move || {
                    let looked = follower.look();
                    (follower, looked)
                });
                let Ok((back, looked)) = looking.await else { return None };
                follower = back;
                match looked {
                    Ok(lines) if lines.is_empty() => {}
                    looked => return Some((looked, Some(follower))),
                }
                if !follower.positions.values().any(|position| position.behind) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        })
    }

    fn look(&mut self) -> io::Result<Vec<LogLine>> {
        let mut files = self.reader.logs(self.stack, &self.resource)?;
        let mut lines = Vec::new();
        if let Some(count) = self.begin.take() {
            // The ends first: what is printed while the tail is read is shown twice rather than not at all.
            for file in &files {
                let at = OpenLog::open(file)?.map_or(0, |kept| kept.end);
                let remarks = remark::all(file)?.len();
                let line = PartialLine { at, ..PartialLine::default() };
                self.positions.insert(file.clone(), Position { at, line, remarks, behind: false });
            }
            return self.reader.tail(self.stack, &self.resource, count);
        }
        for (path, position) in self.positions.extract_if(.., |path, _| !files.contains(path)) {
            if position.behind {
                let text = "its log was removed before all of it could be shown".to_owned();
                lines.push(of_freehold(instance_of(&path), text));
            }
        }
        // Whoever prints most must not keep the others from being read.
        if let Some(after) = self.last.take().and_then(|last| files.iter().position(|file| *file > last)) {
            files.rotate_left(after);
        }
        let mut read = 0;
        for file in files {
            if read >= MOST {
                break;
            }
            let position = self.positions.entry(file.clone()).or_default();
            read += position.advance(&file, &mut lines)?;
            self.last = Some(file);
        }
        Ok(lines)
    }
}

impl Position {
    /// Takes in what is new in its file; says how much that was, in bytes.
    fn advance(&mut self, file: &Path, lines: &mut Vec<LogLine>) -> io::Result<usize> {
        let source = instance_of(file);
        let remarks = remark::all(file)?;
        let Some(kept) = OpenLog::open(file)? else { return Ok(0) };
        if kept.end < self.at {
            let text = "the log was started again; earlier lines may not have been shown".to_owned();
            lines.push(of_freehold(source, text));
            *self = Self { remarks: 0, ..Self::default() };
        }
        let begin = kept.data_from(self.at)?;
        if begin > self.at {
            let missed = bytes(begin - self.at);
            let text = format!("… {missed} were not shown: they were dropped from the log before they could be read");
            lines.push(of_freehold(source, text));
            self.at = begin;
            self.line = PartialLine { at: begin, headless: true, ..PartialLine::default() };
        }
        let piece = kept.read(self.at, PIECE)?;
        if kept.data_from(self.at)? > self.at && !piece.is_empty() {
            // What is cut away while it is read comes back as nothing but zeros.
            self.behind = true;
            return Ok(piece.len());
        }
        self.at += piece.len() as u64;
        self.behind = self.at < kept.end;
        let mut new = self.line.take_in(&piece);
        self.remarks = self.remarks.min(remarks.len());
        let due = remarks.iter().skip(self.remarks).take_while(|remark| remark.at <= self.at).cloned();
        let due: Vec<_> = due.collect();
        self.remarks += due.len();
        if due.last().is_some_and(|remark| remark.at == self.at) {
            // Whatever happened, it may have been the end of the program, and of the line that it had begun.
            new.extend(self.line.break_off());
        }
        lines.extend(among(source, new, due));
        Ok(piece.len())
    }
}

impl PartialLine {
    /// Adds what comes next; gives the lines that ended in it.
    fn take_in(&mut self, mut piece: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (rest, after) = piece.split_at(end);
            self.add(rest);
            piece = after.get(1..).unwrap_or_default();
            lines.push(self.end());
            self.at += 1;
        }
        self.add(piece);
        lines
    }

    /// What there is of the line, as if it had ended.
    fn break_off(&mut self) -> Option<Line> {
        (!self.bytes.is_empty()).then(|| self.end())
    }

    fn end(&mut self) -> Line {
        let mut text = decode(&self.bytes);
        if self.dropped > 0 {
            text.push_str(&cut(self.dropped));
        }
        if std::mem::take(&mut self.headless) {
            text.insert(0, '…');
        }
        let line = Line { at: self.at, text };
        self.at += self.bytes.len() as u64 + self.dropped;
        self.bytes.clear();
        self.dropped = 0;
        line
    }

    fn add(&mut self, bytes: &[u8]) {
        let (kept, dropped) = bytes.split_at(bytes.len().min(LONGEST_LINE.saturating_sub(self.bytes.len())));
        self.bytes.extend_from_slice(kept);
        self.dropped += dropped.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_whole_however_it_is_cut_up_and_one_without_end_takes_no_room() {
        let mut line = PartialLine::default();
        assert_eq!(line.take_in(b"one\ntw").len(), 1);
        let lines = line.take_in(b"o\n");
        assert_eq!((lines[0].at, lines[0].text.as_str()), (4, "two"));
        for _ in 0..100 {
            assert!(line.take_in(&[b'.'; 1_000_000]).is_empty());
        }
        assert!(line.bytes.len() <= LONGEST_LINE);
        let lines = line.take_in(b"\nlast\n");
        assert!(lines[0].text.ends_with("… (and 99.9 MB more in this line)"), "{}", lines[0].text.len());
        assert_eq!(lines[1].text, "last");
    }
}
