//! What can go wrong, and what S3 calls it.

use std::io;

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode};

/// Why a bucket doesn't do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// A file can't be read or written.
    #[error("a file of the bucket can't be used: {0}")]
    File(#[source] io::Error),
    /// The index can't be read or written.
    #[error("the index of the bucket can't be used: {0}")]
    Index(#[source] Box<redb::Error>),
    /// A record of the index isn't what this version writes.
    #[error("a record of the bucket's index can't be read: {0}")]
    Record(#[source] serde_json::Error),
    /// Another process has the bucket open, or its task was cut off.
    #[error("the bucket is not open")]
    Closed,
    /// It would be larger than it may be.
    #[error("the bucket would be larger than the {0} bytes that it may have")]
    Full(u64),
    /// The disk has too little left.
    #[error("the disk has no room left for objects")]
    DiskFull,
    /// There is no such object.
    #[error("no such object")]
    NoSuchKey,
    /// There is no such version of the object.
    #[error("no such version")]
    NoSuchVersion,
    /// The version is a mark that the object was deleted.
    #[error("this version marks a deletion")]
    IsMarker,
    /// There is no such upload.
    #[error("no such upload")]
    NoSuchUpload,
    /// A part that isn't there, or isn't what the client believes.
    #[error("part {0} is not what was uploaded")]
    InvalidPart(u16),
    /// Parts that aren't in ascending order, or none.
    #[error("the parts of an upload have to be in ascending order")]
    PartOrder,
    /// A part but for the last that is smaller than 5 MiB.
    #[error("every part but the last has at least 5 MiB")]
    PartTooSmall,
    /// `If-Match` or `If-None-Match` doesn't hold.
    #[error("the condition {0} does not hold")]
    Precondition(&'static str),
    /// The reader has it already.
    #[error("not modified")]
    NotModified,
    /// No byte of the range is there.
    #[error("the range is beyond the object's {0} bytes")]
    Range(u64),
    /// A key that is empty, too long or has a NUL in it.
    #[error("object keys have 1 to 1024 bytes, none of them 0")]
    Key,
    /// More metadata than S3 allows.
    #[error("an object has at most 2048 bytes of metadata, and 8192 of all its header fields")]
    Metadata,
    /// A digest that isn't the body's.
    #[error("the body is not what {0} says")]
    Digest(&'static str),
    /// The body ended early or couldn't be read.
    #[error("the body could not be read: {0}")]
    Body(String),
    /// The body is larger than an object or a part may be.
    #[error("an object or a part has at most 5 GiB when it is sent at once")]
    TooLarge,
}

impl BucketError {
    /// An error of the file system: a lack of room has a meaning of its own.
    pub(crate) fn file(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::File(error),
        }
    }

    /// An error of the index.
    pub(crate) fn index(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(error) => match Self::file(error) {
                Self::File(error) => Self::Index(Box::new(redb::Error::Io(error))),
                full => full,
            },
            error => Self::Index(Box::new(error)),
        }
    }
}

impl From<BucketError> for S3Error {
    fn from(error: BucketError) -> Self {
        let message = error.to_string();
        let own = |code: &'static str, status: StatusCode| {
            let mut own = S3Error::with_message(S3ErrorCode::Custom(code.into()), message.clone());
            own.set_status_code(status);
            own
        };
        let code = match error {
            BucketError::File(_) | BucketError::Index(_) | BucketError::Record(_) | BucketError::Closed => {
                // The cause has paths of ours in it.
                tracing::error!(error = message, "a bucket can't be used");
                return S3Error::with_message(S3ErrorCode::InternalError, "the bucket can't be used now");
            }
            // Nothing that gets better by trying again, so no status that clients try again after.
            BucketError::Full(_) => return own("QuotaExceeded", StatusCode::FORBIDDEN),
            BucketError::DiskFull => return own("InsufficientStorage", StatusCode::INSUFFICIENT_STORAGE),
            BucketError::NoSuchKey => S3ErrorCode::NoSuchKey,
            BucketError::NoSuchVersion => S3ErrorCode::NoSuchVersion,
            BucketError::IsMarker => S3ErrorCode::MethodNotAllowed,
            BucketError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
            BucketError::InvalidPart(_) => S3ErrorCode::InvalidPart,
            BucketError::PartOrder => S3ErrorCode::InvalidPartOrder,
            BucketError::PartTooSmall => S3ErrorCode::EntityTooSmall,
            BucketError::Precondition(_) => S3ErrorCode::PreconditionFailed,
            BucketError::NotModified => S3ErrorCode::NotModified,
            BucketError::Range(_) => S3ErrorCode::InvalidRange,
            BucketError::Key => S3ErrorCode::InvalidArgument,
            BucketError::Metadata => S3ErrorCode::MetadataTooLarge,
            BucketError::Digest(_) => S3ErrorCode::BadDigest,
            BucketError::Body(_) => S3ErrorCode::IncompleteBody,
            BucketError::TooLarge => S3ErrorCode::EntityTooLarge,
        };
        S3Error::with_message(code, message)
    }
}
