//! The artifacts that services and jobs of this machine run from: taken in, promised to whoever asks, and removed when nothing needs them.
//!
//! An artifact's files are in the data directory and its record in the store, which says when it was last wanted. Only files count as being
//! there; files that a crash has left without a record get one at the next collection.
//!
//! ```text
//!   asked for:   files there? ──► note the time ──► still there?
//!   collected:   put the files out of sight ──► unwanted still? forget the record, remove the files : put them back
//! ```
//!
//! So whoever is told that an artifact is there may rely on it for [`GRACE`], whatever happens at the same time.

use std::io;
use std::time::Duration;

use axum::body::BodyDataStream;
use chrono::Utc;
use freehold_provider_local::{ArtifactError, ArtifactHash};
use freehold_store::{EngineStore, PLATFORM};
use futures::TryStreamExt;
use tokio_util::io::StreamReader;
use tracing::{info, warn};

use super::runtime::Local;
use super::{Platform, store_refusal};
use crate::refusal::{Answer, Refusal};

/// How long an artifact is kept that nothing refers to: longer than a plan that it was made for.
const GRACE: Duration = Duration::from_secs(48 * 3600);

impl Platform {
    /// This machine, which artifacts are for.
    fn machine(&self) -> Option<&Local> {
        self.targets.local().and_then(|local| local.local.as_ref())
    }

    /// Whether an artifact is here. Whoever is told so may rely on it for [`GRACE`].
    pub(crate) async fn has_artifact(&self, artifact: &str) -> Answer<bool> {
        let Some(machine) = self.machine() else { return Ok(false) };
        let Ok(hash) = artifact.parse::<ArtifactHash>() else { return Ok(false) };
        if !machine.artifacts.has(&hash) {
            return Ok(false);
        }
        self.note_artifact(&hash).await?;
        Ok(machine.artifacts.has(&hash))
    }

    /// Records that an artifact is here and was wanted just now.
    async fn note_artifact(&self, hash: &ArtifactHash) -> Answer<()> {
        let mut tx = self.store.begin(PLATFORM).await.map_err(store_refusal)?;
        tx.keep_artifact(&hash.to_string(), 0).await.map_err(store_refusal)?;
        tx.commit().await.map_err(store_refusal)
    }

    /// Takes an artifact in; its content has to be what its name says.
    pub(crate) async fn receive_artifact(&self, artifact: &str, body: BodyDataStream) -> Answer<()> {
        let hash: ArtifactHash = artifact
            .parse()
            .map_err(|_| Refusal::invalid("FH0603", format!("{artifact:?} is no artifact: it looks like sha256:…")))?;
        let machine = self.machine().ok_or_else(no_machine)?;
        let stream = StreamReader::new(body.map_err(io::Error::other));
        machine.artifacts.receive(&hash, stream).await.map_err(artifact_refusal)?;
        // Files that a crash has left without a record are found by the next collection.
        match self.has_artifact(artifact).await? {
            true => Ok(()),
            false => Err(Refusal::unavailable("FH0603", format!("{artifact} was removed while it was taken in"))),
        }
    }

    /// Removes the artifacts that no revision that can still be gone back to and no process refers to any more.
    pub(crate) async fn collect_artifacts(&self, engine: &EngineStore) {
        let Some(machine) = self.machine() else { return };
        if let Err(refusal) = self.note_unrecorded(machine).await {
            // What isn't known to be unused stays.
            return warn!("artifacts could not be looked over: {}", refusal.into_problem().detail);
        }
        let before = Utc::now() - chrono::Duration::from_std(GRACE).unwrap_or_default();
        let unused = match engine.unused_artifacts(before).await {
            Ok(unused) => unused,
            Err(failure) => return warn!("unused artifacts could not be looked for: {failure}"),
        };
        let in_use = machine.provider.artifacts_in_use();
        for artifact in unused {
            let Ok(hash) = artifact.parse::<ArtifactHash>() else { continue };
            if in_use.contains(&hash) {
                continue;
            }
            let hidden = match machine.artifacts.hide(&hash) {
                Ok(hidden) => hidden,
                Err(failure) => {
                    warn!(artifact, "could not be removed: {failure}");
                    continue;
                }
            };
            let forgotten = engine.forget_artifact(&artifact, before).await;
            let done = match (hidden, &forgotten) {
                (None, _) => Ok(()),
                (Some(hidden), Ok(true)) => on_a_thread_that_may_wait(move || hidden.remove()).await,
                // Somebody wanted it just now, or nobody knows.
                (Some(hidden), Ok(false) | Err(_)) => hidden.put_back(),
            };
            match (done, forgotten) {
                (Ok(()), Ok(true)) => info!(artifact, "removed: nothing refers to it any more"),
                (Ok(()), Ok(false)) => {}
                (Err(failure), _) => warn!(artifact, "could not be removed: {failure}"),
                (_, Err(failure)) => warn!(artifact, "could not be forgotten: {failure}"),
            }
        }
    }

    /// Records the artifacts whose files are here without a record, as if they had been wanted just now: they are collected in their time.
    async fn note_unrecorded(&self, machine: &Local) -> Answer<()> {
        let mut tx = self.store.begin(PLATFORM).await.map_err(store_refusal)?;
        for hash in machine.artifacts.all().map_err(artifact_refusal)? {
            if tx.artifact(&hash.to_string()).await.map_err(store_refusal)?.is_none() {
                tx.keep_artifact(&hash.to_string(), 0).await.map_err(store_refusal)?;
            }
        }
        tx.commit().await.map_err(store_refusal)
    }
}

async fn on_a_thread_that_may_wait(
    work: impl FnOnce() -> Result<(), ArtifactError> + Send + 'static,
) -> Result<(), ArtifactError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ArtifactError::Stream(error.to_string())))
}

pub(super) fn no_machine() -> Refusal {
    Refusal::conflict("FH1244", "this platform runs on no machine of its own: artifacts are of no use to it")
        .help("push an image, and deploy it with --image to a cluster")
}

fn artifact_refusal(error: ArtifactError) -> Refusal {
    Refusal::invalid(error.code(), error.to_string())
}
