//! The private PostgreSQL server of the embedded platform.
//!
//! ```text
//! home/                       0711, ours: the directory that `ServerOptions::home` names
//!   password                  0600, ours: the superuser's password; written before the cluster is made
//!   pg_hba.conf, …            0644, ours: rules of access and configuration, written at each start; the cluster's own don't count
//!   start.log                 0600, ours: what the server says before it writes its own log
//!   cluster.new-…/            a cluster in the making; a crash leaves it, the next start removes it
//!   cluster/                  0700, the account's: the data, renamed from cluster.new when it was complete
//!   log/                      0700, the account's: PostgreSQL's log, one file a weekday
//!   socket/                   0700, the account's: the Unix socket of Freehold itself
//!   apps/                     0711, the account's: the Unix socket of everybody else
//! ```
//!
//! What always holds: every connection needs a password (SCRAM), the server listens on the loopback address and on
//! its sockets only, it never runs as root, and there is one postmaster for a cluster. It is no child in spirit: it runs
//! on when Freehold is killed, and the next start finds it and takes it over.
//!
//! Whoever answers on a socket is the server: no stack's user may make a file in either folder. A port of the loopback
//! address anybody may take while the server is down, and would be shown passwords there, so neither Freehold nor a URL that
//! it gives leads to it. It is for people, and for programs that know no sockets; where somebody else has the port, the server
//! runs without.
//!
//! As root no file is written in a folder that isn't root's, and no link followed (`folder`).
//!
//! Not kept here: which port it has (the caller persists it) and the roles in it (see `crate::provisioner`).

mod account;
mod binaries;
mod cluster;
mod error;
mod folder;
mod postmaster;
mod private;
mod version;

/// What PostgreSQL's log for a weekday may take of the disk, and what is kept of it then, in bytes. A session may write there
/// whatever it likes (`RAISE LOG`), and no setting bounds it: the one for the size begins a new file, which is the same here.
const LOG: (u64, u64) = (64 << 20, 16 << 20);

/// Keeps the logs of a private server within bounds: the beginning of one that has grown too long is given up.
///
/// # Errors
/// The file system says no.
pub fn shorten_logs(home: &std::path::Path) -> std::io::Result<()> {
    let Some(folder) = folder::Foreign::open(&cluster::log(home)) else { return Ok(()) };
    folder.files().iter().try_for_each(|name| folder.shorten(name, LOG.0, LOG.1))
}

pub use account::Account;
pub use binaries::Binaries;
pub use error::ServerError;
pub use private::{PrivateServer, ServerOptions};
pub use version::{LEAST_MAJOR, Version};
