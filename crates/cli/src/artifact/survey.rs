//! Looking over an app's folder: a digest of its sources, and one of the files that an artifact is made from.
//!
//! Sources are all files that `.gitignore` doesn't exclude, but for `.git`, `target` and the definition itself (the build's
//! command is part of what is compared, the rest of the definition makes no difference to it). A file whose size, times
//! and mode are as they were is taken for unchanged, unless it was written so recently that they may lie.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ignore::WalkBuilder;
use sha2::{Digest as _, Sha256};

use super::hash_cache::{ContentHash, HashCache};
use crate::definition::FILE;

/// Times of files are as coarse as the kernel's clock: a file that was written within this of being looked at may be
/// written again without a trace. In nanoseconds.
const GRAIN: i64 = 100_000_000;

/// What was found.
pub(super) struct Survey {
    /// Digest of the sources, without what belongs to the artifact.
    pub sources: String,
    /// Digest of the artifact's files.
    pub files: String,
    /// Entries of the artifact that are not there.
    pub missing: Vec<String>,
}

impl Survey {
    /// Looks the folder over. Without a build there are no sources that matter.
    pub(super) fn take(root: &Path, entries: &[String], builds: bool, memory: &mut HashCache) -> io::Result<Self> {
        let mut look = Scan { root, memory, seen: BTreeMap::new(), now: nanoseconds(SystemTime::now()) };
        let outputs: Vec<PathBuf> = entries.iter().map(|entry| root.join(entry)).collect();
        let mut files = BTreeMap::new();
        let mut missing = Vec::new();
        for (entry, path) in entries.iter().zip(&outputs) {
            match path.symlink_metadata() {
                Ok(_) => look.add(WalkBuilder::new(path).standard_filters(false).build(), &mut files)?,
                Err(_) => missing.push(entry.clone()),
            }
        }
        let mut sources = BTreeMap::new();
        if builds {
            let definition = root.join(FILE);
            let mut walk = WalkBuilder::new(root);
            walk.hidden(false).require_git(false).git_global(false).filter_entry(move |entry| {
                let name = entry.file_name();
                let excluded =
                    (name == ".git" || name == "target") && entry.file_type().is_some_and(|kind| kind.is_dir());
                !excluded && entry.path() != definition && !outputs.iter().any(|output| output == entry.path())
            });
            look.add(walk.build(), &mut sources)?;
        }
        let seen = std::mem::take(&mut look.seen);
        let present: BTreeSet<String> = sources.keys().chain(files.keys()).cloned().collect();
        memory.saw(seen);
        if builds {
            memory.retain_files(&present);
        }
        Ok(Self { sources: sum(&sources), files: sum(&files), missing })
    }

    /// Everything that the artifact depends on.
    pub(super) fn inputs(&self) -> String {
        format!("{}-{}", self.sources, self.files)
    }
}

struct Scan<'a> {
    root: &'a Path,
    memory: &'a HashCache,
    seen: BTreeMap<String, ContentHash>,
    now: i64,
}

impl Scan<'_> {
    /// Adds what a walk finds: each file's path with a digest of what it is.
    fn add(&mut self, walk: ignore::Walk, found: &mut BTreeMap<String, String>) -> io::Result<()> {
        for entry in walk {
            let entry = entry.map_err(|error| io::Error::other(error.to_string()))?;
            let metadata = entry.path().symlink_metadata()?;
            if metadata.is_dir() {
                continue;
            }
            let relative = entry.path().strip_prefix(self.root).unwrap_or(entry.path());
            let path = relative.to_string_lossy().into_owned();
            let content = match metadata.is_symlink() {
                true => format!("link {}", entry.path().read_link()?.display()),
                false if metadata.is_file() => self.content(&path, entry.path(), &metadata)?,
                false => "other".to_owned(),
            };
            found.insert(path, format!("{:o} {content}", metadata.mode() & 0o111));
        }
        Ok(())
    }

    fn content(&mut self, name: &str, path: &Path, metadata: &Metadata) -> io::Result<String> {
        let time = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
        let modified = time(metadata.mtime(), metadata.mtime_nsec());
        let changed = time(metadata.ctime(), metadata.ctime_nsec());
        let stat = (metadata.len(), modified, changed, metadata.mode());
        if let Some(seen) = self.memory.file(name).filter(|seen| seen.stat == stat) {
            return Ok(seen.digest.clone());
        }
        let mut hash = Sha256::new();
        io::copy(&mut File::open(path)?, &mut Hasher(&mut hash))?;
        let digest = hex::encode(hash.finalize());
        if self.now - modified.max(changed) > GRAIN {
            self.seen.insert(name.to_owned(), ContentHash { stat, digest: digest.clone() });
        }
        Ok(digest)
    }
}

struct Hasher<'a>(&'a mut Sha256);

impl io::Write for Hasher<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0))
}

/// One digest of all paths and what is at them.
fn sum(found: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for (path, content) in found {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update(format!("{} {path} {} {content}\n", path.len(), content.len()).as_bytes());
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.write("src/main.py", "print(1)");
            folder.write(".gitignore", "dist/\n");
            folder.write("dist/app", "built");
            folder
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn survey(&self, memory: &mut HashCache) -> Survey {
            Survey::take(self.0.path(), &["dist".to_owned()], true, memory).unwrap()
        }
    }

    #[test]
    fn a_change_of_a_source_is_seen_and_a_touch_is_none() {
        let folder = Folder::new();
        let mut memory = HashCache::default();
        let before = folder.survey(&mut memory).inputs();
        folder.write("src/main.py", "print(1)");
        assert_eq!(folder.survey(&mut memory).inputs(), before);
        folder.write("src/main.py", "print(2)");
        assert_ne!(folder.survey(&mut memory).inputs(), before);
    }

    #[test]
    fn ignored_files_the_definition_and_build_folders_are_no_sources() {
        let folder = Folder::new();
        let mut memory = HashCache::default();
        let before = folder.survey(&mut memory).sources;
        folder.write(".gitignore", "dist/\n");
        folder.write(".git/HEAD", "ref");
        folder.write("target/debug/x", "x");
        folder.write("freehold.toml", "[app]");
        folder.write("dist/other", "x");
        assert_eq!(folder.survey(&mut memory).sources, before);
    }

    #[test]
    fn what_a_build_made_is_looked_at_even_where_git_ignores_it() {
        let folder = Folder::new();
        let mut memory = HashCache::default();
        let before = folder.survey(&mut memory);
        folder.write("dist/app", "tampered");
        let after = folder.survey(&mut memory);
        assert_eq!(after.sources, before.sources);
        assert_ne!(after.files, before.files);
        fs::remove_dir_all(folder.0.path().join("dist")).unwrap();
        assert_eq!(folder.survey(&mut memory).missing, ["dist"]);
    }

    #[test]
    fn the_mode_of_a_file_counts() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new();
        let mut memory = HashCache::default();
        let before = folder.survey(&mut memory).inputs();
        fs::set_permissions(folder.0.path().join("dist/app"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(folder.survey(&mut memory).inputs(), before);
    }
}
