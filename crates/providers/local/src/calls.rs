//! System calls that programs don't get, by a filter.
//!
//! *Keys of the kernel.* A keyring belongs to a session or to a user, and is inherited: what a login, a Kerberos client or an encrypted
//! disk put there for whoever started Freehold could be used by everything that it starts, and where all run as one user, stacks would
//! share one. Nothing in a stack needs them, so the three calls that there are are refused, as most container engines do.
//!
//! *Limits of other processes*, where all run as one user. With a limit of processor time that is used up already a program would end any
//! other, although no signal of its own gets there ([`crate::sandbox`]), and with one of descriptors Freehold itself. Landlock has no say
//! in it. Its own limits a program sets by the number 0.

use std::io;
use std::path::Path;

use seccompiler::{BpfProgram, apply_filter, sock_filter};

/// For each kind of machine, `AUDIT_ARCH_…` of `linux/audit.h`, the first of the numbers of `add_key`, `request_key` and `keyctl`, which
/// follow one another on all of them, and the number of `prlimit64`. Programs of a 32-bit kind run on machines of the 64-bit one, too.
const NUMBERS: [(u32, u32, u32); 5] = [
    (0xC000_003E, 248, 302), // x86_64
    (0x4000_0003, 286, 340), // i386
    (0xC000_00B7, 217, 261), // aarch64
    (0x4000_0028, 309, 369), // arm
    (0xC000_00F3, 217, 261), // riscv64
];
/// Set in the numbers of programs for x86_64 with short pointers.
const SHORT_POINTERS: u32 = 0x4000_0000;

/// Where the number of the call and the kind of machine are in what a filter is given (`struct seccomp_data`), and of `prlimit64` the
/// process and both halves of the address of its new limit. All of these machines have the lower half first.
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
const PROCESS: u32 = 16;
const NEW_LIMIT: [u32; 2] = [32, 36];

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
/// # Parameters
/// `one_user`: others that run as the same user are none of its business.
///
/// # Errors
/// The kernel refuses it.
pub(crate) fn close(one_user: bool) -> io::Result<()> {
    apply_filter(&filter(one_user)).map_err(io::Error::other)
}

fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// `jt` and `jf` say how many steps are left out if it is so, and if not.
fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn filter(one_user: bool) -> BpfProgram {
    let mut program = vec![step(LOAD, MACHINE)];
    for (machine, keys, limits) in NUMBERS {
        let mut calls = vec![step(LOAD, NUMBER), step(AND, !SHORT_POINTERS)];
        if one_user {
            calls.extend(limits_of_others(limits));
        }
        calls.extend([
            branch(IF_AT_LEAST, keys, 0, 2),
            branch(IF_GREATER, keys + 2, 1, 0),
            step(RETURN, REFUSED),
            step(RETURN, ALLOWED),
        ]);
        program.push(branch(IF_EQUAL, machine, 0, u8::try_from(calls.len()).unwrap_or(u8::MAX)));
        program.extend(calls);
    }
    program.push(step(RETURN, ALLOWED));
    program
}

/// Refuses `prlimit64` for another process, unless it only asks. Otherwise the number of the call is still what was loaded last.
fn limits_of_others(number: u32) -> [sock_filter; 9] {
    let [low, high] = NEW_LIMIT;
    [
        branch(IF_EQUAL, number, 0, 8),
        step(LOAD, PROCESS),
        branch(IF_EQUAL, 0, 4, 0),
        step(LOAD, low),
        branch(IF_EQUAL, 0, 0, 3),
        step(LOAD, high),
        branch(IF_EQUAL, 0, 0, 1),
        step(RETURN, ALLOWED),
        step(RETURN, REFUSED),
    ]
}
