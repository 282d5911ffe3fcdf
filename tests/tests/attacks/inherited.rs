//! What a tenant's program tries with what the platform was left by whoever started it, and might have passed on.

use crate::attack::{
    Attack,
    Boundary::{File, Process, Resource},
    inside,
};

/// The shell's commands before the platform is started: a file that it has open, and what it makes might be for all to write to.
pub(crate) const BEFORE: &str = "umask 0\nexec 9<>";

pub(crate) const ATTACKS: &[Attack] = &[
    inside(
        "uses a file that the platform was started with",
        File,
        r#"
INSIDE or os.open(P["inherited"], os.O_RDWR)
for pid in (os.getpid(), os.getppid()):
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            found = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        found == P["inherited"] and broken()
"#,
    ),
    inside(
        "finds a file of the platform that all may write to",
        File,
        r#"
place = P["data"]
if not INSIDE:
    import tempfile
    os.umask(0)
    place = tempfile.mkdtemp()
    os.close(os.open(place + "/for-all", os.O_WRONLY | os.O_CREAT, 0o666))
def others(folder):
    for entry in os.scandir(folder):
        mode = entry.stat(follow_symlinks=False).st_mode
        if entry.is_dir(follow_symlinks=False):
            mode & 0o1002 == 0o002 and broken(entry.path)
            try:
                others(entry.path)
            except OSError:
                pass
        else:
            entry.is_file(follow_symlinks=False) and mode & 0o002 and broken(entry.path)
try:
    others(place)
except OSError:
    # It can't be listed: there are things whose names are known.
    for path in ("postgres", "local", "local/stacks", "logs", "artifacts", "dumps", "server.json", "master.key"):
        path = P["data"] + "/" + path
        os.path.exists(path) and os.stat(path).st_mode & 0o002 and broken(path)
"#,
    ),
    inside(
        "asks for the keys of whoever started the platform",
        Process,
        r#"
number = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
for keyring in (-3, -4, -5):
    call("syscall", number, 0, keyring, 1)
    broken()
"#,
    ),
    inside(
        "is spared where memory runs out as the platform is",
        Resource,
        r#"
standing = lambda pid: int(open(f"/proc/{pid}/oom_score_adj").read())
any(standing("self") <= standing(pid) for pid in processes(P["up"])) and broken()
"#,
    ),
    inside(
        "has a processor for itself alone",
        Resource,
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); broken()",
    ),
];
