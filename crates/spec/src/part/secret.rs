//! A secret of each stack: generated once, or set by hand.

use crate::decode::number::Whole;
use crate::decode::table::table;
use crate::decode::text::{OneOf, Text, Word};
use crate::part::output::{OutputRow, Reach, Readers, Secrecy};
use crate::span::Span;

/// A secret of each stack: generated once, or set by `freehold secret set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The table's header.
    pub span: Span,
    /// How to generate it; without, it has to be set before the first deploy.
    pub generate: Option<Generate>,
}

/// How a secret is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generate {
    /// Random bytes, 16 to 1024. Default 32.
    pub bytes: u32,
    /// How they are written.
    pub encoding: Encoding,
}

/// How random bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 4648 section 5, without padding.
    Base64Url,
    /// Hexadecimal digits in lower case, two for each byte.
    Hex,
}

impl Encoding {
    /// As definitions and stored bodies have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base64Url => "base64url",
            Self::Hex => "hex",
        }
    }

    /// The encoding of that name; `None`, if this release doesn't know it.
    pub fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find_map(|(known, encoding)| (*known == word).then_some(*encoding))
    }
}

/// What others may refer to: `secret.NAME`, without a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The text that programs get.
    Value,
}

impl Output {
    pub(super) const ALL: &'static [Self] = &[Self::Value];

    pub(super) const fn row(self) -> OutputRow {
        match self {
            Self::Value => OutputRow {
                field: "",
                what: "a secret",
                secrecy: Secrecy::Secret("this is a secret"),
                reach: Reach::Nothing,
                readers: Readers::All,
                follows_references: false,
            },
        }
    }
}

impl Word for Encoding {
    const WORDS: &'static [(&'static str, Self)] = &[("base64url", Self::Base64Url), ("hex", Self::Hex)];
}

table! {
    /// A secret of each stack: generated once, or set with `freehold secret set`.
    "secret" SecretTable -> Secret { span:
        /// How to generate it. Without this, it has to be set before the first deploy.
        generate: optional GenerateTable;
    }
}

table! {
    /// How a secret is generated.
    "generate" GenerateTable -> Generate {
        /// How many random bytes to generate.
        bytes: default Whole<u32, 16, 1024> = "32";
        /// How they are written: base64url (without padding) or hex.
        encoding ["as"]: default Text<OneOf<Encoding>> = "\"base64url\"";
    }
}
