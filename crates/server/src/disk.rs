//! The disk that the store shares with the stacks' databases, kept from filling up.
//!
//! ```text
//!   room ───────▶ little ─────────▶ hardly any
//!   sizes are     the database that    the reserve is given up, so that the store can
//!   remembered    grew most is closed  write while people make room
//! ```
//!
//! A database that has grown beyond its own limit (`max_size`) is closed in any case. Else only one that grew while the room shrank is closed: what else fills the disk isn't its fault. Its data stays, and a
//! deploy opens it again. Not kept: the sizes, which a restart learns anew.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freehold_provider_postgres::server::shorten_logs;
use freehold_provider_postgres::usage::{self, Usage};
use rustix::fs::{FallocateFlags, fallocate};
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::close_database;

/// How often to look at the room. What one session can write in between has to fit into the reserve.
const LOOK: Duration = Duration::from_secs(2);
/// How often to ask for sizes while there is room: a server with many databases has to look at many files.
const SIZES: Duration = Duration::from_secs(30);
/// The most that is called little room, in bytes.
const LITTLE: u64 = 1 << 30;
/// The most that the reserve takes, in bytes.
const RESERVE: u64 = 128 << 20;
/// What gives it its name in the data directory.
const FILE: &str = "reserve";

/// The figures of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    total: u64,
    free: u64,
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Databases are about to fail: the reserve is given up.
    Critical,
    /// Databases that grow fast are held back.
    Low,
    /// Not little, but not enough to call it over.
    Fair,
    /// The reserve can be kept, and what is normal is remembered.
    Enough,
}

impl Room {
    fn of(path: &Path) -> io::Result<Self> {
        let figures = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(figures.f_frsize);
        Ok(Self { total: bytes(figures.f_blocks), free: bytes(figures.f_bavail) })
    }

    /// A twentieth of it, or [`LITTLE`].
    fn little(self) -> u64 {
        (self.total / 20).min(LITTLE)
    }

    fn level(self) -> Level {
        let little = self.little();
        match self.free {
            free if free < little / 4 => Level::Critical,
            free if free < little => Level::Low,
            free if free < little.saturating_mul(2) => Level::Fair,
            _ => Level::Enough,
        }
    }

    fn reserve(self) -> u64 {
        (self.little() / 4).min(RESERVE)
    }
}

/// Watches the disk of a private server until `stop`.
pub(crate) async fn watch(data: PathBuf, admin: PgConnectOptions, stop: CancellationToken) {
    let mut guard = Guard { reserve: data.join(FILE), data, admin, before: BTreeMap::new(), asked: None };
    loop {
        guard.look().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

struct Guard {
    data: PathBuf,
    reserve: PathBuf,
    admin: PgConnectOptions,
    /// What the databases took when there was room, in bytes.
    before: BTreeMap<String, u64>,
    /// When that was asked, and how long the answer took.
    asked: Option<(Instant, Duration)>,
}

impl Guard {
    async fn look(&mut self) {
        if let Err(failure) = shorten_logs(&self.data.join("postgres")) {
            warn!("PostgreSQL's log can't be shortened: {failure}");
        }
        let Ok(room) = Room::of(&self.data) else { return };
        match room.level() {
            Level::Critical => {
                self.give_up_the_reserve();
                self.brake(room).await;
            }
            Level::Low => self.brake(room).await,
            Level::Fair => {}
            Level::Enough => {
                self.take_the_reserve(room);
                self.remember().await;
            }
        }
    }

    /// While there is room: what is normal.
    async fn remember(&mut self) {
        // No more than a hundredth of the time goes into it.
        let due = self.asked.is_none_or(|(at, took)| at.elapsed() >= SIZES.max(took.saturating_mul(100)));
        if due && let Some(now) = self.ask().await {
            for usage in now.iter().filter(|usage| usage.is_over()) {
                self.close(usage, "its max_size is less: raise it, or make room in it").await;
            }
            self.before = now.into_iter().map(|usage| (usage.database, usage.bytes)).collect();
        }
    }

    async fn brake(&mut self, room: Room) {
        let known = self.asked.is_some();
        let Some(now) = self.ask().await else { return };
        if !known {
            // Just started: nothing is known of who has grown.
            self.before = now.into_iter().map(|usage| (usage.database, usage.bytes)).collect();
            return;
        }
        let Some(usage) = usage::culprit(&self.before, &now, room.little() / 4) else { return };
        let why = format!("{} MB are left for all: make room", room.free >> 20);
        self.close(usage, &why).await;
    }

    async fn close(&self, usage: &Usage, why: &str) {
        close_database::close(&self.admin, usage, &format!("it has grown to {} MB, and {why}", usage.bytes >> 20))
            .await;
    }

    async fn ask(&mut self) -> Option<Vec<Usage>> {
        let begin = Instant::now();
        let answer = usage::usage(&self.admin).await;
        self.asked = Some((Instant::now(), begin.elapsed()));
        answer.map_err(|failure| warn!("{failure}")).ok()
    }

    fn take_the_reserve(&self, room: Room) {
        if self.reserve.exists() {
            return;
        }
        let take = || -> io::Result<File> {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.reserve)?;
            fallocate(&file, FallocateFlags::empty(), 0, room.reserve().max(1))?;
            Ok(file)
        };
        if let Err(failure) = take() {
            let _ = fs::remove_file(&self.reserve);
            warn!("no reserve can be kept on the disk of {}: {failure}", self.data.display());
        }
    }

    fn give_up_the_reserve(&self) {
        if fs::remove_file(&self.reserve).is_ok() {
            error!("hardly any room is left for {}: the reserve is given up", self.data.display());
            info!("make room: `freehold doctor` says how much there is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_little_room_depends_on_the_disk() {
        let level = |total: u64, free: u64| Room { total: total << 20, free: free << 20 }.level();
        assert_eq!(level(500_000, 100_000), Level::Enough);
        assert_eq!(level(500_000, 1500), Level::Fair);
        assert_eq!(level(500_000, 1000), Level::Low);
        assert_eq!(level(500_000, 200), Level::Critical);
        // A small one.
        assert_eq!(level(1000, 120), Level::Enough);
        assert_eq!(level(1000, 49), Level::Low);
        assert!(Room { total: 500_000 << 20, free: 0 }.reserve() <= RESERVE);
    }

    #[test]
    fn the_reserve_is_real_and_is_given_up_once() {
        let scratch = tempfile::tempdir().unwrap();
        let admin = PgConnectOptions::new_without_pgpass();
        let data = scratch.path().to_owned();
        let guard = Guard { reserve: data.join(FILE), data, admin, before: BTreeMap::new(), asked: None };
        let room = Room { total: 1 << 30, free: 1 << 29 };
        guard.take_the_reserve(room);
        let metadata = fs::metadata(&guard.reserve).unwrap();
        assert_eq!(metadata.len(), room.reserve());
        assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= room.reserve(), "it takes no room");
        guard.take_the_reserve(room);
        guard.give_up_the_reserve();
        assert!(!guard.reserve.exists());
    }
}
