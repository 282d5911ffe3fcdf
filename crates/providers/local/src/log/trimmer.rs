//! Keeps the logs of all that runs within their limit: one look at all of them together, however many there are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::log::Log;

/// How often the sizes are looked at, and how soon again when one had to be cut.
const LOOK: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The logs that are kept within their limit. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trimmer(Arc<Mutex<Logs>>);

#[derive(Debug, Default)]
struct Logs {
    all: BTreeMap<u64, (Log, u64)>,
    last: u64,
    /// Somebody looks at them.
    attended: bool,
}

impl Trimmer {
    /// Keeps a log within `size` bytes for as long as this is polled.
    pub(crate) async fn keep(&self, log: &Log, size: u64) {
        let (_kept, unattended) = self.add(log, size);
        if unattended {
            tokio::spawn(attend(self.clone()));
        }
        std::future::pending().await
    }

    fn add(&self, log: &Log, size: u64) -> (Kept<'_>, bool) {
        let mut logs = self.logs();
        logs.last += 1;
        let number = logs.last;
        logs.all.insert(number, (log.clone(), size));
        (Kept { trimmer: self, number }, !std::mem::replace(&mut logs.attended, true))
    }

    /// Those to look at; none if nobody has to look any more.
    fn attended(&self) -> Option<Vec<(Log, u64)>> {
        let mut logs = self.logs();
        logs.attended = !logs.all.is_empty();
        logs.attended.then(|| logs.all.values().cloned().collect())
    }

    /// Every change leaves it whole: a panic elsewhere leaves nothing half changed.
    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log among those that are kept within their limit.
struct Kept<'a> {
    trimmer: &'a Trimmer,
    number: u64,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.trimmer.logs().all.remove(&self.number);
    }
}

/// Looks at all of them for as long as there are any.
async fn attend(trimmer: Trimmer) {
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        let Some(logs) = trimmer.attended() else { return };
        pause = match tokio::task::spawn_blocking(move || trim(&logs)).await {
            Ok(true) => LOOK_AGAIN,
            Ok(false) | Err(_) => LOOK,
        };
    }
}

/// Whether one had to be cut. Blocks.
fn trim(logs: &[(Log, u64)]) -> bool {
    let mut cut = false;
    for (log, size) in logs {
        match log.trim(*size) {
            Ok(done) => cut |= done,
            Err(error) => tracing::warn!(log = %log.path.display(), %error, "a log could not be cut"),
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn logs_are_cut_for_as_long_as_they_are_kept_and_not_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let logs: Vec<Log> = (0..3).map(|number| Log::at(folder.path().join(format!("{number}.log")))).collect();
        let write = |log: &Log| fs::write(log.path(), vec![b'x'; 64 << 10]).unwrap();
        let held = |log: &Log| {
            use std::os::unix::fs::MetadataExt as _;
            fs::metadata(log.path()).unwrap().blocks() * 512
        };
        logs.iter().for_each(write);
        let trimmer = Trimmer::default();
        let cut = async {
            while logs[..2].iter().any(|log| held(log) > 32 << 10) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::select! {
            () = trimmer.keep(&logs[0], 16 << 10) => {}
            () = trimmer.keep(&logs[1], 16 << 10) => {}
            () = cut => {}
        }
        assert!(held(&logs[2]) >= 64 << 10, "nobody kept it");
        assert!(trimmer.logs().all.is_empty());
        while trimmer.logs().attended {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        // Somebody looks again once there is one.
        tokio::select! {
            () = trimmer.keep(&logs[2], 16 << 10) => {}
            () = async { while held(&logs[2]) > 32 << 10 { tokio::time::sleep(LOOK_AGAIN).await; } } => {}
        }
    }
}
