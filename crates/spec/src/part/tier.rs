//! What a tenant of a tier gets.

use std::collections::BTreeMap;

use crate::decode::kind::{At, Map};
use crate::decode::number::Whole;
use crate::decode::table::table;
use crate::decode::text::{Amount, PartName, Text};
use crate::name::Name;
pub use crate::part::output::NoOutput as Output;
use crate::part::{Connections, Replicas};
use crate::quantity::{Cpu, Memory};
use crate::span::{Span, Spanned};

/// What a tenant of this tier gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// The table's header.
    pub span: Span,
    /// Processor time, all of the stack together. In a cluster the namespace's quota, of requests and limits alike.
    pub cpu: Option<Spanned<Cpu>>,
    /// Memory, all of the stack together. In a cluster the namespace's quota, of requests and limits alike.
    pub memory: Option<Spanned<Memory>>,
    /// Processes (pods), all of the stack together.
    pub pods: Option<Spanned<u32>>,
    /// Copies of services.
    pub replicas: BTreeMap<Name, Spanned<u32>>,
    /// Connections of databases.
    pub connections: BTreeMap<Name, Spanned<u32>>,
}

table! {
    /// What a tenant of this tier gets.
    "tier" TierTable -> Tier { span:
        /// Processor time, all of the stack together.
        cpu: optional At<Text<Amount<Cpu>>>;
        /// Memory, all of the stack together.
        memory: optional At<Text<Amount<Memory>>>;
        /// Processes (pods), all of the stack together.
        pods: optional At<Whole<u32, 1, 10000>>;
        /// Copies of services, by name.
        replicas: default Map<PartName, Replicas> = "{}";
        /// Connections of databases, by name.
        connections: default Map<PartName, Connections> = "{}";
    }
}
