//! A program that runs to its end: for each revision, once in a stack's life, on a schedule, or when somebody asks for it.

use std::collections::BTreeMap;

use crate::decode::kind::{At, List};
use crate::decode::table::table;
use crate::decode::text::{Cron, Duration, Limits, OneOf, PartName, Text, Word};
use crate::name::{EnvName, Name};
pub use crate::part::output::NoOutput as Output;
use crate::part::service::file::{File, Files};
use crate::part::{Command, Env, Read, Reads};
use crate::quantity::{Cpu, Memory, Range, Seconds};
use crate::span::{Span, Spanned};
use crate::template::Template;

/// A program that runs to its end.
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
    /// When it runs, as it is written; [`Job::runs`] is what holds.
    pub when: Option<Spanned<When>>,
    /// Cron expression (five fields, UTC).
    pub schedule: Option<Spanned<String>>,
    /// The jobs of the same deploy that have to succeed before it.
    pub after: Vec<Spanned<Name>>,
    /// What to do about a run whose outcome is unknown.
    pub retry: Retry,
    /// The variables that it reads; `None` where the contract isn't stated.
    pub reads: Option<Vec<Spanned<Read>>>,
    /// The variables that are set for it.
    pub env: BTreeMap<EnvName, Spanned<Template>>,
    /// Its files; those of its service are not inherited.
    pub files: BTreeMap<Name, File>,
}

/// When a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// With each new revision, before its services.
    Revision,
    /// With the first revision, and with the next ones until it has succeeded: once in the stack's life.
    Once,
    /// At the times of its schedule.
    Schedule,
    /// When somebody runs it.
    Demand,
}

impl When {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revision => "revision",
            Self::Once => "once",
            Self::Schedule => "schedule",
            Self::Demand => "demand",
        }
    }

    /// Whether a deploy runs it.
    pub const fn is_deployed(self) -> bool {
        match self {
            Self::Revision | Self::Once => true,
            Self::Schedule | Self::Demand => false,
        }
    }
}

impl Word for When {
    const WORDS: &'static [(&'static str, Self)] = &[
        (Self::Revision.as_str(), Self::Revision),
        (Self::Once.as_str(), Self::Once),
        (Self::Schedule.as_str(), Self::Schedule),
        (Self::Demand.as_str(), Self::Demand),
    ];
}

impl Job {
    /// When it runs: what `when` says; without it on its schedule if it has one, else with each revision.
    pub fn runs(&self) -> When {
        let unsaid = if self.schedule.is_some() { When::Schedule } else { When::Revision };
        self.when.as_ref().map_or(unsaid, |when| when.value)
    }
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
        /// When it runs: "revision", with each new revision, before the services start; "once" in the stack's life; "schedule", at the
        /// times of `schedule`; "demand", when somebody runs it with `freehold run`. Without it, "schedule" if there is a schedule, else "revision".
        when: optional At<Text<OneOf<When>>>;
        /// Cron expression of five fields, in UTC.
        schedule: optional At<Text<Cron>>;
        /// The jobs that have to succeed before it, of those that run in a deploy.
        after: default List<At<Text<PartName>>, 0> = "[]";
        /// What to do about a run whose outcome is unknown: "ask" stops the operation, "safe" runs it again.
        retry: default Text<OneOf<Retry>> = "\"ask\"";
        /// The environment contract, as in a service.
        reads: optional Reads;
        /// The variables that are set for it; texts with `${…}` references.
        env: default Env = "{}";
        /// Its files by name, as in a service; those of its service are not inherited.
        files: default Files = "{}";
    }
}
