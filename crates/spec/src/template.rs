//! Texts with `${…}` references in them. The references are a closed list; they make the edges of the graph.

use std::fmt;

use crate::name::Name;
use crate::span::Spanned;

/// A text in which references stand: `"https://${stack.name}.${target.domain}"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its pieces, in order. Two texts never stand side by side.
    pub parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// A reference, with its place in the source.
    Reference(Spanned<Reference>),
}

/// What a `${…}` can refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `database.NAME.url`, `database.NAME.migration_url`, `database.NAME.name`.
    Database(Name, DatabaseField),
    /// `service.NAME.url`: where the other services of the stack reach it.
    ServiceUrl(Name),
    /// `route.NAME.url`: where the world reaches it.
    RouteUrl(Name),
    /// `secret.NAME`.
    Secret(Name),
    /// `stack.name`.
    StackName,
    /// `stack.kind`: `tenant`, `preview` or `stage`.
    StackKind,
    /// `stack.id`: the stack's UUID.
    StackId,
    /// `tier.name`; empty where the stack has no tier.
    TierName,
    /// `target.domain`.
    TargetDomain,
}

/// A field of a database that can be referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseField {
    /// The URL for the app's role: it reads and writes, and can't change the schema.
    Url,
    /// The URL for the migrator's role: it owns the schema.
    MigrationUrl,
    /// The database's name on the server.
    Name,
}

impl DatabaseField {
    /// The field as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::MigrationUrl => "migration_url",
            Self::Name => "name",
        }
    }
}

impl fmt::Display for Reference {
    /// As it is written between `${` and `}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(name, field) => write!(f, "database.{name}.{}", field.as_str()),
            Self::ServiceUrl(name) => write!(f, "service.{name}.url"),
            Self::RouteUrl(name) => write!(f, "route.{name}.url"),
            Self::Secret(name) => write!(f, "secret.{name}"),
            Self::StackName => f.write_str("stack.name"),
            Self::StackKind => f.write_str("stack.kind"),
            Self::StackId => f.write_str("stack.id"),
            Self::TierName => f.write_str("tier.name"),
            Self::TargetDomain => f.write_str("target.domain"),
        }
    }
}

impl Template {
    /// The references in it, in order.
    pub fn references(&self) -> impl Iterator<Item = &Spanned<Reference>> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Text(_) => None,
        })
    }
}
