//! What programs print: one file for each instance of a service and each run of a job.
//!
//! A program writes to its file directly, in append mode, so it goes on when Freehold is killed, and no byte of it passes through
//! Freehold's memory. What the file holds is the program's word alone. What Freehold itself has to say of the program stands in a file
//! beside it ([`remark`]), with the place in the log that it belongs to, so that no program can speak in Freehold's name.
//!
//! ```text
//! 00001764412345678-3f2a91c07d1e.log          the program's output
//! 00001764412345678-3f2a91c07d1e.log.remarks  Freehold's, one JSON object a line
//! ```
//!
//! A file that holds more than it may is cut at its beginning, without a copy and without losing what is printed meanwhile: a hole is
//! punched, so a place in the file stays what it is for whoever follows it. Sizes are the program's to make up (it may call
//! `ftruncate`), so nothing here reads or copies by them.

mod follow;
mod line;
mod open_log;
mod output;
mod prune;
mod reader;
mod remark;
mod starting;
mod trimmer;

pub(crate) use output::Output;
pub(crate) use prune::prune;
pub use reader::LogReader;
pub(crate) use starting::Starting;
pub(crate) use trimmer::Trimmer;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use crate::directory;
use open_log::OpenLog;

/// Holes are a multiple of this: the block size of the usual file systems.
const BLOCK: u64 = 4096;
/// The size at which a log is begun anew, its hole included, in bytes. Some file systems end at 16 TiB.
const LARGEST: u64 = 1 << 40;
/// How much of a line is shown with a failure, in bytes.
const SHOWN: usize = 1024;

/// How much is kept of the logs.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// How much is kept of each instance or run, in bytes.
    pub size: u64,
    /// How many ended instances or runs are kept for each service or job.
    pub ended: usize,
    /// How much is kept of all logs of a stack, in bytes. What runs has its own limit, and counts.
    pub stack: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { size: 10 << 20, ended: 10, stack: 256 << 20 }
    }
}

/// The log of one instance or run.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    path: PathBuf,
}

impl Log {
    /// The log of something that begins now, `<milliseconds>-<name>.log`. File names sort by time; where the clock was ahead once, by
    /// their order all the same.
    pub(crate) fn begin(folder: &Path, name: &str) -> Self {
        let last = directory::entries(folder).unwrap_or_default().iter().filter_map(|path| begun(path)).max();
        let now = chrono::Utc::now().timestamp_millis();
        let begun = last.map_or(now, |last| now.max(last.saturating_add(1)));
        Self { path: folder.join(format!("{begun:014}-{}.log", directory::component(name))) }
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for a program to write to.
    pub(crate) fn open(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            directory::make(folder, 0o700)?;
        }
        OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)
    }

    /// Adds a remark of Freehold's own. One that can't be written must not keep anything else from happening.
    pub(crate) fn event(&self, text: &str) {
        if let Err(error) = self.open().and_then(|file| remark::add(&self.path, file.metadata()?.len(), text)) {
            tracing::warn!(log = %self.path.display(), %error, "a line could not be written");
        }
    }

    /// The last lines that the program printed, as they are shown with a failure: none longer than a kilobyte, and without the NUL
    /// that no database takes.
    pub(crate) async fn last(&self, count: usize) -> Vec<String> {
        let path = self.path.clone();
        let read = move || -> io::Result<Vec<String>> {
            let Some(kept) = OpenLog::open(&path)? else { return Ok(Vec::new()) };
            let lines = kept.last_lines(count, SHOWN)?.lines;
            Ok(lines.into_iter().map(|line| line.text.replace('\0', "\u{2400}")).collect())
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(lines)) => lines,
            Ok(Err(error)) => vec![format!("(the log {} can't be read: {error})", self.path.display())],
            Err(_) => Vec::new(),
        }
    }

    /// Cuts it at its beginning if it holds more than it may; says whether it did.
    fn trim(&self, size: u64) -> io::Result<bool> {
        let Some(kept) = OpenLog::open(&self.path)? else { return Ok(false) };
        if kept.end > LARGEST {
            return self.begin_anew(&kept).map(|()| true);
        }
        if kept.end - kept.begin <= size {
            return Ok(false);
        }
        // Somewhat more than is too much, else it would be cut again at the next line.
        let hole = (kept.end - size / 4 * 3) / BLOCK * BLOCK;
        let file = OpenOptions::new().write(true).open(&self.path)?;
        match fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, hole) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.begin_anew(&kept).map(|()| true),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the file system has no holes, and for a file that has become too large for it.
    fn begin_anew(&self, kept: &OpenLog) -> io::Result<()> {
        OpenOptions::new().write(true).open(&self.path)?.set_len(0)?;
        remark::clear(&self.path)?;
        let held = open_log::bytes(kept.end - kept.begin);
        remark::add(&self.path, 0, &format!("{held} before this were dropped: the log had grown too large"))
    }
}

/// The time in the name of a log, in milliseconds since 1970.
fn begun(path: &Path) -> Option<i64> {
    path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

/// The name of the instance or run that a log is of.
pub(crate) fn instance_of(path: &Path) -> &str {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.split_once('-').map_or(stem, |(_, name)| name)
}

/// The logs in a resource's folder, oldest first.
fn logs_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = directory::entries(folder)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    Ok(files)
}

/// How much of the disk a file takes, in bytes; nothing if it is gone.
fn taken(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).map_or(0, |found| found.blocks() * 512)
}
