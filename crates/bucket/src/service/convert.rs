//! Between the store's values and the protocol's.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::dto::{ETag, ETagCondition, Metadata, StreamingBlob, Timestamp};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};
use uuid::Uuid;

use crate::error::BucketError;
use crate::index::Headers;
use crate::store::{Condition, Store};
use crate::writing::{Content, Draft};

/// The most metadata of an object, in bytes, as in S3.
const METADATA: usize = 2 << 10;
/// The most of all fields that are kept of an object, in bytes.
const FIELDS: usize = 8 << 10;

pub(super) fn time(milliseconds: i64) -> Timestamp {
    let seconds = u64::try_from(milliseconds.div_euclid(1000)).unwrap_or_default();
    Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

/// Whole seconds since 1970, which is what fields of HTTP have.
pub(super) fn seconds(time: &Timestamp) -> i64 {
    let mut text = Vec::new();
    if time.format(s3s::dto::TimestampFormat::EpochSeconds, &mut text).is_err() {
        return 0;
    }
    String::from_utf8_lossy(&text).split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or_default()
}

pub(super) fn tag(tag: &str) -> ETag {
    ETag::Strong(tag.to_owned())
}

/// What a condition says, without quotes; `*` for any.
fn wanted(condition: &ETagCondition) -> String {
    condition.as_etag().map_or_else(|| "*".to_owned(), |tag| tag.value().to_owned())
}

/// Whether a tag is what a condition says.
pub(super) fn matches(condition: &ETagCondition, tag: &str) -> bool {
    let wanted = wanted(condition);
    wanted == "*" || wanted == tag
}

/// The condition of a write.
///
/// # Errors
/// `If-None-Match` with a tag, which S3 hasn't either.
pub(super) fn condition(if_match: Option<&ETagCondition>, if_none: Option<&ETagCondition>) -> S3Result<Condition> {
    if if_none.is_some_and(|condition| !condition.is_any()) {
        return Err(S3Error::with_message(S3ErrorCode::NotImplemented, "If-None-Match of a write is * or nothing"));
    }
    Ok(Condition { absent: if_none.is_some(), tag: if_match.map(wanted), modified: None })
}

/// What an upload's id says. One that isn't ours is one of no upload.
pub(super) fn upload(id: &str) -> Result<Uuid, BucketError> {
    Uuid::try_parse(id).map_err(|_| BucketError::NoSuchUpload)
}

/// Checks that fields are no larger than they may be.
pub(super) fn bounded(headers: Headers) -> Result<Headers, BucketError> {
    let metadata: usize = headers.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    let Headers { content_type, cache_control, disposition, encoding, language, expires: _, metadata: _ } = &headers;
    let texts = [content_type, cache_control, disposition, encoding, language];
    let fields: usize = texts.into_iter().flatten().map(String::len).sum();
    if metadata > METADATA || fields > FIELDS { Err(BucketError::Metadata) } else { Ok(headers) }
}

pub(super) fn metadata(metadata: Option<Metadata>) -> BTreeMap<String, String> {
    metadata.into_iter().flatten().collect()
}

/// The encoding that says how a body was sent is none that it is kept with.
pub(super) fn encoding(encoding: Option<String>) -> Option<String> {
    let encoding = encoding?;
    let kept: Vec<&str> = encoding.split(',').map(str::trim).filter(|one| *one != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

/// What a client says its body is, in base64.
#[derive(Debug, Clone, Default)]
pub(super) struct Digests {
    pub(super) md5: Option<String>,
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
}

/// Those of a body's digests that came after it.
const TRAILERS: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

impl Digests {
    fn places(&mut self) -> [&mut Option<String>; 5] {
        [&mut self.crc32, &mut self.crc32c, &mut self.crc64nvme, &mut self.sha1, &mut self.sha256]
    }

    /// Which ones have to be made, before the body is read.
    fn hasher<T>(&self, request: &S3Request<T>) -> ChecksumHasher {
        let trailer = request.headers.get("x-amz-trailer").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let has = |digest: &Option<String>, name: &str| {
            digest.is_some() || trailer.split(',').any(|one| one.trim().eq_ignore_ascii_case(name))
        };
        let [crc32, crc32c, crc64nvme, sha1, sha256] = TRAILERS;
        ChecksumHasher {
            crc32: has(&self.crc32, crc32).then(s3s::crypto::Crc32::new),
            crc32c: has(&self.crc32c, crc32c).then(s3s::crypto::Crc32c::new),
            crc64nvme: has(&self.crc64nvme, crc64nvme).then(s3s::crypto::Crc64Nvme::new),
            sha1: has(&self.sha1, sha1).then(s3s::crypto::Sha1::new),
            sha256: has(&self.sha256, sha256).then(s3s::crypto::Sha256::new),
        }
    }
}

/// Receives a body and checks it against what the client says of it.
pub(super) async fn receive<T>(
    store: &Arc<Store>,
    request: &S3Request<T>,
    body: Option<StreamingBlob>,
    length: Option<i64>,
    digests: &mut Digests,
) -> Result<Content, BucketError> {
    let mut hasher = digests.hasher(request);
    let mut draft = Draft::new(&store.room);
    let mut received: i64 = 0;
    if let Some(mut body) = body {
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|error| BucketError::Body(error.to_string()))?;
            received = received.saturating_add_unsigned(bytes.len() as u64);
            hasher.update(&bytes);
            draft.add(&bytes)?;
            if draft.is_due() {
                draft = flushed(draft).await?;
            }
        }
    }
    if length.is_some_and(|length| length != received) {
        return Err(BucketError::Body("it has another length than its header says".to_owned()));
    }
    if let Some(trailers) = request.trailing_headers.as_ref().and_then(s3s::TrailingHeaders::take) {
        for (name, digest) in TRAILERS.into_iter().zip(digests.places()) {
            let trailer = trailers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            *digest = digest.take().or(trailer);
        }
    }
    let made = hasher.finalize();
    let made =
        [made.checksum_crc32, made.checksum_crc32c, made.checksum_crc64nvme, made.checksum_sha1, made.checksum_sha256];
    for ((name, digest), made) in TRAILERS.into_iter().zip(digests.places()).zip(made) {
        if digest.is_some() && *digest != made {
            return Err(BucketError::Digest(name));
        }
    }
    let content = tokio::task::spawn_blocking(move || draft.finish()).await.unwrap_or(Err(BucketError::Closed))?;
    if let Some(md5) = &digests.md5
        && hex::decode(&content.tag).map(|bytes| STANDARD.encode(bytes)).ok().as_ref() != Some(md5)
    {
        return Err(BucketError::Digest("Content-MD5"));
    }
    Ok(content)
}

pub(super) async fn flushed(mut draft: Draft) -> Result<Draft, BucketError> {
    let flushing = tokio::task::spawn_blocking(move || draft.flush().map(|()| draft));
    flushing.await.unwrap_or(Err(BucketError::Closed))
}

/// A text as it stands in an answer whose texts are encoded like URLs.
pub(super) fn encoded(text: &str, url: bool) -> String {
    if !url {
        return text.to_owned();
    }
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
