//! How much memory the platform's allocator keeps for itself.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What glibc reads it from, at a program's start only.
const VARIABLE: &str = "MALLOC_ARENA_MAX";
/// A few, so that threads that answer requests don't wait for each other.
const ARENAS: &str = "4";

/// Starts this program anew with a few arenas, unless somebody has said how many there are to be.
///
/// glibc gives each thread an arena of its own, up to eight for each processor, and what is freed in one of them is not there for the others.
/// Of what a platform with a hundred tenants takes on two processors, two thirds would be free memory of some arena. Where it can't be started
/// anew it goes on as it is.
pub(crate) fn keep_few() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut own = std::env::args_os();
    let mut command = Command::new(program);
    command.arg0(own.next().unwrap_or_default()).args(own).env(VARIABLE, ARENAS);
    let _not_started = command.exec();
}
