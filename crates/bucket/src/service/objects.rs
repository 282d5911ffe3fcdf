//! Objects: reading, writing, copying and deleting.

use std::ops;

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, MetadataDirective, PutObjectInput, PutObjectOutput, Range, StreamingBlob,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response};

use super::convert::{Digests, bounded, condition, encoding, flushed, matches, metadata, receive, seconds, tag, time};
use super::{Answer, Service, now};
use crate::error::BucketError;
use crate::index::{Entry, Headers};
use crate::reading::Pinned;
use crate::store::{Condition, check_key};
use crate::writing::{Content, Draft};

/// The most keys of one request to delete, as in S3.
const MOST_DELETED: usize = 1000;

/// What a reader has already, or wants it to be.
struct Wanted<'a> {
    if_match: Option<&'a s3s::dto::ETagCondition>,
    if_none: Option<&'a s3s::dto::ETagCondition>,
    modified_since: Option<&'a s3s::dto::Timestamp>,
    unmodified_since: Option<&'a s3s::dto::Timestamp>,
}

impl Wanted<'_> {
    fn check(&self, entry: &Entry) -> Result<(), BucketError> {
        let modified = entry.modified.div_euclid(1000);
        if self.if_match.is_some_and(|condition| !matches(condition, &entry.tag)) {
            return Err(BucketError::Precondition("If-Match"));
        }
        if self.if_match.is_none() && self.unmodified_since.is_some_and(|since| modified > seconds(since)) {
            return Err(BucketError::Precondition("If-Unmodified-Since"));
        }
        if self.if_none.is_some_and(|condition| matches(condition, &entry.tag)) {
            return Err(BucketError::NotModified);
        }
        if self.if_none.is_none() && self.modified_since.is_some_and(|since| modified <= seconds(since)) {
            return Err(BucketError::NotModified);
        }
        Ok(())
    }
}

/// The bytes of a range, and what is said of it.
fn part_of(range: Option<&Range>, size: u64) -> Result<(ops::Range<u64>, Option<String>), BucketError> {
    let Some(range) = range else { return Ok((0..size, None)) };
    let found = range.check(size).map_err(|_| BucketError::Range(size))?;
    let said = format!("bytes {}-{}/{size}", found.start, found.end.saturating_sub(1));
    Ok((found, Some(said)))
}

fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Service {
    pub(super) async fn get(&self, input: GetObjectInput) -> Answer<GetObjectOutput> {
        self.check_bucket(&input.bucket)?;
        if input.part_number.is_some() {
            return Err(S3Error::with_message(S3ErrorCode::NotImplemented, "objects aren't read by part"));
        }
        let pinned = self.pinned(input.key.clone(), input.version_id.clone()).await?;
        let (pinned, entry) = pinned;
        Wanted {
            if_match: input.if_match.as_ref(),
            if_none: input.if_none_match.as_ref(),
            modified_since: input.if_modified_since.as_ref(),
            unmodified_since: input.if_unmodified_since.as_ref(),
        }
        .check(&entry)?;
        let (range, content_range) = part_of(input.range.as_ref(), entry.size)?;
        let Headers { content_type, cache_control, disposition, encoding, language, expires, metadata } = entry.headers;
        let content_length = Some(length(range.end - range.start));
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::wrap(pinned.stream(range))),
            content_length,
            content_range,
            content_type: input.response_content_type.or(content_type),
            cache_control: input.response_cache_control.or(cache_control),
            content_disposition: input.response_content_disposition.or(disposition),
            content_encoding: input.response_content_encoding.or(encoding),
            content_language: input.response_content_language.or(language),
            expires: input.response_expires.or(expires.map(|seconds| time(seconds.saturating_mul(1000)))),
            e_tag: Some(tag(&entry.tag)),
            last_modified: Some(time(entry.modified)),
            metadata: (!metadata.is_empty()).then(|| metadata.into_iter().collect()),
            version_id: entry.version,
            ..Default::default()
        }))
    }

    pub(super) async fn head(&self, input: HeadObjectInput) -> Answer<HeadObjectOutput> {
        self.check_bucket(&input.bucket)?;
        let HeadObjectInput { key, version_id, .. } = input;
        let entry = self.blocking(move |store| store.find(&key, version_id.as_deref())).await?;
        Wanted {
            if_match: input.if_match.as_ref(),
            if_none: input.if_none_match.as_ref(),
            modified_since: input.if_modified_since.as_ref(),
            unmodified_since: input.if_unmodified_since.as_ref(),
        }
        .check(&entry)?;
        let (range, content_range) = part_of(input.range.as_ref(), entry.size)?;
        let Headers { content_type, cache_control, disposition, encoding, language, expires, metadata } = entry.headers;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(range.end - range.start)),
            content_range,
            content_type,
            cache_control,
            content_disposition: disposition,
            content_encoding: encoding,
            content_language: language,
            expires: expires.map(|seconds| time(seconds.saturating_mul(1000))),
            e_tag: Some(tag(&entry.tag)),
            last_modified: Some(time(entry.modified)),
            metadata: (!metadata.is_empty()).then(|| metadata.into_iter().collect()),
            version_id: entry.version,
            ..Default::default()
        }))
    }

    /// Looks an object up, with files that stay.
    async fn pinned(&self, key: String, version: Option<String>) -> Result<(Pinned, Entry), BucketError> {
        let pinning = move |store: &std::sync::Arc<crate::store::Store>| {
            let entry = store.pin(&key, version.as_deref())?;
            Ok((Pinned { store: store.clone(), pieces: entry.pieces.clone() }, entry))
        };
        self.blocking(pinning).await
    }

    pub(super) async fn put(&self, mut request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        self.check_bucket(&request.input.bucket)?;
        check_key(&request.input.key)?;
        if request.input.write_offset_bytes.is_some() {
            return Err(S3Error::with_message(S3ErrorCode::NotImplemented, "nothing is appended to objects"));
        }
        let condition = condition(request.input.if_match.as_ref(), request.input.if_none_match.as_ref())?;
        let body = request.input.body.take();
        let input = &request.input;
        let headers = bounded(Headers {
            content_type: input.content_type.clone(),
            cache_control: input.cache_control.clone(),
            disposition: input.content_disposition.clone(),
            encoding: encoding(input.content_encoding.clone()),
            language: input.content_language.clone(),
            expires: input.expires.as_ref().map(seconds),
            metadata: metadata(input.metadata.clone()),
        })?;
        let mut digests = Digests {
            md5: input.content_md5.clone(),
            crc32: input.checksum_crc32.clone(),
            crc32c: input.checksum_crc32c.clone(),
            crc64nvme: input.checksum_crc64nvme.clone(),
            sha1: input.checksum_sha1.clone(),
            sha256: input.checksum_sha256.clone(),
        };
        let content = receive(&self.store, &request, body, input.content_length, &mut digests).await?;
        let key = input.key.clone();
        let entry = self.blocking(move |store| store.put(&key, headers, content, &condition, now())).await?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(tag(&entry.tag)),
            version_id: entry.version,
            checksum_crc32: digests.crc32,
            checksum_crc32c: digests.crc32c,
            checksum_crc64nvme: digests.crc64nvme,
            checksum_sha1: digests.sha1,
            checksum_sha256: digests.sha256,
            ..Default::default()
        }))
    }

    /// What is copied from, which is always this bucket.
    pub(super) async fn source(&self, source: &CopySource) -> Result<(Pinned, Entry), S3Error> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(S3ErrorCode::NoSuchBucket.into());
        };
        self.check_bucket(bucket)?;
        Ok(self.pinned(key.to_string(), version_id.as_ref().map(ToString::to_string)).await?)
    }

    /// The same bytes once more.
    pub(super) async fn copied(&self, from: Pinned, range: ops::Range<u64>) -> Result<Content, BucketError> {
        let mut draft = Draft::new(&self.store.room);
        let (mut at, mut from) = (range.start, from);
        while at < range.end {
            let reading = move || {
                let bytes = from.next(at, range.end)?;
                draft.add(&bytes)?;
                Ok((draft, from, at + bytes.len() as u64))
            };
            (draft, from, at) = tokio::task::spawn_blocking(reading).await.unwrap_or(Err(BucketError::Closed))?;
            if draft.is_due() {
                draft = flushed(draft).await?;
            }
        }
        tokio::task::spawn_blocking(move || draft.finish()).await.unwrap_or(Err(BucketError::Closed))
    }

    pub(super) async fn copy(&self, input: CopyObjectInput) -> Answer<CopyObjectOutput> {
        self.check_bucket(&input.bucket)?;
        check_key(&input.key)?;
        let (pinned, entry) = self.source(&input.copy_source).await?;
        let wanted = Wanted {
            if_match: input.copy_source_if_match.as_ref(),
            if_none: input.copy_source_if_none_match.as_ref(),
            modified_since: input.copy_source_if_modified_since.as_ref(),
            unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
        };
        // Nobody has a copy that hasn't been made.
        wanted.check(&entry).map_err(|error| match error {
            BucketError::NotModified => BucketError::Precondition("of the source"),
            other => other,
        })?;
        let replaces = input.metadata_directive.as_ref().is_some_and(|one| one.as_str() == MetadataDirective::REPLACE);
        let headers = if replaces {
            bounded(Headers {
                content_type: input.content_type,
                cache_control: input.cache_control,
                disposition: input.content_disposition,
                encoding: encoding(input.content_encoding),
                language: input.content_language,
                expires: input.expires.as_ref().map(seconds),
                metadata: metadata(input.metadata),
            })?
        } else {
            entry.headers
        };
        let content = self.copied(pinned, 0..entry.size).await?;
        let key = input.key;
        let made = self.blocking(move |store| store.put(&key, headers, content, &Condition::default(), now())).await?;
        let result = CopyObjectResult {
            e_tag: Some(tag(&made.tag)),
            last_modified: Some(time(made.modified)),
            ..Default::default()
        };
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: entry.version,
            version_id: made.version,
            ..Default::default()
        }))
    }

    pub(super) async fn delete(&self, input: DeleteObjectInput) -> Answer<DeleteObjectOutput> {
        self.check_bucket(&input.bucket)?;
        let condition = condition(input.if_match.as_ref(), None)?;
        let DeleteObjectInput { key, version_id, .. } = input;
        let deleted = self.blocking(move |store| store.delete(&key, version_id.as_deref(), &condition, now())).await?;
        Ok(S3Response::new(DeleteObjectOutput {
            delete_marker: deleted.marker.then_some(true),
            version_id: deleted.version,
            ..Default::default()
        }))
    }

    pub(super) async fn delete_many(&self, input: DeleteObjectsInput) -> Answer<DeleteObjectsOutput> {
        self.check_bucket(&input.bucket)?;
        let objects = input.delete.objects;
        if objects.len() > MOST_DELETED {
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, "a request deletes at most 1000 objects"));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in objects {
            let (key, version) = (object.key.clone(), object.version_id.clone());
            let condition = Condition { tag: object.e_tag.map(|tag| tag.value().to_owned()), ..Condition::default() };
            match self.blocking(move |store| store.delete(&key, version.as_deref(), &condition, now())).await {
                Ok(done) => deleted.push(DeletedObject {
                    delete_marker: done.marker.then_some(true),
                    delete_marker_version_id: done.marker.then_some(done.version).flatten(),
                    key: Some(object.key),
                    version_id: object.version_id,
                }),
                Err(error) => {
                    let error = S3Error::from(error);
                    errors.push(s3s::dto::Error {
                        code: Some(error.code().as_str().to_owned()),
                        key: Some(object.key),
                        message: error.message().map(str::to_owned),
                        version_id: object.version_id,
                    });
                }
            }
        }
        let deleted = if input.delete.quiet == Some(true) { Vec::new() } else { deleted };
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..Default::default() }))
    }
}
