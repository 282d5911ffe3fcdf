//! The canonical listing of an artifact and the hash of it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Component, Path};

use freehold_graph::ArtifactHash;
use sha2::{Digest as _, Sha256};

use super::ArtifactError;

/// What is known of the files of an artifact, by path.
#[derive(Debug, Default)]
pub(super) struct Listing(BTreeMap<String, String>);

impl Listing {
    pub(super) fn file(&mut self, path: &str, executable: bool, size: u64, digest: &[u8]) {
        let kind = if executable { "exec" } else { "file" };
        self.0.insert(path.to_owned(), format!("{kind} {size} {}", hex::encode(digest)));
    }

    pub(super) fn link(&mut self, path: &str, target: &str) {
        let digest = hex::encode(Sha256::digest(target.as_bytes()));
        self.0.insert(path.to_owned(), format!("link {} {digest}", target.len()));
    }

    pub(super) fn hash(&self) -> ArtifactHash {
        let mut hash = Sha256::new();
        for (path, line) in &self.0 {
            hash.update(format!("{line} {path}\n").as_bytes());
        }
        ArtifactHash::from(<[u8; 32]>::from(hash.finalize()))
    }
}

/// Copies and hashes at once: the size and the digest of what went through.
pub(super) fn copy_hashed(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, Vec<u8>)> {
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
        hash.update(read);
        to.write_all(read)?;
        size += u64::try_from(count).unwrap_or(u64::MAX);
    }
    Ok((size, hash.finalize().to_vec()))
}

/// The path as an artifact has it: relative, of ordinary components, UTF-8 without line breaks.
pub(super) fn canonical(path: &Path) -> Result<String, ArtifactError> {
    let unfit = |reason: &str| ArtifactError::unfit(path.display().to_string(), reason);
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => match part.to_str() {
                Some(text) if !text.contains(['\n', '\r', '\\', '\0']) => parts.push(text),
                _ => return Err(unfit("its name is not plain text")),
            },
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(unfit("its path leads out of the artifact"));
            }
        }
    }
    match parts.len() {
        0 => Err(unfit("it has no name")),
        1..=DEEPEST => Ok(parts.join("/")),
        _ => Err(unfit("its folders lie too deep in one another")),
    }
}

/// How deep folders may lie in one another.
const DEEPEST: usize = 64;

/// Where programs and libraries of the system are, which everybody may read: links there stay links. Whoever follows one does so with
/// rights of their own.
const SYSTEM: [&str; 9] =
    ["/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/opt/", "/etc/alternatives/", "/nix/store/", "/gnu/store/"];

/// What to do about a link that can't stay.
const LINKS: &str = "an artifact's links lead to relative paths within it, or to programs and libraries of the system (/usr, /opt): replace \
     it by a copy of what it leads to, or leave it out. Of a Python environment: make it with a Python of the system \
     (`/usr/bin/python3 -m venv`), or install into a plain folder (`pip install --target`)";

/// Checks that a link at `path` leads to somewhere inside, or into the system. `..` may only stand at the beginning: from there on the way
/// goes down, and where it goes through another link, that one leads inside as well.
pub(super) fn check_link(path: &str, target: &str) -> Result<(), ArtifactError> {
    let escapes = || ArtifactError::Unfit {
        path: path.to_owned(),
        reason: format!("it is a link to {target}, outside of the artifact"),
        help: Some(LINKS.to_owned()),
    };
    let components = || Path::new(target).components();
    if SYSTEM.iter().any(|place| target.starts_with(place))
        && !components().any(|component| component == Component::ParentDir)
        && !target.contains(['\n', '\r', '\0'])
    {
        return Ok(());
    }
    let mut above = path.matches('/').count();
    let mut going_up = true;
    for component in components() {
        match component {
            Component::Normal(_) => going_up = false,
            Component::CurDir => {}
            Component::ParentDir if going_up => above = above.checked_sub(1).ok_or_else(escapes)?,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(escapes()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside() {
        assert_eq!(canonical(Path::new("./static/a.css")).unwrap(), "static/a.css");
        for bad in ["/etc/passwd", "../x", "a/../../x", "", ".", "a\nb", &"a/".repeat(65)] {
            assert!(canonical(Path::new(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_link_stays_inside() {
        assert!(check_link("a/b", "../c").is_ok());
        assert!(check_link("a/b", "../../c").is_err());
        assert!(check_link("b", "/etc/passwd").is_err());
        assert!(check_link("venv/bin/python3", "/usr/bin/python3").is_ok());
        assert!(check_link("b", "/usr/../etc/shadow").is_err());
        assert!(check_link("b", "/usr").is_err() && check_link("b", "/usrlocal/x").is_err());
        assert!(check_link("b", "x/../../etc").is_err());
        // "x" could be a link to ".", and then this would be above.
        assert!(check_link("a/b", "../x/../c").is_err());
    }
}
