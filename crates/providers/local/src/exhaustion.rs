//! What this program itself may lack for a moment: descriptors, memory, process numbers, local ports.
//!
//! An error of this kind says nothing about the one who was being looked at. It is waited out, never taken for an answer.

use std::io;
use std::time::Duration;

use freehold_engine::backoff::Backoff;
use rustix::io::Errno;
use tokio::time::Instant;

const RETRIES: Backoff = Backoff::doubling(Duration::from_millis(20), Duration::from_secs(1));

/// Whether an error means that we lack something, not that something is wrong with the other side.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    let Some(errno) = Errno::from_io_error(error) else { return error.kind() == io::ErrorKind::OutOfMemory };
    matches!(
        errno,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::NOBUFS | Errno::ADDRNOTAVAIL | Errno::INTR
    )
}

/// An error in words: where something is exhausted, what it is and how to raise its limit.
pub(crate) fn words(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            let limit = crate::descriptors::limit().map_or(String::new(), |limit| format!(" than {limit}"));
            format!(
                "Freehold may not open more files{limit}: raise its hard limit (`ulimit -Hn`, systemd: `LimitNOFILE=`)"
            )
        }
        _ => error.to_string(),
    }
}

/// Tries something until it works, or fails for a reason that waiting doesn't help against, or `limit` is over.
///
/// # Errors
/// That of the last attempt.
pub(crate) async fn waited_out<T>(limit: Duration, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let limit = Instant::now() + limit;
    let mut waits = RETRIES.waits();
    loop {
        match attempt() {
            Err(error) if is_exhaustion(&error) && Instant::now() < limit => {
                tokio::time::sleep(waits.take()).await;
            }
            other => return other,
        }
    }
}
