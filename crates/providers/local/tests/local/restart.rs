//! Freehold is killed, and another one finds what it left.

use std::sync::Arc;

use freehold_engine::{Lookup, Provider, Readiness};
use freehold_graph::{Resource, SecretRef, Value};

use crate::world::{HOST, Known, World, is_alive, kill, request_with, until};

/// The path of the only instance's record.
fn record(world: &World) -> std::path::PathBuf {
    let folder = world.data.path().join("local/stacks").join(world.stack.to_string()).join("services/web/instances");
    let mut records: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_is_taken_over_and_not_doubled() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (web, route) = (world.web(&[("VERSION", "one")], &[]), world.route());
    world.deploy(&web).await?;
    let pid = world.pid().await?;
    let world = world.killed(&[&web, &route]).await?;
    assert_eq!(world.pid().await?, pid);
    assert_eq!(world.processes().await?.len(), 1);
    assert_eq!(world.readiness(&web).await?, Readiness::Ready);
    // It is supervised as before.
    kill(pid);
    until("another process", async || world.pid().await.is_ok_and(|other| other != pid)).await;
    // And can be updated.
    world.apply(&world.web(&[("VERSION", "two")], &[])).await?;
    assert_eq!(world.get("/").await?, (200, "two".to_owned()));
    until("the old version to end", async || world.processes().await.is_ok_and(|all| all.len() == 1)).await;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_died_meanwhile_is_started_again() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (web, route) = (world.web(&[("VERSION", "one")], &[("replicas", Value::from(2u32))]), world.route());
    world.deploy(&web).await?;
    let pid = world.pid().await?;
    world.provider.shutdown().await;
    assert!(!is_alive(pid));
    assert_eq!(world.processes().await?, Vec::<String>::new());
    let world = world.killed(&[&web, &route]).await?;
    assert_eq!(world.get("/").await?, (200, "one".to_owned()));
    assert_eq!(world.processes().await?.len(), 2);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_a_record_is_ended() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (web, route) = (world.web(&[("VERSION", "one")], &[]), world.route());
    world.deploy(&web).await?;
    let pid = world.pid().await?;
    // As if Freehold had been killed between `exec` and the record.
    std::fs::remove_file(record(&world))?;
    let world = world.killed(&[&web, &route]).await?;
    assert!(!is_alive(pid));
    assert_ne!(world.pid().await?, pid);
    assert_eq!(world.processes().await?.len(), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_nobody_remembers_is_ended() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.deploy(&world.web(&[], &[])).await?;
    let world = world.killed(&[]).await?;
    assert_eq!(world.processes().await?, Vec::<String>::new());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_not_committed_is_ended_and_the_committed_one_goes_on() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (old, route) = (world.web(&[("VERSION", "old")], &[]), world.route());
    world.deploy(&old).await?;
    let pid = world.pid().await?;
    let new = world.web(&[("MODE", "never-ready")], &[]);
    tokio::select! {
        ended = world.apply(&new) => panic!("it can't have got ready: {ended:?}"),
        () = until("both to run", async || world.processes().await.is_ok_and(|all| all.len() == 2)) => {}
    }
    // The store remembers what was about to be applied.
    let world = world.killed(&[&new, &route]).await?;
    assert_eq!(world.pid().await?, pid);
    assert_eq!(world.processes().await?.len(), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_has_the_pid_of_a_former_one_is_left_alone() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (web, route) = (world.web(&[("VERSION", "one")], &[]), world.route());
    world.deploy(&web).await?;
    let mut stranger = tokio::process::Command::new("sleep").arg("600").process_group(0).kill_on_drop(true).spawn()?;
    let path = record(&world);
    let pid = world.pid().await?;
    let mut written: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    written["process"]["pid"] = serde_json::json!(stranger.id().unwrap());
    std::fs::write(&path, serde_json::to_vec(&written)?)?;
    kill(pid);
    let world = world.killed(&[&web, &route]).await?;
    assert_eq!(world.get("/").await?, (200, "one".to_owned()));
    assert_eq!(stranger.try_wait()?, None);
    stranger.kill().await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_torn_or_lost_is_made_up_for_by_the_store() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (web, route) = (world.web(&[("VERSION", "one")], &[]), world.route());
    world.deploy(&web).await?;
    std::fs::write(record(&world), b"{\"instance\": ")?;
    let stack = world.data.path().join("local/stacks").join(world.stack.to_string());
    std::fs::remove_file(stack.join("services/web/service.json"))?;
    std::fs::remove_dir_all(stack.join("routes"))?;
    let world = world.killed(&[&web, &route]).await?;
    assert_eq!(world.get("/").await?, (200, "one".to_owned()));
    assert_eq!(world.processes().await?.len(), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_comes_back_as_it_was_and_not_as_a_step_that_failed_was_to_make_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (web, route) = (world.web(&[("VERSION", "one")], &[]), world.route());
    world.deploy(&web).await?;
    // The store has the body of a change that began, and the object that it was to change.
    let mut pending = route.clone();
    let rule = Value::map([
        ("prefix", Value::from("/elsewhere")),
        ("timeout_seconds", Value::from(30u32)),
        ("retries", Value::from(0u32)),
        ("service", Value::from("service.web")),
    ]);
    if let Value::Map(body) = &mut pending.body {
        body.insert("paths".to_owned(), Value::List(vec![rule]));
    }
    let world = world.killed(&[&web, &pending]).await?;
    assert_eq!(world.get("/").await?, (200, "one".to_owned()));
    world.end().await
}

/// A route as it was stored when routes had one host, by which they were known.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_of_the_release_before_comes_back_and_gives_way_without_a_gap() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (web, new) = (world.web(&[("VERSION", "one")], &[]), world.route());
    world.deploy(&web).await?;
    world.delete(&new).await?;
    let rule = Value::map([
        ("prefix", Value::from("/")),
        ("timeout_seconds", Value::from(30u32)),
        ("retries", Value::from(0u32)),
    ]);
    let body = Value::map([
        ("host", Value::from(HOST)),
        ("service", Value::from("service.web")),
        ("paths", Value::List(vec![rule])),
    ]);
    let old = Resource { identity: HOST.to_owned(), body, ..new.clone() };
    let records = world.data.path().join("local/stacks").join(world.stack.to_string()).join("routes");
    std::fs::create_dir_all(&records)?;
    let record = serde_json::json!({"object": "0198a000-0000-7000-8000-0000000000aa", "resource": old});
    std::fs::write(records.join(format!("{HOST}.json")), record.to_string())?;
    let world = world.killed(&[&web, &old]).await?;
    assert_eq!(world.get("/").await?, (200, "one".to_owned()));
    let observed = world.provider.observe(world.stack, &Lookup::from(&old)).await?.unwrap();
    assert_eq!((observed.object.as_str(), &observed.body), ("0198a000-0000-7000-8000-0000000000aa", &old.body));
    world.apply(&new).await?;
    assert_eq!(world.get("/").await?, (200, "one".to_owned()));
    world.delete(&old).await?;
    assert_eq!(world.get("/").await?, (200, "one".to_owned()));
    assert_eq!(std::fs::read_dir(&records)?.count(), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_in_is_known_after_a_kill_and_no_password_is_on_disk() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (web, mut route) = (world.web(&[("VERSION", "one")], &[]), world.route());
    world.deploy(&web).await?;
    let secret = SecretRef::Stored("door".to_owned());
    if let Value::Map(body) = &mut route.body {
        body.insert("basic_auth".to_owned(), Value::map([("ops", Value::secret(secret))]));
    }
    world.apply(&route).await?;
    let world = world.killed(&[&web, &route]).await?;
    assert_eq!(world.get("/").await?.0, 401);
    // ops:s3cret-door
    let password = "Authorization: Basic b3BzOnMzY3JldC1kb29y\r\n";
    assert_eq!(request_with(world.router.address(), "/", password).await?, (200, "one".to_owned()));
    let records = world.data.path().join("local/stacks").join(world.stack.to_string()).join("routes");
    for record in std::fs::read_dir(&records)? {
        assert!(!std::fs::read_to_string(record?.path())?.contains("s3cret-"));
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_platform_on_the_machine_is_left_alone() -> anyhow::Result<()> {
    let (here, there) = (World::new().await?, World::new().await?);
    there.deploy(&there.web(&[], &[])).await?;
    let pid = there.pid().await?;
    here.provider.restore(Vec::new(), Arc::new(Known)).await?;
    assert!(is_alive(pid));
    here.end().await?;
    there.end().await
}
