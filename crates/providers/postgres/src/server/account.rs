//! The account that the server runs under: ourselves, or as root somebody else.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::error::ServerError;

/// The account that packages of PostgreSQL make.
const USUAL: &str = "postgres";

/// Who runs the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name, for people.
    name: String,
    /// Set if it isn't ourselves.
    ids: Option<(u32, u32)>,
}

impl Account {
    /// `run_as`, or when we are root the usual account, or ourselves. An ordinary user can't be anybody else, so `run_as` is
    /// ignored then.
    ///
    /// # Errors
    /// [`ServerError::NoAccount`].
    pub async fn choose(run_as: Option<&str>) -> Result<Self, ServerError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { name: "of this process".to_owned(), ids: None });
        }
        let name = run_as.unwrap_or(USUAL);
        let none = || ServerError::NoAccount { name: name.to_owned() };
        let uid = id("-u", name).await.filter(|uid| *uid != 0).ok_or_else(none)?;
        let gid = id("-g", name).await.ok_or_else(none)?;
        Ok(Self { name: name.to_owned(), ids: Some((uid, gid)) })
    }

    /// A command that runs under this account in its own process group, with an environment of its own, so that neither
    /// variables nor a Ctrl-C of our terminal get there.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
        command.process_group(0).stdin(std::process::Stdio::null());
        if let Some((uid, gid)) = self.ids {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// The ids of its user and group; `None` if it is ourselves.
    pub(super) fn ids(&self) -> Option<(u32, u32)> {
        self.ids
    }

    /// The id of its user.
    pub(super) fn user(&self) -> u32 {
        self.ids.map_or_else(|| rustix::process::geteuid().as_raw(), |(user, _)| user)
    }

    /// Checks that the account can get to a directory: every directory above lets it through.
    pub(super) fn reach(&self, directory: &Path) -> Result<(), ServerError> {
        let Some((uid, gid)) = self.ids else { return Ok(()) };
        let barrier = directory.ancestors().find(|above| {
            std::fs::metadata(above).is_ok_and(|metadata| {
                let bit = match () {
                    () if metadata.uid() == uid => 0o100,
                    () if metadata.gid() == gid => 0o010,
                    () => 0o001,
                };
                metadata.mode() & bit == 0
            })
        });
        match barrier {
            Some(barrier) => Err(ServerError::OutOfReach {
                account: self.name.clone(),
                directory: directory.to_owned(),
                barrier: PathBuf::from(barrier),
            }),
            None => Ok(()),
        }
    }
}

/// Asks `id`, which knows the accounts of directory services too.
async fn id(flag: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, "--", name]).env("LC_ALL", "C").output().await.ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|_| output.status.success())
}
