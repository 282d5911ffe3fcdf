//! The room that a bucket has, and its files, which take it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::BucketError;
use crate::files::Files;

/// What a bucket may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All that it holds, in bytes: each object with 1 KiB for what is known of it, old versions, unfinished uploads.
    pub max_size: u64,
    /// What has to be left on the disk, in bytes: other programs need it.
    pub reserve: u64,
}

/// The files of a bucket, and how much of its room is used.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) files: Files,
    max_size: AtomicU64,
    reserve: u64,
    used: AtomicU64,
}

impl Room {
    pub(crate) fn new(files: Files, limits: Limits, used: u64) -> Self {
        let (max_size, used) = (AtomicU64::new(limits.max_size), AtomicU64::new(used));
        Self { files, max_size, reserve: limits.reserve, used }
    }

    pub(crate) fn set_max_size(&self, max_size: u64) {
        self.max_size.store(max_size, Ordering::Release);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Counts what is written whether there is room for it or not.
    pub(crate) fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Takes room, before it is used.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), BucketError> {
        let max = self.max_size.load(Ordering::Acquire);
        let more = |used: u64| used.checked_add(bytes).filter(|all| *all <= max);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).map_err(|_| BucketError::Full(max))?;
        match self.files.left() {
            Ok(left) if left >= self.reserve.saturating_add(bytes) => Ok(()),
            Ok(_) => {
                self.release(bytes);
                Err(BucketError::DiskFull)
            }
            Err(error) => {
                self.release(bytes);
                Err(BucketError::file(error))
            }
        }
    }

    pub(crate) fn release(&self, bytes: u64) {
        let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| Some(used.saturating_sub(bytes)));
    }
}
