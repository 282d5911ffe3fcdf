//! The folder that an artifact is made from. What is in it was written by whoever wrote the app, and whoever deploys may be root: nothing
//! outside is opened, whatever links there are, and nothing but folders and plain files.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, readlinkat, statat};
use rustix::io::Errno;

use super::ArtifactError;

/// An open folder.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    root: OwnedFd,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, ArtifactError> {
        let real = path.canonicalize().map_err(ArtifactError::file("read", path))?;
        let root = openat(CWD, &real, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let root = root.map_err(|error| ArtifactError::file("read", path)(error.into()))?;
        Ok(Self { path: real, root })
    }

    /// Where a file is, for messages.
    pub(super) fn place(&self, inner: &Path) -> PathBuf {
        self.path.join(inner)
    }

    /// Where an entry of the definition leads to, below the folder. Links on the way are followed as long as they stay inside.
    pub(super) fn entry(&self, entry: &str) -> Result<PathBuf, ArtifactError> {
        let inside = |component: Component<'_>| matches!(component, Component::Normal(_) | Component::CurDir);
        let outside = |why: String| ArtifactError::Unfit {
            path: entry.to_owned(),
            reason: why,
            help: Some(STAY_INSIDE.to_owned()),
        };
        if !Path::new(entry).components().all(inside) {
            return Err(outside("it leads out of the app's folder".to_owned()));
        }
        let missing = |_| ArtifactError::Missing { entry: entry.to_owned() };
        let real = self.path.join(entry).canonicalize().map_err(missing)?;
        match real.strip_prefix(&self.path) {
            Ok(inner) => Ok(inner.to_owned()),
            Err(_) => Err(outside(format!("it is a link that leads to {}, out of the app's folder", real.display()))),
        }
    }

    /// What is at a path, itself: of a link not what it leads to.
    pub(super) fn look(&self, inner: &Path) -> io::Result<Stat> {
        match (inner.parent(), inner.file_name()) {
            (Some(parent), Some(name)) => Ok(statat(self.folder(parent)?, name, AtFlags::SYMLINK_NOFOLLOW)?),
            _ => Ok(rustix::fs::fstat(&self.root)?),
        }
    }

    /// Opens a plain file. One that was swapped for something else meanwhile is refused.
    pub(super) fn file(&self, inner: &Path) -> io::Result<File> {
        // A pipe would keep us waiting for somebody who writes to it.
        let file = File::from(self.open_beneath(inner, OFlags::RDONLY | OFlags::NONBLOCK)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is no longer a file")),
        }
    }

    /// The names in a folder.
    pub(super) fn names(&self, inner: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self.folder(inner)?)? {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            if ![b".".as_slice(), b".."].contains(&name.to_bytes()) {
                names.push(PathBuf::from(OsStr::from_bytes(name.to_bytes())));
            }
        }
        names.sort();
        Ok(names)
    }

    /// What a link says.
    pub(super) fn link(&self, inner: &Path) -> io::Result<PathBuf> {
        let parent = self.folder(inner.parent().unwrap_or(Path::new("")))?;
        let target = readlinkat(parent, inner.file_name().unwrap_or_default(), Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    fn folder(&self, inner: &Path) -> io::Result<OwnedFd> {
        self.open_beneath(inner, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn open_beneath(&self, inner: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if inner == Path::new("") { Path::new(".") } else { inner };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&self.root, path, flags, Mode::empty(), resolve) {
            // A kernel before 5.6, or a sandbox that doesn't know the call: one step after the other.
            Err(Errno::NOSYS | Errno::PERM) => self.open_stepwise(path, flags),
            other => Ok(other?),
        }
    }

    fn open_stepwise(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let mut folder = openat(&self.root, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            let way = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let flags = if components.peek().is_some() { way } else { flags };
            folder = openat(&folder, component.as_os_str(), flags, Mode::empty())?;
        }
        Ok(folder)
    }
}

/// What is at a path, as far as it can be part of an artifact.
pub(super) enum Kind {
    Folder,
    File {
        executable: bool,
    },
    Link,
    /// Why it can't be.
    Unfit(&'static str),
}

impl Kind {
    pub(super) fn of(found: &Stat) -> Self {
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::RegularFile if found.st_mode & 0o6000 != 0 => {
                Self::Unfit("it would run with other rights than its caller's (setuid or setgid)")
            }
            FileType::RegularFile => Self::File { executable: found.st_mode & 0o111 != 0 },
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Self::Unfit("it is neither a file nor a folder nor a link"),
        }
    }
}

/// What to do about an entry that leads out of the app's folder.
const STAY_INSIDE: &str = "an artifact is made from the app's folder alone: copy it there, or let the build do that";
