//! What a stage (dev, production) gets.

use std::collections::BTreeMap;

use crate::decode::kind::{At, Map};
use crate::decode::table::table;
use crate::decode::text::{Cron, Duration, PartName, Text};
use crate::name::Name;
use crate::part::Replicas;
pub use crate::part::output::NoOutput as Output;
use crate::quantity::Seconds;
use crate::span::{Span, Spanned};

/// What a stage (dev, production) gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The table's header.
    pub span: Span,
    /// Copies of services.
    pub replicas: BTreeMap<Name, Spanned<u32>>,
    /// Backups of the databases.
    pub backup: Option<Backup>,
}

/// Backups on a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Where its table stands.
    pub span: Span,
    /// Cron expression (five fields, UTC).
    pub schedule: Spanned<String>,
    /// How long dumps are kept.
    pub keep: Spanned<Seconds>,
}

table! {
    /// What a stage (dev, production) gets.
    "stage" StageTable -> Stage { span:
        /// Copies of services, by name.
        replicas: default Map<PartName, Replicas> = "{}";
        /// Backups of the databases on a schedule.
        backup: optional BackupTable;
    }
}

table! {
    /// Backups on a schedule.
    "backup" BackupTable -> Backup { span:
        /// Cron expression of five fields, in UTC.
        schedule: required At<Text<Cron>>;
        /// How long dumps are kept.
        keep: default At<Text<Duration<1, 3650>>> = "\"30d\"";
    }
}
