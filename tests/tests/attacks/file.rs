//! What a tenant's program tries on files: those of the platform, of other tenants, of the machine, and its own that others trust.

use crate::attack::{
    Attack,
    Boundary::{File, Lock, Mark},
    inside,
};

pub(crate) const ATTACKS: &[Attack] = &[
    inside("reads the master key", File, "open(P['data'] + '/master.key', 'rb').read() and broken()"),
    inside("reads the platform's token", File, "'token' in open(P['data'] + '/server.json').read() and broken()"),
    inside("reads the superuser's password", File, "open(P['password_file']).read() and broken()"),
    inside(
        "reads the cluster's files",
        File,
        "open(P['data'] + '/postgres/cluster/global/pg_control', 'rb').read() and broken()",
    ),
    inside("reads what identifies the platform", File, "open(P['data'] + '/local/platform.json').read() and broken()"),
    inside("lists the stacks", File, "os.listdir(P['data'] + '/local/stacks') and broken()"),
    inside("lists the artifacts", File, "os.listdir(P['data'] + '/artifacts') and broken()"),
    inside("reads another tenant's artifact", File, "open(P['victim_artifact'] + '/victim.py').read() and broken()"),
    inside(
        "writes into another tenant's artifact",
        File,
        "os.close(os.open(P['victim_artifact'] + '/victim.py', os.O_WRONLY)); broken()",
    ),
    inside(
        "writes into its own artifact, which others may run",
        File,
        "os.close(os.open(P['own_artifact'] + '/mallory.py', os.O_WRONLY)); broken()",
    ),
    inside(
        "changes who may enter the data directory",
        File,
        "os.chmod(P['data'], os.stat(P['data']).st_mode & 0o7777); broken()",
    ),
    inside("changes who may read the master key", File, "os.chmod(P['data'] + '/master.key', 0o600); broken()"),
    inside("makes its own artifact writable", File, "os.chmod(P['own_artifact'] + '/mallory.py', 0o555); broken()"),
    inside(
        "puts a file into its own artifact",
        File,
        r#"
path = P["own_artifact"] + "/sitecustomize.py"
open(path, "w").close()
os.remove(path)
broken()
"#,
    ),
    inside(
        "puts an artifact among the others",
        File,
        r#"
path = P["data"] + "/artifacts/" + "0" * 64
os.mkdir(path)
os.rmdir(path)
broken()
"#,
    ),
    inside(
        "reads another tenant's log",
        File,
        r#"
for path in glob.glob(P["victim_logs"] + "/**/*.log", recursive=True):
    open(path, "rb").read()
    broken()
"#,
    ),
    inside("lists the logs", File, "os.listdir(P['logs']) and broken()"),
    inside(
        "writes another tenant's log",
        File,
        r#"
for path in glob.glob(P["victim_logs"] + "/**/*.log", recursive=True):
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
    broken()
"#,
    ),
    inside("lists another tenant's home", File, "os.listdir(P['victim_stack'] + '/home'); broken()"),
    inside(
        "reads a file of another tenant's home",
        File,
        "open(P['victim_stack'] + '/home/diary').read() and broken()",
    ),
    inside(
        "writes into another tenant's home",
        File,
        r#"
path = P["victim_stack"] + "/home/attack"
open(path, "w").close()
os.remove(path)
broken()
"#,
    ),
    inside("lists another tenant's temporary files", File, "os.listdir(P['victim_stack'] + '/tmp'); broken()"),
    inside(
        "reads what another tenant's service is started from",
        File,
        "any(open(path, 'rb').read() for path in glob.glob(P['victim_stack'] + '/services/*/*.json')) and broken()",
    ),
    inside(
        "writes what its own service is started from",
        Mark,
        r#"
for path in glob.glob(P["own_stack"] + "/services/*/*.json") + glob.glob(P["own_stack"] + "/services/*/instances/*.json"):
    os.close(os.open(path, os.O_WRONLY))
    broken()
"#,
    ),
    inside(
        "writes how its own runs ended",
        Mark,
        r#"
for path in glob.glob(P["own_stack"] + "/runs/*/*/status.json"):
    os.close(os.open(path, os.O_WRONLY))
    broken()
"#,
    ),
    inside(
        "replaces its home by a link",
        File,
        r#"
path = P["own_stack"] + "/home"
os.rename(path, path + ".away")
os.rename(path + ".away", path)
broken()
"#,
    ),
    inside(
        "puts a file beside its home",
        File,
        r#"
path = P["own_stack"] + "/attack"
open(path, "w").close()
os.remove(path)
broken()
"#,
    ),
    inside(
        "puts a file into the data directory",
        File,
        r#"
path = P["data"] + "/attack"
open(path, "w").close()
os.remove(path)
broken()
"#,
    ),
    inside(
        "puts a file into PostgreSQL's folder",
        File,
        r#"
path = P["data"] + "/postgres/attack"
open(path, "w").close()
os.remove(path)
broken()
"#,
    ),
    inside(
        "holds the platform's lock",
        Lock,
        r#"
import fcntl
file = os.open(P["data"] + "/lock", os.O_RDONLY)
broken()
"#,
    ),
    inside("reads a file that only root may read", File, "open('/etc/shadow').read() and broken()"),
    inside(
        "writes into the machine's settings",
        File,
        r#"
open("/etc/attack-of-the-tests", "w").close()
os.remove("/etc/attack-of-the-tests")
broken()
"#,
    ),
    inside("reads what whoever runs the platform keeps to themselves", File, "open(P['private']).read() and broken()"),
    inside(
        "puts a program beside the platform's",
        File,
        r#"
path = os.path.dirname(P["binary"]) + "/attack-of-the-tests"
open(path, "w").close()
os.remove(path)
broken()
"#,
    ),
    inside(
        "puts a program before others'",
        File,
        r#"
for folder in ("/usr/local/bin", "/usr/bin"):
    path = f"{folder}/attack-of-the-tests"
    open(path, "w").close()
    os.remove(path)
    broken()
"#,
    ),
];
