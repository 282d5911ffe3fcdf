//! What tests share: a real PostgreSQL ([`postgres`]) and a real Kubernetes ([`kubernetes`]). Never part of the program.

use std::env;
use std::path::PathBuf;

pub mod connection;
pub mod kubernetes;
pub mod postgres;

/// The folder for what is worth keeping from one run of tests to the next, as `scripts/environment` has it.
pub fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let user = || env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap_or_else(env::temp_dir);
    env::var_os("FREEHOLD_CACHE").map_or_else(|| user().join("freehold"), PathBuf::from)
}
