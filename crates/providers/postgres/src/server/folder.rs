//! Folders and files as root uses them: by name below a folder that was opened once, and no link is ever followed.
//!
//! Two kinds of folders, which the types keep apart:
//!
//! - [`Folder`] is ours: its owner is this process's user, and nobody else may write to it. Everything that is written,
//!   renamed or given away is in one of these, so nobody can put a link in its place.
//! - [`Foreign`] belongs to PostgreSQL's account. It is only read, and what is read is input from somebody else: a
//!   regular file, bounded, without waiting for it.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, Uid, fallocate, fchmod, fchown, mkdirat, openat, renameat,
    unlinkat,
};

use super::error::ServerError;

/// A descriptor of a folder, which nobody can replace by another one.
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder that is ours alone.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

impl Folder {
    /// Opens it, or makes it with those above it, and sets its mode.
    ///
    /// # Errors
    /// [`ServerError::NotOurs`] if it belongs to somebody else; it is a link; the file system says no.
    pub(super) fn open(path: &Path, mode: u32) -> Result<Self, ServerError> {
        let doing = "making a directory";
        if let Some(above) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o711).create(above).map_err(ServerError::io(doing, above))?;
        }
        make(CWD, path, mode).map_err(ServerError::io(doing, path))?;
        let handle = openat(CWD, path, OFlags::RDONLY | FOLDER, Mode::empty())
            .map_err(|error| ServerError::io("opening a directory", path)(error.into()))?;
        let folder = Self { path: path.to_owned(), handle };
        let owner = folder.metadata()?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(ServerError::NotOurs { path: path.to_owned(), owner });
        }
        // Others may not write to it, whatever its mode was.
        fchmod(&folder.handle, mode_of(mode)).map_err(|error| folder.failed("setting the mode of", error))?;
        Ok(folder)
    }

    /// The path of something in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A folder in it that belongs to `owner`; made if need be.
    ///
    /// # Errors
    /// There is something else in its place; the file system says no.
    pub(super) fn give(&self, name: &str, mode: u32, owner: Option<(u32, u32)>) -> Result<(), ServerError> {
        let path = self.join(name);
        let doing = "making a directory";
        make(&self.handle, Path::new(name), mode).map_err(ServerError::io(doing, &path))?;
        let given = openat(&self.handle, name, OFlags::RDONLY | FOLDER, Mode::empty())
            .map_err(|error| ServerError::io(doing, &path)(error.into()))?;
        let set = || {
            fchmod(&given, mode_of(mode))?;
            own(&given, owner)
        };
        set().map_err(|error| ServerError::io("giving a directory to PostgreSQL's account", &path)(error.into()))
    }

    /// A new, empty file in it, in the place of what had the name.
    ///
    /// # Errors
    /// The file system says no.
    pub(super) fn create(&self, name: &str, mode: u32) -> Result<File, ServerError> {
        let path = self.join(name);
        self.remove(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.handle, name, flags, mode_of(mode))
            .map_err(|error| ServerError::io("writing a file", &path)(error.into()))?;
        Ok(File::from(file))
    }

    /// Replaces a file at once: whoever reads it sees the old or the new content. With an `owner` it is theirs.
    ///
    /// # Errors
    /// The file system says no.
    pub(super) fn write(
        &self,
        name: &str,
        mode: u32,
        text: &str,
        owner: Option<(u32, u32)>,
    ) -> Result<(), ServerError> {
        let temporary = format!("{name}.new");
        let mut file = self.create(&temporary, mode)?;
        let path = self.join(name);
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(ServerError::io("writing a file", &path))?;
        fchmod(&file, mode_of(mode)).map_err(|error| ServerError::io("writing a file", &path)(error.into()))?;
        own(&file, owner)
            .map_err(|error| ServerError::io("giving a file to PostgreSQL's account", &path)(error.into()))?;
        self.rename(&temporary, name)
    }

    /// Gives something another name, for good.
    ///
    /// # Errors
    /// The file system says no.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), ServerError> {
        let path = self.join(to);
        renameat(&self.handle, from, &self.handle, to)
            .and_then(|()| rustix::fs::fsync(&self.handle))
            .map_err(|error| ServerError::io("putting into its place", &path)(error.into()))
    }

    /// Removes a file; that there is none is no error.
    ///
    /// # Errors
    /// The file system says no.
    pub(super) fn remove(&self, name: &str) -> Result<(), ServerError> {
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(error) if error == rustix::io::Errno::NOENT => Ok(()),
            Err(error) => Err(ServerError::io("removing a file", &self.join(name))(error.into())),
        }
    }

    fn metadata(&self) -> Result<std::fs::Metadata, ServerError> {
        let handle = self.handle.try_clone().map_err(ServerError::io("opening a directory", &self.path))?;
        File::from(handle).metadata().map_err(ServerError::io("looking at", &self.path))
    }

    fn failed(&self, doing: &'static str, error: rustix::io::Errno) -> ServerError {
        ServerError::io(doing, &self.path)(error.into())
    }
}

/// A folder of PostgreSQL's account.
#[derive(Debug)]
pub(super) struct Foreign(OwnedFd);

impl Foreign {
    /// Opens it; `None` if there is none.
    pub(super) fn open(path: &Path) -> Option<Self> {
        openat(CWD, path, OFlags::RDONLY | FOLDER, Mode::empty()).ok().map(Self)
    }

    /// The last `limit` bytes of a regular file; `None` if there is none of that name, or it is something else.
    pub(super) fn read(&self, name: &str, limit: u64) -> Option<String> {
        // Without NONBLOCK a pipe would make us wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.0, name, flags, Mode::empty()).ok()?);
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() {
            return None;
        }
        file.seek(SeekFrom::Start(metadata.len().saturating_sub(limit))).ok()?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The regular files in it, the one that was changed last at the end.
    pub(super) fn files(&self) -> Vec<String> {
        let entries = rustix::fs::Dir::read_from(&self.0).into_iter().flatten().flatten();
        let mut files: Vec<(i64, String)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().to_str().ok()?.to_owned();
                let found = rustix::fs::statat(&self.0, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
                let regular = rustix::fs::FileType::from_raw_mode(found.st_mode).is_file();
                regular.then_some((found.st_mtime, name))
            })
            .collect();
        files.sort();
        files.into_iter().map(|(_, name)| name).collect()
    }

    /// Frees what a regular file takes of the disk, but for its last `keep` bytes, if it takes more than `most`. Places in it stay
    /// what they are; where the file system has no holes, it is emptied. Whoever writes there has to append.
    pub(super) fn shorten(&self, name: &str, most: u64, keep: u64) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.0, name, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.blocks().saturating_mul(512) <= most {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&file, flags, 0, metadata.len().saturating_sub(keep)) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(0),
            other => Ok(other?),
        }
    }

    /// Removes a file. A link is removed itself, not what it leads to.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, AtFlags::empty())?)
    }
}

fn make(below: impl std::os::fd::AsFd, name: &Path, mode: u32) -> io::Result<()> {
    match mkdirat(below, name, mode_of(mode)) {
        Ok(()) => Ok(()),
        Err(error) if error == rustix::io::Errno::EXIST => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn own(file: impl std::os::fd::AsFd, owner: Option<(u32, u32)>) -> rustix::io::Result<()> {
    let Some((user, group)) = owner else { return Ok(()) };
    fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
}

#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "elsewhere modes have 16 bits"))]
fn mode_of(mode: u32) -> Mode {
    Mode::from_raw_mode(mode.try_into().unwrap_or_default())
}

/// The major version that made the cluster in `home`; `None` if there is none.
pub(super) fn data_version(home: &Path) -> Option<u32> {
    Foreign::open(&home.join("cluster"))?.read("PG_VERSION", 16)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_written_in_the_place_of_a_link_and_never_through_it() {
        let scratch = tempfile::tempdir().unwrap();
        let victim = scratch.path().join("victim");
        std::fs::write(&victim, "untouched").unwrap();
        let folder = Folder::open(&scratch.path().join("ours"), 0o711).unwrap();
        for name in ["start.log", "rules.new", "rules"] {
            symlink(&victim, folder.join(name)).unwrap();
        }
        folder.create("start.log", 0o600).unwrap().write_all(b"new").unwrap();
        folder.write("rules", 0o644, "rules", None).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(std::fs::read_to_string(folder.join("rules")).unwrap(), "rules");
        assert!(std::fs::symlink_metadata(folder.join("start.log")).unwrap().is_file());
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let elsewhere = scratch.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::set_permissions(&elsewhere, std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink(&elsewhere, scratch.path().join("link")).unwrap();
        assert!(Folder::open(&scratch.path().join("link"), 0o700).is_err());
        let folder = Folder::open(&scratch.path().join("ours"), 0o711).unwrap();
        symlink(&elsewhere, folder.join("log")).unwrap();
        assert!(folder.give("log", 0o700, None).is_err());
        assert_eq!(std::fs::metadata(&elsewhere).unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn of_somebody_elses_files_only_regular_ones_are_read_and_no_more_than_was_asked_for() {
        let scratch = tempfile::tempdir().unwrap();
        let secret = scratch.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        let logs = scratch.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        symlink(&secret, logs.join("link")).unwrap();
        rustix::fs::mkfifoat(CWD, logs.join("pipe"), Mode::from_raw_mode(0o600)).unwrap();
        std::fs::write(logs.join("log"), "a long line").unwrap();
        let foreign = Foreign::open(&logs).unwrap();
        assert_eq!(foreign.read("link", 100), None);
        assert_eq!(foreign.read("pipe", 100), None);
        assert_eq!(foreign.read("log", 4).as_deref(), Some("line"));
        assert_eq!(foreign.files(), ["log"]);
    }

    #[test]
    fn of_somebody_elses_file_only_the_end_keeps_its_place_on_the_disk() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("log");
        std::fs::write(&log, [vec![b'x'; 1 << 20], b"the end".to_vec()].concat()).unwrap();
        std::os::unix::fs::symlink(&log, scratch.path().join("link")).unwrap();
        let foreign = Foreign::open(scratch.path()).unwrap();
        assert!(foreign.shorten("link", 0, 0).is_err());
        foreign.shorten("log", 4 << 20, 4096).unwrap();
        assert!(std::fs::read(&log).unwrap().starts_with(b"xxx"), "it was short enough");
        foreign.shorten("log", 64 << 10, 4096).unwrap();
        assert_eq!(foreign.read("log", 7).as_deref(), Some("the end"));
        assert!(std::fs::metadata(&log).unwrap().blocks() * 512 < 64 << 10);
    }
}
