//! Reads logs for people: the last lines, and what comes after them.

use std::io;
use std::path::Path;

use freehold_engine::capability::LogLine;
use freehold_graph::{ResourceId, StackId};

use super::line::{among, of_freehold};
use super::open_log::{LONGEST_LINE, OpenLog};
use super::remark;
use super::{instance_of, logs_in};
use crate::directory::Directory;

/// The most lines that are read at once.
const MOST_LINES: usize = 100_000;

/// Reads the logs of services (`service.web`), jobs (`job.migrate`) and schedules (`schedule.digest`).
#[derive(Debug, Clone)]
pub struct LogReader {
    directory: Directory,
}

impl LogReader {
    pub(crate) fn new(directory: Directory) -> Self {
        Self { directory }
    }

    pub(super) fn logs(&self, stack: StackId, resource: &ResourceId) -> io::Result<Vec<std::path::PathBuf>> {
        logs_in(&self.directory.logs_of(stack, &resource.0))
    }

    /// The last lines, oldest instance first. Where several instances are running, each has its share. Blocks.
    ///
    /// # Errors
    /// A log can't be read.
    pub fn tail(&self, stack: StackId, resource: &ResourceId, count: usize) -> io::Result<Vec<LogLine>> {
        let files = self.logs(stack, resource)?;
        let records = self.directory.instances(stack, resource);
        let is_live = |path: &Path| records.join(format!("{}.json", instance_of(path))).exists();
        let live = files.iter().filter(|path| is_live(path)).count();
        let mut pieces: Vec<Vec<LogLine>> = Vec::new();
        let mut wanted = count.min(MOST_LINES);
        for file in files.iter().rev() {
            if wanted == 0 {
                break;
            }
            let share = if is_live(file) { count.div_ceil(live.max(1)).min(wanted) } else { wanted };
            let (lines, cut) = end_of(file, share)?;
            wanted = if cut { 0 } else { wanted.saturating_sub(lines.len()) };
            pieces.push(lines);
        }
        Ok(pieces.into_iter().rev().flatten().collect())
    }
}

/// The last lines of a log with the remarks among them; and whether there were too many for one answer.
fn end_of(file: &Path, count: usize) -> io::Result<(Vec<LogLine>, bool)> {
    let source = instance_of(file);
    let remarks = remark::all(file)?;
    let (tail, cut) = match OpenLog::open(file)? {
        Some(kept) => {
            let tail = kept.last_lines(count, LONGEST_LINE)?;
            (tail.lines, tail.cut)
        }
        None => (Vec::new(), false),
    };
    // Where all lines are shown, all remarks are.
    let first = if tail.len() < count && !cut { 0 } else { tail.first().map_or(0, |line| line.at) };
    let remarks = remarks.into_iter().filter(|remark| remark.at >= first).collect();
    let mut lines = among(source, tail, remarks);
    let surplus = lines.len().saturating_sub(count);
    lines.drain(..surplus);
    if cut {
        let text = "the lines before these were left out: they are too long to be shown at once".to_owned();
        lines.insert(0, of_freehold(source, text));
    }
    Ok((lines, cut))
}
