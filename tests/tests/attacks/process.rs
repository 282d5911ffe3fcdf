//! What a tenant's program tries on other processes and on the kernel.

use crate::attack::{
    Attack,
    Boundary::{Process, Resource},
    inside,
};

pub(crate) const ATTACKS: &[Attack] = &[
    inside("signals another tenant's process", Process, "for pid in victims(): os.kill(pid, 0); broken()"),
    inside("signals the platform", Process, "for pid in processes(P['up']): os.kill(pid, 0); broken()"),
    inside("signals PostgreSQL", Process, "for pid in processes(P['data'] + '/postgres'): os.kill(pid, 0); broken()"),
    inside(
        "reads another tenant's environment",
        Process,
        "for pid in victims(): b'DATABASE_URL' in open(f'/proc/{pid}/environ', 'rb').read() and broken()",
    ),
    inside(
        "reads the platform's environment",
        Process,
        "for pid in processes(P['up']): open(f'/proc/{pid}/environ', 'rb').read() and broken()",
    ),
    inside(
        "reads another tenant's memory",
        Process,
        "for pid in victims(): open(f'/proc/{pid}/mem', 'rb').close(); broken()",
    ),
    inside(
        "reads the platform's memory",
        Process,
        "for pid in processes(P['up']): open(f'/proc/{pid}/mem', 'rb').close(); broken()",
    ),
    inside(
        "traces another tenant's process",
        Process,
        "for pid in victims(): call('ptrace', 0x4206, pid, 0, 0); broken()",
    ),
    inside(
        "traces the platform",
        Process,
        "for pid in processes(P['up']): call('ptrace', 0x4206, pid, 0, 0); broken()",
    ),
    inside(
        "goes through another tenant's root",
        Process,
        "for pid in victims(): os.listdir(f'/proc/{pid}/root/') and broken()",
    ),
    inside(
        "goes through another tenant's folder",
        Process,
        "for pid in victims(): os.listdir(f'/proc/{pid}/cwd/') and broken()",
    ),
    inside(
        "lists another tenant's open files",
        Process,
        "for pid in victims(): os.listdir(f'/proc/{pid}/fd') and broken()",
    ),
    inside(
        "lists the platform's open files",
        Process,
        "for pid in processes(P['up']): os.listdir(f'/proc/{pid}/fd') and broken()",
    ),
    inside(
        "takes another tenant's processor time",
        Process,
        "for pid in victims(): os.setpriority(os.PRIO_PROCESS, pid, 10); not INSIDE and os.setpriority(os.PRIO_PROCESS, pid, 0); broken()",
    ),
    inside(
        "binds another tenant to one core",
        Process,
        "for pid in victims(): os.sched_setaffinity(pid, os.sched_getaffinity(pid)); broken()",
    ),
    inside(
        "sets the limits of others' processes, which ends them",
        Process,
        r#"
import resource
for pid in victims() + processes(P["up"]):
    try:
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        broken()
    except PermissionError:
        pass
"#,
    ),
    inside(
        "offers another tenant to the memory killer",
        Process,
        "for pid in victims(): open(f'/proc/{pid}/oom_score_adj', 'w').close(); broken()",
    ),
    inside(
        "finds a password in a command line",
        Process,
        r#"
told = None if INSIDE else subprocess.Popen(["sh", "-c", "read line", P["victim_password"]], stdin=subprocess.PIPE)
# The kernel lays the arguments out only after Popen has heard that the program was found.
while told and told.poll() is None and not open(f"/proc/{told.pid}/cmdline", "rb").read():
    time.sleep(0.01)
found = False
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        found |= P["victim_password"].encode() in open(f"/proc/{pid}/cmdline", "rb").read()
    except OSError:
        pass
if told:
    told.kill()
    told.wait()
found and broken()
"#,
    ),
    inside("becomes root", Process, "os.setuid(0); broken()"),
    inside("becomes another user", Process, "os.setuid(1); broken()"),
    inside("joins the group of root", Process, "os.setgroups([0]); broken()"),
    inside(
        "has capabilities left",
        Process,
        "int(re.search(r'CapEff:\\s*(\\w+)', open('/proc/self/status').read())[1], 16) and broken()",
    ),
    inside(
        "gains rights from a setuid program",
        Process,
        r#"
drop = {} if INSIDE else {"user": 65534, "group": 65534, "extra_groups": []}
subprocess.run([P["setuid"], "-u"], capture_output=True, text=True, **drop).stdout.strip() == P["setuid_owner"] and broken()
"#,
    ),
    inside(
        "mounts something",
        Process,
        "call('mount', b'none', b'/mnt', b'tmpfs', 0, None); INSIDE or call('umount', b'/mnt'); broken()",
    ),
    inside("changes its root", Process, "os.chroot('/'); broken()"),
    inside("listens to all traffic", Process, "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close(); broken()"),
    inside(
        "forges packets",
        Process,
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close(); broken()",
    ),
    inside(
        "chooses the program that handles crashes",
        Process,
        "os.close(os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)); broken()",
    ),
    inside("raises its own priority", Resource, "os.nice(-5); broken()"),
    inside(
        "raises its hard limit of descriptors",
        Resource,
        r#"
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if not INSIDE:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    broken()
resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
broken()
"#,
    ),
    inside(
        "leaves its control group",
        Resource,
        r#"
for folder in glob.glob("/sys/fs/cgroup/*/cgroup.procs") + glob.glob("/sys/fs/cgroup/cgroup.procs"):
    try:
        os.close(os.open(folder, os.O_WRONLY))
    except OSError:
        continue
    broken(folder)
"#,
    ),
    inside(
        "makes thousands of processes and threads",
        Resource,
        r#"
import threading
threading.stack_size(64 << 10)
end, count = threading.Event(), 0
try:
    for count in range(6000):
        threading.Thread(target=end.wait, daemon=True).start()
except (RuntimeError, OSError):
    pass
count == 5999 and broken()
os._exit(0)
"#,
    ),
    inside(
        "takes more memory than its limit",
        Resource,
        r#"
child = os.fork()
if child == 0:
    held = bytearray(700 << 20)
    for page in range(0, len(held), 4096):
        held[page] = 1
    os._exit(7)
os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 7 and broken()
"#,
    ),
];
