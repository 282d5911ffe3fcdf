//! What Freehold keeps, in PostgreSQL.
//!
//! ```text
//!   request work            an operator's listing      the engine
//!   TenantTx                ReadTx                 EngineStore
//!   one tenant, read/write  all tenants, read only     queue, leases, journal, resources
//!        └───── role freehold_tenant ─────┘            role freehold_engine
//!               forced row-level security              explicit policies
//!        └─────────────────── tables, owned by freehold_owner ──────────────────┘
//! ```
//!
//! What is kept: tenants, definitions, stacks and their revisions, plans, operations, the journal, the resources that exist
//! by it, leases, claims on outside names, sealed secrets, targets with their credentials, artifacts' hashes, the audit log. What isn't: the text of
//! a secret (sealed under a data key of its tenant, [`seal`]), the master key (a file), artifacts themselves (files).
//!
//! Always: a tenant's rows are reached only through [`TenantTx`], which names the tenant for the length of one transaction;
//! nothing that a person wrote is spliced into SQL (identifiers go through `quote`).

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod artifacts;
pub mod audit;
pub mod bootstrap;
pub mod claims;
pub mod connections;
pub mod definitions;
pub mod document;
pub mod enqueue;
pub mod error;
pub mod finish;
pub mod idempotency;
pub mod journal;
pub mod keys;
pub mod leases;
mod memory;
pub mod names;
pub mod operations;
pub mod plans;
mod pool;
mod quote;
mod record;
pub mod resources;
pub mod revisions;
mod row;
pub mod seal;
pub mod secrets;
pub mod settings;
pub mod sharing;
pub mod signal;
pub mod signals;
pub mod stacks;
pub mod store;
pub mod targets;
mod tenant_id;
pub mod tenants;
pub mod transaction;

pub use artifacts::{Artifact, ForgottenArtifact};
pub use bootstrap::{Connections, bootstrap, key_check};
pub use claims::Claim;
pub use connections::ConnectionRequest;
pub use definitions::StoredDefinition;
pub use document::Document;
pub use enqueue::NewOperation;
pub use error::StoreError;
pub use finish::End;
pub use journal::EngineStore;
pub use keys::{KeyCheck, MasterKey};
pub use names::StoreNames;
pub use operations::{Operation, OperationEnd, OperationState, Queue, UnreadableOperation, Waiting};
pub use resources::{ResourceState, StoredResource, UnreadableResource};
pub use revisions::{Revision, UnreadableRevision};
pub use seal::DataKey;
pub use secrets::{SecretDigests, SecretSummary, Written};
pub use sharing::Sharing;
pub use signal::{Appended, Entry, Signal};
pub use stacks::{Stack, StackPage, StackState, UnreadableStack};
pub use store::Store;
pub use targets::{Credential, NewTarget, StoredTarget, UnreadableTarget};
pub use tenant_id::{PLATFORM, TenantId};
pub use transaction::{Access, ReadTx, TenantTx};
