//! A program that runs to its end: once for each revision, or on a schedule.

use std::collections::BTreeMap;

use crate::decode::kind::At;
use crate::decode::table::table;
use crate::decode::text::{Cron, Duration, Limits, OneOf, PartName, Text, Word};
use crate::name::{EnvName, Name};
pub use crate::part::output::NoOutput as Output;
use crate::part::{Command, Env, Read, Reads};
use crate::quantity::{Cpu, Memory, Range, Seconds};
use crate::span::{Span, Spanned};
use crate::template::Template;

/// A program that runs to its end: once for each revision, or on a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The table's header.
    pub span: Span,
    /// The service whose artifact (image) it runs from.
    pub service: Spanned<Name>,
    /// Program and arguments.
    pub command: Spanned<Vec<String>>,
    /// Processor time. Default: its service's.
    pub cpu: Option<Spanned<Range<Cpu>>>,
    /// Memory. Default: its service's.
    pub memory: Option<Spanned<Range<Memory>>>,
    /// When it is ended. Default 10 min.
    pub timeout: Spanned<Seconds>,
    /// Cron expression (five fields, UTC); without one it runs once for each revision, before the services.
    pub schedule: Option<Spanned<String>>,
    /// What to do about a run whose outcome is unknown.
    pub retry: Retry,
    /// The variables that it reads; `None` where the contract isn't stated.
    pub reads: Option<Vec<Spanned<Read>>>,
    /// The variables that are set for it.
    pub env: BTreeMap<EnvName, Spanned<Template>>,
}

/// What to do about a run whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retry {
    /// Stop and ask.
    #[default]
    Ask,
    /// The job may run twice: run it again.
    Safe,
}

impl Word for Retry {
    const WORDS: &'static [(&'static str, Self)] = &[("ask", Self::Ask), ("safe", Self::Safe)];
}

table! {
    /// A program that runs to its end.
    "job" JobTable -> Job { span:
        /// The service whose artifact (image) it runs from.
        service: required At<Text<PartName>>;
        /// Program and arguments, as in a service.
        command: required At<Command>;
        /// Processor time, request..limit. Without it, its service's.
        cpu: optional At<Text<Limits<Cpu>>>;
        /// Memory, request..limit. Without it, its service's.
        memory: optional At<Text<Limits<Memory>>>;
        /// When it is ended.
        timeout: default At<Text<Duration<1, 7>>> = "\"10m\"";
        /// Cron expression of five fields, in UTC. Without one, it runs once for each revision, before the services start.
        schedule: optional At<Text<Cron>>;
        /// What to do about a run whose outcome is unknown: "ask" stops the operation, "safe" runs it again.
        retry: default Text<OneOf<Retry>> = "\"ask\"";
        /// The environment contract, as in a service.
        reads: optional Reads;
        /// The variables that are set for it; texts with `${…}` references.
        env: default Env = "{}";
    }
}
