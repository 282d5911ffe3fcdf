//! Finds PostgreSQL's programs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::ServerError;
use super::version::{LEAST_MAJOR, Version};

/// What a private server needs.
const SERVER: [&str; 4] = ["postgres", "initdb", "pg_dump", "pg_restore"];
/// What dumps need.
const CLIENT: [&str; 2] = ["pg_dump", "pg_restore"];

/// Directories whose entries (one for each installed version) have the programs in `bin`.
const VERSIONED: [(&str, &str); 6] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
    ("/Applications/Postgres.app/Contents/Versions", ""),
];
/// Directories that have the programs themselves.
const PLAIN: [&str; 4] = ["/usr/local/pgsql/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"];

/// PostgreSQL's programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    directory: PathBuf,
    version: Version,
    /// The ids of the user and group under which those that work on a database's content run, if not ourselves.
    account: Option<(u32, u32)>,
}

impl Binaries {
    /// The newest complete set that is at least [`LEAST_MAJOR`], or the one in `explicit`.
    ///
    /// # Errors
    /// [`ServerError::NotFound`] with the places that were searched, [`ServerError::TooOld`].
    pub fn find(explicit: Option<&Path>) -> Result<Self, ServerError> {
        Self::choose(explicit, &SERVER, None)
    }

    /// Like [`Binaries::find`], but those of the version that made the private server's data, if there are such.
    ///
    /// # Errors
    /// As [`Binaries::find`].
    pub fn find_for(explicit: Option<&Path>, home: &Path) -> Result<Self, ServerError> {
        Self::choose(explicit, &SERVER, super::folder::data_version(home))
    }

    /// Only what dumps need, for a server that somebody else runs.
    ///
    /// # Errors
    /// As [`Binaries::find`].
    pub fn find_client(explicit: Option<&Path>) -> Result<Self, ServerError> {
        Self::choose(explicit, &CLIENT, None)
    }

    /// The directory of the programs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The version that all of them report.
    pub fn version(&self) -> Version {
        self.version
    }

    /// With the account that is to run what works on a database's content.
    pub(super) fn under(self, account: Option<(u32, u32)>) -> Self {
        Self { account, ..self }
    }

    pub(crate) fn account(&self) -> Option<(u32, u32)> {
        self.account
    }

    /// The path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn choose(explicit: Option<&Path>, programs: &[&'static str], major: Option<u32>) -> Result<Self, ServerError> {
        let looked = match explicit {
            Some(directory) => vec![directory.to_owned()],
            None => places(),
        };
        let mut found: Vec<Self> = looked.iter().filter_map(|directory| Self::inspect(directory, programs)).collect();
        // Among equal versions the earlier place wins: PATH first.
        found.sort_by_key(|binaries| std::cmp::Reverse(binaries.version));
        let wanted = major.and_then(|major| found.iter().find(|binaries| binaries.version.major == major));
        match wanted.or(found.first()) {
            Some(binaries) if binaries.version.major >= LEAST_MAJOR => Ok(binaries.clone()),
            Some(old) => Err(ServerError::TooOld { found: old.version, directory: old.directory.clone() }),
            None => Err(ServerError::NotFound { programs: programs.to_vec(), looked }),
        }
    }

    fn inspect(directory: &Path, programs: &[&'static str]) -> Option<Self> {
        if !programs.iter().all(|program| directory.join(program).is_file()) {
            return None;
        }
        // Debian's wrappers choose a version by their own lights; the real programs are found elsewhere.
        let real = directory.join(programs.first()?).canonicalize().ok()?;
        if real.file_name().is_some_and(|name| name == "pg_wrapper") {
            return None;
        }
        let program = directory.join(programs.first()?);
        let output = Command::new(program).arg("--version").env("LC_ALL", "C").output().ok()?;
        let version = Version::parse(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { directory: directory.to_owned(), version, account: None })
    }
}

/// Where to look, without repetition.
fn places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).filter(|place| place.is_absolute()).collect();
    for (parent, prefix) in VERSIONED {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let mut versions: Vec<PathBuf> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join("bin"))
            .collect();
        versions.sort();
        places.extend(versions);
    }
    places.extend(PLAIN.map(PathBuf::from));
    let mut seen = BTreeSet::new();
    places.retain(|place| seen.insert(place.clone()));
    places
}

#[cfg(test)]
mod tests {
    use freehold_problem::Code;

    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        let version = |text| Version::parse(text).map(|version| version.to_string());
        assert_eq!(version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)").as_deref(), Some("15.18"));
        assert_eq!(version("pg_dump (PostgreSQL) 17beta1").as_deref(), Some("17.0"));
        assert_eq!(version("PostgreSQL").as_deref(), None);
    }

    #[test]
    fn an_empty_directory_is_named_in_the_error_together_with_what_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let error = Binaries::find(Some(empty.path())).unwrap_err();
        assert_eq!(error.code(), Code::PostgresNotFound);
        assert!(error.to_string().contains(&empty.path().display().to_string()), "{error}");
        assert!(error.help().unwrap().contains("apt install postgresql"));
    }

    #[test]
    fn programs_that_are_too_old_are_refused_with_their_version() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        for program in SERVER {
            let path = directory.path().join(program);
            std::fs::write(&path, "#!/bin/sh\necho 'postgres (PostgreSQL) 13.9'\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let error = Binaries::find(Some(directory.path())).unwrap_err();
        assert_eq!(error.code(), Code::PostgresTooOld);
        assert!(error.to_string().contains("13.9"), "{error}");
    }
}
