//! A bucket: object storage by the S3 protocol for each stack.

use crate::decode::kind::{At, Few, List};
use crate::decode::number::{Truth, Whole};
use crate::decode::table::table;
use crate::decode::text::{Bounded, KeyPrefix, Text};
use crate::part::output::{OutputRow, Reach, Readers, Secrecy};
use crate::quantity::Storage;
use crate::span::{Span, Spanned};

/// The least that a bucket may hold, in bytes: one object with what is known of it.
const LEAST: u64 = 1 << 20;
/// The most, beyond what any disk has.
const MOST: u64 = 1 << 50;
/// The most rules of a lifecycle.
const RULES: usize = 100;

/// Days, at most a hundred years.
type Days = At<Whole<u32, 1, 36_500>>;

/// Object storage by the S3 protocol for each stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The table's header.
    pub span: Span,
    /// Whether former versions of objects are kept. Default false.
    pub versioning: Spanned<bool>,
    /// All that it may hold, in bytes. Default `"10Gi"`.
    pub max_size: Spanned<Storage>,
    /// What goes by itself after its time.
    pub lifecycle: Vec<Expiry>,
}

/// What goes by itself of what is below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Where its table stands.
    pub span: Span,
    /// What the keys begin with; empty for all.
    pub prefix: String,
    /// Days after which an object goes.
    pub expire_days: Option<Spanned<u32>>,
    /// Days after which a former version goes.
    pub noncurrent_days: Option<Spanned<u32>>,
    /// Days after which an unfinished upload goes.
    pub abort_uploads_days: Option<Spanned<u32>>,
}

/// What others may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Where the server is reached: `http://host:port`.
    Endpoint,
    /// The host of it, without the port.
    Host,
    /// The TCP port of it, as a text.
    Port,
    /// The bucket's name on its server.
    Name,
    /// What clients are to say as the region.
    Region,
    /// Who the app is for the server.
    AccessKeyId,
    /// What the app signs its requests with.
    SecretAccessKey,
}

impl Output {
    pub(super) const ALL: &'static [Self] =
        &[Self::Endpoint, Self::Host, Self::Port, Self::Name, Self::Region, Self::AccessKeyId, Self::SecretAccessKey];

    pub(super) const fn row(self) -> OutputRow {
        let endpoint = OutputRow {
            field: "endpoint",
            what: "the endpoint of a bucket",
            secrecy: Secrecy::Public,
            reach: Reach::Part,
            readers: Readers::All,
            follows_references: false,
        };
        match self {
            Self::Endpoint => endpoint,
            Self::Host => OutputRow { field: "host", what: "the host of a bucket", ..endpoint },
            Self::Port => OutputRow { field: "port", what: "the port of a bucket", ..endpoint },
            Self::Name => OutputRow { field: "name", what: "the name of a bucket", ..endpoint },
            Self::Region => OutputRow { field: "region", what: "the region of a bucket", ..endpoint },
            Self::AccessKeyId => OutputRow { field: "access_key_id", what: "an access key's id", ..endpoint },
            Self::SecretAccessKey => OutputRow {
                field: "secret_access_key",
                what: "a secret access key",
                secrecy: Secrecy::Secret("this is a secret access key"),
                ..endpoint
            },
        }
    }
}

table! {
    /// Object storage by the S3 protocol for each stack, with credentials of its own. It holds data, and is never deleted without asking.
    "bucket" BucketTable -> Bucket { span:
        /// Whether former versions of objects are kept when they are replaced or deleted.
        versioning: default At<Truth> = "false";
        /// All that it may hold, former versions and unfinished uploads too: "10Gi". More is refused.
        max_size: default At<Text<Bounded<Storage, LEAST, MOST>>> = "\"10Gi\"";
        /// What goes by itself after its time, by the beginning of keys. Unfinished uploads that no rule says anything of go after 7 days.
        lifecycle: default Few<List<ExpiryTable, 0>, RULES> = "[]";
    }
}

table! {
    /// What goes by itself of what is below a prefix. Where several rules fit, the shortest time counts.
    "expiry" ExpiryTable -> Expiry { span:
        /// What the keys begin with: "tmp/". Without it, all.
        prefix: default Text<KeyPrefix> = "\"\"";
        /// Days after which an object goes; with `versioning` it becomes a former version.
        expire_days: optional Days;
        /// Days after which a former version goes, counted from when it became one.
        noncurrent_days: optional Days;
        /// Days after which an unfinished upload goes.
        abort_uploads_days: optional Days;
    }
}
