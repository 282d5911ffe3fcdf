//! Uploads in parts.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CopyPartResult, CreateMultipartUploadInput, CreateMultipartUploadOutput, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Part, Range, UploadPartCopyInput,
    UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response};

use super::convert::{Digests, bounded, condition, encoded, encoding, metadata, receive, seconds, tag, time, upload};
use super::{Answer, Service, now};
use crate::error::BucketError;
use crate::index::Headers;
use crate::store::check_key;

/// The most of anything in one listing, as in S3.
const MOST: i32 = 1000;
/// The highest number of a part, as in S3.
const HIGHEST: i32 = 10_000;

fn number(number: i32) -> Result<u16, S3Error> {
    let valid = (1..=HIGHEST).contains(&number).then(|| u16::try_from(number).ok()).flatten();
    valid.ok_or_else(|| S3Error::with_message(S3ErrorCode::InvalidArgument, "part numbers are 1 to 10000"))
}

pub(super) fn most(asked: Option<i32>) -> usize {
    usize::try_from(asked.unwrap_or(MOST).clamp(0, MOST)).unwrap_or_default()
}

impl Service {
    pub(super) async fn begin(&self, input: CreateMultipartUploadInput) -> Answer<CreateMultipartUploadOutput> {
        self.check_bucket(&input.bucket)?;
        check_key(&input.key)?;
        let headers = bounded(Headers {
            content_type: input.content_type,
            cache_control: input.cache_control,
            disposition: input.content_disposition,
            encoding: encoding(input.content_encoding),
            language: input.content_language,
            expires: input.expires.as_ref().map(seconds),
            metadata: metadata(input.metadata),
        })?;
        let key = input.key.clone();
        let begun = self.blocking(move |store| store.begin(&key, headers, now())).await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(begun.simple().to_string()),
            ..Default::default()
        }))
    }

    pub(super) async fn part(&self, mut request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        self.check_bucket(&request.input.bucket)?;
        let (number, id) = (number(request.input.part_number)?, upload(&request.input.upload_id)?);
        // Before all of a body is received that belongs to nothing.
        let key = request.input.key.clone();
        self.blocking(move |store| store.list_parts(&key, id, u16::MAX, 0)).await?;
        let body = request.input.body.take();
        let input = &request.input;
        let mut digests = Digests {
            md5: input.content_md5.clone(),
            crc32: input.checksum_crc32.clone(),
            crc32c: input.checksum_crc32c.clone(),
            crc64nvme: input.checksum_crc64nvme.clone(),
            sha1: input.checksum_sha1.clone(),
            sha256: input.checksum_sha256.clone(),
        };
        let content = receive(&self.store, &request, body, input.content_length, &mut digests).await?;
        let (key, made) = (input.key.clone(), content.tag.clone());
        self.blocking(move |store| store.add_part(&key, id, number, content, now())).await?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(tag(&made)),
            checksum_crc32: digests.crc32,
            checksum_crc32c: digests.crc32c,
            checksum_crc64nvme: digests.crc64nvme,
            checksum_sha1: digests.sha1,
            checksum_sha256: digests.sha256,
            ..Default::default()
        }))
    }

    pub(super) async fn part_copy(&self, input: UploadPartCopyInput) -> Answer<UploadPartCopyOutput> {
        self.check_bucket(&input.bucket)?;
        let (number, id) = (number(input.part_number)?, upload(&input.upload_id)?);
        let (pinned, entry) = self.source(&input.copy_source).await?;
        let range = match &input.copy_source_range {
            None => 0..entry.size,
            Some(text) => {
                let range = Range::parse(text).map_err(|_| BucketError::Range(entry.size))?;
                range.check(entry.size).map_err(|_| BucketError::Range(entry.size))?
            }
        };
        let content = self.copied(pinned, range).await?;
        let (key, made) = (input.key, content.tag.clone());
        let at = now();
        self.blocking(move |store| store.add_part(&key, id, number, content, at)).await?;
        let result = CopyPartResult { e_tag: Some(tag(&made)), last_modified: Some(time(at)), ..Default::default() };
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: entry.version,
            ..Default::default()
        }))
    }

    pub(super) async fn complete(&self, input: CompleteMultipartUploadInput) -> Answer<CompleteMultipartUploadOutput> {
        self.check_bucket(&input.bucket)?;
        let condition = condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let id = upload(&input.upload_id)?;
        let mut wanted = Vec::new();
        for part in input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default() {
            let number = number(part.part_number.unwrap_or_default())?;
            let tag = part.e_tag.ok_or(BucketError::InvalidPart(number))?;
            wanted.push((number, tag.value().to_owned()));
        }
        let key = input.key.clone();
        let entry = self.blocking(move |store| store.complete(&key, id, &wanted, &condition, now())).await?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, encoded(&input.key, true))),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(tag(&entry.tag)),
            version_id: entry.version,
            ..Default::default()
        }))
    }

    pub(super) async fn abort(&self, input: AbortMultipartUploadInput) -> Answer<AbortMultipartUploadOutput> {
        self.check_bucket(&input.bucket)?;
        let (key, id) = (input.key, upload(&input.upload_id)?);
        self.blocking(move |store| store.abort(&key, id)).await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) async fn parts(&self, input: ListPartsInput) -> Answer<ListPartsOutput> {
        self.check_bucket(&input.bucket)?;
        let (key, id, most) = (input.key.clone(), upload(&input.upload_id)?, most(input.max_parts));
        let after = u16::try_from(input.part_number_marker.unwrap_or_default().max(0)).unwrap_or(u16::MAX);
        let (found, more) = self.blocking(move |store| store.list_parts(&key, id, after, most)).await?;
        let part = |(number, part): &(u16, crate::index::Part)| Part {
            e_tag: Some(tag(&part.tag)),
            last_modified: Some(time(part.modified)),
            part_number: Some(i32::from(*number)),
            size: i64::try_from(part.piece.size).ok(),
            ..Default::default()
        };
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(more),
            max_parts: i32::try_from(most).ok(),
            part_number_marker: Some(i32::from(after)),
            next_part_number_marker: found.last().filter(|_| more).map(|(number, _)| i32::from(*number)),
            parts: Some(found.iter().map(part).collect()),
            ..Default::default()
        }))
    }

    pub(super) async fn uploads(&self, input: ListMultipartUploadsInput) -> Answer<ListMultipartUploadsOutput> {
        self.check_bucket(&input.bucket)?;
        if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(S3Error::with_message(S3ErrorCode::NotImplemented, "uploads aren't listed by folder"));
        }
        let url = input.encoding_type.is_some();
        let (prefix, marker, most) = (input.prefix.clone(), input.key_marker.clone(), most(input.max_uploads));
        let after = input.upload_id_marker.as_deref().map(upload).transpose()?;
        let listing = move |store: &std::sync::Arc<crate::store::Store>| {
            let after = marker.as_deref().map(|key| (key, after));
            store.list_uploads(prefix.as_deref().unwrap_or_default(), after, most)
        };
        let (found, more) = self.blocking(listing).await?;
        let last = found.last().filter(|_| more);
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            is_truncated: Some(more),
            max_uploads: i32::try_from(most).ok(),
            next_key_marker: last.map(|(key, _, _)| encoded(key, url)),
            next_upload_id_marker: last.map(|(_, id, _)| id.simple().to_string()),
            uploads: Some(
                found
                    .iter()
                    .map(|(key, id, record)| MultipartUpload {
                        key: Some(encoded(key, url)),
                        upload_id: Some(id.simple().to_string()),
                        initiated: Some(time(record.begun)),
                        ..Default::default()
                    })
                    .collect(),
            ),
            prefix: input.prefix.map(|prefix| encoded(&prefix, url)),
            key_marker: input.key_marker.map(|key| encoded(&key, url)),
            upload_id_marker: input.upload_id_marker,
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }
}
