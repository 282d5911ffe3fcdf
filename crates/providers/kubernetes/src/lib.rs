//! Objects of a cluster, through its API server.
//!
//! ```text
//! provider ── observe · preview · apply · delete · owned       what the engine asks for
//!    │          ├── render (bodies → manifests) · projection (objects → comparable bodies)
//!    │          └── replicas (the number of Pods, to and from an autoscaler) · foreign_fields (what others have added)
//!    ├── readiness (why something isn't ready) · health (of many at once) · run (jobs) · logs
//! target ── survey · permission · scratch · scan               what a cluster has to be like
//! manifests (the permissions that all of this needs)
//! discovery (every kind that the cluster has)
//! cluster ── request (retries, deadlines) · limit (how much at once) · error (what came back)
//! object (which kinds there are, and where)
//! ```
//!
//! What always holds: an object without the stack's mark is never changed or deleted, unless it was named to be adopted;
//! fields that others manage are never taken silently; no finalizer is ever removed; nothing is done to another cluster than the
//! target's; "there is none" is only said where the API server said so of that very object or of its namespace; a plan reveals no secret.

mod apply;
mod awaited;
mod body;
mod capabilities;
mod clock;
mod cluster;
mod command;
mod conflict;
mod delete;
mod discovery;
mod document;
mod error;
mod explanation;
mod field_manager;
mod follow;
mod foreign_fields;
mod health;
mod holders;
mod hosts;
mod kinds;
mod limit;
mod logs;
mod manifests;
mod mark;
mod moment;
mod namespaces;
mod neighbour;
mod not_ready;
mod object;
mod object_cache;
mod observe;
mod owned;
mod precondition;
mod preview;
mod projection;
mod provider;
mod reader;
mod readiness;
mod render;
mod replicas;
mod request;
mod run;
mod taken;
mod target;
mod unmanaged;
mod volume;
mod watch;

pub use cluster::{Access, Cluster};
pub use error::ClusterError;
pub use logs::PodLogs;
pub use manifests::admission::ADOPTABLE;
pub use manifests::install::{Install, InstallRoute, InstallSecret, install};
pub use manifests::rbac::rbac;
pub use provider::KubernetesProvider;
pub use target::{Requirements, SCRATCH_NAMESPACE, check, discover, prepare, release, scan_all_groups};
