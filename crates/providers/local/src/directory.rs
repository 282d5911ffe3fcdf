//! Where things are on disk.
//!
//! ```text
//! local/platform.json                                identifies this platform in the marks of its processes
//! local/uids.json                                    which stack runs as which user (root only)
//! local/stacks/<stack>/home  tmp                     what its programs may write to
//! local/stacks/<stack>/artifacts/<digits>/           what they run from, for their user alone (root only)
//! local/stacks/<stack>/services/<name>/service.json  what was committed last
//!                                     /instances/<instance>.json
//! local/stacks/<stack>/caches/<name>/                the same for the server of a cache, and
//!                                   server.conf  run/   what it reads, and where it works
//! local/stacks/<stack>/cache-data/<name>/data.json   the folder of a cache that persists, and
//!                                       /files/      what its server keeps there
//! local/stacks/<stack>/buckets/<name>/bucket.json    a bucket, and
//!                                    /objects/       what is in it, for us alone
//! local/stacks/<stack>/routes/<host>.json
//! local/stacks/<stack>/schedules/<name>.json
//! local/stacks/<stack>/runs/<revision>/<job>/        lock started.json status.json
//! local/stacks/<stack>/runs/<schedule>/<due>/
//! local/stacks/<stack>/runs/commands/<command>/     until it has ended
//! logs/<stack>/<resource>/<begun>-<instance>.log     what programs print
//!                                          .log.remarks  what Freehold says of them
//! ```
//!
//! Not kept: secrets. Records hold references to them and digests.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use freehold_graph::kind::LocalKind;
use freehold_graph::{ResourceId, StackId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The folders of a stack with the records of its resources, one for each kind.
pub(crate) const SERVICES: &str = "services";
pub(crate) const CACHES: &str = "caches";
pub(crate) const CACHE_DATA: &str = "cache-data";
pub(crate) const BUCKETS: &str = "buckets";
pub(crate) const ROUTES: &str = "routes";
pub(crate) const SCHEDULES: &str = "schedules";

/// Paths below the data directory.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    root: PathBuf,
    logs: PathBuf,
}

impl Directory {
    pub(crate) fn open(root: &Path, logs: &Path) -> io::Result<Self> {
        make(root, 0o711)?;
        make(&root.join("stacks"), 0o711)?;
        make(logs, 0o700)?;
        Ok(Self { root: root.canonicalize()?, logs: logs.canonicalize()? })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn stacks(&self) -> PathBuf {
        self.root.join("stacks")
    }

    pub(crate) fn stack(&self, stack: StackId) -> PathBuf {
        self.stacks().join(stack.to_string())
    }

    pub(crate) fn home(&self, stack: StackId) -> PathBuf {
        self.stack(stack).join("home")
    }

    pub(crate) fn temporary(&self, stack: StackId) -> PathBuf {
        self.stack(stack).join("tmp")
    }

    pub(crate) fn services(&self, stack: StackId) -> PathBuf {
        self.stack(stack).join(SERVICES)
    }

    /// The folders of what is kept running: services, and servers of caches.
    pub(crate) fn kept_running(&self, stack: StackId) -> io::Result<Vec<PathBuf>> {
        let mut found = entries(&self.services(stack))?;
        found.extend(entries(&self.stack(stack).join(CACHES))?);
        Ok(found)
    }

    /// The folder of a service, or of a cache: by its whole id, for they may have the same name.
    pub(crate) fn service(&self, stack: StackId, id: &ResourceId) -> PathBuf {
        let folder = if id.word() == LocalKind::Cache.kind().row().id_word { CACHES } else { SERVICES };
        self.stack(stack).join(folder).join(component(id.name()))
    }

    /// The folders with the files of a program, by their digest; `resource` is `service.web`.
    pub(crate) fn files(&self, stack: StackId, resource: &str) -> PathBuf {
        self.stack(stack).join("files").join(component(resource))
    }

    /// The artifacts that a stack runs from, where it has trees of its own.
    pub(crate) fn artifacts(&self, stack: StackId) -> PathBuf {
        self.stack(stack).join("artifacts")
    }

    pub(crate) fn service_record(&self, stack: StackId, id: &ResourceId) -> PathBuf {
        self.service(stack, id).join("service.json")
    }

    pub(crate) fn instances(&self, stack: StackId, id: &ResourceId) -> PathBuf {
        self.service(stack, id).join("instances")
    }

    pub(crate) fn route_record(&self, stack: StackId, host: &str) -> PathBuf {
        self.stack(stack).join(ROUTES).join(format!("{}.json", component(host)))
    }

    pub(crate) fn schedule_record(&self, stack: StackId, name: &str) -> PathBuf {
        self.stack(stack).join(SCHEDULES).join(format!("{}.json", component(name)))
    }

    /// The directory of runs that belong together: those of a revision, by job, or of a schedule, by the time that they were due.
    pub(crate) fn runs(&self, stack: StackId, group: &str) -> PathBuf {
        self.all_runs(stack).join(component(group))
    }

    /// The directory of all runs of a stack.
    pub(crate) fn all_runs(&self, stack: StackId) -> PathBuf {
        self.stack(stack).join("runs")
    }

    pub(crate) fn logs(&self, stack: StackId) -> PathBuf {
        self.logs.join(stack.to_string())
    }

    pub(crate) fn log_root(&self) -> &Path {
        &self.logs
    }

    /// The directory of a service's, a job's or a schedule's logs; `resource` is `service.web`.
    pub(crate) fn logs_of(&self, stack: StackId, resource: &str) -> PathBuf {
        self.logs(stack).join(component(resource))
    }
}

/// A text as one component of a path: anything unusual is written as `%XX`.
pub(crate) fn component(text: &str) -> String {
    // A dot at the beginning would hide it, or lead out of its folder.
    match text.strip_prefix('.') {
        Some(rest) => format!("%2E{}", utf8_percent_encode(rest, COMPONENT)),
        None => utf8_percent_encode(text, COMPONENT).to_string(),
    }
}

/// What is encoded in a component of a path: all but what means nothing to any file system or shell.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'@').remove(b'.');

/// Makes a directory with its parents, if it isn't there.
pub(crate) fn make(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Whether a file has to outlast a power failure, or only this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Process,
    Power,
}

/// Replaces a file as a whole: readers see the old one or the new one.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T, durability: Durability) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    make(parent, 0o711)?;
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let written = write_draft(&draft, value, durability).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written?;
    if durability == Durability::Power {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn write_draft<T: Serialize>(draft: &Path, value: &T, durability: Durability) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(draft)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    if durability == Durability::Power {
        file.sync_all()?;
    }
    Ok(())
}

/// Reads a file written by [`write_json`]; `None` if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a file was there but wasn't what [`write_json`] writes: cut off by a power failure.
pub(crate) fn is_torn(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Removes a file or a whole directory; what is gone already is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => crate::removal::remove_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match gone {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The paths in a directory, sorted; none if it isn't there.
pub(crate) fn entries(path: &Path) -> io::Result<Vec<PathBuf>> {
    let reading = match fs::read_dir(path) {
        Ok(reading) => reading,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = reading.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_its_directory() {
        assert_eq!(component("web"), "web");
        assert_eq!(component("acme.localhost"), "acme.localhost");
        assert_eq!(component("../x"), "%2E.%2Fx");
        assert_eq!(component(".."), "%2E.");
    }
}
