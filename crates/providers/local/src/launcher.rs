//! The small program between Freehold and what it starts: `freehold internal launch`.
//!
//! What has to happen in the new process before the program runs happens here: it gives up rights, gets its own `/tmp`, its limits,
//! its control group or its sandbox. It then either becomes the program (`exec`), or stays as its parent:
//!
//! ```text
//!   freehold ──order──► launcher ──exec──► program                      as root, in a control group
//!                          └─────────────► program ─► …  ─► orphans     else: the launcher is a child subreaper
//!                                 ▲────────────────────────────┘
//! ```
//! A launcher that stays ends all that is left once the program has ended, and then ends as the program did.
//!
//! The order comes through a socket, since it holds the environment: a program's environment can make whoever runs with it load
//! foreign code, so a launcher that is root must not have it as its own. The same socket takes back why it could not be started; it
//! is closed by `exec`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, fstat, mkdirat, open, openat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, mount_change, mount_remount,
    move_mount, open_tree,
};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpgid, getppid, getpriority_process, getrlimit,
    kill_process, set_child_subreaper, setpgid, setpriority_process, setrlimit, setsid, wait,
};
use rustix::thread::{CpuSet, UnshareFlags, sched_setaffinity, set_no_new_privs};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::Instant;
use zeroize::{Zeroize, Zeroizing};

use crate::calls;
use crate::container::{ContainerOrder, shim};
use crate::membership::{descendants, end_all};
use crate::process_id::ProcessId;
use crate::sandbox::{self, Sandbox};

/// How long what a program left behind may take to end when nobody asked for the end.
const LEFT_BEHIND: Duration = Duration::from_secs(1);
/// Where programs share memory by name.
const MEMORY: &str = "/dev/shm";
/// What a stack may keep in shared memory, for each process that Freehold starts.
const SHARED_MEMORY: &std::ffi::CStr = c"mode=1777,size=256m";

/// What the kernel adds to a program's share of memory, in thousandths of the machine's, where it looks for one to end: programs go before
/// Freehold, PostgreSQL and what else the machine has.
const KILLED_FIRST: i32 = 500;

/// The user of whom nobody has logged in, for the kernel's audit.
const NO_LOGIN: &str = "4294967295";

/// What to start, and how.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    /// The user and group; `None`: those that we are.
    pub(crate) user: Option<u32>,
    /// Files of control groups to get into.
    pub(crate) groups: Vec<PathBuf>,
    /// The soft limit for descriptors.
    pub(crate) descriptors: Option<u64>,
    /// The folders that it has for itself alone under the usual names for temporary files.
    pub(crate) private: Option<Private>,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) stay: Option<StopPolicy>,
    /// It is no program of this machine but a container: what is said of the program here but for its variables doesn't count.
    #[serde(default)]
    pub(crate) container: Option<ContainerOrder>,
}

/// A stack's own view of the folders that programs of all stacks write to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Private {
    /// What is seen as `/tmp` and `/var/tmp`.
    pub(crate) temporary: PathBuf,
    /// What it may write to beside.
    pub(crate) home: PathBuf,
    /// Must go on to be seen.
    pub(crate) data: PathBuf,
}

/// How a launcher looks after what it has started.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct StopPolicy {
    /// How long all may take to end after SIGTERM, in milliseconds.
    pub(crate) patience: u64,
}

impl Order {
    /// As it goes through the socket.
    pub(crate) fn to_bytes(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        serde_json::to_vec(self).map(Zeroizing::new)
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        self.environment.values_mut().for_each(Zeroize::zeroize);
    }
}

/// Why nothing was started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NotStarted {
    pub(crate) message: String,
    /// The system's number for it.
    pub(crate) errno: Option<i32>,
    /// It is the program that could not be executed; else it is something of ours.
    pub(crate) program: bool,
}

/// The launcher's main program. Its exit code is the program's; 125 if nothing was started.
pub fn main() -> ExitCode {
    let not_started = ExitCode::from(125);
    // Else it would have the terminal that Freehold was started from: to write there, and on some kernels to type there.
    if own_session().is_err() {
        return not_started;
    }
    let Ok(mut socket) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map(UnixStream::from) else {
        return not_started;
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let Some(order) = socket.read_to_end(&mut bytes).ok().and_then(|_| serde_json::from_slice::<Order>(&bytes).ok())
    else {
        return not_started;
    };
    drop(bytes);
    // The socket stays open until the program has been started, and no longer.
    if let Ok(nothing) = fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(nothing);
    }
    if let Some(container) = &order.container {
        // What Freehold itself may do more than others is not for the engine to pass on. A container goes on without: it is told elsewhere.
        let _ = give_up_standing();
        return contain(&order, container, socket);
    }
    let answer = |socket: UnixStream, error: &io::Error, program| {
        tell(socket, &NotStarted { message: error.to_string(), errno: error.raw_os_error(), program });
        not_started
    };
    if let Err(error) = confine(&order) {
        return answer(socket, &error, false);
    }
    let mut command = command(&order);
    let Some(stay) = order.stay else {
        return answer(socket, &command.exec(), true);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return answer(socket, &error, false),
    };
    runtime.block_on(async {
        // From before the start: SIGTERM at any time ends what was started, not this.
        let heard = signal(SignalKind::terminate()).and_then(|asked| Ok((asked, signal(SignalKind::child())?)));
        let (asked, ended) = match heard {
            Ok(heard) => heard,
            Err(error) => return answer(socket, &error, false),
        };
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return answer(socket, &error, true),
        };
        drop((order, socket, command));
        let pid = i32::try_from(child.id()).unwrap_or_default();
        look_after(pid, asked, ended, Duration::from_millis(stay.patience)).await
    })
}

/// Says why nothing was started.
fn tell(mut socket: UnixStream, told: &NotStarted) {
    let _ = serde_json::to_vec(told).map(|bytes| socket.write_all(&bytes));
}

/// Looks after a container. It has its rights from its engine, so nothing is given up here: the engine needs all of ours.
fn contain(order: &Order, container: &ContainerOrder, socket: UnixStream) -> ExitCode {
    let started = move |why: Option<&str>| {
        if let Some(why) = why {
            tell(socket, &NotStarted { message: why.to_owned(), errno: None, program: true });
        }
    };
    let variables = crate::container::lines(&order.environment);
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(async {
            let code = shim::run(container, &variables, started).await;
            end_all(left, Instant::now() + LEFT_BEHIND).await;
            code
        }),
        Err(error) => {
            started(Some(&error.to_string()));
            ExitCode::from(125)
        }
    }
}

/// Leaves the session of whoever started it. The leader of a group can't: for a moment it is in theirs.
fn own_session() -> rustix::io::Result<()> {
    let theirs = getpgid(getppid())?;
    setpgid(None, Some(theirs))?;
    setsid().map(drop)
}

fn command(order: &Order) -> Command {
    let mut command = Command::new(&order.program);
    command.args(&order.arguments).current_dir(&order.folder).env_clear().envs(&order.environment).stdin(Stdio::null());
    if let Some(user) = order.user {
        command.uid(user).gid(user);
    }
    command
}

/// Gives up what the program is not to have.
fn confine(order: &Order) -> io::Result<()> {
    for file in &order.groups {
        // "0" is whoever writes it.
        fs::write(file, "0").map_err(|error| within("get into the control group", file, &error))?;
    }
    if let Some(soft) = order.descriptors {
        let hard = getrlimit(Resource::Nofile).maximum;
        let current = Some(hard.map_or(soft, |hard| soft.min(hard)));
        setrlimit(Resource::Nofile, Rlimit { current, maximum: hard })?;
    }
    if order.stay.is_some() {
        set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    if let Some(private) = &order.private {
        separate(private)?;
    }
    give_up_standing()?;
    set_no_new_privs(true)?;
    if calls::can_be_closed() {
        calls::close(order.sandbox.is_some())?;
    }
    if order.user.is_some() {
        sandbox::close_abstract_sockets();
    }
    if let Some(sandbox) = &order.sandbox {
        sandbox.enter()?;
    }
    Ok(())
}

/// Gives up what whoever started Freehold may have given to it alone: to be spared where memory runs out, to run before others, to have
/// processors for itself or be kept to some of them, and to be taken for that person by the kernel's audit.
fn give_up_standing() -> io::Result<()> {
    let file = Path::new("/proc/self/oom_score_adj");
    let ours: i32 = fs::read_to_string(file)?.trim().parse().unwrap_or_default();
    if ours < KILLED_FIRST {
        fs::write(file, KILLED_FIRST.to_string()).map_err(|error| within("write", file, &error))?;
    }
    if getpriority_process(None)? < 0 {
        setpriority_process(None, 0)?;
    }
    let mut processors = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|number| processors.set(number));
    // The kernel leaves out those that there aren't, or that a control group doesn't allow.
    let _ = sched_setaffinity(None, &processors);
    // Only root can, and not where the audit forbids it to all.
    let login = Path::new("/proc/self/loginuid");
    if fs::read_to_string(login).is_ok_and(|user| user.trim() != NO_LOGIN) {
        let _ = fs::write(login, NO_LOGIN);
    }
    for resource in [Resource::Nice, Resource::Rtprio] {
        setrlimit(resource, Rlimit { current: Some(0), maximum: Some(0) })?;
    }
    Ok(())
}

fn within(doing: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't {doing} {}: {error}", path.display()))
}

/// Gives this process a view of the file system of its own, in which the shared folders for temporary files are the stack's, and
/// nothing that it can write to has files that run with others' rights. A data directory in one of these folders goes on to be seen
/// there, and nothing else of what is there for others.
/// What it shares with its children by the means of System V (shared memory, semaphores, queues) is theirs alone, too, and ends with the
/// last of them: else it would outlive the stack.
fn separate(private: &Private) -> io::Result<()> {
    own_namespaces()?;
    let guarded = MountFlags::NOSUID | MountFlags::NODEV;
    for own in [&private.home, &private.temporary] {
        mount_bind(own, own).map_err(|error| within("mount", own, &error.into()))?;
        mount_remount(own, MountFlags::BIND | guarded, c"").map_err(|error| within("mount", own, &error.into()))?;
    }
    let queues = Path::new("/dev/mqueue");
    if queues.is_dir() {
        mount("mqueue", queues, "mqueue", guarded | MountFlags::NOEXEC, c"")
            .map_err(|error| within("mount", queues, &error.into()))?;
    }
    // Memory that lies in a file system of the tenant's own making stops whoever looks at it: `/proc/<pid>/environ` would never end.
    let fuse = Path::new("/dev/fuse");
    if fuse.exists() {
        mount_bind("/dev/null", fuse).map_err(|error| within("mount", fuse, &error.into()))?;
    }
    // Taken in hand before anything lies over them.
    let take = |path: &Path, flags| {
        open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | flags)
            .map_err(|error| within("mount", path, &error.into()))
    };
    let mut covered = Vec::new();
    for shared in ["/var/tmp", "/tmp", MEMORY].map(Path::new) {
        if shared.is_dir() && shared != private.data {
            let temporary = take(&private.temporary, OpenTreeFlags::empty())?;
            let inner = private.data.strip_prefix(shared).ok();
            let data =
                inner.map(|inner| Ok::<_, io::Error>((take(&private.data, OpenTreeFlags::AT_RECURSIVE)?, inner)));
            covered.push((shared, temporary, data.transpose()?));
        }
    }
    for (shared, temporary, data) in covered {
        if shared == Path::new(MEMORY) {
            mount("tmpfs", shared, "tmpfs", guarded, SHARED_MEMORY)
                .map_err(|error| within("mount", shared, &error.into()))?;
        } else {
            let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&temporary, "", CWD, shared, onto).map_err(|error| within("mount", shared, &error.into()))?;
        }
        if let Some((data, inner)) = data {
            let place = place(shared, inner).map_err(|error| within("make", &private.data, &error))?;
            let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&data, "", &place, "", onto).map_err(|error| within("mount", &private.data, &error.into()))?;
        }
    }
    Ok(())
}

/// A folder below one that a tenant can write to, made of folders of root that nobody else can move.
fn place(root: &Path, inner: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = open(root, flags, Mode::empty())?;
    for part in inner {
        match mkdirat(&folder, part, Mode::from_raw_mode(0o711)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        folder = openat(&folder, part, flags, Mode::empty())?;
        if fstat(&folder)?.st_uid != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other(format!("{} is in the way", part.display())));
        }
    }
    Ok(folder)
}

/// Waits for the program's end, ends what it left behind, and ends as it did.
async fn look_after(program: i32, mut asked: Signals, mut ended: Signals, patience: Duration) -> ExitCode {
    let mut limit: Option<Instant> = None;
    let status = loop {
        if let Some(status) = reap(program) {
            break status;
        }
        let kill_at = limit.unwrap_or_else(Instant::now);
        tokio::select! {
            _ = ended.recv() => {}
            Some(()) = asked.recv() => {
                limit.get_or_insert_with(|| Instant::now() + patience);
                send(program, Signal::TERM);
            }
            () = tokio::time::sleep_until(kill_at), if limit.is_some() => {
                send(program, Signal::KILL);
                limit = Some(Instant::now() + LEFT_BEHIND);
            }
        }
    };
    end_all(left, limit.unwrap_or_else(|| Instant::now() + LEFT_BEHIND)).await;
    end_as(status)
}

/// To a child that nobody has waited for: its pid can't be another's.
fn send(program: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(program) {
        let _ = kill_process(pid, signal);
    }
}

/// Takes note of all that have ended; the status of `program` if it is one of them.
fn reap(program: i32) -> Option<WaitStatus> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid.as_raw_pid() == program {
            return Some(status);
        }
    }
    None
}

/// What still runs of what this process started.
fn left() -> io::Result<Vec<ProcessId>> {
    reap(0);
    let mut found = Vec::new();
    for pid in descendants(rustix::process::getpid().as_raw_pid())? {
        found.extend(ProcessId::of(pid)?);
    }
    Ok(found)
}

fn end_as(status: WaitStatus) -> ExitCode {
    if let Some(signal) = status.terminating_signal().and_then(Signal::from_named_raw) {
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        let _ = kill_process(rustix::process::getpid(), signal);
    }
    ExitCode::from(status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(125))
}

/// Whether this process can give others a view of the file system of their own. Tried in a thread that ends with it.
pub(crate) fn can_be_private() -> bool {
    let tried = std::thread::spawn(|| {
        let own = own_namespaces();
        own.and_then(|()| Ok(mount_bind("/tmp", "/tmp")?))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok::<_, io::Error>(open_tree(CWD, "/tmp", flags)?)
    });
    tried.join().is_ok_and(|tried| tried.is_ok())
}

/// A view of the file system of this process's own, and shared memory, semaphores and queues of System V and POSIX of its own: of these
/// there are few on a machine, and PostgreSQL needs one.
fn own_namespaces() -> io::Result<()> {
    #[expect(deprecated, reason = "its successor is unsafe because of shared descriptors, which aren't touched here")]
    rustix::thread::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWIPC)?;
    // Mounts of the machine go on to arrive here; ours don't leave.
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// The two ends of the way that an order takes: ours, and the launcher's standard input.
pub(crate) fn channel() -> io::Result<(tokio::net::UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((tokio::net::UnixStream::from_std(ours)?, theirs.into()))
}
