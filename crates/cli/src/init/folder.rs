//! The folder that is looked at. It may be anybody's: nothing outside it is read, nothing large, nothing that is no text.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most bytes of a file that are read.
const LARGEST: u64 = 256 << 10;
/// The most entries of a folder that are looked at.
const MOST: usize = 1000;

/// A folder, and what it lies in.
#[derive(Clone)]
pub(super) struct Folder {
    /// With all links resolved.
    root: PathBuf,
    place: PathBuf,
}

/// What there is of a file.
pub(super) enum Found {
    Text(String),
    Absent,
    /// It is there, and isn't read; why.
    Unread(String),
}

impl Folder {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let root = path.canonicalize()?;
        Ok(Self { place: root.clone(), root })
    }

    /// A folder below, if it is one and doesn't lead out.
    pub(super) fn below(&self, path: &str) -> Option<Self> {
        let place = self.place.join(path).canonicalize().ok()?;
        (place.starts_with(&self.root) && place.is_dir()).then(|| Self { root: self.root.clone(), place })
    }

    /// Its path from the outermost one; empty for that itself.
    pub(super) fn path(&self) -> String {
        self.place.strip_prefix(&self.root).map(|path| path.display().to_string()).unwrap_or_default()
    }

    /// Its own name.
    pub(super) fn name(&self) -> String {
        self.place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub(super) fn read(&self, name: &str) -> Found {
        let place = match self.place.join(name).canonicalize() {
            Ok(place) if place.starts_with(&self.root) => place,
            Ok(_) => return Found::Unread(format!("{name} leads out of the folder")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Found::Absent,
            Err(error) => return Found::Unread(format!("{name} can't be read: {error}")),
        };
        // A pipe would wait for somebody to write.
        if !place.is_file() {
            return Found::Unread(format!("{name} is no file"));
        }
        let mut text = String::new();
        let read = File::open(&place).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
        match read {
            Ok(_) if text.len() as u64 > LARGEST => Found::Unread(format!("{name} is larger than 256 KiB")),
            Ok(_) => Found::Text(text),
            Err(_) => Found::Unread(format!("{name} is no text")),
        }
    }

    /// The names of its files and folders, sorted, without links and what is hidden.
    pub(super) fn entries(&self) -> Vec<String> {
        let entries = self.place.read_dir().into_iter().flatten().take(MOST).flatten();
        let plain = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir()));
        let names = plain.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }
}
