//! Uploads in parts. The parts become the pieces of the object: completing one moves no byte.

use md5::{Digest as _, Md5};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use uuid::Uuid;

use crate::error::BucketError;
use crate::index::{self, Entry, Headers, OVERHEAD, PARTS, Part, Piece, UPLOADS, Upload};
use crate::store::{Condition, Store, new_version, remove_small, replace};
use crate::writing::Content;

/// The least size of a part that isn't the last, in bytes, as in S3.
const LEAST_PART: u64 = 5 << 20;

/// An upload's place in the index.
fn place(key: &str, upload: Uuid) -> Vec<u8> {
    let mut place = index::first_place(key);
    place.extend(upload.as_bytes());
    place
}

fn part_place(upload: Uuid, number: u16) -> Vec<u8> {
    let mut place = upload.as_bytes().to_vec();
    place.extend(number.to_be_bytes());
    place
}

/// The parts of an upload by number.
fn parts(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    upload: Uuid,
) -> Result<Vec<(u16, Part)>, BucketError> {
    let (from, to) = (part_place(upload, 0), part_place(upload, u16::MAX));
    let mut found = Vec::new();
    for pair in table.range(from.as_slice()..=to.as_slice()).map_err(BucketError::index)? {
        let (place, value) = pair.map_err(BucketError::index)?;
        let number = place.value().last_chunk().map_or(0, |number| u16::from_be_bytes(*number));
        found.push((number, index::read(value.value())?));
    }
    Ok(found)
}

fn known(transaction: &WriteTransaction, key: &str, upload: Uuid) -> Result<Upload, BucketError> {
    let uploads = transaction.open_table(UPLOADS).map_err(BucketError::index)?;
    let found = uploads.get(place(key, upload).as_slice()).map_err(BucketError::index)?;
    index::read(found.ok_or(BucketError::NoSuchUpload)?.value())
}

/// Takes an upload and its parts out of the index.
fn take(transaction: &WriteTransaction, key: &str, upload: Uuid) -> Result<Vec<(u16, Part)>, BucketError> {
    let mut uploads = transaction.open_table(UPLOADS).map_err(BucketError::index)?;
    uploads.remove(place(key, upload).as_slice()).map_err(BucketError::index)?;
    let mut table = transaction.open_table(PARTS).map_err(BucketError::index)?;
    let all = parts(&table, upload)?;
    for (number, _) in &all {
        table.remove(part_place(upload, *number).as_slice()).map_err(BucketError::index)?;
    }
    Ok(all)
}

impl Store {
    /// Begins an upload. Blocks.
    pub(crate) fn begin(&self, key: &str, headers: Headers, now: i64) -> Result<Uuid, BucketError> {
        self.take(OVERHEAD)?;
        let upload = Uuid::new_v4();
        let done = self.index.write(|transaction| {
            let mut uploads = transaction.open_table(UPLOADS).map_err(BucketError::index)?;
            let record = index::written(&Upload { begun: now, headers })?;
            uploads.insert(place(key, upload).as_slice(), record.as_slice()).map_err(BucketError::index)?;
            Ok(Vec::new())
        });
        self.settle(done, OVERHEAD, []).map(|()| upload)
    }

    /// Adds a part, in the place of another one with its number. Blocks.
    pub(crate) fn add_part(
        &self,
        key: &str,
        upload: Uuid,
        number: u16,
        content: Content,
        now: i64,
    ) -> Result<(), BucketError> {
        self.take(OVERHEAD)?;
        let part = Part { piece: content.piece, tag: content.tag.clone(), modified: now };
        let mut former = None;
        let done = self.index.write(|transaction| {
            known(transaction, key, upload)?;
            content.store(transaction)?;
            let mut table = transaction.open_table(PARTS).map_err(BucketError::index)?;
            let (place, record) = (part_place(upload, number), index::written(&part)?);
            let replaced = table.insert(place.as_slice(), record.as_slice()).map_err(BucketError::index)?;
            former = replaced.map(|replaced| index::read::<Part>(replaced.value())).transpose()?;
            if let Some(former) = &former {
                remove_small(transaction, &[former.piece])?;
            }
            Ok(Vec::new())
        });
        self.settle(done, OVERHEAD, [content])?;
        self.forget_parts(former.as_slice());
        Ok(())
    }

    fn forget_parts<'p>(&self, parts: impl IntoIterator<Item = &'p Part>) {
        for part in parts {
            self.release(part.piece.size.saturating_add(OVERHEAD));
            self.remove_pieces(&[part.piece]);
        }
    }

    /// Makes an object of these parts, with the tags that the client saw. Blocks.
    pub(crate) fn complete(
        &self,
        key: &str,
        upload: Uuid,
        wanted: &[(u16, String)],
        condition: &Condition,
        now: i64,
    ) -> Result<Entry, BucketError> {
        if wanted.is_empty() || !wanted.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(BucketError::PartOrder);
        }
        let versioning = self.keeps_versions();
        let (entry, unused, replaced, parts) = self.index.write(|transaction| {
            let Upload { headers, .. } = known(transaction, key, upload)?;
            let mut all = take(transaction, key, upload)?;
            let parts = all.len() as u64;
            let mut hash = Md5::new();
            let mut pieces: Vec<Piece> = Vec::new();
            for (number, tag) in wanted {
                let found = all.iter().position(|(known, part)| known == number && part.tag == *tag);
                let (_, part) = all.swap_remove(found.ok_or(BucketError::InvalidPart(*number))?);
                hash.update(hex::decode(&part.tag).unwrap_or_default());
                pieces.push(part.piece);
            }
            if pieces.iter().rev().skip(1).any(|piece| piece.size < LEAST_PART) {
                return Err(BucketError::PartTooSmall);
            }
            let entry = Entry {
                version: versioning.then(new_version),
                marker: false,
                size: pieces.iter().map(|piece| piece.size).sum(),
                tag: format!("{}-{}", hex::encode(hash.finalize()), wanted.len()),
                modified: now,
                headers,
                pieces,
            };
            let unused: Vec<Part> = all.into_iter().map(|(_, part)| part).collect();
            let small: Vec<Piece> = unused.iter().map(|part| part.piece).collect();
            remove_small(transaction, &small)?;
            let replaced = replace(transaction, key, &entry, condition)?;
            Ok((entry, unused, replaced, parts))
        })?;
        // The upload's own and those of the parts that were used, but for the one that the object takes.
        self.release((parts - unused.len() as u64).saturating_mul(OVERHEAD));
        self.forget_parts(&unused);
        self.removed(&replaced);
        Ok(entry)
    }

    /// Gives an upload up, with its parts. Blocks.
    pub(crate) fn abort(&self, key: &str, upload: Uuid) -> Result<(), BucketError> {
        let parts = self.index.write(|transaction| {
            known(transaction, key, upload)?;
            let parts = take(transaction, key, upload)?;
            let pieces: Vec<Piece> = parts.iter().map(|(_, part)| part.piece).collect();
            remove_small(transaction, &pieces)?;
            Ok(parts)
        })?;
        self.release(OVERHEAD);
        self.forget_parts(parts.iter().map(|(_, part)| part));
        Ok(())
    }

    /// The parts of an upload that follow a number, at most so many; and whether there are more. Blocks.
    pub(crate) fn list_parts(
        &self,
        key: &str,
        upload: Uuid,
        after: u16,
        most: usize,
    ) -> Result<(Vec<(u16, Part)>, bool), BucketError> {
        self.index.read(|transaction| {
            let uploads = transaction.open_table(UPLOADS).map_err(BucketError::index)?;
            let found = uploads.get(place(key, upload).as_slice()).map_err(BucketError::index)?;
            found.ok_or(BucketError::NoSuchUpload)?;
            let table = transaction.open_table(PARTS).map_err(BucketError::index)?;
            let mut all = parts(&table, upload)?;
            all.retain(|(number, _)| *number > after);
            let more = all.len() > most;
            all.truncate(most);
            Ok((all, more))
        })
    }

    /// The uploads below a prefix that follow a key and an upload, at most so many; and whether there are more. Blocks.
    pub(crate) fn list_uploads(
        &self,
        prefix: &str,
        after: Option<(&str, Option<Uuid>)>,
        most: usize,
    ) -> Result<(Vec<Listed>, bool), BucketError> {
        self.index.read(|transaction| uploads(transaction, prefix, after, most))
    }
}

/// An upload as it is listed: its key, its id, and what is known of it.
pub(crate) type Listed = (String, Uuid, Upload);

fn uploads(
    transaction: &ReadTransaction,
    prefix: &str,
    after: Option<(&str, Option<Uuid>)>,
    most: usize,
) -> Result<(Vec<Listed>, bool), BucketError> {
    let table = transaction.open_table(UPLOADS).map_err(BucketError::index)?;
    let mut from = prefix.as_bytes().to_vec();
    if let Some((key, upload)) = after {
        let after = match upload {
            Some(upload) => [place(key, upload), vec![0]].concat(),
            None => index::after_place(key),
        };
        from = from.max(after);
    }
    let mut found = Vec::new();
    for pair in table.range(from.as_slice()..).map_err(BucketError::index)? {
        let (place, value) = pair.map_err(BucketError::index)?;
        let place = place.value();
        let (Some(key), Some(upload)) = (index::key_of(place), place.last_chunk().copied().map(Uuid::from_bytes))
        else {
            continue;
        };
        if !key.starts_with(prefix) {
            break;
        }
        if found.len() == most {
            return Ok((found, true));
        }
        found.push((key.to_owned(), upload, index::read(value.value())?));
    }
    Ok((found, false))
}
