//! The local target: services, jobs, schedules and routes of this machine.
//!
//! ```text
//!                       ┌── service ── slot ── instance ── process        a task for each service and each replica; caches likewise
//!   engine ─► provider ─┼── run ────── supervise (a child) ── process     outlives Freehold
//!                       ├── schedule ─ run …
//!                       ├── command ── supervise (a child, tethered) ── process
//!                       ├── bucket ─── forward ── server (freehold-bucket)
//!                       └── route ──── router
//! ```
//!
//! What always holds:
//! - Whatever is started bears its stack's mark in its environment from `exec` on ([`program`](self)), and nothing of Freehold's own.
//! - Everything that a program starts is found and ended with it ([`membership`](self)); a mark is believed only with the right user.
//! - No request, probe or secret goes to a port before it is proved that the instance listens there ([`verified_connect`](self)).
//! - An error of our own, a lack of descriptors say, is never taken for the end of somebody else ([`exhaustion`](self)).
//! - No process is signalled by its pid alone: its start time and the boot have to fit too.
//! - A service's old version takes requests until the new one is ready; the exchange in the router is one.
//! - A job is started at most once for (stack, revision, job), whoever is killed when.
//! - Freehold can be killed at any instruction: what runs goes on running, and the next Freehold takes it over or ends it.
//!
//! Not kept: secrets. They are revealed for the start of a process and live on in its environment only; those of buckets in memory.

pub mod artifact;
pub mod descriptors;
pub mod launcher;
pub mod supervise;

mod account;
mod bucket;
mod cache;
mod calls;
mod capabilities;
mod cgroup;
mod command;
mod container;
mod directory;
mod exhaustion;
mod failure;
mod file;
mod forward;
mod health;
mod instance;
mod instance_record;
mod interruption;
mod kind;
mod launch;
mod listening;
mod log;
mod machine;
mod mark;
mod membership;
mod options;
mod port;
mod process;
mod process_id;
mod program;
mod provider;
mod readiness;
mod removal;
mod restore;
mod route;
mod run;
mod sandbox;
mod schedule;
mod service;
mod serving_set;
mod slot;
mod socket;
mod verified_connect;

pub use account::{FIRST_USER, RunAs, USERS};
pub use artifact::{ArtifactError, ArtifactStore};
pub use cgroup::ServerGroup;
pub use log::{LogLimits, LogReader};
pub use machine::free_port;
pub use options::LocalOptions;
pub use port::PORTS;
pub use provider::LocalProvider;
pub use restore::RestoreOutcome;
pub use sandbox::Sandboxing;
