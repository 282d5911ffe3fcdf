//! An artifact for one stack alone.
//!
//! Where every stack has a user of its own, nobody but root enters the store. A stack gets its own tree of each artifact that it runs from,
//! below a folder that its group alone may enter: folders of its own, and in them hard links to the store's files, which nobody may write.
//!
//! ```text
//! local/stacks/<stack>/artifacts   root:<stack's group> 0750
//!                     /<digits>/…  root:root            0555, files 0444 or 0555, the store's own
//! ```

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use uuid::Uuid;

use super::store::{discard, seal_folders};
use crate::directory;

/// How many trees a stack keeps, beside those that are in use: what it last ran from.
const KEPT: usize = 4;

/// Makes a stack's tree of the artifact in `from`, if it isn't there, and gives its path.
pub(crate) fn share(from: &Path, folder: &Path, group: u32, in_use: &BTreeSet<PathBuf>) -> io::Result<PathBuf> {
    let digits = from.file_name().unwrap_or_default();
    let place = folder.join(digits);
    directory::make(folder, 0o700)?;
    let found = fs::symlink_metadata(folder)?;
    if found.gid() != group || found.mode() & 0o777 != 0o750 {
        lchown(folder, None, Some(group))?;
        fs::set_permissions(folder, Permissions::from_mode(0o750))?;
    }
    if !place.exists() {
        tidy(folder, in_use)?;
        let draft = folder.join(format!(".draft-{}", Uuid::new_v4().simple()));
        let made =
            copy_tree(from, &draft).and_then(|()| seal_folders(&draft)).and_then(|()| fs::rename(&draft, &place));
        if made.is_err() && draft.exists() {
            let _ = discard(&draft);
        }
        match made {
            // Two instances of one service began at once.
            Err(_) if place.exists() => {}
            other => other?,
        }
    }
    // The time says when it was last started from.
    fs::File::open(&place)?.set_modified(SystemTime::now())?;
    Ok(place)
}

/// Removes what is long out of use, and drafts that a crash has left.
fn tidy(folder: &Path, in_use: &BTreeSet<PathBuf>) -> io::Result<()> {
    let mut trees = Vec::new();
    for path in directory::entries(folder)? {
        let used = match fs::symlink_metadata(&path) {
            // A draft that another instance has just given its name, or a tree that it has removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?.modified()?,
        };
        let draft = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if draft {
            // Somebody may be at work on it: nobody takes an hour.
            if SystemTime::now().duration_since(used).is_ok_and(|age| age.as_secs() > 3600) {
                discard(&path)?;
            }
        } else if !in_use.contains(&path) {
            trees.push((used, path));
        }
    }
    trees.sort();
    for (_, path) in trees.iter().take(trees.len().saturating_sub(KEPT)) {
        match discard(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    directory::make(to, 0o755)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, place) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&path, &place)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&path)?, &place)?;
        } else if let Err(error) = fs::hard_link(&path, &place) {
            // On another file system, or one with too many links already.
            match error.kind() {
                io::ErrorKind::CrossesDevices | io::ErrorKind::TooManyLinks | io::ErrorKind::Unsupported => {
                    fs::copy(&path, &place).map(drop)?;
                }
                _ => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_that_begin_at_once_lay_out_their_artifact_without_getting_in_each_others_way() {
        let scratch = tempfile::tempdir().unwrap();
        let artifact = scratch.path().join("digits");
        fs::create_dir(&artifact).unwrap();
        for name in 0..20 {
            fs::write(artifact.join(name.to_string()), "content").unwrap();
        }
        let group = rustix::process::getegid().as_raw();
        for round in 0..20 {
            let folder = scratch.path().join(format!("round-{round}"));
            let begin = std::sync::Barrier::new(12);
            std::thread::scope(|scope| {
                let one = || {
                    begin.wait();
                    share(&artifact, &folder, group, &BTreeSet::new())
                };
                let all: Vec<_> = (0..12).map(|_| scope.spawn(one)).collect();
                for instance in all {
                    assert_eq!(instance.join().unwrap().unwrap(), folder.join("digits"));
                }
            });
        }
    }
}
