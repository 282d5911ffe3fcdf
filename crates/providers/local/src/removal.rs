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
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmod, fchmod, openat, renameat, unlinkat};
use rustix::io::Errno;
use uuid::Uuid;

/// How many entries are read before they are removed: a folder that changes while it is read may leave some out.
const BATCH: usize = 4096;
/// How often a folder is tried to be moved. Its new name is one that nobody can have foreseen.
const TRIES: usize = 3;
/// How long it may take: while something goes on adding to the folder, there is no end to it.
const LONGEST: Duration = Duration::from_secs(900);

/// Removes the folder. Nothing may run any more that adds to it.
///
/// # Errors
/// Something can't be removed, or it takes too long; the rest may be gone.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    let top = folder(CWD, path)?;
    let until = Instant::now() + LONGEST;
    loop {
        let entries = entries(&top, until)?;
        if entries.is_empty() {
            break;
        }
        for name in entries {
            if !removed(top.as_fd(), &name)? {
                empty(&top, &name, until)?;
            }
        }
    }
    Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// Empties a folder in `top` and removes it; the folders in it that aren't empty go to `top`.
fn empty(top: &OwnedFd, name: &CStr, until: Instant) -> io::Result<()> {
    let inner = folder(top, name)?;
    loop {
        let entries = entries(&inner, until)?;
        if entries.is_empty() {
            return Ok(unlinkat(top, name, AtFlags::REMOVEDIR)?);
        }
        for entry in entries {
            if !removed(inner.as_fd(), &entry)? {
                move_up(&inner, &entry, top)?;
            }
        }
    }
}

fn move_up(inner: &OwnedFd, entry: &CStr, top: &OwnedFd) -> io::Result<()> {
    let mut outcome = Ok(());
    for _ in 0..TRIES {
        outcome = renameat(inner, entry, top, format!("({})", Uuid::new_v4()));
        match outcome {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ACCESS) => open_to_us(inner, entry)?,
            Err(_) => break,
        }
    }
    Ok(outcome?)
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

/// Only a folder of this very user is without these rights, and only to this user it can be given them. What is changed is what was found
/// to be a folder, whatever has its name by now.
fn open_to_us<P: rustix::path::Arg>(at: impl AsFd, name: P) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = openat(at, name, flags, Mode::empty())?;
    Ok(chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), Mode::RWXU)?)
}

fn entries(folder: &OwnedFd, until: Instant) -> io::Result<Vec<std::ffi::CString>> {
    if Instant::now() > until {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "something goes on adding to it"));
    }
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
    fn nothing_is_reached_through_a_link_that_takes_a_folder_s_place_while_it_is_removed() {
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("closed")).unwrap();
        fs::write(outside.path().join("closed/kept"), "").unwrap();
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let place = tempfile::tempdir().unwrap();
        let (folder, link) = (place.path().join("folder"), place.path().join("link"));
        symlink(outside.path(), &link).unwrap();
        // By its name alone, as when it is taken for a folder that is closed to us.
        open_to_us(CWD, link.as_path()).unwrap_err();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let (inner, aside) = (folder.join("a/b"), folder.join("a/aside"));
                    let _ = fs::create_dir_all(inner.join("c/d"));
                    let _ = fs::set_permissions(inner.join("c"), fs::Permissions::from_mode(0o000));
                    let _ = fs::rename(&inner, &aside);
                    let _ = symlink(outside.path(), &inner);
                }
            });
            for _ in 0..100 {
                let _ = remove_all(&folder);
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(outside.path().join("closed/kept").exists());
        assert_eq!(fs::metadata(outside.path()).unwrap().permissions().mode() & 0o777, 0o555);
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let _ = remove_all(&folder);
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
