//! PostgreSQL: databases and roles of stacks ([`PostgresProvider`]), and the private server of the embedded platform
//! ([`PrivateServer`]).
//!
//! ```text
//! provider ── roles ── owned_objects        server ── account · binaries · cluster
//!     │  └─── database ── content         └───── private ── postmaster
//!     ├────── dump ────── scratch · census · dump_blockers
//!     └────── unmanaged
//! pressure (what sessions take of the server) · usage (what databases take of the disk)
//! own_database (the provisioner's database) · in_database (how a stack's database is entered)
//! catalog (reads) · session (connections, deadlines) · mark (whose) · quote (names in SQL) · failure (errors)
//! ```
//!
//! What always holds: an object without the stack's mark is never changed or dropped; nothing of ours exists unmarked,
//! not even for the length of a crash; every step can be repeated; a password never reaches the server as text; the
//! provisioner never enters a database that a tenant owns.

mod adoption;
mod body;
mod capabilities;
mod catalog;
mod census;
mod content;
mod contents_list;
mod database;
mod drop_blockers;
mod dump;
mod dump_blockers;
mod failure;
mod fault;
mod fence;
mod in_database;
mod logins;
mod mark;
mod options;
mod origin;
mod own_database;
mod own_logins;
mod owned_objects;
pub mod pressure;
mod programs;
mod provider;
mod provisioner;
pub mod quote;
mod removal;
mod roles;
mod row;
mod scratch;
pub mod server;
mod servers;
mod session;
mod setting;
mod statements;
mod unmanaged;
pub mod usage;
mod verifier;

#[doc(hidden)]
pub use fault::Fault;
pub use options::PostgresOptions;
pub use provider::{PostgresProvider, is_encrypted, version_of};
pub use provisioner::ensure_provisioner;
pub use server::{Binaries, PrivateServer, ServerError, ServerOptions};
pub use servers::PostgresServers;
