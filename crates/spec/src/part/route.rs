//! A host name with paths that lead to a service.

use crate::decode::kind::{At, Sequence};
use crate::decode::number::Whole;
use crate::decode::path::Prefix;
use crate::decode::table::table;
use crate::decode::text::{Duration, PartName, Text, WithReferences};
use crate::name::Name;
use crate::part::output::{OutputRow, Reach, Readers, Secrecy};
use crate::quantity::Seconds;
use crate::span::{Span, Spanned};
use crate::template::Template;

/// A host name with paths that lead to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The table's header.
    pub span: Span,
    /// The service that answers.
    pub service: Spanned<Name>,
    /// The host name.
    pub host: Spanned<Template>,
    /// Rules; the longest prefix that fits wins. Default: `/`, 30 s, 0 retries.
    pub paths: Vec<PathRule>,
}

/// How requests below a path are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// Path prefix, by whole segments: `/events` fits `/events` and `/events/1`, not `/eventsource`.
    pub prefix: Spanned<String>,
    /// The longest a request may take, answer included.
    pub timeout: Spanned<Seconds>,
    /// How often a request may be tried again, if that is safe.
    pub retries: Spanned<u32>,
}

/// What others may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Where the world reaches it.
    Url,
}

impl Output {
    pub(super) const ALL: &'static [Self] = &[Self::Url];

    pub(super) const fn row(self) -> OutputRow {
        match self {
            Self::Url => OutputRow {
                field: "url",
                what: "a URL",
                secrecy: Secrecy::Public,
                reach: Reach::Nothing,
                readers: Readers::All,
                follows_references: true,
            },
        }
    }
}

table! {
    /// A host name with paths that lead to a service.
    "route" RouteTable -> Route { span:
        /// The service that answers; it needs a port.
        service: required At<Text<PartName>>;
        /// The host name; a text with `${…}` references, none of them secret.
        host: required At<WithReferences>;
        /// Rules; the longest prefix that fits wins.
        paths: default Sequence<PathTable, 1> = "[{ prefix = \"/\" }]";
    }
}

table! {
    /// How requests below a path are treated.
    "path" PathTable -> PathRule {
        /// The path, by whole segments: /events fits /events and /events/1, not /eventsource.
        prefix: required At<Text<Prefix>>;
        /// The longest that a request may take, answer included.
        timeout: default At<Text<Duration<1, 7>>> = "\"30s\"";
        /// How often a request may be tried again, where that is safe.
        retries: default At<Whole<u32, 0, 10>> = "0";
    }
}
