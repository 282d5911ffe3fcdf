//! What Freehold has from whoever started it (a shell, a unit, another program) and what is for none of those that it starts in turn:
//! tenants' programs, PostgreSQL, builds.

use rustix::fs::Mode;
use rustix::process::umask;

/// Keeps descriptors from them. Before anything is opened.
pub(crate) fn keep() {
    // Not closed at once: a file's name may be `/dev/fd/63`, which is what a shell makes of `<(…)`.
    close_fds::set_fds_cloexec(3, &[]);
}

/// What the platform and its programs make is readable for others and writable for none but where a mode says otherwise, whatever it was
/// started with: a stricter mask would keep stacks' users from their own folders, a weaker one would let them write to the platform's.
pub(crate) fn mask_as_usual() {
    umask(Mode::WGRP | Mode::WOTH);
}
