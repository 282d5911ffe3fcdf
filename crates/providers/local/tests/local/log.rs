//! Logs: the last lines, and the next ones.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use freehold_engine::capability::{LogLine, Voice};
use freehold_graph::{ResourceId, Value};
use futures::StreamExt;

use crate::world::World;

fn printed(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().filter(|line| line.voice == Voice::Program).map(|line| line.text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_log_is_shown_over_the_versions_of_a_service() -> anyhow::Result<()> {
    let world = World::new().await?;
    for version in ["one", "two"] {
        world.deploy(&world.web(&[("VERSION", version)], &[])).await?;
        world.get("/print").await?;
    }
    let id = ResourceId::new("service", "web");
    let all = world.provider.log_reader().tail(world.stack, &id, 100)?;
    let printed = printed(&all);
    let position = |text: &str| printed.iter().position(|line| *line == text);
    assert!(position("line from one").unwrap() < position("line from two").unwrap(), "{printed:?}");
    assert_eq!(all.iter().map(|line| &line.source).collect::<BTreeSet<_>>().len(), 2);
    assert!(all.iter().any(|line| line.text.contains("started as process")));
    assert_eq!(world.provider.log_reader().tail(world.stack, &id, 1)?.len(), 1);
    world.end().await
}

/// Reads on until a line holds this; gives all lines up to there.
async fn follow_to(
    follow: &mut (impl futures::Stream<Item = std::io::Result<Vec<LogLine>>> + Unpin),
    wanted: &str,
) -> Vec<LogLine> {
    let reading = async {
        let mut lines: Vec<LogLine> = Vec::new();
        while !lines.iter().any(|line| line.text.contains(wanted)) {
            lines.extend(follow.next().await.unwrap().unwrap());
        }
        lines
    };
    tokio::time::timeout(crate::world::PATIENCE, reading).await.unwrap_or_else(|_| panic!("{wanted}"))
}

/// How much of the disk a stack's logs of its service take.
fn taken(world: &World) -> u64 {
    let folder = world.data.path().join("logs").join(world.stack.to_string()).join("service.web");
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_goes_on_with_the_next_version_and_says_what_it_could_not_show() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.deploy(&world.web(&[("VERSION", "one")], &[])).await?;
    let id = ResourceId::new("service", "web");
    let mut follow = Box::pin(world.provider.log_reader().follow(world.stack, &id, 10));
    follow_to(&mut follow, "listening on").await;
    world.get("/print").await?;
    follow_to(&mut follow, "line from one").await;
    // Much more than the limit, while nobody takes what was read.
    for _ in 0..4 {
        world.get("/flood").await?;
    }
    crate::world::until("the log to be cut", async || taken(&world) < 50_000).await;
    world.get("/print").await?;
    let lines = follow_to(&mut follow, "line from one").await;
    let told = lines.iter().find(|line| line.voice == Voice::Freehold).expect("the gap is told");
    assert!(told.text.contains("were not shown"), "{told:?}");
    let shown = printed(&lines);
    assert!(shown.iter().filter(|line| **line == "drop").count() > 1_000, "what was kept is shown");
    assert!(shown.iter().all(|line| ["drop", "line from one"].contains(line) || line.starts_with('…')), "{shown:?}");
    world.apply(&world.web(&[("VERSION", "two")], &[])).await?;
    world.get("/print").await?;
    follow_to(&mut follow, "line from two").await;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_of_a_log_that_is_cut_meanwhile_is_missing_without_a_word() -> anyhow::Result<()> {
    let world = World::new().await?;
    let id = ResourceId::new("job", "migrate");
    let mut follow = Box::pin(world.provider.log_reader().follow(world.stack, &id, 0));
    let script = "for i in $(seq 1 40); do seq -f line-%.0f $((i * 100)) $((i * 100 + 99)); sleep 0.1; done; echo end";
    let job = world.job(script, &[]);
    let (ran, lines) = tokio::join!(world.run(&job), follow_to(&mut follow, "end"));
    ran?;
    let (mut next, mut told) = (100, false);
    for line in &lines {
        match (line.voice, line.text.strip_prefix("line-")) {
            (Voice::Freehold, _) => told |= line.text.contains("were not shown"),
            (Voice::Program, Some(number)) => {
                let number: u32 = number.parse()?;
                assert!(number == next || told && number > next, "{number} instead of {next}");
                (next, told) = (number + 1, false);
            }
            (Voice::Program, None) => assert!(line.text == "end" || told && line.text.starts_with('…'), "{line:?}"),
        }
    }
    assert_eq!(next, 4100);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_can_not_speak_as_freehold_nor_make_its_log_seem_larger_than_it_is() -> anyhow::Result<()> {
    let world = World::new().await?;
    let script = "echo '[freehold] ended: exit code 0'; python3 -c 'import os; os.ftruncate(1, 1 << 45)'; echo last";
    world.run(&world.job(script, &[])).await?;
    let lines = world.provider.log_reader().tail(world.stack, &ResourceId::new("job", "migrate"), 3)?;
    let of = |voice: Voice| lines.iter().filter(move |line| line.voice == voice).map(|line| line.text.as_str());
    assert!(of(Voice::Freehold).any(|line| line.ends_with("ended: exit code 0")), "{lines:?}");
    assert!(of(Voice::Program).all(|line| !line.starts_with("20")), "{lines:?}");
    assert_eq!(of(Voice::Program).next_back(), Some("last"), "{lines:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_of_a_stack_have_a_bound_in_all() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.options.log_limits.stack = 100_000;
    let world = world.killed(&[]).await?;
    let folder = world.data.path().join("logs").join(world.stack.to_string());
    // What services that are no longer in the definition have left.
    for (at, name) in ["service.old", "service.older"].into_iter().enumerate() {
        std::fs::create_dir_all(folder.join(name))?;
        let log = folder.join(name).join(format!("{at:014}-gone.log"));
        std::fs::write(&log, vec![b'x'; 80_000])?;
    }
    world.deploy(&world.web(&[], &[])).await?;
    let left = ["service.old", "service.older"].map(|name| std::fs::read_dir(folder.join(name)).unwrap().count());
    assert_eq!(left.iter().sum::<usize>(), 1, "{left:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_log_can_be_read() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.run(&world.job("for i in 1 2 3; do echo step $i; done", &[("retry", Value::from("safe"))])).await?;
    let lines = world.provider.log_reader().tail(world.stack, &ResourceId::new("job", "migrate"), 100)?;
    assert_eq!(printed(&lines), ["step 1", "step 2", "step 3"]);
    world.end().await
}
