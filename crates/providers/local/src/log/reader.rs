//! Reads logs for people: the last lines, and what comes after them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use freehold_graph::{ResourceId, StackId};
use futures::Stream;
use futures::stream;

use super::{instance_of, last_lines, rotated};
use crate::directory::{self, Directory};

/// How often a followed log is looked at.
const PAUSE: Duration = Duration::from_millis(150);
/// The most that is read of one file in one look.
const CHUNK: u64 = 256 * 1024;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Which instance or run printed it.
    pub source: String,
    /// What it printed, without the line break.
    pub text: String,
}

/// Reads the logs of services (`service.web`), jobs (`job.migrate`) and schedules (`schedule.digest`).
#[derive(Debug, Clone)]
pub struct LogReader {
    directory: Directory,
}

impl LogReader {
    pub(crate) fn new(directory: Directory) -> Self {
        Self { directory }
    }

    fn files(&self, stack: StackId, resource: &ResourceId) -> io::Result<Vec<PathBuf>> {
        let mut files = directory::entries(&self.directory.logs_of(stack, &resource.0))?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        Ok(files)
    }

    /// The last lines, oldest instance first. Where several instances are running, each has its share.
    ///
    /// # Errors
    /// A log can't be read.
    pub fn tail(&self, stack: StackId, resource: &ResourceId, count: usize) -> io::Result<Vec<LogLine>> {
        let files = self.files(stack, resource)?;
        let records = self.directory.instances(stack, resource.name());
        let is_live = |path: &Path| records.join(format!("{}.json", instance_of(path))).exists();
        let live = files.iter().filter(|path| is_live(path)).count();
        let mut pieces: Vec<Vec<LogLine>> = Vec::new();
        let mut wanted = count;
        for file in files.iter().rev() {
            if wanted == 0 {
                break;
            }
            let share = if is_live(file) { count.div_ceil(live.max(1)).min(wanted) } else { wanted };
            let lines = with_rotated(file, share)?;
            wanted = wanted.saturating_sub(lines.len());
            let source = instance_of(file).to_owned();
            pieces.push(lines.into_iter().map(|text| LogLine { source: source.clone(), text }).collect());
        }
        Ok(pieces.into_iter().rev().flatten().collect())
    }

    /// The last `count` lines and then every line as it comes, from instances that begin later too. Ends only when it is dropped.
    pub fn follow(
        &self,
        stack: StackId,
        resource: &ResourceId,
        count: usize,
    ) -> impl Stream<Item = io::Result<LogLine>> + Send + use<> {
        let follower = Follower {
            reader: self.clone(),
            stack,
            resource: resource.clone(),
            positions: BTreeMap::new(),
            ready: Vec::new(),
            begin: Some(count),
        };
        stream::unfold(follower, |mut follower| async move {
            loop {
                if let Some(line) = follower.ready.pop() {
                    return Some((Ok(line), follower));
                }
                let looked = follower.look();
                follower.ready.reverse();
                match looked {
                    Err(error) => return Some((Err(error), follower)),
                    Ok(()) if follower.ready.is_empty() => tokio::time::sleep(PAUSE).await,
                    Ok(()) => {}
                }
            }
        })
    }
}

/// The last lines of a log, from rotated files too if this one hasn't enough.
fn with_rotated(file: &Path, count: usize) -> io::Result<Vec<String>> {
    let mut lines = last_lines(file, count)?;
    for number in 1.. {
        let older = rotated(file, number);
        if lines.len() >= count || !older.exists() {
            break;
        }
        let mut before = last_lines(&older, count - lines.len())?;
        before.append(&mut lines);
        lines = before;
    }
    Ok(lines)
}

struct Follower {
    reader: LogReader,
    stack: StackId,
    resource: ResourceId,
    positions: BTreeMap<PathBuf, Position>,
    /// What was read and not yet told.
    ready: Vec<LogLine>,
    /// How many lines to begin with; `None` once that was done.
    begin: Option<usize>,
}

#[derive(Default)]
struct Position {
    offset: u64,
    /// The beginning of a line that hasn't ended.
    rest: Vec<u8>,
}

impl Follower {
    fn look(&mut self) -> io::Result<()> {
        let files = self.reader.files(self.stack, &self.resource)?;
        if let Some(count) = self.begin.take() {
            // The ends first: what is printed while the tail is read is told twice rather than not at all.
            for file in &files {
                let offset = fs::metadata(file).map_or(0, |found| found.len());
                self.positions.insert(file.clone(), Position { offset, rest: Vec::new() });
            }
            self.ready = self.reader.tail(self.stack, &self.resource, count)?;
            return Ok(());
        }
        for file in files {
            let position = self.positions.entry(file.clone()).or_default();
            let bytes = match position.read(&file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let source = instance_of(&file).to_owned();
            position.rest.extend(bytes);
            while let Some(end) = position.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = position.rest.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches(['\n', '\r']).to_owned();
                self.ready.push(LogLine { source: source.clone(), text });
            }
        }
        Ok(())
    }
}

impl Position {
    fn read(&mut self, file: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut open = File::open(file)?;
        if open.metadata()?.len() < self.offset {
            // It was rotated: what was missed is in the copy.
            if let Ok(mut older) = File::open(rotated(file, 1)) {
                older.seek(SeekFrom::Start(self.offset))?;
                older.read_to_end(&mut bytes)?;
            }
            self.offset = 0;
        }
        open.seek(SeekFrom::Start(self.offset))?;
        let count = open.take(CHUNK).read_to_end(&mut bytes)?;
        self.offset += u64::try_from(count).unwrap_or_default();
        Ok(bytes)
    }
}
