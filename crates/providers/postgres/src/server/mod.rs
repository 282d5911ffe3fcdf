//! The private PostgreSQL server of the embedded platform.
//!
//! ```text
//! home/                       0711, ours: the directory that `ServerOptions::home` names
//!   password                  0600, ours: the superuser's password; written before the cluster is made
//!   cluster.new-…/            a cluster in the making; a crash leaves it, the next start removes it
//!   cluster/                  0700, the account's: the data, renamed from cluster.new when it was complete
//!   log/                      0700, the account's: PostgreSQL's log, one file a weekday
//!   socket/                   0700, the account's: the Unix socket, unless its path would be too long
//! ```
//!
//! What always holds: every connection needs a password (SCRAM), the server listens on the loopback address and on
//! its socket only, it never runs as root, and there is one postmaster for a cluster. It is no child in spirit: it runs
//! on when Freehold is killed, and the next start finds it and takes it over.
//!
//! Not kept here: which port it has (the caller persists it) and the roles in it (see [`crate::provisioner`]).

mod account;
mod binaries;
mod cluster;
mod error;
mod postmaster;
mod private;

pub use account::Account;
pub use binaries::{Binaries, LEAST_MAJOR, Version};
pub use error::ServerError;
pub use private::{PrivateServer, ServerOptions};
