//! What programs print: one file for each instance of a service and each run of a job.
//!
//! A program writes to its file directly, in append mode, so it goes on when Freehold is killed. Freehold adds lines of its own, which
//! begin with [`EVENT`]. A file that has grown too large is copied to `….log.1` (older ones move on) and emptied; what is printed
//! between the copy and the emptying, some microseconds, is lost.

mod reader;

pub use reader::{LogLine, LogReader};

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::directory;

/// What Freehold's own lines in a log begin with.
pub const EVENT: &str = "[freehold] ";

/// How much is kept of the logs.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// The size in bytes at which a file is rotated.
    pub size: u64,
    /// How many rotated files are kept for each instance.
    pub rotated: u32,
    /// How many ended instances or runs are kept for each service or job.
    pub ended: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { size: 10 << 20, rotated: 3, ended: 10 }
    }
}

/// The log of one instance or run.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    path: PathBuf,
}

impl Log {
    /// The log of something that begins now, `<milliseconds>-<name>.log`: file names sort by time.
    pub(crate) fn begin(folder: &Path, name: &str) -> Self {
        let begun = chrono::Utc::now().timestamp_millis();
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

    /// Adds a line of Freehold's own. A log that can't be written must not keep anything else from happening.
    pub(crate) fn event(&self, text: &str) {
        let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let line = format!("{EVENT}{time} {text}\n");
        if let Err(error) = self.open().and_then(|mut file| file.write_all(line.as_bytes())) {
            tracing::warn!(log = %self.path.display(), %error, "a line could not be written");
        }
    }

    /// The last lines that the program printed.
    pub(crate) fn last(&self, count: usize) -> Vec<String> {
        let lines = last_lines(&self.path, usize::MAX).unwrap_or_default();
        let own: Vec<String> = lines.into_iter().filter(|line| !line.starts_with(EVENT)).collect();
        let skipped = own.len().saturating_sub(count);
        own.into_iter().skip(skipped).collect()
    }

    /// Moves on to a new file if this one has grown too large.
    pub(crate) fn rotate(&self, limits: &LogLimits) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(found) if found.len() > limits.size => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        for number in (1..limits.rotated).rev() {
            match fs::rename(rotated(&self.path, number), rotated(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut from = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let to = rotated(&self.path, 1);
        let mut to = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(to)?;
        io::copy(&mut from, &mut to)?;
        // Whatever came meanwhile.
        io::copy(&mut from, &mut to)?;
        from.set_len(0)
    }
}

/// The name of the rotated file with this number; 1 is the youngest.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Removes the oldest logs in a folder that `keep` doesn't hold on to, but for the youngest `count`.
pub(crate) fn prune(folder: &Path, count: usize, keep: impl Fn(&str) -> bool) -> io::Result<()> {
    let logs = directory::entries(folder)?;
    let ended: Vec<&PathBuf> = logs
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter(|path| !keep(instance_of(path)))
        .collect();
    let surplus = ended.len().saturating_sub(count);
    for log in ended.into_iter().take(surplus) {
        let prefix = log.as_os_str().to_string_lossy().into_owned();
        for path in logs.iter().filter(|path| path.as_os_str().to_string_lossy().starts_with(&prefix)) {
            directory::remove(path)?;
        }
    }
    Ok(())
}

/// The name of the instance or run that a log is of.
pub(crate) fn instance_of(path: &Path) -> &str {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.split_once('-').map_or(stem, |(_, name)| name)
}

/// How far back from its end a file is searched for lines.
const REACH: u64 = 1 << 20;

/// The last lines of a file, the one that isn't ended included.
pub(crate) fn last_lines(path: &Path, count: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let begin = size.saturating_sub(REACH);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(REACH).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line may have begun before what was read.
    let lines: Vec<&str> = text.lines().skip(usize::from(begin > 0)).collect();
    let skipped = lines.len().saturating_sub(count);
    Ok(lines.into_iter().skip(skipped).map(str::to_owned).collect())
}
