//! What a bucket holds: reading, replacing and deleting objects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{ReadableTable as _, WriteTransaction};
use uuid::Uuid;

use crate::error::BucketError;
use crate::files::Files;
use crate::index::{self, Entry, Headers, Index, OBJECTS, OVERHEAD, PARTS, Part, Piece, SMALL, UPLOADS};
use crate::room::{Limits, Room};
use crate::writing::Content;

/// The longest key, in bytes, as in S3.
pub(crate) const LONGEST_KEY: usize = 1024;

/// A bucket on disk.
#[derive(Debug)]
pub struct Store {
    pub(crate) index: Index,
    pub(crate) room: Arc<Room>,
    versioning: AtomicBool,
    pins: Mutex<Pins>,
}

/// Pieces that are being read. One that is removed meanwhile goes when the last reader has.
#[derive(Debug, Default)]
struct Pins {
    readers: BTreeMap<Uuid, usize>,
    doomed: BTreeSet<Uuid>,
}

/// What has to hold of the newest version for a write to happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    /// `If-None-Match: *`.
    pub(crate) absent: bool,
    /// `If-Match`: this tag, or `*`.
    pub(crate) tag: Option<String>,
    /// It was made at this time, in milliseconds since 1970.
    pub(crate) modified: Option<i64>,
}

impl Condition {
    fn check(&self, newest: Option<&Entry>) -> Result<(), BucketError> {
        let newest = newest.filter(|entry| !entry.marker);
        if self.absent && newest.is_some() {
            return Err(BucketError::Precondition("If-None-Match"));
        }
        if self.modified.is_some() && self.modified != newest.map(|entry| entry.modified) {
            return Err(BucketError::Precondition("of its time"));
        }
        match (&self.tag, newest) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(BucketError::NoSuchKey),
            (Some(tag), Some(entry)) if tag == "*" || *tag == entry.tag => Ok(()),
            (Some(_), Some(_)) => Err(BucketError::Precondition("If-Match")),
        }
    }
}

/// What became of a deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// The version that was removed or made.
    pub(crate) version: Option<String>,
    /// Whether that is a mark.
    pub(crate) marker: bool,
}

impl Store {
    /// Opens the bucket in a folder, and removes what a crash has left there. Blocks.
    ///
    /// # Errors
    /// The folder can't be used, or another process has it open.
    pub fn open(folder: &Path, versioning: bool, limits: Limits) -> Result<Self, BucketError> {
        let files = Files::open(folder.join("files")).map_err(BucketError::file)?;
        let place = folder.join("index.redb");
        if !place.exists() && files.is_any_there().map_err(BucketError::file)? {
            // An empty one would have all of them removed.
            let lost = "its index is missing, and its objects are there: put back the whole folder, or remove it";
            return Err(BucketError::file(std::io::Error::other(lost)));
        }
        let index = Index::open(place)?;
        let (kept, used) = inventory(&index)?;
        let removed = files.remove_others(&kept).map_err(BucketError::file)?;
        if removed > 0 {
            tracing::info!(removed, "files of unfinished writes to a bucket were removed");
        }
        Ok(Self {
            index,
            room: Arc::new(Room::new(files, limits, used)),
            versioning: AtomicBool::new(versioning),
            pins: Mutex::default(),
        })
    }

    /// Changes what may be changed while it is open.
    pub fn set(&self, versioning: bool, max_size: u64) {
        self.versioning.store(versioning, Ordering::Release);
        self.room.set_max_size(max_size);
    }

    /// Whether former versions are kept.
    pub fn keeps_versions(&self) -> bool {
        self.versioning.load(Ordering::Acquire)
    }

    /// How much it holds, in bytes, as [`Limits::max_size`] counts.
    pub fn used(&self) -> u64 {
        self.room.used()
    }

    fn pins(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self, bytes: u64) -> Result<(), BucketError> {
        self.room.take(bytes)
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.room.release(bytes);
    }

    /// Puts an object in its place. Blocks.
    pub(crate) fn put(
        &self,
        key: &str,
        headers: Headers,
        content: Content,
        condition: &Condition,
        now: i64,
    ) -> Result<Entry, BucketError> {
        self.take(OVERHEAD)?;
        let entry = Entry {
            version: self.keeps_versions().then(new_version),
            marker: false,
            size: content.piece.size,
            tag: content.tag.clone(),
            modified: now,
            headers,
            pieces: vec![content.piece],
        };
        let done = self.index.write(|transaction| {
            content.store(transaction)?;
            replace(transaction, key, &entry, condition)
        });
        self.settle(done, OVERHEAD, [content]).map(|()| entry)
    }

    /// After a write to the index: gives the room back of what was replaced, or of what was not written.
    pub(crate) fn settle(
        &self,
        done: Result<Vec<Entry>, BucketError>,
        taken: u64,
        contents: impl IntoIterator<Item = Content>,
    ) -> Result<(), BucketError> {
        match done {
            Ok(replaced) => {
                contents.into_iter().for_each(Content::keep);
                self.removed(&replaced);
                Ok(())
            }
            Err(error) => {
                // Whether a commit that failed on disk has happened shows when the index is opened again: the files stay until then.
                if matches!(error, BucketError::Index(_) | BucketError::DiskFull) {
                    contents.into_iter().for_each(Content::keep);
                }
                self.release(taken);
                Err(error)
            }
        }
    }

    /// Removes the files of what the index no longer has.
    pub(crate) fn removed(&self, entries: &[Entry]) {
        for entry in entries {
            self.release(entry.cost());
            self.remove_pieces(&entry.pieces);
        }
    }

    pub(crate) fn remove_pieces(&self, pieces: &[Piece]) {
        let mut pins = self.pins();
        for piece in pieces.iter().filter(|piece| !piece.small) {
            if pins.readers.contains_key(&piece.id) {
                pins.doomed.insert(piece.id);
            } else {
                self.room.files.remove(piece.id);
            }
        }
    }

    /// Looks an object up and keeps its files until [`Store::unpin`]. Blocks.
    pub(crate) fn pin(&self, key: &str, version: Option<&str>) -> Result<Entry, BucketError> {
        // What is found is pinned before anybody who removes it gets to its files.
        let mut pins = self.pins();
        let entry = self.find(key, version)?;
        for piece in &entry.pieces {
            *pins.readers.entry(piece.id).or_default() += 1;
        }
        Ok(entry)
    }

    pub(crate) fn unpin(&self, pieces: &[Piece]) {
        let mut pins = self.pins();
        for piece in pieces {
            let Some(readers) = pins.readers.get_mut(&piece.id) else { continue };
            *readers -= 1;
            if *readers == 0 {
                pins.readers.remove(&piece.id);
                if pins.doomed.remove(&piece.id) {
                    self.room.files.remove(piece.id);
                }
            }
        }
    }

    /// A version of an object, or the newest. Blocks.
    pub(crate) fn find(&self, key: &str, version: Option<&str>) -> Result<Entry, BucketError> {
        self.index.read(|transaction| {
            let table = transaction.open_table(OBJECTS).map_err(BucketError::index)?;
            let Some(version) = version else {
                return index::newest(&table, key)?.filter(|entry| !entry.marker).ok_or(BucketError::NoSuchKey);
            };
            let mut all = index::versions(&table, key)?.into_iter().map(|(_, entry)| entry);
            let found = all.find(|entry| entry.version_text() == version).ok_or(BucketError::NoSuchVersion)?;
            if found.marker { Err(BucketError::IsMarker) } else { Ok(found) }
        })
    }

    /// Deletes an object, or one version of it. What isn't there is deleted already. Blocks.
    pub(crate) fn delete(
        &self,
        key: &str,
        version: Option<&str>,
        condition: &Condition,
        now: i64,
    ) -> Result<Deleted, BucketError> {
        let versioning = self.keeps_versions();
        let (deleted, gone) = self.index.write(|transaction| {
            let mut table = transaction.open_table(OBJECTS).map_err(BucketError::index)?;
            let all = index::versions(&table, key)?;
            condition.check(all.first().map(|(_, entry)| entry))?;
            let goes = |entry: &Entry| match version {
                Some(version) => entry.version_text() == version,
                None => !versioning && entry.version.is_none(),
            };
            let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, entry)| goes(entry));
            for (place, entry) in &gone {
                table.remove(place.as_slice()).map_err(BucketError::index)?;
                remove_small(transaction, &entry.pieces)?;
            }
            let gone: Vec<Entry> = gone.into_iter().map(|(_, entry)| entry).collect();
            let mut deleted =
                Deleted { version: version.map(str::to_owned), marker: gone.first().is_some_and(|entry| entry.marker) };
            if version.is_none() {
                deleted = Deleted::default();
                let newest = kept.first().map(|(_, entry)| entry);
                // A second mark would say nothing that the first doesn't.
                if newest.is_some_and(|newest| !newest.marker) {
                    let marker = Entry {
                        version: versioning.then(new_version),
                        marker: true,
                        size: 0,
                        tag: String::new(),
                        modified: now,
                        headers: Headers::default(),
                        pieces: Vec::new(),
                    };
                    let place = index::object_place(key, index::next_sequence(transaction)?);
                    table.insert(place.as_slice(), index::written(&marker)?.as_slice()).map_err(BucketError::index)?;
                    self.room.add(marker.cost());
                    deleted = Deleted { version: Some(marker.version_text().to_owned()), marker: true };
                } else if newest.is_some() {
                    deleted = Deleted { version: newest.map(|entry| entry.version_text().to_owned()), marker: true };
                }
            }
            Ok((deleted, gone))
        })?;
        self.removed(&gone);
        Ok(deleted)
    }
}

/// Puts an entry in the place of the newest. Returns what has gone for it.
pub(crate) fn replace(
    transaction: &WriteTransaction,
    key: &str,
    entry: &Entry,
    condition: &Condition,
) -> Result<Vec<Entry>, BucketError> {
    let mut table = transaction.open_table(OBJECTS).map_err(BucketError::index)?;
    let all = index::versions(&table, key)?;
    condition.check(all.first().map(|(_, entry)| entry))?;
    let mut gone = Vec::new();
    // The one without a version gives way to another one without.
    for (place, former) in all.into_iter().filter(|(_, former)| entry.version.is_none() && former.version.is_none()) {
        table.remove(place.as_slice()).map_err(BucketError::index)?;
        remove_small(transaction, &former.pieces)?;
        gone.push(former);
    }
    let place = index::object_place(key, index::next_sequence(transaction)?);
    table.insert(place.as_slice(), index::written(entry)?.as_slice()).map_err(BucketError::index)?;
    Ok(gone)
}

pub(crate) fn remove_small(transaction: &WriteTransaction, pieces: &[Piece]) -> Result<(), BucketError> {
    let mut small = transaction.open_table(SMALL).map_err(BucketError::index)?;
    for piece in pieces.iter().filter(|piece| piece.small) {
        small.remove(piece.id.as_u128()).map_err(BucketError::index)?;
    }
    Ok(())
}

pub(crate) fn new_version() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Whether a key may be one.
pub(crate) fn check_key(key: &str) -> Result<(), BucketError> {
    if key.is_empty() || key.len() > LONGEST_KEY || key.contains('\0') { Err(BucketError::Key) } else { Ok(()) }
}

/// The files that the index refers to, and what all counts for.
fn inventory(index: &Index) -> Result<(BTreeSet<Uuid>, u64), BucketError> {
    index.read(|transaction| {
        let (mut kept, mut used) = (BTreeSet::new(), 0_u64);
        let objects = transaction.open_table(OBJECTS).map_err(BucketError::index)?;
        for pair in objects.iter().map_err(BucketError::index)? {
            let entry: Entry = index::read(pair.map_err(BucketError::index)?.1.value())?;
            used = used.saturating_add(entry.cost());
            kept.extend(entry.pieces.iter().filter(|piece| !piece.small).map(|piece| piece.id));
        }
        let parts = transaction.open_table(PARTS).map_err(BucketError::index)?;
        for pair in parts.iter().map_err(BucketError::index)? {
            let part: Part = index::read(pair.map_err(BucketError::index)?.1.value())?;
            used = used.saturating_add(part.piece.size).saturating_add(OVERHEAD);
            kept.extend((!part.piece.small).then_some(part.piece.id));
        }
        let uploads = transaction.open_table(UPLOADS).map_err(BucketError::index)?;
        for pair in uploads.iter().map_err(BucketError::index)? {
            pair.map_err(BucketError::index)?;
            used = used.saturating_add(OVERHEAD);
        }
        Ok((kept, used))
    })
}
