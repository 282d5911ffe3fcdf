//! What a program sees of Freehold and of the other stacks.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use freehold_graph::{SecretRef, StackId, Value};
use freehold_provider_local::RunAs;
use uuid::Uuid;

use crate::world::{World, first_user};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_the_environment_of_the_plan_and_nothing_of_ours() -> anyhow::Result<()> {
    let world = World::new().await?;
    let secret = Value::secret(SecretRef::Stored("session-key".to_owned()));
    let env = Value::map([("LOG_LEVEL", Value::from("debug")), ("SESSION_KEY", secret)]);
    world.deploy(&world.web(&[], &[("env", env)])).await?;
    let seen = world.json("/env").await?;
    let names: BTreeSet<&str> = seen.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "FREEHOLD_INSTANCE",
        "FREEHOLD_PLATFORM",
        "FREEHOLD_RESOURCE",
        "FREEHOLD_STACK",
        "FREEHOLD_STEP",
        "HOME",
        "HOST",
        "LANG",
        "LOG_LEVEL",
        "PATH",
        "PORT",
        "SESSION_KEY",
        "TMPDIR",
    ];
    // LC_CTYPE: Python sets it for itself.
    let names: Vec<&str> = names.into_iter().filter(|name| *name != "LC_CTYPE").collect();
    assert_eq!(names, expected);
    assert_eq!(seen["SESSION_KEY"], "s3cret-session-key");
    assert_eq!(seen["FREEHOLD_STACK"], world.stack.to_string());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_to_the_data_directory() -> anyhow::Result<()> {
    let world = World::new().await?;
    let secret = Value::secret(SecretRef::Stored("session-key".to_owned()));
    let env = Value::map([("SESSION_KEY", secret)]);
    world.deploy(&world.web(&[], &[("env", env.clone())])).await?;
    world.run(&world.job("true", &[("env", env)])).await?;
    let grep = std::process::Command::new("grep").args(["-r", "s3cret-session-key"]).arg(world.data.path()).output()?;
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_share_in_the_kernel_ends_with_them_where_freehold_is_root() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("not root: what programs share is the user's");
        return Ok(());
    }
    let first = first_user();
    let world = World::with(RunAs::Separate(first)).await?;
    world.run(&world.job("ipcmk -M 4096 && ipcs -m | grep 4096 && ipcmk -S 1 && ipcmk -Q", &[])).await?;
    for (table, user) in [("shm", 7), ("sem", 4), ("msg", 7)] {
        let text = std::fs::read_to_string(format!("/proc/sysvipc/{table}"))?;
        let left = text.lines().filter(|line| line.split_whitespace().nth(user) == Some(&first.to_string()));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<&str>::new(), "{table}");
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stack_has_a_user_of_its_own_where_freehold_is_root() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("not root: the stacks run as one user, which is what the plan says");
        return Ok(());
    }
    let first = first_user();
    let mut world = World::with(RunAs::Separate(first)).await?;
    world.deploy(&world.web(&[], &[])).await?;
    let who = world.json("/who").await?;
    assert_eq!((who["uid"].as_u64(), who["gid"].as_u64()), (Some(first.into()), Some(first.into())));
    assert_eq!(who["groups"], serde_json::json!([]));
    assert_eq!(std::fs::metadata(world.home())?.uid(), first);
    world.run(&world.job("echo ours > $HOME/file && test $(id -u) != 0", &[])).await?;
    assert_eq!(std::fs::metadata(world.home().join("file"))?.uid(), first);

    let one = world.stack;
    // Where it runs from stands in the list of processes for all to see.
    let artifact = who["cwd"].as_str().unwrap().to_owned();
    world.stack = StackId(Uuid::new_v4());
    let store = world.data.path().join("artifacts").join(world.artifact.trim_start_matches("sha256:"));
    let reads = format!("! cat {artifact}/service.py && ! cat {}/service.py && cat service.py", store.display());
    world
        .run(&world.job(
            &format!(
                "test $(id -u) = {} && ! ls {} && {reads}",
                first + 1,
                world.data.path().join(format!("local/stacks/{one}/home")).display()
            ),
            &[("artifact", Value::text(world.artifact.clone()))],
        ))
        .await?;
    // A number that a stack has had is never given to another.
    world.provider.forget_stack(one).await?;
    world.provider.forget_stack(world.stack).await?;
    world.run(&world.job(&format!("test $(id -u) = {}", first + 2), &[])).await?;
    world.end().await
}
