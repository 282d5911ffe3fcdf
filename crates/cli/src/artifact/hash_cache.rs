//! What is remembered between two runs about an app's folder, so that a run without changes reads no file twice:
//!
//! - for each file its size, times and mode, and the digest of its content then;
//! - for each build what it was made from and what came out;
//! - what was sent to which platform.
//!
//! Not remembered: anything that can't be found out again. The file may be deleted at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How many artifacts are remembered as sent to a platform.
const MOST_SENT: usize = 64;

/// What a file was like when its content was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ContentHash {
    /// Size, time of change of the content and of the entry (nanoseconds), mode.
    pub stat: (u64, i64, i64, u32),
    /// SHA-256 of the content, in hexadecimal.
    pub digest: String,
}

/// What a build was made from, and what came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BuildRecord {
    /// Digest of the sources and of the artifact's files.
    pub inputs: String,
    /// The artifact: `sha256:…`.
    pub digest: String,
}

/// All of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct HashCache {
    #[serde(default)]
    files: BTreeMap<String, ContentHash>,
    #[serde(default)]
    builds: BTreeMap<String, BuildRecord>,
    #[serde(default)]
    sent: BTreeMap<String, BTreeSet<String>>,
    #[serde(skip)]
    changed: bool,
}

/// Where the memory of an app's folder is; an empty path if there is no place for it.
pub(super) fn path(root: &Path) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let name: String = digest(root.as_os_str().as_encoded_bytes()).chars().take(24).collect();
    cache.map(|cache| cache.join("freehold/builds").join(format!("{name}.json"))).unwrap_or_default()
}

/// What tells a build apart from the app's other ones.
pub(super) fn key(command: Option<&[String]>, entries: &[String]) -> String {
    digest(serde_json::to_string(&(command, entries)).unwrap_or_default().as_bytes())
}

/// SHA-256 in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl HashCache {
    /// Reads it; an unreadable one is empty.
    pub(super) fn read(path: &Path) -> Self {
        std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Writes it, if there is anything new. That it can't be written only costs time.
    pub(super) fn write(&self, path: &Path) {
        let Some(folder) = path.parent().filter(|_| self.changed) else { return };
        let temporary = path.with_extension(format!("{}.new", std::process::id()));
        let text = serde_json::to_vec(self).unwrap_or_default();
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&temporary, text))
            .and_then(|()| std::fs::rename(&temporary, path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
    }

    /// What is remembered about a file.
    pub(super) fn file(&self, path: &str) -> Option<&ContentHash> {
        self.files.get(path)
    }

    /// Remembers what was seen of some files.
    pub(super) fn saw(&mut self, files: BTreeMap<String, ContentHash>) {
        for (path, seen) in files {
            if self.files.get(&path) != Some(&seen) {
                self.files.insert(path, seen);
                self.changed = true;
            }
        }
    }

    /// Forgets the files that are not there any more.
    pub(super) fn retain_files(&mut self, present: &BTreeSet<String>) {
        let before = self.files.len();
        self.files.retain(|path, _| present.contains(path));
        self.changed |= self.files.len() != before;
    }

    /// What a build made.
    pub(super) fn made(&self, key: &str) -> Option<&BuildRecord> {
        self.builds.get(key)
    }

    /// Remembers what a build made.
    pub(super) fn keep(&mut self, key: String, made: BuildRecord) {
        self.builds.insert(key, made);
        self.changed = true;
    }

    /// Forgets what a build made.
    pub(super) fn forget(&mut self, key: &str) {
        self.changed |= self.builds.remove(key).is_some();
    }

    /// Whether an artifact was sent to a platform.
    pub(super) fn was_sent(&self, platform: &str, artifact: &str) -> bool {
        self.sent.get(platform).is_some_and(|sent| sent.contains(artifact))
    }

    /// Remembers that a platform has an artifact.
    pub(super) fn sent(&mut self, platform: &str, artifact: &str) {
        let sent = self.sent.entry(platform.to_owned()).or_default();
        if sent.len() >= MOST_SENT {
            sent.clear();
        }
        self.changed |= sent.insert(artifact.to_owned());
    }
}
