//! The index: which objects there are. A file of redb, whose transactions are whole or haven't happened.
//!
//! ```text
//! objects   key 0 (2^64-1 - sequence)   → Entry    newest version of a key first; no key has a 0 in it
//! small     id of a piece               → its bytes
//! uploads   key 0 upload                → Upload
//! parts     upload, number              → Part
//! counters  "sequence"                  → the last one that was given
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::BucketError;

pub(crate) const OBJECTS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("objects");
pub(crate) const SMALL: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("small");
pub(crate) const UPLOADS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("uploads");
pub(crate) const PARTS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("parts");
const COUNTERS: TableDefinition<'static, &str, u64> = TableDefinition::new("counters");

/// Pages of the index that are kept in memory, in bytes.
const CACHE: usize = 8 << 20;
/// What an entry takes beside its contents, as it is counted, in bytes: else a bucket could be filled with nothing for ever.
pub(crate) const OVERHEAD: u64 = 1 << 10;

/// A version of an object, or the mark that it was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// `None` for the one version of an object in a bucket without versions: S3 calls it `null`.
    pub(crate) version: Option<String>,
    pub(crate) marker: bool,
    pub(crate) size: u64,
    /// MD5 in hexadecimal digits; of an upload in parts that of their digests, and their number.
    pub(crate) tag: String,
    /// Milliseconds since 1970.
    pub(crate) modified: i64,
    pub(crate) headers: Headers,
    pub(crate) pieces: Vec<Piece>,
}

/// The fields that are handed out with an object as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) disposition: Option<String>,
    pub(crate) encoding: Option<String>,
    pub(crate) language: Option<String>,
    /// Seconds since 1970.
    pub(crate) expires: Option<i64>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Contents of an object that stand together: the whole, or a part of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) id: Uuid,
    pub(crate) size: u64,
    /// Whether it is in the index itself.
    pub(crate) small: bool,
}

/// An upload in parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// Milliseconds since 1970.
    pub(crate) begun: i64,
    pub(crate) headers: Headers,
}

/// A part of an upload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) piece: Piece,
    /// MD5 in hexadecimal digits.
    pub(crate) tag: String,
    /// Milliseconds since 1970.
    pub(crate) modified: i64,
}

impl Entry {
    /// What it counts for.
    pub(crate) fn cost(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.size).sum::<u64>().saturating_add(OVERHEAD)
    }

    pub(crate) fn version_text(&self) -> &str {
        self.version.as_deref().unwrap_or("null")
    }
}

/// The index of one bucket.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    database: RwLock<Option<Database>>,
}

impl Index {
    pub(crate) fn open(path: PathBuf) -> Result<Self, BucketError> {
        let database = create(&path)?;
        let index = Self { path, database: RwLock::new(Some(database)) };
        // So that readers find them.
        index.write(|transaction| {
            for table in [OBJECTS, UPLOADS, PARTS] {
                transaction.open_table(table).map_err(BucketError::index)?;
            }
            transaction.open_table(SMALL).map_err(BucketError::index)?;
            transaction.open_table(COUNTERS).map(drop).map_err(BucketError::index)
        })?;
        Ok(index)
    }

    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, BucketError>,
    ) -> Result<T, BucketError> {
        let done = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let database = database.as_ref().ok_or(BucketError::Closed)?;
            database.begin_read().map_err(BucketError::index).and_then(|transaction| work(&transaction))
        };
        self.mended(done)
    }

    /// Makes all changes of `work`, or none if it fails.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, BucketError>,
    ) -> Result<T, BucketError> {
        let done = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let database = database.as_ref().ok_or(BucketError::Closed)?;
            let transaction = database.begin_write().map_err(BucketError::index);
            transaction.and_then(|transaction| match work(&transaction) {
                Ok(value) => transaction.commit().map_err(BucketError::index).map(|()| value),
                Err(error) => {
                    let _ = transaction.abort();
                    Err(error)
                }
            })
        };
        self.mended(done)
    }

    /// After an error of the disk redb refuses everything until its file is opened anew.
    fn mended<T>(&self, done: Result<T, BucketError>) -> Result<T, BucketError> {
        if matches!(done, Err(BucketError::Index(_) | BucketError::DiskFull | BucketError::Closed)) {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            drop(database.take());
            match create(&self.path) {
                Ok(opened) => *database = Some(opened),
                Err(error) => tracing::error!(%error, "the index of a bucket can't be opened again yet"),
            }
        }
        done
    }
}

fn create(path: &PathBuf) -> Result<Database, BucketError> {
    Database::builder().set_cache_size(CACHE).create(path).map_err(BucketError::index)
}

/// The next number of the order in which versions were made.
pub(crate) fn next_sequence(transaction: &WriteTransaction) -> Result<u64, BucketError> {
    let mut counters = transaction.open_table(COUNTERS).map_err(BucketError::index)?;
    let last = counters.get("sequence").map_err(BucketError::index)?.map_or(0, |found| found.value());
    let next = last.saturating_add(1);
    counters.insert("sequence", next).map_err(BucketError::index)?;
    Ok(next)
}

/// Where a version stands.
pub(crate) fn object_place(key: &str, sequence: u64) -> Vec<u8> {
    let mut place = first_place(key);
    place.extend((u64::MAX - sequence).to_be_bytes());
    place
}

/// Before all versions of a key, and after those of all lesser keys.
pub(crate) fn first_place(key: &str) -> Vec<u8> {
    let mut place = key.as_bytes().to_vec();
    place.push(0);
    place
}

/// After all versions of a key, and before those of all greater ones.
pub(crate) fn after_place(key: &str) -> Vec<u8> {
    let mut place = key.as_bytes().to_vec();
    place.push(1);
    place
}

/// The key whose place this is.
pub(crate) fn key_of(place: &[u8]) -> Option<&str> {
    let end = place.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(place.get(..end)?).ok()
}

/// All versions of a key with their places, the newest first.
pub(crate) fn versions(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &str,
) -> Result<Vec<(Vec<u8>, Entry)>, BucketError> {
    let (from, to) = (first_place(key), after_place(key));
    let range = table.range(from.as_slice()..to.as_slice()).map_err(BucketError::index)?;
    let mut found = Vec::new();
    for pair in range {
        let (place, value) = pair.map_err(BucketError::index)?;
        found.push((place.value().to_vec(), read(value.value())?));
    }
    Ok(found)
}

/// The newest version of a key.
pub(crate) fn newest(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &str,
) -> Result<Option<Entry>, BucketError> {
    let (from, to) = (first_place(key), after_place(key));
    let mut range = table.range(from.as_slice()..to.as_slice()).map_err(BucketError::index)?;
    range.next().transpose().map_err(BucketError::index)?.map(|(_, value)| read(value.value())).transpose()
}

pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BucketError> {
    serde_json::from_slice(bytes).map_err(BucketError::Record)
}

pub(crate) fn written<T: Serialize>(value: &T) -> Result<Vec<u8>, BucketError> {
    serde_json::to_vec(value).map_err(BucketError::Record)
}
