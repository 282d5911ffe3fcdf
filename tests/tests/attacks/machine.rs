//! What a tenant tries with what a machine has once for all: its terminal, its shared memory, its patience with folders.

use std::fs;

use anyhow::Result;

use crate::attack::{
    Attack,
    Boundary::{File, Process, Resource},
    got_through, inside, steps,
};
use crate::stage::{Stage, VICTIM, app};

pub(crate) const ATTACKS: &[Attack] = &[
    // Whoever has it writes to the operator's screen, and on some kernels types at their keyboard.
    inside(
        "has the terminal that the platform was started from",
        Process,
        "os.getsid(0) in [os.getsid(pid) for pid in processes(P['up'])] and broken()",
    ),
    // PostgreSQL has one.
    inside(
        "finds others' shared memory of System V",
        Process,
        "len(open('/proc/sysvipc/shm').readlines()) > 1 and broken()",
    ),
    steps("asks another tenant's socket that has no file", Process, abstract_socket, abstract_socket_bare),
    steps("takes its /tmp away to see the machine's", File, uncovers, uncovers_bare),
    steps("nests its folders too deep to be removed", Resource, nests, nests_bare),
];

/// Listens on an abstract Unix socket for some seconds.
const WAITS: &str = r#"
def listen(begun):
    one = socket.socket(socket.AF_UNIX)
    one.bind("\0victim-@@")
    one.listen(5)
    one.settimeout(30)
    begun()
    try:
        one.accept()
    except OSError:
        pass
background(listen)
"#;
const ASKS: &str = "one = socket.socket(socket.AF_UNIX)\none.connect('\\0victim-@@')\nbroken()";

fn numbered(script: &str) -> String {
    script.replace("@@", &std::process::id().to_string())
}

fn abstract_socket(stage: &mut Stage) -> Result<bool> {
    stage.within(VICTIM, &numbered(WAITS))?;
    Ok(got_through(&stage.inside(&numbered(ASKS))?))
}

fn abstract_socket_bare(stage: &mut Stage) -> Result<bool> {
    let script = numbered(WAITS).replace("victim-", "bare-") + &numbered(ASKS).replace("victim-", "bare-");
    Ok(got_through(&stage.outside(&script)?))
}

/// Whether what lies below its own folder can be seen, in a namespace in which it may unmount.
fn uncovers(stage: &mut Stage) -> Result<bool> {
    let path = format!("/tmp/attack-below-{}", std::process::id());
    fs::write(&path, "dear")?;
    let looks = format!(
        "done = subprocess.run(['unshare', '-Urm', 'sh', '-c', 'umount -l /tmp; umount -l /tmp; cat {path}'], capture_output=True)\n\
         b'dear' in done.stdout and broken()"
    );
    let output = stage.inside(&looks);
    fs::remove_file(&path)?;
    Ok(got_through(&output?))
}

fn uncovers_bare(stage: &mut Stage) -> Result<bool> {
    let path = format!("/tmp/attack-below-bare-{}", std::process::id());
    Ok(got_through(&stage.outside(&format!(
        "open({path:?}, 'w').write('dear')\n\
         covered = 'mount -t tmpfs none /tmp && ! test -e {path} && umount /tmp && cat {path}'\n\
         done = subprocess.run(['unshare', '-Urm', 'sh', '-c', covered], capture_output=True)\n\
         os.remove({path:?})\nb'dear' in done.stdout and broken()"
    ))?))
}

/// Makes folders in a folder, one in the other, as far as it gets in its time: in a sandbox each takes longer than the one before.
const NEST: &str = "
os.mkdir(place)
os.chdir(place)
end = time.monotonic() + 10
for _ in range(depth):
    if time.monotonic() > end:
        break
    os.mkdir('d')
    os.chdir('d')
";

/// Whether a stack can't be taken away any more, or takes the platform with it.
fn nests(stage: &mut Stage) -> Result<bool> {
    let nested = app("nested", "MAY_RUN = \"1\"")?;
    stage.open(&nested)?;
    stage.freehold.deploy(&nested.argument(), &["--tenant", "nested"])?;
    let output = stage
        .within("nested", &format!("place, depth = os.environ['HOME'] + '/deep', 12000\n{NEST}\nprint('nested')"))?;
    anyhow::ensure!(output.contains("nested"), "{output}");
    let destroyed = stage.freehold.run(["destroy", "--tenant", "nested", "--confirm", "nested", "--no-dump"])?;
    let alive = stage.victim_answers().is_ok_and(|name| name == VICTIM);
    Ok(destroyed.code != 0 || !alive)
}

/// Who goes down by calling itself comes to an end of its own.
fn nests_bare(stage: &mut Stage) -> Result<bool> {
    let script = format!(
        "import shutil, tempfile\nfolder = tempfile.mkdtemp()\nplace, depth = folder + '/deep', 3000\n{NEST}\nos.chdir('/')\n\
         try:\n    shutil.rmtree(folder)\nexcept RecursionError:\n    subprocess.run(['rm', '-rf', folder])\n    broken()"
    );
    Ok(got_through(&stage.outside(&script)?))
}
