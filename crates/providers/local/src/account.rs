//! The users that stacks run as, where Freehold is root: one for each stack, that nobody else has.
//!
//! A number is given out once and never again: what a destroyed stack may have left somewhere (a file in a shared folder, a socket,
//! a process that nobody found) belongs to nobody afterwards, instead of to the next tenant.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use freehold_graph::StackId;
use serde::{Deserialize, Serialize};

use crate::directory::{Durability, read_json, write_json};

/// Where the users' numbers begin: outside what distributions, containers and directory services give out.
pub const FIRST_USER: u32 = 700_000;
/// How many users there are for a platform, over all its life.
pub const USERS: u32 = 100_000;

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
    /// All below it have been given out. Absent in tables of former versions, which gave numbers out again.
    #[serde(default)]
    next: u32,
}

impl Table {
    /// Sees to it that `next` is above all that were ever given out, as far as it can be known.
    fn raise_next(&mut self, first: u32) {
        let ours = self.users.values().filter(|user| (first..first.saturating_add(USERS)).contains(user));
        let highest = ours.max().map_or(first, |user| user.saturating_add(1));
        self.next = self.next.max(first).max(highest);
    }
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
        let mut table: Table = read_json(&path)?.unwrap_or_default();
        if let RunAs::Separate(first) = policy {
            table.raise_next(first);
        }
        Ok(Self { policy, path, table: Mutex::new(table) })
    }

    /// The user of a stack, who is given one now if it has none; `None` where all run as this user.
    pub(crate) fn user(&self, stack: StackId) -> io::Result<Option<u32>> {
        let RunAs::Separate(first) = self.policy else { return Ok(None) };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = table.users.get(&stack) {
            return Ok(Some(*user));
        }
        table.raise_next(first);
        let user = table.next;
        if user >= first.saturating_add(USERS) {
            return Err(io::Error::other("no user id is left"));
        }
        table.users.insert(stack, user);
        table.next = user + 1;
        if let Err(error) = write_json(&self.path, &*table, Durability::Power) {
            // The number stays used: whether the table was written is not known.
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

    /// Whether a number is, or was, the user of a stack.
    pub(crate) fn is_tenant(&self, user: u32) -> bool {
        let RunAs::Separate(first) = self.policy else { return false };
        user >= first && user < self.table.lock().unwrap_or_else(PoisonError::into_inner).next
    }

    /// Whether a mark in the environment of a process of `user` may count at all.
    pub(crate) fn may_bear(&self, user: u32) -> bool {
        let known = || self.table.lock().unwrap_or_else(PoisonError::into_inner).users.values().any(|it| *it == user);
        user == rustix::process::geteuid().as_raw() || self.is_tenant(user) || known()
    }

    /// Whether a mark in the environment of a process of `user` may name this stack. Anybody can write a mark; it counts only where
    /// the user proves it: the stack's own, or the one that Freehold itself runs as.
    pub(crate) fn may_mark(&self, user: u32, stack: StackId) -> bool {
        user == rustix::process::geteuid().as_raw() || self.known(stack) == Some(user)
    }

    /// Forgets which user a stack had. Only once nothing of the stack exists. Nobody gets the number again.
    pub(crate) fn release(&self, stack: StackId) -> io::Result<()> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.users.remove(&stack) {
            Some(_) => write_json(&self.path, &*table, Durability::Power),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> StackId {
        StackId(uuid::Uuid::new_v4())
    }

    #[test]
    fn a_number_is_never_given_out_again_not_even_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uids.json");
        let accounts = Accounts::open(RunAs::Separate(1000), path.clone()).unwrap();
        let (one, other) = (stack(), stack());
        assert_eq!(accounts.user(one).unwrap(), Some(1000));
        assert_eq!(accounts.user(other).unwrap(), Some(1001));
        accounts.release(other).unwrap();
        let accounts = Accounts::open(RunAs::Separate(1000), path).unwrap();
        assert_eq!(accounts.user(one).unwrap(), Some(1000));
        assert_eq!(accounts.user(stack()).unwrap(), Some(1002));
        assert!(accounts.is_tenant(1001) && !accounts.is_tenant(1003) && !accounts.is_tenant(0));
    }

    #[test]
    fn a_table_of_a_former_version_goes_on_above_its_highest_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uids.json");
        let one = stack();
        std::fs::write(&path, format!(r#"{{"users":{{"{one}":1007}}}}"#)).unwrap();
        let accounts = Accounts::open(RunAs::Separate(1000), path).unwrap();
        assert_eq!(accounts.user(stack()).unwrap(), Some(1008));
    }

    #[test]
    fn a_mark_counts_only_with_the_user_of_the_stack_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(RunAs::Separate(1000), folder.path().join("uids.json")).unwrap();
        let (one, other) = (stack(), stack());
        let (first, second) = (accounts.user(one).unwrap().unwrap(), accounts.user(other).unwrap().unwrap());
        assert!(accounts.may_mark(first, one));
        assert!(!accounts.may_mark(second, one));
        assert!(!accounts.may_mark(first, stack()));
    }
}
