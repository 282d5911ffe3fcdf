//! One version after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use freehold_engine::{Lookup, Provider, Readiness};
use freehold_graph::Value;
use freehold_problem::Code;

use crate::world::{World, code, is_alive, request, until};

/// Asks without pause until told to stop; counts the answers, and keeps those that weren't good.
fn load(world: &World, stop: &Arc<AtomicBool>, asked: &Arc<AtomicU32>) -> tokio::task::JoinHandle<Vec<String>> {
    let (address, stop, asked) = (world.router.address(), Arc::clone(stop), Arc::clone(asked));
    tokio::spawn(async move {
        let mut bad = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            match request(address, "/").await {
                Ok((200, _)) => {}
                other => bad.push(format!("{other:?}")),
            }
            asked.fetch_add(1, Ordering::Relaxed);
        }
        bad
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_versions_follow_one_another() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.deploy(&world.web(&[("VERSION", "0")], &[])).await?;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..4).map(|_| load(&world, &stop, &asked)).collect();
    for (version, update) in [("1", "rolling"), ("2", "rolling"), ("3", "recreate"), ("4", "rolling")] {
        world.apply(&world.web(&[("VERSION", version)], &[("update", Value::from(update))])).await?;
        assert_eq!(world.get("/").await?, (200, version.to_owned()));
        let before = asked.load(Ordering::Relaxed);
        until("more requests", async || asked.load(Ordering::Relaxed) > before + 20).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.await?, Vec::<String>::new());
    }
    until("the old versions to end", async || world.processes().await.is_ok_and(|all| all.len() == 1)).await;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_leaves_the_old_one_serving() -> anyhow::Result<()> {
    let world = World::new().await?;
    let old = world.web(&[("VERSION", "old")], &[]);
    world.deploy(&old).await?;
    let pid = world.pid().await?;
    let error = world.apply(&world.web(&[("MODE", "exit")], &[])).await.unwrap_err();
    assert_eq!(code(&error), Code::ExitedAtOnce);
    assert_eq!(world.pid().await?, pid);
    assert_eq!(world.provider.observe(world.stack, &Lookup::from(&old)).await?.unwrap().body, old.body);
    // With "recreate" the old one had to go; it is started again.
    let error = world.apply(&world.web(&[("MODE", "exit")], &[("update", Value::from("recreate"))])).await.unwrap_err();
    assert_eq!(code(&error), Code::ExitedAtOnce);
    until("the old version", async || world.get("/").await.is_ok_and(|answer| answer == (200, "old".to_owned()))).await;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn more_and_fewer_replicas_leave_the_others_alone() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = |replicas: u32| world.web(&[("VERSION", "one")], &[("replicas", Value::from(replicas))]);
    world.deploy(&web(1)).await?;
    let first = world.pid().await?;
    world.apply(&web(3)).await?;
    assert_eq!(world.processes().await?.len(), 3);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..12 {
        seen.insert(world.pid().await?);
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.contains(&first));
    let observed = world.provider.observe(world.stack, &Lookup::from(&web(3))).await?.unwrap();
    assert_eq!(observed.body, web(3).body);
    world.apply(&web(1)).await?;
    until("the others to end", async || world.processes().await.is_ok_and(|all| all.len() == 1)).await;
    assert_eq!(world.pid().await?, first);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn other_times_change_nothing_that_runs_and_a_repeated_step_doubles_nothing() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = world.web(&[("VERSION", "one")], &[]);
    world.deploy(&web).await?;
    let pid = world.pid().await?;
    world.apply(&web).await?;
    let patient = world.web(&[("VERSION", "one")], &[("drain_seconds", Value::from(9u32))]);
    world.apply(&patient).await?;
    assert_eq!(world.pid().await?, pid);
    assert_eq!(world.processes().await?.len(), 1);
    let observed = world.provider.observe(world.stack, &Lookup::from(&patient)).await?.unwrap();
    assert_eq!(observed.body, patient.body);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_gives_up_and_asks_again_gets_one_service() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = world.web(&[("VERSION", "one")], &[]);
    let impatient = tokio::time::timeout(std::time::Duration::from_millis(20), world.apply(&web)).await;
    assert!(impatient.is_err(), "it was quicker than expected");
    world.apply(&web).await?;
    assert_eq!(world.processes().await?.len(), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_finished_by_the_version_that_began_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.deploy(&world.web(&[("VERSION", "old")], &[])).await?;
    let pid = world.pid().await?;
    let address = world.router.address();
    let slow = tokio::spawn(async move { request(address, "/slow").await });
    until("the request to be under way", async || {
        world.router.routes().len() == 1 && tokio::fs::metadata("/proc").await.is_ok() && !slow.is_finished()
    })
    .await;
    world.apply(&world.web(&[("VERSION", "new")], &[])).await?;
    assert_eq!(slow.await??, (200, "slow".to_owned()));
    until("the old version to end", async || !is_alive(pid)).await;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_copies_runs_nothing_answers_503_and_comes_back() -> anyhow::Result<()> {
    let world = World::new().await?;
    for update in ["rolling", "recreate"] {
        let web = |version: &str, replicas: u32| {
            world.web(&[("VERSION", version)], &[("replicas", Value::from(replicas)), ("update", Value::from(update))])
        };
        for version in ["one", "two"] {
            // The same version with fewer copies at first, then a new one that has none from the start.
            let none = web(version, 0);
            world.deploy(&none).await?;
            until("the copies to end", async || world.processes().await.is_ok_and(|all| all.is_empty())).await;
            assert_eq!(world.get("/").await?.0, 503);
            assert_eq!(world.readiness(&none).await?, Readiness::Ready);
            assert_eq!(world.provider.observe(world.stack, &Lookup::from(&none)).await?.unwrap().body, none.body);
            world.apply(&web("one", 1)).await?;
            assert_eq!(world.get("/").await?, (200, "one".to_owned()));
        }
    }
    world.end().await
}
