//! What is kept of an instance of a service while it exists.

use std::collections::BTreeMap;
use std::path::PathBuf;

use freehold_spec::Name;
use serde::{Deserialize, Serialize};

use crate::process_id::ProcessId;

/// What is kept of an instance while it exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InstanceRecord {
    pub(crate) instance: String,
    /// Which of the service's replicas it is; the first is 1.
    pub(crate) slot: u32,
    pub(crate) process: ProcessId,
    pub(crate) port: Option<u16>,
    /// Its named ports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) ports: BTreeMap<Name, u16>,
    /// Of the launch that it was started from.
    pub(crate) fingerprint: String,
    pub(crate) log: PathBuf,
    /// Where it runs: its artifact must stay.
    #[serde(default)]
    pub(crate) folder: Option<PathBuf>,
    pub(crate) step: String,
    /// Milliseconds since 1970.
    pub(crate) started: i64,
    #[serde(default)]
    pub(crate) held: Held,
    /// It is a container, and its process the launcher of it.
    #[serde(default)]
    pub(crate) contained: bool,
}

/// By what the processes of an instance are found, beside their mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Held {
    /// Nothing: it was started by a former version.
    #[default]
    Mark,
    /// The process is a launcher from which they all descend.
    Launcher,
    /// A control group.
    Group,
}
