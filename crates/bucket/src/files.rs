//! Files with the contents of objects, by random ids: `files/3f/3f2c…`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The folder of files.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        make(&root)?;
        for shelf in 0..=u8::MAX {
            make(&root.join(hex::encode([shelf])))?;
        }
        File::open(&root)?.sync_all()?;
        Ok(Self { root })
    }

    fn shelf(&self, id: Uuid) -> PathBuf {
        let first = id.as_bytes().first().copied().unwrap_or_default();
        self.root.join(hex::encode([first]))
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.shelf(id).join(id.simple().to_string())
    }

    pub(crate) fn create(&self, id: Uuid) -> io::Result<File> {
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(id))
    }

    /// Makes sure that a file outlasts a power failure.
    pub(crate) fn sync(&self, id: Uuid, file: &File) -> io::Result<()> {
        file.sync_data()?;
        File::open(self.shelf(id))?.sync_all()
    }

    pub(crate) fn read(&self, id: Uuid) -> io::Result<File> {
        File::open(self.path(id))
    }

    pub(crate) fn remove(&self, id: Uuid) {
        if let Err(error) = fs::remove_file(self.path(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            // It is tried again when the bucket is opened next.
            tracing::warn!(%error, "a file of a bucket could not be removed");
        }
    }

    /// Removes all files but these. Says how many there were.
    pub(crate) fn remove_others(&self, kept: &BTreeSet<Uuid>) -> io::Result<usize> {
        let mut removed = 0;
        for shelf in 0..=u8::MAX {
            for entry in fs::read_dir(self.root.join(hex::encode([shelf])))? {
                let entry = entry?;
                let id = entry.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok());
                if !id.is_some_and(|id| kept.contains(&id)) {
                    fs::remove_file(entry.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Whether there is any file.
    pub(crate) fn is_any_there(&self) -> io::Result<bool> {
        for shelf in 0..=u8::MAX {
            if fs::read_dir(self.root.join(hex::encode([shelf])))?.next().is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The bytes that are left on the disk.
    pub(crate) fn left(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
