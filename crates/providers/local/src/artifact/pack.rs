//! Makes an artifact from files of the app's folder. For the client: plain `std::io`, no provider needed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::ArtifactError;
use super::listing::{ArtifactHash, Listing, canonical, check_link, copy_hashed};

/// An artifact that is ready to be sent.
#[derive(Debug)]
pub struct Packed {
    /// Its identity.
    pub hash: ArtifactHash,
    /// The size of its files together, in bytes.
    pub size: u64,
    members: BTreeMap<String, Member>,
}

#[derive(Debug)]
enum Member {
    File { source: PathBuf, executable: bool },
    Link { target: String },
}

/// Collects and hashes `entries` (files and folders relative to `root`). Each keeps only its last path component:
/// `target/release/guestbook` becomes `guestbook`, `static` becomes `static/…`.
///
/// # Errors
/// [`ArtifactError`]: an entry is missing, two have the same name, a link leads outside, a file can't be read.
pub fn pack(root: &Path, entries: &[String]) -> Result<Packed, ArtifactError> {
    let mut packing = Packing { members: BTreeMap::new(), listing: Listing::default(), size: 0 };
    let mut names = std::collections::BTreeSet::new();
    for entry in entries {
        let source = root.join(entry);
        // An entry may be a link itself; what it leads to is what is meant.
        let source = source.canonicalize().map_err(|_| ArtifactError::Missing { entry: entry.clone() })?;
        let name = Path::new(entry).components().next_back().map(|last| PathBuf::from(last.as_os_str()));
        let name = match name {
            Some(name) if name.to_str() != Some(".") => canonical(&name)?,
            // The whole folder: its contents are the artifact.
            _ => {
                packing.folder(&source, "")?;
                continue;
            }
        };
        if !names.insert(name.clone()) {
            return Err(ArtifactError::SameName { name });
        }
        packing.path(&source, &name)?;
    }
    Ok(Packed { hash: packing.listing.hash(), size: packing.size, members: packing.members })
}

struct Packing {
    members: BTreeMap<String, Member>,
    listing: Listing,
    size: u64,
}

impl Packing {
    fn path(&mut self, source: &Path, name: &str) -> Result<(), ArtifactError> {
        let found = fs::symlink_metadata(source).map_err(ArtifactError::file("read", source))?;
        if found.is_dir() {
            self.folder(source, name)
        } else if found.is_symlink() {
            self.link(source, name)
        } else if found.is_file() {
            self.file(source, name, found.permissions().mode() & 0o111 != 0)
        } else {
            Err(ArtifactError::unfit(name, "it is neither a file nor a folder nor a link"))
        }
    }

    fn folder(&mut self, source: &Path, name: &str) -> Result<(), ArtifactError> {
        let reading = fs::read_dir(source).map_err(ArtifactError::file("read", source))?;
        for entry in reading {
            let path = entry.map_err(ArtifactError::file("read", source))?.path();
            let inner = canonical(Path::new(path.file_name().unwrap_or_default()))?;
            let inner = if name.is_empty() { inner } else { format!("{name}/{inner}") };
            self.path(&path, &inner)?;
        }
        Ok(())
    }

    fn file(&mut self, source: &Path, name: &str, executable: bool) -> Result<(), ArtifactError> {
        let mut file = File::open(source).map_err(ArtifactError::file("read", source))?;
        let (size, digest) = copy_hashed(&mut file, &mut io::sink()).map_err(ArtifactError::file("read", source))?;
        self.listing.file(name, executable, size, &digest);
        self.size += size;
        self.members.insert(name.to_owned(), Member::File { source: source.to_owned(), executable });
        Ok(())
    }

    fn link(&mut self, source: &Path, name: &str) -> Result<(), ArtifactError> {
        let target = fs::read_link(source).map_err(ArtifactError::file("read", source))?;
        let target = target.to_str().ok_or_else(|| ArtifactError::unfit(name, "its target is not plain text"))?;
        check_link(name, target)?;
        self.listing.link(name, target);
        self.members.insert(name.to_owned(), Member::Link { target: target.to_owned() });
        Ok(())
    }
}

impl Packed {
    /// Writes the artifact as a tar stream. The files are read again; whoever receives it checks that they are still the same.
    ///
    /// # Errors
    /// [`ArtifactError`] if a file can't be read, or `to` can't be written.
    pub fn write_to(&self, to: impl Write) -> Result<(), ArtifactError> {
        let stream = |error: io::Error| ArtifactError::Stream(error.to_string());
        let mut tar = tar::Builder::new(to);
        for (path, member) in &self.members {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(0);
            match member {
                Member::File { source, executable } => {
                    let file = File::open(source).map_err(ArtifactError::file("read", source))?;
                    let size = file.metadata().map_err(ArtifactError::file("read", source))?.len();
                    header.set_size(size);
                    header.set_mode(if *executable { 0o555 } else { 0o444 });
                    header.set_entry_type(tar::EntryType::Regular);
                    // A file that has grown since would break the stream's framing; one that has shrunk ends it.
                    tar.append_data(&mut header, path, io::Read::take(file, size)).map_err(stream)?;
                }
                Member::Link { target } => {
                    header.set_size(0);
                    header.set_mode(0o777);
                    header.set_entry_type(tar::EntryType::Symlink);
                    tar.append_link(&mut header, path, target).map_err(stream)?;
                }
            }
        }
        tar.into_inner().and_then(|mut to| to.flush()).map_err(stream)
    }
}
