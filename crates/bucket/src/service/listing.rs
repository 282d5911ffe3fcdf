//! Listings.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::{
    CommonPrefix, DeleteMarkerEntry, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectVersion,
};
use s3s::{S3Error, S3ErrorCode, S3Response};

use super::convert::{encoded, tag, time};
use super::parts::most;
use super::{Answer, Service};
use crate::error::BucketError;
use crate::listing::{Found, Query};

/// What is asked for, in values of its own.
#[derive(Debug, Clone, Default)]
struct Asked {
    prefix: Option<String>,
    delimiter: Option<String>,
    after: Option<String>,
    after_version: Option<String>,
    most: usize,
    all_versions: bool,
}

/// Objects and common prefixes.
fn parted(found: &[Found], url: bool) -> (Vec<Object>, Vec<CommonPrefix>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for one in found {
        match one {
            Found::Version(key, entry, _) => objects.push(Object {
                e_tag: Some(tag(&entry.tag)),
                key: Some(encoded(key, url)),
                last_modified: Some(time(entry.modified)),
                size: i64::try_from(entry.size).ok(),
                storage_class: Some("STANDARD".to_owned().into()),
                ..Default::default()
            }),
            Found::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(encoded(prefix, url)) }),
        }
    }
    (objects, prefixes)
}

impl Service {
    async fn found(&self, asked: Asked) -> Result<(Vec<Found>, bool), BucketError> {
        if asked.most == 0 {
            return Ok((Vec::new(), false));
        }
        let listing = move |store: &std::sync::Arc<crate::store::Store>| {
            store.list(&Query {
                prefix: asked.prefix.as_deref().unwrap_or_default(),
                delimiter: asked.delimiter.as_deref().unwrap_or_default(),
                after: asked.after.as_deref(),
                after_version: asked.after_version.as_deref(),
                most: asked.most,
                all_versions: asked.all_versions,
            })
        };
        self.blocking(listing).await
    }

    pub(super) async fn list(&self, input: ListObjectsInput) -> Answer<ListObjectsOutput> {
        self.check_bucket(&input.bucket)?;
        let (most, url) = (most(input.max_keys), input.encoding_type.is_some());
        let asked = Asked {
            prefix: input.prefix.clone(),
            delimiter: input.delimiter.clone(),
            after: input.marker.clone().filter(|marker| !marker.is_empty()),
            most,
            ..Asked::default()
        };
        let (found, more) = self.found(asked).await?;
        let (contents, prefixes) = parted(&found, url);
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            is_truncated: Some(more),
            max_keys: i32::try_from(most).ok(),
            next_marker: found.last().filter(|_| more).map(|last| encoded(last.marker().0, url)),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            prefix: Some(encoded(&input.prefix.unwrap_or_default(), url)),
            marker: Some(encoded(&input.marker.unwrap_or_default(), url)),
            delimiter: input.delimiter.map(|delimiter| encoded(&delimiter, url)),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    pub(super) async fn list_v2(&self, input: ListObjectsV2Input) -> Answer<ListObjectsV2Output> {
        self.check_bucket(&input.bucket)?;
        let (most, url) = (most(input.max_keys), input.encoding_type.is_some());
        let token = input.continuation_token.as_deref().map(|token| {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok();
            bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
                S3Error::with_message(S3ErrorCode::InvalidArgument, "the continuation token is none of this server's")
            })
        });
        let asked = Asked {
            prefix: input.prefix.clone(),
            delimiter: input.delimiter.clone(),
            after: token.transpose()?.or_else(|| input.start_after.clone().filter(|after| !after.is_empty())),
            most,
            ..Asked::default()
        };
        let (found, more) = self.found(asked).await?;
        let (contents, prefixes) = parted(&found, url);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            is_truncated: Some(more),
            max_keys: i32::try_from(most).ok(),
            key_count: i32::try_from(found.len()).ok(),
            next_continuation_token: found.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(last.marker().0)),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            prefix: Some(encoded(&input.prefix.unwrap_or_default(), url)),
            delimiter: input.delimiter.map(|delimiter| encoded(&delimiter, url)),
            continuation_token: input.continuation_token,
            start_after: input.start_after.map(|after| encoded(&after, url)),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    pub(super) async fn list_versions(&self, input: ListObjectVersionsInput) -> Answer<ListObjectVersionsOutput> {
        self.check_bucket(&input.bucket)?;
        let (most, url) = (most(input.max_keys), input.encoding_type.is_some());
        let asked = Asked {
            prefix: input.prefix.clone(),
            delimiter: input.delimiter.clone(),
            after: input.key_marker.clone().filter(|marker| !marker.is_empty()),
            after_version: input.version_id_marker.clone().filter(|marker| !marker.is_empty()),
            most,
            all_versions: true,
        };
        let (found, more) = self.found(asked).await?;
        let (mut versions, mut marks, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        for one in &found {
            match one {
                Found::Version(key, entry, newest) if entry.marker => marks.push(DeleteMarkerEntry {
                    is_latest: Some(*newest),
                    key: Some(encoded(key, url)),
                    last_modified: Some(time(entry.modified)),
                    version_id: Some(entry.version_text().to_owned()),
                    ..Default::default()
                }),
                Found::Version(key, entry, newest) => versions.push(ObjectVersion {
                    e_tag: Some(tag(&entry.tag)),
                    is_latest: Some(*newest),
                    key: Some(encoded(key, url)),
                    last_modified: Some(time(entry.modified)),
                    size: i64::try_from(entry.size).ok(),
                    storage_class: Some("STANDARD".to_owned().into()),
                    version_id: Some(entry.version_text().to_owned()),
                    ..Default::default()
                }),
                Found::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(encoded(prefix, url)) }),
            }
        }
        let last = found.last().filter(|_| more).map(Found::marker);
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            is_truncated: Some(more),
            max_keys: i32::try_from(most).ok(),
            next_key_marker: last.map(|(key, _)| encoded(key, url)),
            next_version_id_marker: last.and_then(|(_, version)| version.map(str::to_owned)),
            versions: Some(versions),
            delete_markers: Some(marks),
            common_prefixes: Some(prefixes),
            prefix: Some(encoded(&input.prefix.unwrap_or_default(), url)),
            key_marker: Some(encoded(&input.key_marker.unwrap_or_default(), url)),
            version_id_marker: input.version_id_marker,
            delimiter: input.delimiter.map(|delimiter| encoded(&delimiter, url)),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }
}
