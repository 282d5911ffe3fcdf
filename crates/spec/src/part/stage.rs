//! A stage (dev, production): what it and its tenants get.

use crate::decode::layer::LayerTable;
pub use crate::part::output::NoOutput as Output;
use crate::span::Span;

/// A stage. What it overrides is in the parts, in a definition that is read for it or for one of its tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// The table's header.
    pub span: Span,
}

impl From<Span> for Stage {
    fn from(span: Span) -> Self {
        Self { span }
    }
}

pub(crate) type StageTable = LayerTable<Stage>;
