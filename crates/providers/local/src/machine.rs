//! What this machine offers to the stacks' programs: places on disk, users, ports, artifacts, the router.

use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use freehold_engine::ProviderError;
use freehold_graph::StackId;
use freehold_router::{EndpointKey, Router};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::account::Accounts;
use crate::artifact::ArtifactStore;
use crate::directory::{self, Directory, Durability};
use crate::failure;
use crate::log::LogLimits;
use crate::options::LocalOptions;
use crate::port::Ports;
use crate::process;

/// What all services, jobs and schedules share.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) directory: Directory,
    pub(crate) router: Router,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) accounts: std::sync::Arc<Accounts>,
    pub(crate) ports: std::sync::Arc<Ports>,
    pub(crate) log_limits: LogLimits,
    pub(crate) executable: PathBuf,
    pub(crate) platform: Uuid,
    /// When this provider began, in the kernel's ticks. What is older and unknown was left by a former one.
    pub(crate) opened: u64,
    strays_ended: std::sync::Arc<AtomicBool>,
    restored: std::sync::Arc<AtomicBool>,
}

#[derive(Serialize, Deserialize)]
struct PlatformRecord {
    platform: Uuid,
}

impl Machine {
    pub(crate) fn open(options: LocalOptions) -> Result<Self, ProviderError> {
        let opened = Directory::open(&options.directory, &options.logs);
        let directory = opened.map_err(|error| failure::file("use", &options.directory, &error))?;
        let unusable = |error: io::Error| failure::file("use", directory.root(), &error);
        let path = directory.root().join("platform.json");
        let platform = match directory::read_json::<PlatformRecord>(&path).map_err(unusable)? {
            Some(record) => record.platform,
            None => {
                let platform = Uuid::new_v4();
                let record = PlatformRecord { platform };
                directory::write_json(&path, &record, Durability::Power).map_err(unusable)?;
                platform
            }
        };
        let accounts = Accounts::open(options.run_as, directory.root().join("uids.json")).map_err(unusable)?;
        Ok(Self {
            router: options.router,
            artifacts: options.artifacts,
            accounts: accounts.into(),
            ports: Ports::new(options.ports).into(),
            log_limits: options.log_limits,
            executable: options.executable,
            platform,
            opened: process::ticks().map_err(unusable)?,
            directory,
            strays_ended: std::sync::Arc::default(),
            restored: std::sync::Arc::default(),
        })
    }

    /// Makes the directories that a stack's programs may write to, and says as which user they run.
    pub(crate) fn prepare(&self, stack: StackId) -> Result<Option<u32>, ProviderError> {
        let folder = self.directory.stack(stack);
        let prepared = || -> io::Result<Option<u32>> {
            let user = self.accounts.user(stack)?;
            directory::make(&folder, 0o711)?;
            for own in [self.directory.home(stack), self.directory.temporary(stack)] {
                directory::make(&own, 0o700)?;
                if let Some(user) = user
                    && std::fs::metadata(&own)?.uid() != user
                {
                    chown(&own, Some(user), Some(user))?;
                }
            }
            Ok(user)
        };
        prepared().map_err(|error| failure::file("prepare", &folder, &error))
    }

    /// Whether the strays of a former Freehold have been ended: processes that no record knows.
    pub(crate) fn are_strays_ended(&self) -> bool {
        self.strays_ended.load(Ordering::Acquire)
    }

    pub(crate) fn set_strays_ended(&self) {
        self.strays_ended.store(true, Ordering::Release);
    }

    /// Whether [`crate::LocalProvider::restore`] is through.
    pub(crate) fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Acquire)
    }

    pub(crate) fn set_restored(&self) {
        self.restored.store(true, Ordering::Release);
    }
}

/// How the router knows a service: `resource` is `service.web`.
pub(crate) fn endpoint(stack: StackId, resource: &str) -> EndpointKey {
    EndpointKey(format!("{stack}/{resource}"))
}

/// The stack and the service of an endpoint.
pub(crate) fn parse_endpoint(key: &EndpointKey) -> Option<(StackId, &str)> {
    let (stack, resource) = key.0.split_once('/')?;
    Some((StackId(stack.parse().ok()?), resource))
}
