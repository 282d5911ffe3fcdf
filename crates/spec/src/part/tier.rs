//! A tier: what its tenants get.

use crate::decode::layer::LayerTable;
pub use crate::part::output::NoOutput as Output;
use crate::span::Span;

/// A tier. What it overrides is in the parts, in a definition that is read for a tenant of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// The table's header.
    pub span: Span,
}

impl From<Span> for Tier {
    fn from(span: Span) -> Self {
        Self { span }
    }
}

pub(crate) type TierTable = LayerTable<Tier>;
