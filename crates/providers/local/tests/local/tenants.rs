//! Tenants as attackers: what they try against each other and against Freehold. Each attack has a control that shows that it works
//! where nothing guards against it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use freehold_engine::Provider;
use freehold_graph::{StackId, Value};
use freehold_provider_local::{RunAs, Sandboxing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use crate::world::{World, first_user, is_alive, request, until};

/// Separate users need root.
fn modes() -> Vec<RunAs> {
    if rustix::process::geteuid().is_root() {
        vec![RunAs::Same, RunAs::Separate(first_user())]
    } else {
        println!("not root: only tried with one user for all");
        vec![RunAs::Same]
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("not root: not tried");
    }
    root
}

/// A service that runs a shell script and takes no requests.
fn script(world: &World, script: &str) -> freehold_graph::Resource {
    let health = Value::map([("ready", Value::Null), ("live", Value::Null)]);
    let command = Value::from(vec!["sh", "-c", script]);
    world.web(&[], &[("serves", Value::Bool(false)), ("health", health), ("command", command)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_mark_does_not_make_a_process_another_stacks() -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let world = World::with(RunAs::Separate(first_user())).await?;
    let victim = StackId(Uuid::new_v4());
    let platform = std::fs::read_to_string(world.data.path().join("local/platform.json"))?;
    let platform = platform.split('"').nth(3).unwrap().to_owned();
    let mark = [format!("FREEHOLD_STACK={victim}"), format!("FREEHOLD_PLATFORM={platform}")];
    world.apply(&script(&world, &format!("exec env {} sleep 600", mark.join(" ")))).await?;
    assert_eq!(world.provider.owned(Some(victim)).await?, Vec::new());
    world.provider.forget_stack(victim).await?;
    assert_eq!(world.processes().await?.len(), 1, "the forger is left alone");
    // The control: written by Freehold's own user it counts.
    let ours = tokio::process::Command::new("sleep")
        .arg("600")
        .envs(mark.iter().map(|pair| pair.split_once('=').unwrap()))
        .kill_on_drop(true)
        .spawn()?;
    until("the mark to be seen", async || world.provider.owned(Some(victim)).await.is_ok_and(|all| all.len() == 1))
        .await;
    drop(ours);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_sheds_its_mark_ends_with_its_service() -> anyhow::Result<()> {
    for mode in modes() {
        let world = World::with(mode).await?;
        let web = world.web(&[], &[]);
        world.deploy(&web).await?;
        let escaped = async || -> anyhow::Result<i64> {
            let file = world.home().join("escaped");
            let _ = std::fs::remove_file(&file);
            world.get("/escape").await?;
            until("the daemon", async || std::fs::read_to_string(&file).is_ok_and(|pid| !pid.is_empty())).await;
            Ok(std::fs::read_to_string(&file)?.parse()?)
        };
        // Its service dies before it, by itself.
        let first = escaped().await?;
        assert!(is_alive(first));
        let environment = || std::fs::read(format!("/proc/{first}/environ")).unwrap_or_default();
        until("its environment to be empty", async || environment().is_empty()).await;
        let former = world.pid().await?;
        crate::world::kill(former);
        until("the daemon to end", async || !is_alive(first)).await;
        until("the next process", async || world.pid().await.is_ok_and(|pid| pid != former)).await;
        // Its service is deleted.
        let second = escaped().await?;
        world.delete(&world.route()).await?;
        world.delete(&web).await?;
        assert!(!is_alive(second), "{mode:?}");
        world.end().await?;
    }
    Ok(())
}

/// A program whose name is no text, and whose environment is where the kernel finds a terabyte.
const UNREADABLE: &str = r#"
import ctypes, os, time
libc = ctypes.CDLL(None)
libc.prctl(15, b"\xff\xfe) Z 1 1", 0, 0, 0)
libc.mmap.restype = libc.sbrk.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
at = libc.mmap(None, 1 << 40, 1, 0x4022, -1, 0)
stat = open("/proc/self/stat", "rb").read().rsplit(b")", 1)[1].split()
field = lambda number: int(stat[number - 3])
plan = [field(26), field(27), field(45), field(46), field(47), libc.sbrk(0), field(28), field(48), field(49), at, at + (1 << 40), 0]
moved = libc.prctl(35, 14, (ctypes.c_uint64 * 13)(*plan, 0xFFFFFFFF << 32), 104, 0)
home = os.environ["HOME"]
with open(home + "/told", "w") as file:
    file.write(f"{os.getpid()} {moved}")
os.rename(home + "/told", home + "/moved")
time.sleep(600)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_read_to_its_end_is_found_and_ended_like_any_other() -> anyhow::Result<()> {
    for mode in modes() {
        let world = World::with(mode).await?;
        let health = Value::map([("ready", Value::Null), ("live", Value::Null)]);
        let command = Value::from(vec!["python3", "-c", UNREADABLE]);
        let web = world.web(&[], &[("serves", Value::Bool(false)), ("health", health), ("command", command)]);
        world.apply(&web).await?;
        let file = world.home().join("moved");
        until("its environment to be moved", async || file.exists()).await;
        let told = std::fs::read_to_string(&file)?;
        let (pid, moved) = told.split_once(' ').unwrap();
        let pid: i64 = pid.parse()?;
        if moved == "0" {
            // The control: there is more of it than any program can be started with.
            let environment = std::fs::File::open(format!("/proc/{pid}/environ"))?;
            let mut environment = std::io::Read::take(environment, 16 << 20);
            assert_eq!(std::io::copy(&mut environment, &mut std::io::sink())?, 16 << 20);
        } else {
            println!("this kernel doesn't let a program move its environment: not tried");
        }
        assert!(!world.provider.owned(Some(world.stack)).await?.is_empty());
        world.delete(&web).await?;
        assert!(!is_alive(pid), "{mode:?}");
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_of_a_service_that_died_while_freehold_was_away_is_ended_at_its_return() -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut world = World::with(RunAs::Separate(first_user())).await?;
    let web = world.web(&[], &[]);
    world.deploy(&web).await?;
    world.get("/escape").await?;
    let file = world.home().join("escaped");
    until("the daemon", async || std::fs::read_to_string(&file).is_ok_and(|pid| !pid.is_empty())).await;
    let daemon: i64 = std::fs::read_to_string(&file)?.parse()?;
    let pid = world.pid().await?;
    let route = world.route();
    world.reopen(|_| {})?;
    crate::world::kill(pid);
    world = world.killed(&[&web, &route]).await?;
    assert!(!is_alive(daemon));
    assert_eq!(world.processes().await?.len(), 1);
    world.end().await
}

/// Listens and answers everything with 200, and counts what it was sent something on.
async fn impostor(port: u16) -> anyhow::Result<Arc<AtomicUsize>> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                if stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let _ =
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
                }
            });
        }
    });
    Ok(asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_services_port_before_it_gets_no_request_and_no_probe() -> anyhow::Result<()> {
    for mode in modes() {
        let world = World::with(mode).await?;
        let web = world.web(&[("MODE", "late")], &[("start_timeout_seconds", Value::from(4u32))]);
        let file = world.home().join("port");
        let mut asked = None;
        let (applied, port) = tokio::join!(world.apply(&web), async {
            until("the port", async || std::fs::read_to_string(&file).is_ok_and(|port| !port.is_empty())).await;
            let port: u16 = std::fs::read_to_string(&file)?.parse()?;
            asked = Some(impostor(port).await?);
            anyhow::Ok(port)
        });
        let (asked, port) = (asked.unwrap(), port?);
        let refused = format!("{:?}", applied.unwrap_err());
        assert!(refused.contains("the port is held by a process of user") || refused.contains("exited"), "{refused}");
        assert_eq!(asked.load(Ordering::SeqCst), 0, "{mode:?}");
        // The control: it answers whoever asks without a proof.
        assert_eq!(request(([127, 0, 0, 1], port).into(), "/ready").await?.0, 200);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_listens_elsewhere_is_told_where() -> anyhow::Result<()> {
    let told = modes().into_iter().map(async |mode| {
        let world = World::with(mode).await?;
        let web = world.web(&[("MODE", "six")], &[("start_timeout_seconds", Value::from(8u32))]);
        let error = format!("{:?}", world.apply(&web).await.unwrap_err());
        assert!(error.contains("nothing listens on port") && error.contains("it listens on [::1]:"), "{error}");
        world.end().await
    });
    futures::future::try_join_all(told).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_program_can_gain_rights() -> anyhow::Result<()> {
    let own = std::fs::read_to_string("/proc/self/status")?;
    assert!(own.contains("NoNewPrivs:\t0"), "the control: this process can");
    for mode in modes() {
        let world = World::with(mode).await?;
        let check = "grep -q 'NoNewPrivs:.1' /proc/self/status";
        world.run(&world.job(check, &[])).await?;
        let service = script(&world, &format!("{check} && touch $HOME/checked; exec sleep 600"));
        world.apply(&service).await?;
        assert!(world.home().join("checked").exists(), "{mode:?}");
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stack_has_a_tmp_of_its_own_and_nothing_setuid_in_what_it_can_write() -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    for place in ["/var/lib", "/tmp", "/var/tmp"] {
        in_folders_of_its_own(place).await.with_context(|| place.to_owned())?;
    }
    Ok(())
}

/// With the data directory in this place, which goes on to be seen there.
async fn in_folders_of_its_own(place: &str) -> anyhow::Result<()> {
    let mut world = World::at(tempfile::tempdir_in(place)?, RunAs::Separate(first_user())).await?;
    if world.provider.not_enforced().iter().any(|line| line.contains("/tmp")) {
        println!("no mount namespaces here: not tried");
        return world.end().await;
    }
    let name = format!("freehold-{}", Uuid::new_v4().simple());
    let one = world.stack;
    let write = format!("echo ours > /tmp/{name} && echo ours > /dev/shm/{name} && test -e /var/tmp/{name}");
    world.run(&world.job(&write, &[])).await?;
    let shared = ["/tmp", "/var/tmp", "/dev/shm"].map(|folder| Path::new(folder).join(&name));
    assert!(shared.iter().all(|path| !path.exists()), "nothing of it is seen by others");
    let controls = shared.map(|path| path.with_extension("control"));
    for control in &controls {
        std::fs::write(control, "seen by whoever has the machine's folder")?;
    }
    world.stack = StackId(Uuid::new_v4());
    let look = ["/tmp", "/var/tmp", "/dev/shm"]
        .map(|folder| format!("test ! -e {folder}/{name} && test ! -e {folder}/{name}.control"));
    let seen = world.run(&world.job(&look.join(" && "), &[("retry", Value::from("safe"))])).await;
    for control in &controls {
        std::fs::remove_file(control)?;
    }
    seen?;
    // A service runs from its artifact in the data directory, wherever that is.
    world.deploy(&world.web(&[], &[])).await?;
    assert_eq!(world.get("/ready").await?.0, 200);
    world.provider.forget_stack(world.stack).await?;
    // What a tenant could make answer never, and others' shared memory, are out of reach.
    let apart = "test \"$(stat -c %t:%T /dev/fuse 2>/dev/null)\" != a:e5 && test $(wc -l < /proc/sysvipc/shm) = 1";
    world.stack = StackId(Uuid::new_v4());
    world.run(&world.job(apart, &[])).await?;
    world.provider.forget_stack(world.stack).await?;
    let nosuid = "for place in $HOME $TMPDIR /tmp /var/tmp /dev/shm; do grep -q \" $place [^ ]*nosuid\" /proc/self/mountinfo || exit 1; done";
    world.stack = StackId(Uuid::new_v4());
    world.run(&world.job(nosuid, &[])).await?;
    world.provider.forget_stack(one).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_forks_without_end_is_held_at_its_limit() -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut world = World::with(RunAs::Separate(first_user())).await?;
    if world.provider.not_enforced().iter().any(|line| line.contains("processes")) {
        println!("no control groups here: not tried");
        return world.end().await;
    }
    let many = "i=0; while [ $i -lt 60 ]; do sleep 300 & i=$((i+1)); done";
    world.run(&world.job(many, &[])).await?;
    world.reopen(|options| options.tasks = 25)?;
    world.stack = StackId(Uuid::new_v4());
    let failed = world.run(&world.job(many, &[])).await.unwrap_err();
    assert!(format!("{failed:?}").to_lowercase().contains("fork"), "{failed:?}");
    world.end().await
}

/// Takes 200 MiB, and says so.
const HUNGRY: &str = "python3 -c 'held = bytearray(200 << 20); print(len([held.__setitem__(at, 1) for at in range(0, len(held), 4096)]))'";

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_more_memory_than_its_limit_is_killed_and_told_by_the_limits_name() -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let world = World::with(RunAs::Separate(first_user())).await?;
    if world.provider.not_enforced().iter().any(|line| line.contains("memory")) {
        println!("no control groups for memory here: not tried");
        return world.end().await;
    }
    let limit = ("memory_bytes", Value::from(48_u64 << 20));
    let exec = format!("exec {HUNGRY}");
    // The control: without a limit it may.
    world.run(&world.job(&exec, &[])).await?;
    let mut job = world.job(&exec, std::slice::from_ref(&limit));
    job.id = freehold_graph::ResourceId::new("job", "limited");
    let failed = format!("{:?}", world.run(&job).await.unwrap_err());
    assert!(failed.contains("out of memory") && failed.contains("(`memory`) of 48Mi"), "{failed}");
    let mut service = script(&world, &exec);
    if let Value::Map(body) = &mut service.body {
        body.insert(limit.0.to_owned(), limit.1);
    }
    let failed = format!("{:?}", world.apply(&service).await.unwrap_err());
    assert!(failed.contains("out of memory") && failed.contains("(`memory`) of 48Mi"), "{failed}");
    // The whole stack's limit holds, too, for a program that has none of its own.
    let tier = ("stack", Value::map([("memory_bytes", Value::from(48_u64 << 20))]));
    let mut job = world.job(&exec, &[tier]);
    job.id = freehold_graph::ResourceId::new("job", "tier");
    let failed = format!("{:?}", world.run(&job).await.unwrap_err());
    assert!(failed.contains("ended by signal 9"), "{failed}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_run_as_one_user_a_sandbox_keeps_keys_and_other_stacks_unread() -> anyhow::Result<()> {
    if Sandboxing::detect() == Sandboxing::None {
        println!("no Landlock here: the plan says so");
        return Ok(());
    }
    let world = World::new().await?;
    let key = world.data.path().join("master.key");
    std::fs::write(&key, "the key to everything")?;
    let other = world.data.path().join("local/stacks").join(Uuid::new_v4().to_string()).join("home");
    std::fs::create_dir_all(&other)?;
    std::fs::write(other.join("file"), "another tenant's")?;
    // Without root's capabilities, which an ordinary user hasn't either: they look into any process, whatever the sandbox says.
    let capless = "setpriv --bounding-set=-all --inh-caps=-all";
    let outside = format!("exec {capless} sleep 600");
    let outside = tokio::process::Command::new("sh").args(["-c", &outside]).kill_on_drop(true).spawn()?;
    let name = format!("/proc/{}/comm", outside.id().unwrap());
    until("the other process", async || std::fs::read_to_string(&name).is_ok_and(|name| name.trim() == "sleep")).await;
    let attacks = [
        format!("cat {} > /dev/null", key.display()),
        format!("cat {}/file > /dev/null", other.display()),
        format!("echo mine > {}/file", other.display()),
        format!("{capless} cat /proc/{}/environ > /dev/null", outside.id().unwrap()),
        format!("ln -s {} $HOME/link && cat $HOME/link > /dev/null", key.display()),
    ];
    for (number, attack) in attacks.iter().enumerate() {
        let control = std::process::Command::new("sh").args(["-c", attack]).env("HOME", world.data.path()).status()?;
        assert!(control.success(), "the control: {attack}");
        let mut run = world.job(&format!("if {attack}; then exit 1; fi; echo fine > $HOME/written"), &[]);
        run.id = freehold_graph::ResourceId::new("job", format!("attack-{number}"));
        world.run(&run).await?;
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescale_that_cannot_be_recorded_leaves_no_process_behind() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.apply(&world.web(&[], &[])).await?;
    let record = world.home().with_file_name("services").join("web/service.json");
    let kept = std::fs::read(&record)?;
    std::fs::remove_file(&record)?;
    std::fs::create_dir(&record)?;
    let three = world.web(&[], &[("replicas", Value::from(3u32))]);
    world.apply(&three).await.unwrap_err();
    assert_eq!(world.processes().await?.len(), 1);
    std::fs::remove_dir(&record)?;
    std::fs::write(&record, kept)?;
    world.apply(&three).await?;
    assert_eq!(world.processes().await?.len(), 3);
    world.end().await
}

/// A process of the stack's user, in none of its control groups and without a mark. Its environment and session are its own.
fn intruder(user: u32) -> anyhow::Result<std::process::Child> {
    use std::os::unix::process::CommandExt as _;
    Ok(std::process::Command::new("sleep").arg("600").env_clear().current_dir("/").uid(user).gid(user).spawn()?)
}

fn ended(child: &mut std::process::Child) -> bool {
    child.try_wait().is_ok_and(|status| status.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_stacks_user_ends_when_the_stack_is_destroyed_or_freehold_stops_or_starts() -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let user = first_user();
    let mut world = World::with(RunAs::Separate(user)).await?;
    let web = world.web(&[], &[]);
    let route = world.route();
    world.deploy(&web).await?;
    assert_eq!(world.json("/who").await?["uid"].as_u64(), Some(user.into()));
    // The controls: nobody ends them while nothing happens, and one of another user is never touched.
    let mut outsider = intruder(first_user())?;
    let mut at_start = intruder(user)?;
    assert_eq!(world.get("/ready").await?.0, 200);
    assert!(!ended(&mut at_start));
    world = world.killed(&[&web, &route]).await?;
    until("the start to end it", async || ended(&mut at_start)).await;
    let mut at_stop = intruder(user)?;
    world.provider.shutdown().await;
    assert!(ended(&mut at_stop));
    world = world.killed(&[&web, &route]).await?;
    let mut at_destroy = intruder(user)?;
    world.provider.forget_stack(world.stack).await?;
    assert!(ended(&mut at_destroy));
    assert!(!ended(&mut outsider));
    outsider.kill()?;
    outsider.wait()?;
    world.end().await
}

/// A port that the system gives to no outgoing connection, another one for each call.
fn free_port() -> anyhow::Result<u16> {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let begin = 14_000 + u16::try_from(std::process::id() % 500)? * 10;
    loop {
        let port = begin + NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return Ok(port);
        }
    }
}

/// A service of a stack that takes all of these ports, once: it is started again when it was ended. `keeps` is what it does with each socket: `listen(5)` or nothing.
fn squatter(
    world: &World,
    address: &str,
    ports: std::ops::RangeInclusive<u16>,
    keeps: &str,
) -> freehold_graph::Resource {
    let (first, last) = (ports.start(), ports.end());
    let program = format!(
        "import os, socket, time\nheld, done = [], os.path.exists(os.environ['HOME'] + '/holds')\nfor port in range({first}, {last} + 1 if not done else 0):\n    one = socket.socket()\n    \
         try:\n        one.bind(('{address}', port))\n        {keeps}\n        held.append(one)\n    except OSError:\n        pass\nopen(os.environ['HOME'] + '/holds', 'w').close()\ntime.sleep(600)\n"
    );
    let command = Value::from(vec!["python3", "-c", &program]);
    let health = Value::map([("ready", Value::Null), ("live", Value::Null)]);
    world.web(&[], &[("serves", Value::Bool(false)), ("health", health), ("command", command)])
}

const HOLDS: [&str; 2] = ["one.listen(5)", "pass"];

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_all_ports_of_instances_is_ended_when_another_needs_one() -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    for keeps in HOLDS {
        let mut world = World::with(RunAs::Separate(first_user())).await?;
        let free = free_port()?;
        world.reopen(|options| options.ports = free..=free)?;
        let squatter = squatter(&world, "127.0.0.1", free..=free, keeps);
        world.apply(&squatter).await?;
        let holds = world.home().join("holds");
        until("the port to be held", async || holds.exists()).await;
        // The control: it is not to be had by asking for it.
        assert!(std::net::TcpListener::bind(("127.0.0.1", free)).is_err());
        let mallory = std::mem::replace(&mut world.stack, StackId(Uuid::new_v4()));
        let told = freehold_router::socket::bound()?.iter().any(|(address, _)| address.port() == free);
        if keeps == "pass" && !told {
            println!("this kernel doesn't tell of sockets that are only bound: not tried");
        } else {
            world.deploy(&world.web(&[], &[])).await.map_err(|error| error.context(keeps))?;
            assert_eq!(world.json("/env").await?["PORT"], free.to_string());
        }
        world.provider.forget_stack(mallory).await?;
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_the_inner_address_of_anothers_service_is_ended_before_the_service_has_it() -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    for (keeps, on) in HOLDS.into_iter().zip(["127.0.0.1", "0.0.0.0"]) {
        let mut world = World::with(RunAs::Separate(first_user())).await?;
        let free = free_port()?;
        let squatter = squatter(&world, on, free..=free, keeps);
        world.apply(&squatter).await?;
        let holds = world.home().join("holds");
        until("the address to be held", async || holds.exists()).await;
        let inner = std::net::SocketAddr::from(([127, 0, 0, 1], free));
        assert!(std::net::TcpListener::bind(inner).is_err(), "the control: it is held");
        let mallory = std::mem::replace(&mut world.stack, StackId(Uuid::new_v4()));
        let told = freehold_router::socket::bound()?.iter().any(|(address, _)| address.port() == free);
        if keeps == "pass" && !told {
            println!("this kernel doesn't tell of sockets that are only bound: not tried");
        } else {
            let web = world.web(&[("SECRET", "ours")], &[("endpoint", Value::text(inner.to_string()))]);
            world.apply(&web).await.map_err(|error| anyhow::anyhow!("{keeps}: {error:?}"))?;
            let (status, body) = request(inner, "/env").await?;
            assert!(status == 200 && body.contains("ours"), "{keeps}: {status} {body}");
        }
        world.provider.forget_stack(mallory).await?;
        world.end().await?;
    }
    Ok(())
}

/// Set where a test has a network to itself.
const OWN_NETWORK: &str = "FREEHOLD_TEST_OWN_NETWORK";
const OUTGOING: std::ops::RangeInclusive<u16> = 40_000..=40_099;

/// In a network of its own: nobody else on this machine could connect to anything meanwhile.
#[test]
fn who_takes_all_ports_by_which_connections_go_out_is_ended_when_another_is_to_be_reached() -> anyhow::Result<()> {
    if !is_root() {
        return Ok(());
    }
    if std::env::var_os(OWN_NETWORK).is_some() {
        return tokio::runtime::Runtime::new()?.block_on(reached_all_the_same());
    }
    let name = "tenants::who_takes_all_ports_by_which_connections_go_out_is_ended_when_another_is_to_be_reached";
    let (first, last) = (OUTGOING.start(), OUTGOING.end());
    let prepare = format!("ip link set lo up && echo '{first} {last}' > /proc/sys/net/ipv4/ip_local_port_range");
    let script = format!("{prepare} || exit 77; exec \"$0\" --exact {name} --nocapture");
    let mut command = std::process::Command::new("unshare");
    command.args(["--net", "sh", "-c", &script]).arg(std::env::current_exe()?).env(OWN_NETWORK, "1");
    let output = command.output()?;
    if output.status.code() == Some(77) || String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
        println!("no network of its own can be had here: not tried");
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success() && told.contains("1 passed"), "{told}");
    Ok(())
}

async fn reached_all_the_same() -> anyhow::Result<()> {
    let mut world = World::with(RunAs::Separate(first_user())).await?;
    let squatter = squatter(&world, "0.0.0.0", OUTGOING, "pass");
    // One is taken by the router here; the rest is enough.
    world.apply(&squatter).await?;
    let holds = world.home().join("holds");
    until("the ports to be held", async || holds.exists()).await;
    let refused = request(world.router.address(), "/").await.unwrap_err();
    assert!(format!("{refused:?}").contains("os error 99"), "the control: no connection is to be had: {refused:?}");
    let mallory = std::mem::replace(&mut world.stack, StackId(Uuid::new_v4()));
    if freehold_router::socket::bound()?.len() < 50 {
        println!("this kernel doesn't tell of sockets that are only bound: not tried");
    } else {
        world.deploy(&world.web(&[], &[])).await?;
        assert_eq!(world.get("/ready").await?.0, 200);
    }
    world.provider.forget_stack(mallory).await?;
    world.end().await
}
