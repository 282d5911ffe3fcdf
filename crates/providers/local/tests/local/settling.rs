//! What becomes of a version that was ready and does not stay so.

use freehold_engine::{Lookup, Provider, Readiness};
use freehold_graph::{Resource, Value};

use crate::world::{World, is_alive, kill, until};

/// Long enough for a test to act in, however busy the machine is.
const LONG: u32 = 600;

fn web(world: &World, version: &str, settle: u32, update: &str) -> Resource {
    let changes = [("settle_seconds", Value::from(settle)), ("update", Value::from(update))];
    world.web(&[("VERSION", version)], &changes)
}

async fn failure(world: &World, resource: &Resource) -> String {
    match world.readiness(resource).await.unwrap() {
        Readiness::Failed(failure) => failure.to_string(),
        other => panic!("not failed: {other:?}"),
    }
}

async fn is_failed(world: &World, resource: &Resource) -> bool {
    matches!(world.readiness(resource).await, Ok(Readiness::Failed(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_falls_while_it_settles_gives_way_to_the_one_before_it() -> anyhow::Result<()> {
    for update in ["rolling", "recreate"] {
        let world = World::new().await?;
        let old = web(&world, "old", 0, update);
        world.deploy(&old).await?;
        let before = world.pid().await?;
        let new = web(&world, "new", LONG, update);
        world.apply(&new).await?;
        assert_eq!(world.get("/").await?, (200, "new".to_owned()));
        assert!(matches!(world.readiness(&new).await?, Readiness::Settling { .. }), "{update}");
        assert_eq!(is_alive(before), update == "rolling", "the old one is at hand where it can be");
        kill(world.pid().await?);
        until("the old one", async || world.get("/").await.is_ok_and(|answer| answer == (200, "old".to_owned()))).await;
        until("the failure", async || is_failed(&world, &new).await).await;
        let reason = failure(&world, &new).await;
        assert!(reason.starts_with("FH0707: ") && reason.contains("the previous version serves again"), "{reason}");
        assert_eq!(world.provider.observe(world.stack, &Lookup::from(&old)).await?.unwrap().body, old.body);
        until("the new one to end", async || world.processes().await.is_ok_and(|all| all.len() == 1)).await;
        // What was taken back is also what a Freehold that is killed now comes back with.
        let route = world.route();
        let world = world.killed(&[&new, &route]).await?;
        until("the old one", async || world.get("/").await.is_ok_and(|answer| answer == (200, "old".to_owned()))).await;
        // And the next version is judged by itself.
        let next = web(&world, "next", 0, update);
        world.apply(&next).await?;
        assert_eq!(world.readiness(&next).await?, Readiness::Ready);
        assert_eq!(world.get("/").await?, (200, "next".to_owned()));
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_version_that_falls_while_it_settles_is_no_success_though_it_is_started_again() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = web(&world, "only", LONG, "rolling");
    world.deploy(&web).await?;
    let first = world.pid().await?;
    kill(first);
    until("the failure", async || is_failed(&world, &web).await).await;
    until("another process", async || world.pid().await.is_ok_and(|pid| pid != first)).await;
    let reason = failure(&world, &web).await;
    assert!(
        reason.starts_with("FH0707: ") && reason.contains("keeps restarting it"),
        "ready for a moment is not enough: {reason}"
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn once_a_version_has_settled_the_one_before_it_ends() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.deploy(&web(&world, "old", 0, "rolling")).await?;
    let new = web(&world, "new", 1, "rolling");
    world.apply(&new).await?;
    assert_eq!(world.processes().await?.len(), 2);
    until("it to settle", async || world.readiness(&new).await.is_ok_and(|now| now == Readiness::Ready)).await;
    until("the old one to end", async || world.processes().await.is_ok_and(|all| all.len() == 1)).await;
    assert_eq!(world.get("/").await?, (200, "new".to_owned()));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_follows_one_that_still_settles_comes_back_to_that_one() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.deploy(&web(&world, "1", 0, "rolling")).await?;
    world.apply(&web(&world, "2", LONG, "rolling")).await?;
    let third = web(&world, "3", LONG, "rolling");
    world.apply(&third).await?;
    until("the first to end", async || world.processes().await.is_ok_and(|all| all.len() == 2)).await;
    kill(world.pid().await?);
    until("the second", async || world.get("/").await.is_ok_and(|answer| answer == (200, "2".to_owned()))).await;
    world.end().await
}
