//! The artifacts on this machine.
//!
//! An artifact is either there completely, under its hash, or not at all: it is unpacked beside and renamed. What is being taken in
//! or thrown away has a name that begins with a dot; such leftovers of a crash are removed at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use freehold_graph::ArtifactHash;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;
use uuid::Uuid;

use super::ArtifactError;
use super::listing::{Listing, canonical, check_link, copy_hashed};
use crate::directory;

/// The most that one artifact may hold.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: u64,
    entries: usize,
}

const LIMITS: Limits = Limits { bytes: 4 << 30, entries: 100_000 };
/// With more files than this the whole file system is written back at once instead of file by file.
const SYNC_SINGLY: usize = 256;

/// The artifacts on this machine. Clones are handles to the same directory.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    root: PathBuf,
    limits: Limits,
}

impl ArtifactStore {
    /// Opens the directory, makes it if it isn't there, and removes what a crash left half done.
    ///
    /// # Errors
    /// [`ArtifactError::File`].
    pub fn open(root: &Path) -> Result<Self, ArtifactError> {
        directory::make(root, 0o711).map_err(ArtifactError::file("make", root))?;
        let root = root.canonicalize().map_err(ArtifactError::file("open", root))?;
        for path in directory::entries(&root).map_err(ArtifactError::file("read", &root))? {
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with('.')) {
                discard(&path).map_err(ArtifactError::file("remove", &path))?;
            }
        }
        Ok(Self { root, limits: LIMITS })
    }

    /// Where an artifact's files are, if it is there.
    pub fn path(&self, hash: &ArtifactHash) -> Option<PathBuf> {
        let path = self.root.join(hash.digits());
        path.is_dir().then_some(path)
    }

    /// Whether an artifact is there. How long it stays is for whoever removes artifacts to know.
    pub fn has(&self, hash: &ArtifactHash) -> bool {
        self.path(hash).is_some()
    }

    /// Takes an artifact in: unpacks the tar stream, checks that it is what was announced, and puts it in place. One that is there
    /// already is left as it is.
    ///
    /// # Errors
    /// [`ArtifactError`]; nothing is left behind then.
    pub async fn receive<R>(&self, expected: &ArtifactHash, stream: R) -> Result<(), ArtifactError>
    where
        R: AsyncRead + Unpin + Send + 'static,
    {
        if self.has(expected) {
            return Ok(());
        }
        let (store, expected) = (self.clone(), expected.clone());
        let bridge = SyncIoBridge::new(stream);
        tokio::task::spawn_blocking(move || store.take_in(&expected, bridge))
            .await
            .map_err(|error| ArtifactError::Stream(error.to_string()))?
    }

    /// As [`ArtifactStore::receive`], for a caller that may block.
    ///
    /// # Errors
    /// [`ArtifactError`]; nothing is left behind then.
    pub fn take_in(&self, expected: &ArtifactHash, stream: impl Read) -> Result<(), ArtifactError> {
        let folder = self.root.join(format!(".incoming-{}", Uuid::new_v4().simple()));
        let result = self.unpack(expected, stream, &folder);
        if folder.exists()
            && let Err(error) = discard(&folder)
        {
            tracing::warn!(folder = %folder.display(), %error, "an unfinished artifact could not be removed");
        }
        result
    }

    fn unpack(&self, expected: &ArtifactHash, stream: impl Read, folder: &Path) -> Result<(), ArtifactError> {
        directory::make(folder, 0o755).map_err(ArtifactError::file("make", folder))?;
        let mut unpacking = Unpacking {
            folder,
            listing: Listing::default(),
            links: BTreeMap::new(),
            files: Vec::new(),
            limits: self.limits,
        };
        let mut archive = tar::Archive::new(stream);
        let entries = archive.entries().map_err(|error| ArtifactError::Stream(error.to_string()))?;
        for (index, entry) in entries.enumerate() {
            if index >= self.limits.entries {
                return Err(ArtifactError::unfit("it", format!("it has more than {} files", self.limits.entries)));
            }
            unpacking.entry(&mut entry.map_err(|error| ArtifactError::Stream(error.to_string()))?)?;
        }
        unpacking.make_links()?;
        let found = unpacking.listing.hash();
        if found != *expected {
            return Err(ArtifactError::OtherContent { expected: expected.clone(), found });
        }
        unpacking.seal().map_err(ArtifactError::file("write", folder))?;
        self.put_in_place(folder, expected)
    }

    fn put_in_place(&self, folder: &Path, hash: &ArtifactHash) -> Result<(), ArtifactError> {
        let place = self.root.join(hash.digits());
        match fs::rename(folder, &place) {
            Ok(()) => {
                File::open(&self.root).and_then(|root| root.sync_all()).map_err(ArtifactError::file("write", &place))
            }
            // Somebody else has put the same content there.
            Err(_) if place.is_dir() => Ok(()),
            Err(error) => Err(ArtifactError::File { doing: "write", path: place, source: error }),
        }
    }

    /// The artifacts that are there.
    ///
    /// # Errors
    /// [`ArtifactError::File`].
    pub fn all(&self) -> Result<BTreeSet<ArtifactHash>, ArtifactError> {
        let entries = directory::entries(&self.root).map_err(ArtifactError::file("read", &self.root))?;
        let names = entries.iter().filter_map(|path| path.file_name()?.to_str());
        Ok(names.filter_map(|name| format!("sha256:{name}").parse().ok()).collect())
    }

    /// Lets nobody but this user into the directory. For where each stack gets a tree of its own.
    pub(crate) fn close(&self) -> io::Result<()> {
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))
    }

    /// Removes an artifact, at once for those who ask for it, and then its files. One that isn't there is fine.
    ///
    /// # Errors
    /// [`ArtifactError::File`].
    pub fn remove(&self, hash: &ArtifactHash) -> Result<(), ArtifactError> {
        self.hide(hash)?.map_or(Ok(()), Hidden::remove)
    }

    /// Puts an artifact out of sight, as the first half of its removal; `None` if it isn't there.
    ///
    /// # Errors
    /// [`ArtifactError::File`].
    pub fn hide(&self, hash: &ArtifactHash) -> Result<Option<Hidden>, ArtifactError> {
        let place = self.root.join(hash.digits());
        let trash = self.root.join(format!(".trash-{}", Uuid::new_v4().simple()));
        match fs::rename(&place, &trash) {
            Ok(()) => Ok(Some(Hidden { place, trash })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ArtifactError::File { doing: "remove", path: place, source: error }),
        }
    }
}

/// An artifact that is out of sight. Where a crash leaves it so, it is removed at the next start.
#[derive(Debug)]
pub struct Hidden {
    place: PathBuf,
    trash: PathBuf,
}

impl Hidden {
    /// Removes its files. Blocks.
    ///
    /// # Errors
    /// [`ArtifactError::File`].
    pub fn remove(self) -> Result<(), ArtifactError> {
        discard(&self.trash).map_err(ArtifactError::file("remove", &self.trash))
    }

    /// Puts it back, unless it has been taken in anew meanwhile.
    ///
    /// # Errors
    /// [`ArtifactError::File`].
    pub fn put_back(self) -> Result<(), ArtifactError> {
        match fs::rename(&self.trash, &self.place) {
            Err(_) if self.place.is_dir() => self.remove(),
            other => other.map_err(ArtifactError::file("put back", &self.place)),
        }
    }
}

/// Removes a read-only folder.
pub(super) fn discard(folder: &Path) -> io::Result<()> {
    if fs::symlink_metadata(folder)?.is_dir() {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(folder)? {
            discard(&entry?.path())?;
        }
        fs::remove_dir(folder)
    } else {
        fs::remove_file(folder)
    }
}

struct Unpacking<'a> {
    folder: &'a Path,
    listing: Listing,
    links: BTreeMap<String, String>,
    files: Vec<PathBuf>,
    limits: Limits,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), ArtifactError> {
        let raw = entry.path().map_err(|error| ArtifactError::Stream(error.to_string()))?.into_owned();
        let kind = entry.header().entry_type();
        if kind == tar::EntryType::Directory {
            return if raw.components().all(|part| part == std::path::Component::CurDir) {
                Ok(())
            } else {
                canonical(&raw).map(drop)
            };
        }
        let path = canonical(&raw)?;
        if entry.header().mode().is_ok_and(|mode| mode & 0o6000 != 0) {
            return Err(ArtifactError::unfit(
                path,
                "it would run with other rights than its caller's (setuid or setgid)",
            ));
        }
        match kind {
            tar::EntryType::Regular => self.file(&path, entry),
            tar::EntryType::Symlink => {
                let target = entry.link_name().map_err(|error| ArtifactError::Stream(error.to_string()))?;
                let target = target.as_deref().and_then(Path::to_str).unwrap_or_default().to_owned();
                if target.is_empty() {
                    return Err(ArtifactError::unfit(path, "it is a link to nowhere"));
                }
                check_link(&path, &target)?;
                self.listing.link(&path, &target);
                self.links.insert(path, target);
                Ok(())
            }
            _ => Err(ArtifactError::unfit(path, "it is neither a file nor a folder nor a symbolic link")),
        }
    }

    fn file(&mut self, path: &str, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), ArtifactError> {
        let size = entry.header().size().map_err(|error| ArtifactError::Stream(error.to_string()))?;
        let Some(left) = self.limits.bytes.checked_sub(size) else {
            return Err(ArtifactError::unfit(path, format!("the artifact is larger than {} bytes", LIMITS.bytes)));
        };
        self.limits.bytes = left;
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        let place = self.folder.join(path);
        if let Some(parent) = place.parent() {
            directory::make(parent, 0o755).map_err(ArtifactError::file("make", parent))?;
        }
        // There are no links in the folder yet, so the path can't lead anywhere else.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place);
        let mut file = match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ArtifactError::unfit(path, "it is there twice"));
            }
            other => other.map_err(ArtifactError::file("write", &place))?,
        };
        let (copied, digest) = copy_hashed(entry, &mut file).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArtifactError::Stream(error.to_string()),
            _ => ArtifactError::File { doing: "write", path: place.clone(), source: error },
        })?;
        if copied != size {
            return Err(ArtifactError::Stream(format!("{path} ends early")));
        }
        let mode = if executable { 0o555 } else { 0o444 };
        file.set_permissions(fs::Permissions::from_mode(mode)).map_err(ArtifactError::file("write", &place))?;
        self.listing.file(path, executable, copied, &digest);
        self.files.push(place);
        Ok(())
    }

    /// Links come last, so that nothing was written through one, and none is made through another.
    fn make_links(&self) -> Result<(), ArtifactError> {
        for (path, target) in &self.links {
            if self.links.keys().any(|link| link != path && Path::new(path).starts_with(link)) {
                return Err(ArtifactError::unfit(path, "it lies behind a link"));
            }
            let place = self.folder.join(path);
            if let Some(parent) = place.parent() {
                directory::make(parent, 0o755).map_err(ArtifactError::file("make", parent))?;
            }
            symlink(target, &place).map_err(ArtifactError::file("write", &place))?;
        }
        Ok(())
    }

    /// Writes everything back to the disk and takes the right to change it away.
    fn seal(&self) -> io::Result<()> {
        if self.files.len() <= SYNC_SINGLY {
            for file in &self.files {
                File::open(file)?.sync_all()?;
            }
        } else {
            rustix::fs::syncfs(File::open(self.folder)?)?;
        }
        seal_folders(self.folder)
    }
}

/// Takes the right to change folders away, and writes them back to the disk.
pub(super) fn seal_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            seal_folders(&entry.path())?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555))?;
    File::open(folder)?.sync_all()
}
