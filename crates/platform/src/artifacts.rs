//! The artifacts that services and jobs of this machine run from: taken in, promised to whoever asks, and removed when nothing needs them.
//!
//! An artifact's files are in the data directory and its record in the store, which says when it was last wanted. Only files count as being
//! there; files that a crash has left without a record get one at the next collection.
//!
//! ```text
//!   asked for:   files there? ──► note the time ──────────────► still there?
//!                                      │ one after the other
//!   collected:   unwanted since long? ─┴► forget, with the files put out of sight ──► remove them
//! ```
//!
//! So whoever is told that an artifact is there may rely on it for [`GRACE`], whatever happens at the same time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use freehold_engine::capability::Artifacts as Files;
use freehold_graph::ArtifactHash;
use freehold_problem::{Code, Problem};
use freehold_store::{EngineStore, PLATFORM, Store, StoreError};
use futures::stream::BoxStream;
use tracing::{info, warn};

use crate::Result;
use crate::actor::{Actor, Scope};
use crate::targets::Targets;

/// How long an artifact is kept that nothing refers to: longer than a plan that it was made for.
const GRACE: Duration = Duration::from_secs(48 * 3600);

/// What services of this machine run from.
pub struct Artifacts {
    pub(crate) store: Store,
    pub(crate) targets: Arc<Targets>,
}

impl Artifacts {
    /// Those of this machine, if the platform runs on one.
    fn records(&self) -> Option<ArtifactRecords<'_>> {
        let files = self.targets.local()?.capabilities.artifacts.as_deref()?;
        Some(ArtifactRecords { store: &self.store, files })
    }

    /// Whether an artifact is here. Whoever is told so may rely on it for two days.
    pub async fn has(&self, actor: &Actor, artifact: &str) -> Result<bool> {
        actor.require(Scope::Deploy)?;
        self.holds(artifact).await
    }

    /// The same, for a request that was let in.
    pub(crate) async fn holds(&self, artifact: &str) -> Result<bool> {
        let Some(records) = self.records() else { return Ok(false) };
        let Ok(hash) = artifact.parse::<ArtifactHash>() else { return Ok(false) };
        records.has(&hash).await
    }

    /// Takes an artifact in; its content has to be what its name says.
    pub async fn receive(
        &self,
        actor: &Actor,
        artifact: &str,
        body: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<()> {
        actor.require(Scope::Deploy)?;
        let hash: ArtifactHash = artifact.parse().map_err(|_| {
            Problem::new(Code::ArtifactUnknown, format!("{artifact:?} is not an artifact: expected sha256:…"))
        })?;
        self.records().ok_or_else(no_machine)?.files.receive(&hash, body).await?;
        // Files that a crash has left without a record are found by the next collection.
        match self.holds(artifact).await? {
            true => Ok(()),
            false => {
                Err(Problem::new(Code::ArtifactRemoved, format!("{artifact} was removed while it was being stored")))
            }
        }
    }

    /// Removes the artifacts that no revision that can still be gone back to and no process refers to any more.
    pub async fn collect(&self, engine: &EngineStore) {
        let Some(records) = self.records() else { return };
        let before = Utc::now() - chrono::Duration::from_std(GRACE).unwrap_or_default();
        records.collect(engine, before).await;
    }
}

/// Artifacts' files, and their records.
struct ArtifactRecords<'a> {
    store: &'a Store,
    files: &'a dyn Files,
}

impl ArtifactRecords<'_> {
    async fn has(&self, hash: &ArtifactHash) -> Result<bool> {
        if !self.files.has(hash) {
            return Ok(false);
        }
        // Waits for a collection that is about to forget it.
        let mut tx = self.store.begin(PLATFORM).await?;
        tx.keep_artifact(&hash.to_string(), 0).await?;
        // A crash of PostgreSQL that loses this loses the plans that were made since, too: who was told asks again.
        tx.commit_without_waiting().await?;
        Ok(self.files.has(hash))
    }

    /// Removes what is recorded, was last wanted before `before`, and is in no use.
    async fn collect(&self, engine: &EngineStore, before: DateTime<Utc>) {
        let in_use = match self.files.in_use() {
            Ok(in_use) => in_use,
            // What isn't known to be unused stays.
            Err(problem) => return warn!("unused artifacts could not be listed: {}", problem.message),
        };
        if let Err(refusal) = self.note_unrecorded().await {
            // What isn't known to be unused stays.
            return warn!("artifacts could not be checked: {}", refusal.message);
        }
        let unused = match engine.unused_artifacts(before).await {
            Ok(unused) => unused,
            Err(failure) => return warn!("unused artifacts could not be listed: {failure}"),
        };
        for artifact in unused {
            let Ok(hash) = artifact.parse::<ArtifactHash>() else { continue };
            if in_use.contains(&hash) {
                continue;
            }
            match self.collect_one(engine, &hash, before).await {
                Ok(true) => info!(artifact, "removed: nothing refers to it any more"),
                Ok(false) => {}
                Err(failure) => warn!(artifact, "could not be removed: {failure}"),
            }
        }
    }

    /// Whether it was still unused, and is gone.
    async fn collect_one(
        &self,
        engine: &EngineStore,
        hash: &ArtifactHash,
        before: DateTime<Utc>,
    ) -> Result<bool, Uncollected> {
        let Some(forgotten) = engine.forget_artifact(&hash.to_string(), before).await? else { return Ok(false) };
        let hidden = self.files.hide(hash).map_err(Uncollected::Files)?;
        let confirmed = forgotten.confirm().await;
        match (hidden, &confirmed) {
            (Some(hidden), Ok(())) => on_a_thread_that_may_wait(move || hidden.remove()).await?,
            // Without a record, the next collection finds the files.
            (Some(hidden), Err(_)) => hidden.put_back().map_err(Uncollected::Files)?,
            (None, _) => {}
        }
        Ok(confirmed.map(|()| true)?)
    }

    /// Records the artifacts whose files are here without a record, as if they had been wanted just now: they are collected in their time.
    async fn note_unrecorded(&self) -> Result<()> {
        let mut tx = self.store.begin(PLATFORM).await?;
        for hash in self.files.all()? {
            if tx.artifact(&hash.to_string()).await?.is_none() {
                tx.keep_artifact(&hash.to_string(), 0).await?;
            }
        }
        Ok(tx.commit().await?)
    }
}

/// Why an artifact is left for the next collection.
#[derive(Debug, thiserror::Error)]
enum Uncollected {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Files(Problem),
}

async fn on_a_thread_that_may_wait(
    work: impl FnOnce() -> Result<(), Problem> + Send + 'static,
) -> Result<(), Uncollected> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| Err(Problem::new(Code::Internal, error.to_string())));
    done.map_err(Uncollected::Files)
}

pub(super) fn no_machine() -> Problem {
    Problem::new(Code::OtherKindOfTarget, "this platform runs nothing on its own machine, so it takes no artifacts")
        .help("push an image, and deploy it with --image to a cluster")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use freehold_provider_local::ArtifactStore;
    use freehold_provider_local::artifact::pack;
    use freehold_store::{MasterKey, StoreNames, bootstrap};
    use freehold_testkit::postgres::TestServer;
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

    use super::*;
    use freehold_engine::capability::HiddenArtifact;

    /// Artifacts from which nothing runs.
    struct Unused(ArtifactStore);

    #[async_trait::async_trait]
    impl Files for Unused {
        fn has(&self, artifact: &ArtifactHash) -> bool {
            self.0.has(artifact)
        }

        async fn receive(
            &self,
            artifact: &ArtifactHash,
            content: BoxStream<'static, io::Result<Bytes>>,
        ) -> Result<(), Problem> {
            Ok(self.0.receive(artifact, tokio_util::io::StreamReader::new(content)).await?)
        }

        fn all(&self) -> Result<BTreeSet<ArtifactHash>, Problem> {
            Ok(self.0.all()?)
        }

        fn in_use(&self) -> Result<BTreeSet<ArtifactHash>, Problem> {
            Ok(BTreeSet::new())
        }

        fn hide(&self, artifact: &ArtifactHash) -> Result<Option<Box<dyn HiddenArtifact>>, Problem> {
            Ok(self.0.hide(artifact)?.map(|hidden| Box::new(hidden) as Box<dyn HiddenArtifact>))
        }
    }

    /// How often an artifact that nobody has wanted for long is wanted in the middle of a collection.
    const ROUNDS: usize = 100;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_artifact_that_was_said_to_be_there_is_never_collected() {
        let names = StoreNames::with_suffix(&TestServer::unique("records")).unwrap();
        let superuser = TestServer::shared().superuser();
        let master = || MasterKey::from_bytes([7; 32]);
        let connections = bootstrap(&superuser, &names, &master()).await.unwrap();
        let store = Store::open(&connections, master()).await.unwrap();
        let engine = store.engine("a test");
        let mut admin = superuser.database(&names.database).connect().await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("app"), "#!/bin/sh").unwrap();
        let packed = pack(&source, &["app".to_owned()]).unwrap();
        let mut stream = Vec::new();
        packed.write_to(&mut stream).unwrap();
        let files = Unused(ArtifactStore::open(&folder.path().join("artifacts")).unwrap());
        let records = ArtifactRecords { store: &store, files: &files };
        for round in 0..ROUNDS {
            // As a client does that is told that it isn't there.
            files.0.take_in(&packed.hash, &stream[..]).unwrap();
            assert!(records.has(&packed.hash).await.unwrap());
            admin.execute(AssertSqlSafe("UPDATE artifacts SET last_used_at = '2020-01-01'".to_owned())).await.unwrap();
            let before = Utc::now() - chrono::Duration::days(1);
            let over = std::sync::atomic::AtomicBool::new(false);
            let collection = async {
                records.collect(&engine, before).await;
                over.store(true, std::sync::atomic::Ordering::SeqCst);
            };
            let deploy = async {
                for _ in 0..round * 10 {
                    tokio::task::yield_now().await;
                }
                let told = records.has(&packed.hash).await.unwrap();
                while told && !over.load(std::sync::atomic::Ordering::SeqCst) {
                    assert!(files.has(&packed.hash), "a deploy was told that it is there");
                    tokio::task::yield_now().await;
                }
                told
            };
            let ((), told) = tokio::join!(collection, deploy);
            assert_eq!(files.has(&packed.hash), told);
        }
    }
}
