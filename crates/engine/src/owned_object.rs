//! What bears the mark of a stack in a system outside.

use freehold_graph::StackId;

/// Something that bears a stack's mark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnedObject {
    /// The stack whose mark it bears.
    pub stack: StackId,
    /// What kind of thing, in words for people: `database`, `role`, `process`.
    pub kind: String,
    /// Its outside name.
    pub name: String,
}
