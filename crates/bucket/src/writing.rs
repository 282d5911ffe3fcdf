//! Contents on their way in: to memory as long as they are small, else to a file that nothing refers to yet.

use std::io::Write as _;
use std::sync::Arc;

use md5::{Digest as _, Md5};
use redb::WriteTransaction;
use uuid::Uuid;

use crate::error::BucketError;
use crate::index::{Piece, SMALL};
use crate::room::Room;

/// The largest contents that the index holds itself, in bytes.
pub(crate) const SMALLEST_FILE: usize = 16 << 10;
/// What is collected before it is written, in bytes.
pub(crate) const BUFFER: usize = 1 << 20;
/// The largest body of one request, in bytes, as in S3.
const LARGEST: u64 = 5 << 30;

/// Contents that are being received. Dropped, they leave nothing behind.
pub(crate) struct Draft {
    room: Arc<Room>,
    id: Uuid,
    file: Option<std::fs::File>,
    held: Vec<u8>,
    size: u64,
    hash: Md5,
    kept: bool,
}

/// Contents that are there as a whole, and that nothing refers to yet. Dropped, they go.
pub(crate) struct Content {
    draft: Draft,
    pub(crate) piece: Piece,
    /// MD5 in hexadecimal digits.
    pub(crate) tag: String,
}

impl Draft {
    pub(crate) fn new(room: &Arc<Room>) -> Self {
        Self {
            room: Arc::clone(room),
            id: Uuid::new_v4(),
            file: None,
            held: Vec::new(),
            size: 0,
            hash: Md5::new(),
            kept: false,
        }
    }

    /// Whether [`Draft::flush`] has something to do.
    pub(crate) fn is_due(&self) -> bool {
        self.held.len() >= BUFFER
    }

    /// Adds bytes, in memory.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), BucketError> {
        let more = bytes.len() as u64;
        if self.size.saturating_add(more) > LARGEST {
            return Err(BucketError::TooLarge);
        }
        self.room.take(more)?;
        self.size += more;
        self.hash.update(bytes);
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes what is held to the file. Blocks.
    pub(crate) fn flush(&mut self) -> Result<(), BucketError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.room.files.create(self.id).map_err(BucketError::file)?),
        };
        file.write_all(&self.held).map_err(BucketError::file)?;
        self.held.clear();
        Ok(())
    }

    /// Makes sure that it outlasts a power failure. Blocks.
    pub(crate) fn finish(mut self) -> Result<Content, BucketError> {
        let small = self.file.is_none() && self.held.len() < SMALLEST_FILE;
        if !small {
            self.flush()?;
        }
        if let Some(file) = self.file.take() {
            self.room.files.sync(self.id, &file).map_err(BucketError::file)?;
        }
        let tag = hex::encode(std::mem::take(&mut self.hash).finalize());
        Ok(Content { piece: Piece { id: self.id, size: self.size, small }, tag, draft: self })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            self.room.release(self.size);
            self.room.files.remove(self.id);
        }
    }
}

impl Content {
    /// Writes it to the index, if that is where it belongs.
    pub(crate) fn store(&self, transaction: &WriteTransaction) -> Result<(), BucketError> {
        if !self.piece.small {
            return Ok(());
        }
        let mut small = transaction.open_table(SMALL).map_err(BucketError::index)?;
        small.insert(self.piece.id.as_u128(), self.draft.held.as_slice()).map(drop).map_err(BucketError::index)
    }

    /// The index refers to it.
    pub(crate) fn keep(mut self) {
        self.draft.kept = true;
    }
}
