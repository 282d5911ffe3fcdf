//! What Freehold has from whoever started it (a shell, a unit, another program) and what is for none of those that it starts in turn:
//! tenants' programs, PostgreSQL, builds.

use rustix::fs::Mode;
use rustix::process::umask;
use tokio::signal::unix::{SignalKind, signal};

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

/// What the platform was started to ignore (`nohup`, a shell's `&`) would be ignored by all that it starts, for as long as they run.
/// A signal that is heard goes on to do nothing to the platform, and is as usual again for what is executed. Within the runtime, before
/// anything is started.
pub(crate) fn hear_ignored_signals() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let broken_pipe = SignalKind::pipe().as_raw_value();
    for (number, bit) in (1..=64).zip(0..) {
        // Rust's own way with pipes, which it takes back for what it starts.
        if ignored >> bit & 1 == 1 && number != broken_pipe {
            // Some can't be heard: those of faults, which can't be ignored either.
            let _ = signal(SignalKind::from_raw(number));
        }
    }
}
