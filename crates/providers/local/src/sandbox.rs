//! Keeps stacks apart where all run as one user: Landlock, which needs no rights.
//!
//! A program in a sandbox
//! - reads nothing in Freehold's data directory but its artifact and its stack's own folders: no keys, no tokens, no other stack;
//! - writes nowhere but in its stack's own folders and the shared ones for temporary files;
//! - can't look into processes outside of its sandbox (their environment, their memory), nor, on kernels from 6.12 on, signal them or
//!   connect to their abstract Unix sockets.
//!
//! Not kept apart: the folders for temporary files, what else the user may read, and ports ([`crate::verified_connect`] has those).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    path_beneath_rules,
};
use serde::{Deserialize, Serialize};

/// The newest version whose rights are asked for; an older kernel gives those that it has.
const VERSION: ABI = ABI::V6;
/// Where every program may write, beside its stack's own folders. Not to `/proc`: there it could offer others to the memory killer.
const SHARED: [&str; 4] = ["/dev", "/tmp", "/var/tmp", "/run"];

/// What this kernel can keep apart between processes of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandboxing {
    /// The kernel has no Landlock: programs of one user are not kept apart.
    None,
    /// Files and the insides of processes, but any may signal any other.
    Files,
    /// Files, the insides of processes, and signals (Landlock 6).
    FilesAndSignals,
}

impl Sandboxing {
    /// What can be had here.
    pub fn detect() -> Self {
        let files = || {
            Ruleset::default()
                .set_compatibility(CompatLevel::HardRequirement)
                .handle_access(AccessFs::from_all(ABI::V1))
        };
        if files().and_then(Ruleset::create).is_err() {
            Self::None
        } else if files().and_then(|rules| rules.scope(Scope::Signal)).and_then(Ruleset::create).is_err() {
            Self::Files
        } else {
            Self::FilesAndSignals
        }
    }
}

/// What a program may reach.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    /// Freehold's data directory, of which nothing may be read but what is named below.
    pub(crate) closed: PathBuf,
    /// May be read: the artifact.
    pub(crate) readable: Vec<PathBuf>,
    /// May be written to.
    pub(crate) own: Vec<PathBuf>,
}

impl Sandbox {
    /// Puts this process, and all that it starts, into the sandbox.
    ///
    /// # Errors
    /// The kernel refuses it, or a folder can't be listed.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let reading = AccessFs::from_read(VERSION);
        let writing = AccessFs::from_all(VERSION);
        let rest = beside(&self.closed)?;
        let shared = SHARED.iter().map(PathBuf::from).filter(|path| !self.closed.starts_with(path));
        let rules = || {
            Ruleset::default()
                .handle_access(AccessFs::from_all(VERSION))?
                .scope(Scope::Signal)?
                .scope(Scope::AbstractUnixSocket)?
                .create()?
                .add_rules(path_beneath_rules(rest.iter().chain(&self.readable), reading))?
                .add_rules(path_beneath_rules(shared.chain(self.own.iter().cloned()), writing))?
                .restrict_self()
        };
        match rules().map_err(io::Error::other)?.ruleset {
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
            RulesetStatus::NotEnforced => Err(io::Error::other("this kernel has no sandbox (Landlock)")),
        }
    }
}

/// Keeps this process, and all that it starts, from Unix sockets without a file that others have made, where the kernel can (Linux
/// 6.12): everybody on a machine may connect to one.
pub(crate) fn close_abstract_sockets() {
    let rules = || {
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        rules.scope(Scope::AbstractUnixSocket)?.create()?.restrict_self()
    };
    let _older_kernel = rules();
}

/// Everything but what is in `closed`, as folders and files whose rights go for all that is in them.
fn beside(closed: &Path) -> io::Result<Vec<PathBuf>> {
    let mut rest = Vec::new();
    let mut way = closed;
    while let Some(parent) = way.parent() {
        for entry in fs::read_dir(parent).into_iter().flatten() {
            let path = entry?.path();
            if path != way {
                rest.push(path);
            }
        }
        way = parent;
    }
    Ok(rest)
}
