//! Makes an artifact from files of the app's folder. For the client: plain `std::io`, no provider needed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use freehold_graph::ArtifactHash;

use super::ArtifactError;
use super::listing::{Listing, canonical, check_link, copy_hashed};
use super::source::{Kind, Source};

/// An artifact that is ready to be sent.
#[derive(Debug)]
pub struct Packed {
    /// The hash that names it in the store.
    pub hash: ArtifactHash,
    /// The size of its files together, in bytes.
    pub size: u64,
    source: Source,
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
/// [`ArtifactError`]: an entry is missing or leads out of `root`, two have the same name, a link leads outside, a file can't be read.
pub fn pack(root: &Path, entries: &[String]) -> Result<Packed, ArtifactError> {
    let source = Source::open(root)?;
    let mut packing = Packing { source, members: BTreeMap::new(), listing: Listing::default(), size: 0 };
    let mut names = BTreeSet::new();
    for entry in entries {
        // An entry may be a link itself; what it leads to is what is meant.
        let place = packing.source.entry(entry)?;
        let name = Path::new(entry).components().next_back().map(|last| PathBuf::from(last.as_os_str()));
        let name = match name {
            Some(name) if name.to_str() != Some(".") => canonical(&name)?,
            // The whole folder: its contents are the artifact.
            _ => {
                packing.folder(&place, "")?;
                continue;
            }
        };
        if !names.insert(name.clone()) {
            return Err(ArtifactError::SameName { name });
        }
        packing.path(&place, &name)?;
    }
    let Packing { source, members, listing, size } = packing;
    Ok(Packed { hash: listing.hash(), size, source, members })
}

struct Packing {
    source: Source,
    members: BTreeMap<String, Member>,
    listing: Listing,
    size: u64,
}

impl Packing {
    fn unreadable(&self, place: &Path) -> impl FnOnce(io::Error) -> ArtifactError {
        ArtifactError::file("read", self.source.place(place))
    }

    fn path(&mut self, place: &Path, name: &str) -> Result<(), ArtifactError> {
        match Kind::of(&self.source.look(place).map_err(self.unreadable(place))?) {
            Kind::Folder => self.folder(place, name),
            Kind::Link => self.link(place, name),
            Kind::File { executable } => self.file(place, name, executable),
            Kind::Unfit(reason) => Err(ArtifactError::unfit(name, reason)),
        }
    }

    fn folder(&mut self, place: &Path, name: &str) -> Result<(), ArtifactError> {
        for inner in self.source.names(place).map_err(self.unreadable(place))? {
            let path = place.join(&inner);
            let inner = canonical(&inner)?;
            let inner = if name.is_empty() { inner } else { format!("{name}/{inner}") };
            self.path(&path, &inner)?;
        }
        Ok(())
    }

    fn file(&mut self, place: &Path, name: &str, executable: bool) -> Result<(), ArtifactError> {
        let mut file = self.source.file(place).map_err(self.unreadable(place))?;
        let (size, digest) = copy_hashed(&mut file, &mut io::sink()).map_err(self.unreadable(place))?;
        self.listing.file(name, executable, size, &digest);
        self.size += size;
        self.members.insert(name.to_owned(), Member::File { source: place.to_owned(), executable });
        Ok(())
    }

    fn link(&mut self, place: &Path, name: &str) -> Result<(), ArtifactError> {
        let target = self.source.link(place).map_err(self.unreadable(place))?;
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
                    let unreadable = || ArtifactError::file("read", self.source.place(source));
                    let file = self.source.file(source).map_err(unreadable())?;
                    let size = file.metadata().map_err(unreadable())?.len();
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
