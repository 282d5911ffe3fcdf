//! What a whole stack may take.

use crate::decode::kind::At;
use crate::decode::number::Whole;
use crate::decode::table::table;
use crate::decode::text::{Amount, Text};
use crate::quantity::{Cpu, Memory};
use crate::span::Spanned;

/// What a whole stack may take. What isn't said isn't limited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quota {
    /// Processor time, all of the stack together. In a cluster the namespace's quota, of requests and limits alike.
    pub cpu: Option<Spanned<Cpu>>,
    /// Memory, all of the stack together. In a cluster the namespace's quota, of requests and limits alike.
    pub memory: Option<Spanned<Memory>>,
    /// Processes (pods), all of the stack together.
    pub pods: Option<Spanned<u32>>,
}

impl Quota {
    /// Whether it limits nothing.
    pub fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none() && self.pods.is_none()
    }
}

table! {
    /// What a whole stack may take. What isn't said isn't limited.
    "quota" QuotaTable -> Quota {
        /// Processor time, all of the stack together.
        cpu: optional At<Text<Amount<Cpu>>>;
        /// Memory, all of the stack together.
        memory: optional At<Text<Amount<Memory>>>;
        /// Processes (pods), all of the stack together.
        pods: optional At<Whole<u32, 1, 10000>>;
    }
}
