//! Where the platform is: the address and the token that a running `freehold up` leaves in its data directory.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of the file in the data directory that tells how to reach the platform. Mode 0600: it holds the token.
pub const CONNECTION_FILE: &str = "server.json";

/// How to reach a platform.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// `http://127.0.0.1:7081`.
    pub url: String,
    /// The bearer token.
    pub token: String,
    /// The server's process.
    pub pid: u32,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({}, pid {})", self.url, self.pid)
    }
}

/// Why it isn't known how to reach a platform.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// No platform runs on this data directory.
    #[error("no platform is running on {0}")]
    NotRunning(PathBuf),
    /// The file is there and can't be used.
    #[error("can't read {path}: {reason}")]
    Unreadable {
        /// The file that was read.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What should be an address is none.
    #[error("FREEHOLD_URL is {0:?}, and an address looks like http://127.0.0.1:7081")]
    NoUrl(String),
    /// An address without a token.
    #[error("FREEHOLD_URL is set, and FREEHOLD_TOKEN is not")]
    NoToken,
    /// There is no home directory.
    #[error("no data directory: neither FREEHOLD_DATA_DIR, XDG_DATA_HOME nor HOME is set")]
    NoDirectory,
}

/// `$FREEHOLD_DATA_DIR`, else `$XDG_DATA_HOME/freehold`, else `/var/lib/freehold` for root (whose home no other user may enter,
/// while PostgreSQL and the services run as other users), else `$HOME/.local/share/freehold`.
///
/// # Errors
/// None of them is set.
pub fn default_data_directory() -> Result<PathBuf, ConnectionError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("FREEHOLD_DATA_DIR")
        .or_else(|| variable("XDG_DATA_HOME").map(|path| path.join("freehold")))
        .or_else(|| rustix::process::geteuid().is_root().then(|| PathBuf::from("/var/lib/freehold")))
        .or_else(|| variable("HOME").map(|path| path.join(".local/share/freehold")))
        .ok_or(ConnectionError::NoDirectory)
}

impl Connection {
    /// The platform that `FREEHOLD_URL` and `FREEHOLD_TOKEN` name; `None` if they don't.
    ///
    /// # Errors
    /// [`ConnectionError::NoUrl`]; [`ConnectionError::NoToken`]: the address alone is set. Another platform than the one that it names would be a surprise.
    pub fn from_environment() -> Result<Option<Self>, ConnectionError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (variable("FREEHOLD_URL"), variable("FREEHOLD_TOKEN")) {
            (Some(url), _) if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) => {
                Err(ConnectionError::NoUrl(url))
            }
            (Some(url), Some(token)) => Ok(Some(Self { url: url.trim_end_matches('/').to_owned(), token, pid: 0 })),
            (Some(_), None) => Err(ConnectionError::NoToken),
            (None, _) => Ok(None),
        }
    }

    /// Reads what the platform on this data directory has left. A file whose process is gone counts as not running.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub fn read(data_directory: &Path) -> Result<Self, ConnectionError> {
        let path = data_directory.join(CONNECTION_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ConnectionError::NotRunning(data_directory.to_owned()));
            }
            Err(error) => return Err(ConnectionError::Unreadable { path, reason: error.to_string() }),
        };
        serde_json::from_str(&text).map_err(|error| ConnectionError::Unreadable { path, reason: error.to_string() })
    }
}
