//! Removes a folder with all that is in it, whatever its owner has made of it.
//!
//! A stack's folders are its tenant's. Nested ten thousands deep they use up the stack of whoever goes down by calling itself, and a
//! descriptor for each level; so this goes down one level only: what lies deeper is moved up, beside what is being removed.
//!
//! ```text
//!   top/                    top/
//!   └── a/                  ├── (1)/ … the rest of it     renamed, however deep it is
//!       └── b/ …     ──►    └── a/                        empty now: removed
//! ```
//!
//! No link is followed, since everything is named by its folder's descriptor.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmodat, fchmod, openat, renameat, unlinkat};
use rustix::io::Errno;

/// How many entries are read before they are removed: a folder that changes while it is read may leave some out.
const BATCH: usize = 4096;

/// Removes the folder. Nothing may run any more that adds to it.
///
/// # Errors
/// Something can't be removed; the rest may be gone.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    let top = folder(CWD, path)?;
    let mut moved = 0_u64;
    loop {
        let entries = entries(&top)?;
        if entries.is_empty() {
            break;
        }
        for name in entries {
            if !removed(top.as_fd(), &name)? {
                empty(&top, &name, &mut moved)?;
            }
        }
    }
    Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// Empties a folder in `top` and removes it; the folders in it that aren't empty go to `top`.
fn empty(top: &OwnedFd, name: &CStr, moved: &mut u64) -> io::Result<()> {
    let inner = folder(top, name)?;
    loop {
        let entries = entries(&inner)?;
        if entries.is_empty() {
            return Ok(unlinkat(top, name, AtFlags::REMOVEDIR)?);
        }
        for entry in entries {
            while !removed(inner.as_fd(), &entry)? {
                *moved += 1;
                // A folder of this name may be there, empty or not; in the latter case the next number is tried.
                match renameat(&inner, &entry, top, format!("({moved})")) {
                    Ok(()) => break,
                    Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                    Err(Errno::ACCESS) => open_to_us(&inner, &entry)?,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// Removes a file, or a folder if it is empty. Says whether it is gone.
fn removed(at: impl AsFd + Copy, name: &CStr) -> io::Result<bool> {
    match unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        // Which of these it is for a folder depends on the file system.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    match unlinkat(at, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        // It was none: what may not be removed.
        Err(Errno::NOTDIR) => Err(Errno::PERM.into()),
        Err(error) => Err(error.into()),
    }
}

/// Opens a folder and sees to it that what is in it can be removed, also where we have no more rights than its owner.
fn folder<P: rustix::path::Arg + Copy>(at: impl AsFd + Copy, name: P) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match openat(at, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            open_to_us(at, name)?;
            openat(at, name, flags, Mode::empty())
        }
        other => other,
    };
    let opened = opened?;
    if !rustix::process::geteuid().is_root() {
        let _ = fchmod(&opened, Mode::RWXU);
    }
    Ok(opened)
}

/// Only a folder of this very user is without these rights, and only to this user it can be given them.
fn open_to_us<P: rustix::path::Arg>(at: impl AsFd, name: P) -> io::Result<()> {
    Ok(chmodat(at, name, Mode::RWXU, AtFlags::empty())?)
}

fn entries(folder: &OwnedFd) -> io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
        if names.len() == BATCH {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn folders_deeper_than_any_stack_or_limit_of_descriptors_are_removed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        // In memory, where there is such a place: a disk takes its time for each of them.
        let place = if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(place).unwrap().keep();
        symlink(outside.path(), folder.join("link")).unwrap();
        // By names that hold on to their folder: the whole path is longer than one may be.
        let mut at = super::folder(CWD, folder.as_path()).unwrap();
        for level in 0..30_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = super::folder(&at, "d").unwrap();
            if level % 1000 == 0 {
                rustix::fs::symlinkat(outside.path(), &at, "link").unwrap();
                rustix::fs::mkdirat(&at, "(7)", Mode::RWXU).unwrap();
                let beside = super::folder(&at, "(7)").unwrap();
                rustix::fs::mkdirat(&beside, "deep", Mode::RWXU).unwrap();
            }
        }
        drop(at);
        remove_all(&folder).unwrap();
        assert!(!folder.exists() && outside.path().join("kept").exists());
    }

    #[test]
    fn a_folder_that_its_owner_has_closed_is_removed() {
        let folder = tempfile::tempdir().unwrap().keep();
        fs::create_dir_all(folder.join("closed/inner/most")).unwrap();
        for path in ["closed/inner", "closed", ""] {
            fs::set_permissions(folder.join(path), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_all(&folder).unwrap();
        assert!(!folder.exists());
    }
}
