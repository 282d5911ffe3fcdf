//! PostgreSQL: databases and roles of stacks ([`PostgresProvider`]), and the private server of the embedded platform
//! ([`PrivateServer`]).
//!
//! ```text
//! provider ── roles ── holdings        server ── account · binaries · cluster
//!     │  └─── database ── content         └───── private ── postmaster
//!     ├────── dump ────── scratch · census · obstacles
//!     └────── strangers
//! pressure (what sessions take of the server) · usage (what databases take of the disk)
//! home (the provisioner's database) · inside (how a stack's database is entered)
//! catalog (reads) · session (connections, deadlines) · mark (whose) · quote (names in SQL) · failure (errors)
//! ```
//!
//! What always holds: an object without the stack's mark is never changed or dropped; nothing of ours exists unmarked,
//! not even for the length of a crash; every step can be repeated; a password never reaches the server as text; the
//! provisioner never enters a database that a tenant owns.

mod adoption;
mod blockers;
mod body;
mod capabilities;
mod catalog;
mod census;
mod content;
mod database;
mod dump;
mod failure;
mod fault;
mod fence;
mod holdings;
mod home;
mod inside;
mod logins;
mod mark;
mod obstacles;
mod own_logins;
pub mod pressure;
mod provider;
mod provisioner;
pub mod quote;
mod roles;
mod row;
mod scratch;
pub mod server;
mod session;
mod strangers;
pub mod usage;

#[doc(hidden)]
pub use fault::Fault;
pub use provider::{PostgresOptions, PostgresProvider, version_of};
pub use provisioner::ensure_provisioner;
pub use server::{Binaries, PrivateServer, ServerError, ServerOptions};
