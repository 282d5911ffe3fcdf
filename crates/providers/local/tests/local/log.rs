//! Logs: the last lines, and the next ones.

use std::collections::BTreeSet;

use freehold_graph::{ResourceId, Value};
use futures::StreamExt;

use crate::world::World;

fn printed(lines: &[freehold_provider_local::LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).filter(|line| !line.starts_with("[freehold]")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_log_is_shown_over_the_versions_of_a_service() -> anyhow::Result<()> {
    let world = World::new().await?;
    for version in ["one", "two"] {
        world.deploy(&world.web(&[("VERSION", version)], &[])).await?;
        world.get("/print").await?;
    }
    let id = ResourceId::new("service", "web");
    let all = world.provider.logs().tail(world.stack, &id, 100)?;
    let printed = printed(&all);
    let position = |text: &str| printed.iter().position(|line| *line == text);
    assert!(position("line from one").unwrap() < position("line from two").unwrap(), "{printed:?}");
    assert_eq!(all.iter().map(|line| &line.source).collect::<BTreeSet<_>>().len(), 2);
    assert!(all.iter().any(|line| line.text.contains("started as process")));
    assert_eq!(world.provider.logs().tail(world.stack, &id, 1)?.len(), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_goes_on_with_the_next_version_and_past_a_rotation() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.deploy(&world.web(&[("VERSION", "one")], &[])).await?;
    let id = ResourceId::new("service", "web");
    let mut follow = Box::pin(world.provider.logs().follow(world.stack, &id, 10));
    let mut next = async |wanted: &str| {
        let waiting = async {
            loop {
                let line = follow.next().await.unwrap().unwrap();
                if line.text.contains(wanted) {
                    return;
                }
            }
        };
        tokio::time::timeout(crate::world::PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{wanted}"));
    };
    next("listening on").await;
    world.get("/print").await?;
    next("line from one").await;
    world.apply(&world.web(&[("VERSION", "two")], &[])).await?;
    world.get("/print").await?;
    next("line from two").await;
    // More than the limit: the file is rotated, and nothing that is printed afterwards is missed.
    world.get("/flood").await?;
    let folder = world.data.path().join("logs").join(world.stack.to_string()).join("service.web");
    crate::world::until("a rotation", async || {
        std::fs::read_dir(&folder).unwrap().any(|entry| entry.unwrap().path().extension().unwrap() == "1")
    })
    .await;
    world.apply(&world.web(&[("VERSION", "three")], &[])).await?;
    world.get("/print").await?;
    next("line from three").await;
    let size: u64 = std::fs::read_dir(&folder)?.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(size < 100_000, "{size}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_log_can_be_read() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.run(&world.job("for i in 1 2 3; do echo step $i; done", &[("retry", Value::from("safe"))])).await?;
    let lines = world.provider.logs().tail(world.stack, &ResourceId::new("job", "migrate"), 100)?;
    assert_eq!(printed(&lines), ["step 1", "step 2", "step 3"]);
    world.end().await
}
