//! Files of programs: what a definition puts at a path of the program's choice.
//!
//! A container finds them where the definition says. A process shares the machine's file system with all others, so its files can't be where a container would find them. They are below
//! `stacks/STACK/files/PROGRAM/DIGEST`, as they would be below `/`, and where an argument or a variable of the program is the path of one of
//! them, or ends with `=` and the path, it gets the place instead. The folder is for the stack's user alone, who can read in it and not write.
//!
//! Contents don't change: others are in another folder, by their digest. The last few are kept, for instances of the version before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use freehold_engine::{Context, ProviderError, Revealed};
use freehold_graph::{ResourceId, SecretText, Value};
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use sha2::{Digest as _, Sha256};

use crate::directory;
use crate::failure;
use crate::machine::{Machine, give};

/// How many folders of a program's former files are kept beside its newest.
const KEPT: usize = 2;
/// The mode of a file that doesn't say.
const PLAIN: i64 = 0o644;

/// Where a program's files are.
#[derive(Default)]
pub(crate) struct Placed {
    /// Which folder it reads them from, if it has any.
    pub(crate) folder: Option<PathBuf>,
    /// The places by the paths of the definition.
    places: BTreeMap<String, String>,
}

/// A file to be written.
struct Content {
    path: String,
    text: SecretText,
    mode: u32,
}

impl Placed {
    /// The paths of the definition, each with the place of its file.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.iter().map(|(path, place)| (path.as_str(), place.as_str()))
    }

    /// An argument or the value of a variable, with the place of a file in place of its path.
    pub(crate) fn lead(&self, text: &str) -> Option<String> {
        if let Some(place) = self.places.get(text) {
            return Some(place.clone());
        }
        let (name, path) = text.split_once('=')?;
        self.places.get(path).map(|place| format!("{name}={place}"))
    }
}

/// Writes the files of a body, if it has any and they aren't there.
///
/// # Errors
/// They can't be written.
pub(crate) async fn place(
    machine: &Machine,
    context: &Context,
    resource: &ResourceId,
    user: Option<u32>,
    (body, revealed): (&Value, &Revealed),
) -> Result<Placed, ProviderError> {
    let Some(files) = body.get("files").and_then(Value::as_map).filter(|files| !files.is_empty()) else {
        return Ok(Placed::default());
    };
    let mut contents = Vec::new();
    for (path, file) in files {
        let text = match file.get("content") {
            Some(content) => revealed.text(content)?,
            None => SecretText::new(String::new()),
        };
        let mode = file.get("mode").and_then(Value::as_integer).unwrap_or(PLAIN);
        contents.push(Content { path: path.clone(), text, mode: u32::try_from(mode).unwrap_or_default() & 0o777 });
    }
    let all = machine.directory.files(context.stack, &resource.0);
    let folder = all.join(digest(&contents));
    let places = contents.iter().map(|one| (one.path.clone(), within(&folder, &one.path).display().to_string()));
    let places = places.collect();
    let to = folder.clone();
    let written = tokio::task::spawn_blocking(move || write_all(&all, &to, user, &contents)).await;
    let written = written.map_err(|_| failure::stopped("writing files"))?;
    written.map_err(|error| failure::file("write", &folder, &error))?;
    Ok(Placed { folder: Some(folder), places })
}

/// A name for what is in the files: another one for everything that differs.
fn digest(contents: &[Content]) -> String {
    let mut hash = Sha256::new();
    for Content { path, text, mode } in contents {
        let text = text.reveal();
        hash.update(format!("{}\n{path}\n{mode:o}\n{}\n", path.len(), text.len()));
        hash.update(text);
    }
    hex::encode(hash.finalize()).chars().take(32).collect()
}

/// Where a path of the definition is below a folder. The definition's paths are absolute and have no `..` in them.
fn within(folder: &Path, path: &str) -> PathBuf {
    folder.join(path.trim_start_matches('/'))
}

fn write_all(all: &Path, folder: &Path, user: Option<u32>, contents: &[Content]) -> io::Result<()> {
    directory::make(all, 0o711)?;
    if folder.is_dir() {
        // Used last.
        File::open(folder)?.set_modified(SystemTime::now())?;
        return Ok(());
    }
    let draft = all.join(format!(".{}.draft", uuid::Uuid::new_v4().simple()));
    let written = write_draft(&draft, user, contents)
        .and_then(|()| fs::rename(&draft, folder))
        .and_then(|()| File::open(all)?.sync_all());
    if written.is_err() {
        let _ = directory::remove(&draft);
        // Another program of the same files was as quick.
        if !folder.is_dir() {
            return written;
        }
    }
    prune(all, folder)
}

fn write_draft(draft: &Path, user: Option<u32>, contents: &[Content]) -> io::Result<()> {
    make(draft, user)?;
    for Content { path, text, mode } in contents {
        let place = within(draft, path);
        let mut folder = draft.to_owned();
        let parents = place.parent().and_then(|parent| parent.strip_prefix(draft).ok()).unwrap_or(Path::new(""));
        for part in parents.components() {
            folder.push(part);
            if !folder.is_dir() {
                make(&folder, user)?;
            }
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&place)?;
        file.write_all(text.reveal().as_bytes())?;
        if let Some(user) = user {
            fchown(&file, Some(Uid::from_raw(file.metadata()?.uid())), Some(Gid::from_raw(user)))?;
        }
        // The program reads as the group what the definition gives to the owner.
        let shared = user.map_or(0, |_| (mode & 0o500) >> 3);
        let own = if user.is_some() { mode & 0o755 } else { mode & 0o777 };
        fchmod(&file, Mode::from_raw_mode(own | 0o400 | shared))?;
        // A folder that is there is taken for whole.
        file.sync_all()?;
    }
    Ok(())
}

/// Makes a folder that the stack's user can read.
fn make(folder: &Path, user: Option<u32>) -> io::Result<()> {
    directory::make(folder, 0o700)?;
    match user {
        Some(user) => give(folder, rustix::process::geteuid().as_raw(), user, 0o750),
        None => Ok(()),
    }
}

/// Removes what hasn't been used for longest.
fn prune(all: &Path, newest: &Path) -> io::Result<()> {
    let mut others = Vec::new();
    for path in directory::entries(all)?.into_iter().filter(|path| path != newest) {
        if let Ok(metadata) = fs::symlink_metadata(&path) {
            others.push((metadata.modified()?, path));
        }
    }
    others.sort();
    let surplus = others.len().saturating_sub(KEPT);
    others.iter().take(surplus).try_for_each(|(_, path)| directory::remove(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &str, text: &str, mode: u32) -> Content {
        Content { path: path.to_owned(), text: SecretText::new(text.to_owned()), mode }
    }

    #[test]
    fn an_argument_that_is_a_path_of_a_file_leads_there() {
        let places = BTreeMap::from([("/etc/app.conf".to_owned(), "/data/app.conf".to_owned())]);
        let placed = Placed { folder: None, places };
        assert_eq!(placed.lead("/etc/app.conf").unwrap(), "/data/app.conf");
        assert_eq!(placed.lead("--config=/etc/app.conf").unwrap(), "--config=/data/app.conf");
        assert_eq!(placed.lead("/etc/app.conf.bak"), None);
        assert_eq!(placed.lead("see /etc/app.conf"), None);
    }

    #[test]
    fn whatever_differs_is_in_another_folder_and_the_last_few_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let mut folders = Vec::new();
        for (number, text) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            let contents = [content("/etc/x/app.conf", text, 0o640), content("/opt/run.sh", "", 0o755)];
            let folder = root.path().join(digest(&contents));
            write_all(root.path(), &folder, None, &contents).unwrap();
            let age = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::try_from(number).unwrap());
            File::open(&folder).unwrap().set_modified(age).unwrap();
            assert_eq!(fs::read_to_string(folder.join("etc/x/app.conf")).unwrap(), text);
            assert_eq!(fs::metadata(folder.join("opt/run.sh")).unwrap().mode() & 0o777, 0o755);
            folders.push(folder);
        }
        let left: Vec<bool> = folders.iter().map(|folder| folder.is_dir()).collect();
        assert_eq!(left, [false, false, true, true, true]);
        assert_ne!(digest(&[content("/a", "b", 0o600)]), digest(&[content("/a", "b", 0o644)]));
    }
}
