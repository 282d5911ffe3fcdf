//! The users that stacks run as, where Freehold is root: one for each stack, that nobody else has.
//!
//! A stack keeps its user until nothing of it exists any more; only then another may get it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use freehold_graph::StackId;
use serde::{Deserialize, Serialize};

use crate::directory::{Durability, read_json, write_json};

/// Where the users' numbers begin: outside what distributions, containers and directory services give out.
pub const FIRST_USER: u32 = 700_000;

/// As whom the stacks' programs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAs {
    /// As the user that runs Freehold: the stacks aren't kept apart.
    Same,
    /// As a user and group of each stack's own, numbered from here on. Needs root.
    Separate(u32),
}

impl RunAs {
    /// Separate users if we are root.
    pub fn detect() -> Self {
        if rustix::process::geteuid().is_root() { Self::Separate(FIRST_USER) } else { Self::Same }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Table {
    users: BTreeMap<StackId, u32>,
}

/// The table of users.
#[derive(Debug)]
pub(crate) struct Accounts {
    policy: RunAs,
    path: PathBuf,
    table: Mutex<Table>,
}

impl Accounts {
    pub(crate) fn open(policy: RunAs, path: PathBuf) -> io::Result<Self> {
        let table = Mutex::new(read_json(&path)?.unwrap_or_default());
        Ok(Self { policy, path, table })
    }

    /// The user of a stack, who is given one now if it has none; `None` where all run as this user.
    pub(crate) fn user(&self, stack: StackId) -> io::Result<Option<u32>> {
        let RunAs::Separate(first) = self.policy else { return Ok(None) };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = table.users.get(&stack) {
            return Ok(Some(*user));
        }
        let taken: std::collections::BTreeSet<u32> = table.users.values().copied().collect();
        let Some(user) = (first..u32::MAX).find(|user| !taken.contains(user)) else {
            return Err(io::Error::other("no user number is left"));
        };
        table.users.insert(stack, user);
        if let Err(error) = write_json(&self.path, &*table, Durability::Power) {
            table.users.remove(&stack);
            return Err(error);
        }
        Ok(Some(user))
    }

    /// The user of a stack, if it has one.
    pub(crate) fn known(&self, stack: StackId) -> Option<u32> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).users.get(&stack).copied()
    }

    /// All that have one.
    pub(crate) fn all(&self) -> BTreeMap<StackId, u32> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).users.clone()
    }

    /// Gives a stack's user back. Only once nothing of the stack exists.
    pub(crate) fn release(&self, stack: StackId) -> io::Result<()> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.users.remove(&stack) {
            Some(_) => write_json(&self.path, &*table, Durability::Power),
            None => Ok(()),
        }
    }
}
