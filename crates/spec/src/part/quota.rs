//! What a whole stack may take.

use crate::decode::kind::At;
use crate::decode::number::Whole;
use crate::decode::table::table;
use crate::decode::text::{Limits, Text};
use crate::quantity::{Cpu, Memory, Range};
use crate::span::Spanned;

/// What a whole stack may take. What isn't said isn't limited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quota {
    /// Processor time, all of the stack together. In a cluster the namespace's quota, of requests and of limits.
    pub cpu: Option<Spanned<Range<Cpu>>>,
    /// Memory, all of the stack together. In a cluster the namespace's quota, of requests and of limits.
    pub memory: Option<Spanned<Range<Memory>>>,
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
        /// Processor time, all of the stack together, requests..limits: "1..2"; a single figure stands for both.
        cpu: optional At<Text<Limits<Cpu>>>;
        /// Memory, all of the stack together, requests..limits: "2Gi..4Gi"; a single figure stands for both.
        memory: optional At<Text<Limits<Memory>>>;
        /// Processes (pods), all of the stack together.
        pods: optional At<Whole<u32, 1, 10000>>;
    }
}
