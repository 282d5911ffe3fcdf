//! What a tenant's program tries with what the platform was left by whoever started it, and might have passed on.

use crate::attack::{
    Attack,
    Boundary::{File, Process, Resource},
    inside,
};

/// The shell's commands before the platform is started: what it makes might be for all to write to, it is deaf to signals, comes before
/// others as far as it may, and is kept to one processor; and a file that it has open.
pub(crate) const BEFORE: &str = "umask 0\ntrap '' HUP INT USR1\nrenice -n -5 $$ >/dev/null 2>&1\n\
    taskset -pc 0 $$ >/dev/null 2>&1\nexec 9<>";

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
        "is deaf to the signals that the platform was started to ignore",
        Process,
        r#"
read = "exec cat /proc/self/status"
status = subprocess.run(["sh", "-c", read if INSIDE else "trap '' HUP INT USR1; " + read], capture_output=True, text=True).stdout
int(re.search(r"SigIgn:\s*(\w+)", status)[1], 16) & (1 << 0 | 1 << 1 | 1 << 9) and broken(status)
"#,
    ),
    inside(
        "runs before others as the platform does",
        Resource,
        "INSIDE or os.nice(-5); os.getpriority(os.PRIO_PROCESS, 0) < 0 and broken()",
    ),
    inside(
        "is kept to the processors of the platform",
        Resource,
        r#"
INSIDE or os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
# The first process has all that there are.
(os.sched_getaffinity(0) < os.sched_getaffinity(1) or not INSIDE and os.cpu_count() == 1) and broken()
"#,
    ),
    inside(
        "has a processor for itself alone",
        Resource,
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); broken()",
    ),
];
