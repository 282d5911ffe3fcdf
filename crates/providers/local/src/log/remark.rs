//! What Freehold says of a program, beside the program's own log: `….log.remarks`, one JSON object a line.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::directory;

/// How large the file may become, in bytes: an instance has a handful of remarks in its life. Then it is begun anew.
const LARGEST: u64 = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remark {
    /// How long the log was then: the remark comes after these bytes.
    pub(super) at: u64,
    /// The time and what happened.
    pub(super) text: String,
}

fn place(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".remarks");
    PathBuf::from(name)
}

/// Adds one, with the time before it.
pub(super) fn add(log: &Path, at: u64, text: &str) -> io::Result<()> {
    let path = place(log);
    if fs::metadata(&path).is_ok_and(|found| found.len() > LARGEST) {
        clear(log)?;
    }
    let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
    let mut line = serde_json::to_vec(&Remark { at, text: format!("{time} {text}") })?;
    line.push(b'\n');
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?.write_all(&line)
}

/// All of them, in order. One that was cut off by a crash is left out.
pub(super) fn all(log: &Path) -> io::Result<Vec<Remark>> {
    let file = match fs::File::open(place(log)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut text = String::new();
    file.take(2 * LARGEST).read_to_string(&mut text)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

pub(super) fn clear(log: &Path) -> io::Result<()> {
    directory::remove(&place(log))
}
