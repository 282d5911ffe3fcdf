//! The server's program, from the system.

use std::path::{Path, PathBuf};
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_graph::cache::Version;
use freehold_problem::Code;
use tokio::process::Command;

use crate::exhaustion::{self, is_exhaustion};
use crate::failure;

/// What it is called, the first one that is there.
const PROGRAMS: [&str; 2] = ["valkey-server", "redis-server"];
/// How long it may take to say its version.
const ANSWER: Duration = Duration::from_secs(10);

/// A program that caches run.
pub(crate) struct Server {
    pub(crate) program: PathBuf,
    pub(crate) version: Version,
}

/// Finds the program in these folders, and asks for its version.
///
/// # Errors
/// There is none, or it is too old; what to install.
pub(crate) async fn find(folders: &[PathBuf]) -> Result<Server, ProviderError> {
    let candidates = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let Some(program) = candidates.into_iter().find(|path| path.is_file()) else {
        return Err(failure::refusal(
            Code::CacheServerNotFound,
            "a cache needs valkey-server or redis-server on this machine, and neither was found",
            "install it: `apt-get install redis-server` (or valkey-server); Freehold starts servers of its own, so the \
             system's service may stay off",
        ));
    };
    let version = version(&program).await?;
    if version < Version::OLDEST {
        return Err(failure::refusal(
            Code::CacheServerNotFound,
            format!("{} is version {}.{}, and a cache needs 6.0 or newer", program.display(), version.0, version.1),
            "install a newer redis-server, or valkey-server",
        ));
    }
    Ok(Server { program, version })
}

async fn version(program: &Path) -> Result<Version, ProviderError> {
    let asked = Command::new(program).arg("--version").env_clear().current_dir("/").kill_on_drop(true).output();
    let unusable = |why: String| {
        let message = format!("{} does not say its version: {why}", program.display());
        failure::refusal(Code::CacheServerNotFound, message, "reinstall redis-server or valkey-server")
    };
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(answer)) => {
            let printed = String::from_utf8_lossy(&answer.stdout);
            Version::read(&printed).ok_or_else(|| unusable(format!("it ended with {}", answer.status)))
        }
        Ok(Err(error)) if is_exhaustion(&error) => Err(ProviderError::retryable(
            Code::NotNow,
            format!("{} can't be asked for its version now: {}", program.display(), exhaustion::words(&error)),
        )),
        Ok(Err(error)) => Err(unusable(error.to_string())),
        Err(_elapsed) => Err(unusable("it does not end".to_owned())),
    }
}
