//! Backups on a schedule.

use crate::decode::kind::At;
use crate::decode::table::table;
use crate::decode::text::{Cron, Duration, Text};
use crate::quantity::Seconds;
use crate::span::{Span, Spanned};

/// Backups of a stack's databases on a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Where its table stands.
    pub span: Span,
    /// Cron expression (five fields, UTC).
    pub schedule: Spanned<String>,
    /// How long dumps are kept. Default 30 days.
    pub keep: Spanned<Seconds>,
}

table! {
    /// Backups of the databases on a schedule.
    "backup" BackupTable -> Backup { span:
        /// Cron expression of five fields, in UTC.
        schedule: required At<Text<Cron>>;
        /// How long dumps are kept.
        keep: default At<Text<Duration<1, 3650>>> = "\"30d\"";
    }
}
