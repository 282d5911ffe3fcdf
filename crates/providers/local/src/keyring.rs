//! Keeps programs from the kernel's keys (`keyctl`).
//!
//! A keyring belongs to a session or to a user, and is inherited: what a login, a Kerberos client or an encrypted disk put there for
//! whoever started Freehold could be used by everything that it starts, and where all run as one user, stacks would share one. Nothing
//! in a stack needs them, so a filter of system calls refuses the three calls that there are, as most container engines do.

use std::io;
use std::path::Path;

use seccompiler::{BpfProgram, apply_filter, sock_filter};

/// For each kind of machine, `AUDIT_ARCH_…` of `linux/audit.h` and the first of the numbers of `add_key`, `request_key` and `keyctl`,
/// which follow one another on all of them. Programs of the former kind run on the machines of the latter, too.
const NUMBERS: [(u32, u32); 5] = [
    (0xC000_003E, 248), // x86_64
    (0x4000_0003, 286), // i386
    (0xC000_00B7, 217), // aarch64
    (0x4000_0028, 309), // arm
    (0xC000_00F3, 217), // riscv64
];
/// Set in the numbers of programs for x86_64 with short pointers.
const SHORT_POINTERS: u32 = 0x4000_0000;

/// Where the number of the call and the kind of machine are in what a filter is given (`struct seccomp_data`).
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;

/// Instructions of the classic Berkeley packet filter (`linux/bpf_common.h`).
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_GREATER: u16 = 0x25;
const RETURN: u16 = 0x06;

const ALLOWED: u32 = 0x7FFF_0000;
/// `SECCOMP_RET_ERRNO` with `EPERM`.
const REFUSED: u32 = 0x0005_0001;

/// Whether this kernel has filters of system calls.
pub(crate) fn can_be_closed() -> bool {
    Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

/// Closes them to this process and all that it starts. It must have given up new privileges.
///
/// # Errors
/// The kernel refuses it.
pub(crate) fn close() -> io::Result<()> {
    apply_filter(&filter()).map_err(io::Error::other)
}

fn filter() -> BpfProgram {
    let step = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    // How many steps are left out if it is so, and if not.
    let branch = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    let mut program = vec![step(LOAD, MACHINE)];
    for (machine, first) in NUMBERS {
        program.extend([
            branch(IF_EQUAL, machine, 0, 6),
            step(LOAD, NUMBER),
            step(AND, !SHORT_POINTERS),
            branch(IF_AT_LEAST, first, 0, 2),
            branch(IF_GREATER, first + 2, 1, 0),
            step(RETURN, REFUSED),
            step(RETURN, ALLOWED),
        ]);
    }
    program.push(step(RETURN, ALLOWED));
    program
}
