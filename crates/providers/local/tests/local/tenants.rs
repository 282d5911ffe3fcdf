//! Tenants as attackers: what they try against each other and against Freehold. Each attack has a control that shows that it works
//! where nothing guards against it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    // Not below /tmp, which would have to stay visible then.
    let mut world = World::at(tempfile::tempdir_in("/var/lib")?, RunAs::Separate(first_user())).await?;
    if world.provider.not_enforced().iter().any(|line| line.contains("/tmp")) {
        println!("no mount namespaces here: not tried");
        return world.end().await;
    }
    let name = format!("freehold-{}", Uuid::new_v4().simple());
    let one = world.stack;
    let write = format!("echo ours > /tmp/{name} && echo ours > /dev/shm/{name} && test -e /var/tmp/{name}");
    world.run(&world.job(&write, &[])).await?;
    let control = Path::new("/tmp").join(format!("{name}-control"));
    std::fs::write(&control, "seen by whoever has the machine's /tmp")?;
    assert!(!Path::new("/tmp").join(&name).exists() && !Path::new("/dev/shm").join(&name).exists());
    world.stack = StackId(Uuid::new_v4());
    let look = format!("test ! -e /tmp/{name} && test ! -e {} && test ! -e /dev/shm/{name}", control.display());
    world.run(&world.job(&look, &[("retry", Value::from("safe"))])).await?;
    std::fs::remove_file(&control)?;
    let nosuid = "for place in $HOME $TMPDIR /tmp /dev/shm; do grep -q \" $place [^ ]*nosuid\" /proc/self/mountinfo || exit 1; done";
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
