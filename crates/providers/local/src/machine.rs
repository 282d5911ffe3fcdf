//! What this machine offers to the stacks' programs: places on disk, users, ports, artifacts, the router.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_graph::{StackId, Value};
use freehold_router::socket::{Socket, Way, at_port, bound, connected_to_path, connected_to_port, listeners};
use freehold_router::{EndpointKey, Router};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::account::{Accounts, RunAs, USERS};
use crate::artifact::ArtifactStore;
use crate::calls;
use crate::cgroup::{Cgroups, Group, Limits};
use crate::container::engine::Engines;
use crate::directory::{self, Directory, Durability};
use crate::failure;
use crate::forward::Forwards;
use crate::launcher::{self, Private};
use crate::log::{LogLimits, Starting, Trimmer};
use crate::mark::{self, Marked};
use crate::membership::{descendants, end_all};
use crate::options::LocalOptions;
use crate::port::Ports;
use crate::process_id::{self, ProcessId};
use crate::sandbox::{Sandbox, Sandboxing};
use crate::socket::holds;

/// Who holds this part of all ports by which connections go out has more than any program needs.
const HOARD: usize = 16;
/// How long the sockets of a process that has ended may take to be closed.
const CLOSING: Duration = Duration::from_secs(2);
/// The pause between two looks at them.
const LOOK: Duration = Duration::from_millis(10);

/// What all services, jobs and schedules share.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) directory: Directory,
    pub(crate) router: Router,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) accounts: std::sync::Arc<Accounts>,
    pub(crate) ports: std::sync::Arc<Ports>,
    /// The addresses of caches.
    pub(crate) forwards: std::sync::Arc<Forwards>,
    /// Where programs of the system are looked for.
    pub(crate) search: std::sync::Arc<Vec<PathBuf>>,
    /// What containers run through.
    pub(crate) engines: std::sync::Arc<Engines>,
    /// The folders with sockets of the platform's servers.
    pub(crate) sockets: std::sync::Arc<Vec<PathBuf>>,
    pub(crate) log_limits: LogLimits,
    pub(crate) trimmer: Trimmer,
    pub(crate) starting: Starting,
    pub(crate) executable: PathBuf,
    pub(crate) platform: Uuid,
    /// How programs are kept apart.
    pub(crate) separation: std::sync::Arc<Isolation>,
    data: PathBuf,
    pub(crate) tasks: u64,
    /// How long a replica has to live to start with a clean slate.
    pub(crate) steady: Duration,
    /// When this provider began, in the kernel's ticks. What is older and unknown was left by a former one.
    pub(crate) opened: u64,
    strays_ended: std::sync::Arc<AtomicBool>,
    restored: std::sync::Arc<AtomicBool>,
    stopping: std::sync::Arc<AtomicBool>,
}

/// What this machine can do to keep programs apart.
#[derive(Debug)]
pub(crate) struct Isolation {
    /// Stacks have users of their own.
    pub(crate) users: bool,
    /// Control groups, with users only.
    pub(crate) groups: Option<Cgroups>,
    /// Stacks have folders for temporary files of their own, with users only.
    pub(crate) private: bool,
    /// Programs can be kept from the kernel's keys.
    pub(crate) keyrings: bool,
    /// What is to be had where all run as one user.
    pub(crate) sandboxing: Sandboxing,
}

impl Isolation {
    fn detect(run_as: RunAs, platform: Uuid) -> Self {
        let users = match run_as {
            RunAs::Separate(_) => true,
            RunAs::Same => false,
        };
        Self {
            users,
            groups: users.then(|| Cgroups::open(platform)).flatten(),
            private: users && launcher::can_be_private(),
            keyrings: calls::can_be_closed(),
            sandboxing: if users { Sandboxing::None } else { Sandboxing::detect() },
        }
    }

    /// What isn't enforced here, in words for people; none if all is.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if !self.keyrings {
            missing.push("keyrings (this kernel has no filters of system calls)");
        }
        if self.users {
            if !self.private {
                missing.push("a /tmp of each stack's own (no mount namespaces here)");
            }
            let limits = |controller| self.groups.as_ref().is_some_and(|groups| groups.limits(controller));
            if !limits("pids") {
                missing.push("a limit on each stack's processes (no control groups here)");
            }
            if !limits("memory") {
                missing.push("limits of memory (no control groups for it here)");
            }
            if !limits("cpu") {
                missing.push("limits of processor time (no control groups for it here)");
            }
        } else {
            match self.sandboxing {
                Sandboxing::None => {
                    missing.push("separation of stacks (all run as one user, without a sandbox: as root they don't)")
                }
                Sandboxing::Files => missing.push(
                    "separation of stacks in signals, /tmp and resources (all run as one user: as root they don't)",
                ),
                Sandboxing::FilesAndSignals => {
                    missing.push("separation of stacks in /tmp and resources (all run as one user: as root they don't)")
                }
            }
        }
        missing
    }
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("platform", &self.platform).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct PlatformRecord {
    platform: Uuid,
}

impl Machine {
    /// Freehold's data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

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
        if options.run_as != crate::account::RunAs::Same {
            options.artifacts.close().map_err(unusable)?;
        }
        let accounts = Accounts::open(options.run_as, directory.root().join("uids.json")).map_err(unusable)?;
        let accounts = std::sync::Arc::new(accounts);
        let forwards = Forwards::new(options.router.clone(), std::sync::Arc::clone(&accounts));
        Ok(Self {
            router: options.router,
            artifacts: options.artifacts,
            accounts,
            ports: Ports::new(options.ports).into(),
            forwards: forwards.into(),
            search: options.search.into(),
            engines: std::sync::Arc::default(),
            sockets: options.sockets.into(),
            log_limits: options.log_limits,
            trimmer: Trimmer::default(),
            starting: Starting::default(),
            executable: options.executable,
            platform,
            separation: Isolation::detect(options.run_as, platform).into(),
            data: options.data.canonicalize().map_err(unusable)?,
            tasks: options.tasks,
            steady: options.steady,
            opened: process_id::ticks().map_err(unusable)?,
            directory,
            strays_ended: std::sync::Arc::default(),
            restored: std::sync::Arc::default(),
            stopping: std::sync::Arc::default(),
        })
    }

    /// Makes the directories that a stack's programs may write to, and says as which user they run.
    pub(crate) fn prepare(&self, stack: StackId, body: &Value) -> Result<Option<u32>, ProviderError> {
        let folder = self.directory.stack(stack);
        let prepared = || -> io::Result<Option<u32>> {
            let user = self.accounts.user(stack)?;
            directory::make(&folder, 0o711)?;
            let (home, temporary) = (self.directory.home(stack), self.directory.temporary(stack));
            directory::make(&home, 0o700)?;
            directory::make(&temporary, 0o700)?;
            if let Some(user) = user {
                give(&home, user, user, 0o700)?;
                // What root puts there to mount on nobody else can move away.
                give(&temporary, rustix::process::geteuid().as_raw(), user, 0o1770)?;
            }
            Ok(user)
        };
        let user = prepared().map_err(|error| failure::file("prepare", &folder, &error))?;
        self.limit(stack, body)?;
        Ok(user)
    }

    /// Makes a folder for a stack's user, in a place that only we write to.
    pub(crate) fn own_folder(&self, folder: &Path, user: Option<u32>) -> io::Result<()> {
        directory::make(folder.parent().unwrap_or(folder), 0o711)?;
        directory::make(folder, 0o700)?;
        match user {
            Some(user) => give(folder, user, user, 0o700),
            None => Ok(()),
        }
    }

    /// Sets what the whole stack may use, which each of its bodies says, where there are control groups.
    pub(crate) fn limit(&self, stack: StackId, body: &Value) -> Result<(), ProviderError> {
        let Some(groups) = &self.separation.groups else { return Ok(()) };
        let given = body.get("stack").map(Limits::read).unwrap_or_default();
        let limited = groups.limit(stack, &Limits { tasks: Some(self.tasks), ..given });
        limited.map_err(|error| failure::file("limit a stack in", Path::new("/sys/fs/cgroup"), &error))
    }

    /// The control group of an instance, where there are any.
    pub(crate) fn group(&self, stack: StackId, instance: &str) -> Option<Group> {
        self.separation.groups.as_ref().map(|groups| groups.group(stack, instance))
    }

    /// The folders that a stack's programs have for themselves under the usual names, where that can be had.
    pub(crate) fn private(&self, stack: StackId) -> Option<Private> {
        self.separation.private.then(|| Private {
            temporary: self.directory.temporary(stack),
            home: self.directory.home(stack),
            data: self.data.clone(),
        })
    }

    /// The sandbox of a stack's programs, where it is what keeps them apart.
    pub(crate) fn sandbox(&self, stack: StackId, readable: Vec<PathBuf>, own: Vec<PathBuf>) -> Option<Sandbox> {
        let usual = [self.directory.home(stack), self.directory.temporary(stack)];
        (self.separation.sandboxing != Sandboxing::None).then(|| Sandbox {
            closed: self.data.clone(),
            readable,
            own: usual.into_iter().chain(own).collect(),
        })
    }

    /// All living processes that bear a mark that is believed.
    pub(crate) fn marked(&self) -> io::Result<Vec<Marked>> {
        mark::marked(|user| self.accounts.may_bear(user), |user, stack| self.accounts.may_mark(user, stack))
    }

    /// All living processes of a stack, by their marks, their user and their control groups.
    pub(crate) fn processes_of(&self, stack: StackId) -> io::Result<Vec<ProcessId>> {
        let ours = |mark: &Marked| mark.stack == stack && mark.platform == Some(self.platform);
        let mut found: Vec<ProcessId> = self.marked()?.into_iter().filter(ours).map(|mark| mark.id).collect();
        if let Some(user) = self.accounts.known(stack) {
            found.extend(mark::of_users(|owner| owner == user)?.into_iter().map(|(_, id)| id));
        }
        if let Some(groups) = &self.separation.groups {
            for pid in groups.of_stack(stack)? {
                found.extend(ProcessId::of(pid)?);
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The living processes of all stacks' users, those of former stacks too, but for runs that are supervised and for `kept`. None
    /// where all stacks run as one user.
    pub(crate) fn unkept(&self, kept: impl Fn(&ProcessId) -> bool) -> io::Result<Vec<ProcessId>> {
        if !self.separation.users {
            return Ok(Vec::new());
        }
        let mut supervised = Vec::new();
        for mark in self.marked()? {
            if mark.resource.as_deref().is_some_and(|resource| resource.starts_with(mark::SUPERVISOR)) {
                supervised.extend(descendants(mark.id.pid)?);
            }
        }
        let all = mark::of_users(|user| self.accounts.is_tenant(user))?.into_iter().map(|(_, id)| id);
        Ok(all.filter(|id| !supervised.contains(&id.pid) && !kept(id)).collect())
    }

    /// Ends the tenants' processes that hold reserved addresses which were not given to them, whether they listen there or are only
    /// bound: no tenant may use them up, or keep another from its own. Says whether there were any. Only where stacks have users of
    /// their own.
    pub(crate) async fn evict(&self, reserved: impl Fn(SocketAddr, &Socket) -> bool) -> io::Result<bool> {
        evict(|user| self.accounts.is_tenant(user), reserved).await
    }

    /// Ends the tenants' processes that hold so many of the ports by which connections go out that none is left for others. Says
    /// whether there were any.
    pub(crate) async fn free_outgoing(&self) -> io::Result<bool> {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
        let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u16>().ok());
        let (Some(first), Some(last)) = (ends.next(), ends.next()) else { return Ok(false) };
        let outgoing = |address: SocketAddr| (first..=last).contains(&address.port());
        let mut held: BTreeMap<u32, usize> = BTreeMap::new();
        for (_, socket) in listeners()?.into_iter().chain(bound()?).filter(|(address, _)| outgoing(*address)) {
            *held.entry(socket.user).or_default() += 1;
        }
        let most = usize::from(last.saturating_sub(first)) / HOARD;
        let hoards = |socket: &Socket| held.get(&socket.user).is_some_and(|ports| *ports > most);
        self.evict(|address, socket| outgoing(address) && hoards(socket)).await
    }

    /// The connections that stacks' programs have to a server of ours, by the path of its Unix socket or its port on 127.0.0.1.
    /// None where stacks have no users of their own. Blocks for some milliseconds.
    pub(crate) fn connections_to(&self, path: &Path, port: u16) -> io::Result<Vec<(StackId, Way)>> {
        let stacks: BTreeMap<u32, StackId> =
            self.accounts.all().into_iter().map(|(stack, user)| (user, stack)).collect();
        if stacks.is_empty() {
            return Ok(Vec::new());
        }
        let all = connected_to_path(path)?.into_iter().chain(connected_to_port(port)?);
        Ok(all.filter_map(|one| Some((*stacks.get(&one.user)?, one.way))).collect())
    }

    /// Kills all processes of a stack, whatever they are. Its services are started again as after any other end.
    pub(crate) async fn kill(&self, stack: StackId) -> bool {
        end_all(|| self.processes_of(stack), Instant::now()).await.all
    }

    /// The folder of an artifact that a stack may run from: where it has a user of its own, a tree of its own. Blocks.
    pub(crate) fn share(&self, stack: StackId, user: Option<u32>, artifact: PathBuf) -> io::Result<PathBuf> {
        let Some(user) = user else { return Ok(artifact) };
        let mut in_use = std::collections::BTreeSet::new();
        for service in directory::entries(&self.directory.services(stack))? {
            for record in directory::entries(&service.join("instances"))? {
                // One that can't be read, or is gone by now, is a service's business.
                if let Ok(Some(record)) = directory::read_json::<crate::instance_record::InstanceRecord>(&record) {
                    in_use.extend(record.folder);
                }
            }
        }
        crate::artifact::share(&artifact, &self.directory.artifacts(stack), user, &in_use)
    }

    /// Whether the strays of a former Freehold have been ended: processes that no record knows.
    pub(crate) fn are_strays_ended(&self) -> bool {
        self.strays_ended.load(Ordering::Acquire)
    }

    pub(crate) fn set_strays_ended(&self) {
        self.strays_ended.store(true, Ordering::Release);
    }

    /// Whether the platform stops: nothing is brought back any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether [`crate::LocalProvider::restore`] is through.
    pub(crate) fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Acquire)
    }

    pub(crate) fn set_restored(&self) {
        self.restored.store(true, Ordering::Release);
    }
}

/// Gives a folder in a place of ours to a user and a group. Never what a link leads to.
pub(crate) fn give(folder: &Path, user: u32, group: u32, mode: u32) -> io::Result<()> {
    use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, open};
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = std::fs::File::from(open(folder, flags, Mode::empty())?);
    let found = folder.metadata()?;
    if (found.uid(), found.gid()) != (user, group) {
        fchown(&folder, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    }
    if found.mode() & 0o7777 != mode {
        fchmod(&folder, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

/// How the router knows a service: `resource` is `service.web`.
pub(crate) fn endpoint(stack: StackId, resource: &str) -> EndpointKey {
    EndpointKey(format!("{stack}/{resource}"))
}

/// Ends the processes of stacks' users that hold this port, on whatever address and be it by a connection: for one of Freehold's own,
/// which anybody can have taken while it wasn't running. Only where stacks have users of their own. Says whether the port is free now or
/// will be by itself: connections that were closed keep it for a minute at the longest.
///
/// # Errors
/// The sockets or processes that hold the port can't be listed.
pub async fn free_port(run_as: RunAs, port: u16) -> io::Result<bool> {
    let holding = || -> io::Result<Vec<(SocketAddr, Socket)>> {
        let bound = bound()?.into_iter().filter(|(address, _)| address.port() == port);
        Ok(at_port(port)?.into_iter().chain(bound).collect())
    };
    if let RunAs::Separate(first) = run_as {
        let users = first..first.saturating_add(USERS);
        end_holders(holding()?.into_iter().filter(|(_, socket)| users.contains(&socket.user)).collect()).await?;
    }
    Ok(holding()?.iter().all(|(_, socket)| socket.inode == 0))
}

async fn evict(is_tenant: impl Fn(u32) -> bool, reserved: impl Fn(SocketAddr, &Socket) -> bool) -> io::Result<bool> {
    let squatting = listeners()?
        .into_iter()
        .chain(bound()?)
        .filter(|(address, socket)| reserved(*address, socket) && is_tenant(socket.user))
        .collect();
    end_holders(squatting).await
}

/// Ends the processes that hold these sockets. Says whether there were any, and all have ended and let go of them.
async fn end_holders(squatting: Vec<(SocketAddr, Socket)>) -> io::Result<bool> {
    let inodes: Vec<u64> = squatting.iter().map(|(_, socket)| socket.inode).collect();
    let holders = || -> io::Result<Vec<ProcessId>> {
        let mut found = Vec::new();
        for (_, id) in mark::of_users(|user| squatting.iter().any(|(_, socket)| socket.user == user))? {
            if holds(id.pid, &inodes)? {
                found.push(id);
            }
        }
        Ok(found)
    };
    for id in if squatting.is_empty() { Vec::new() } else { holders()? } {
        tracing::warn!(pid = id.pid, "a tenant's process that holds ports of others is ended");
    }
    if squatting.is_empty() || !end_all(holders, Instant::now()).await.all {
        return Ok(false);
    }
    // A process that ends has lost its descriptors a moment before its sockets are closed.
    let give_up = Instant::now() + CLOSING;
    let is_closing = |(address, socket): (SocketAddr, Socket)| {
        inodes.contains(&socket.inode) || socket.inode == 0 && squatting.iter().any(|(held, _)| *held == address)
    };
    while listeners()?.into_iter().chain(bound()?).any(is_closing) {
        if Instant::now() >= give_up {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(true)
}
