//! Jobs on a schedule.

use std::collections::BTreeSet;
use std::path::Path;

use freehold_engine::{Context, Lookup, Provider, ProviderError, Readiness, Task};
use freehold_graph::{Resource, ResourceId, ResourceKind, Value};
use freehold_problem::Code;
use tokio::time::{Duration, Instant};

use crate::world::{World, kill, until};

fn digest(schedule: &str) -> Resource {
    script(schedule, "echo run >> $HOME/digest; exit 6")
}

fn script(schedule: &str, script: &str) -> Resource {
    let body = Value::map([
        ("artifact", Value::Null),
        ("command", Value::from(vec!["sh", "-c", script])),
        ("env", Value::map::<&str>([])),
        ("schedule", Value::from(schedule)),
        ("timeout_seconds", Value::from(30u32)),
    ]);
    let id = ResourceId::new("schedule", "digest");
    Resource { id, kind: ResourceKind::LocalSchedule, identity: "digest".to_owned(), body, depends_on: BTreeSet::new() }
}

/// The runs whose folders are there: when each was due, and its exit code if it has ended with one.
fn history(runs: &Path) -> Vec<(i64, Option<i64>)> {
    let folders = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let run = |folder: std::fs::DirEntry| {
        let status = std::fs::read(folder.path().join("status.json")).ok();
        let status = status.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        let exit_code = status.and_then(|status| status["end"]["exited"].as_i64());
        Some((folder.file_name().to_str()?.parse().ok()?, exit_code))
    };
    folders.filter_map(run).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_was_missed_while_freehold_was_down_is_made_up_for_once() -> anyhow::Result<()> {
    let world = World::new().await?;
    let resource = digest("0 * * * *");
    world.apply(&resource).await?;
    let observed = world.provider.observe(world.stack, &Lookup::from(&resource)).await?.unwrap();
    assert_eq!(observed.body, resource.body);
    assert_eq!(world.readiness(&resource).await?, Readiness::Ready);
    // As if it had been deployed two hours ago.
    let stack = world.data.path().join("local/stacks").join(world.stack.to_string());
    let path = stack.join("schedules/digest.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    record["since"] = serde_json::json!(record["since"].as_i64().unwrap() - 7200);
    std::fs::write(&path, serde_json::to_vec(&record)?)?;
    let world = world.killed(&[&resource]).await?;
    let runs = stack.join("runs/schedule.digest");
    until("the run", async || history(&runs).iter().any(|(_, exit_code)| *exit_code == Some(6))).await;
    // One for all that were missed (and one more if an hour has just begun).
    assert!(history(&runs).len() <= 2, "{:?}", history(&runs));
    let world = world.killed(&[&resource]).await?;
    let runs = std::fs::read_to_string(world.home().join("digest"))?.lines().count();
    assert!(runs <= 2, "{runs}");
    world.delete(&resource).await?;
    assert_eq!(world.provider.observe(world.stack, &Lookup::from(&resource)).await?, None);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_once_silences_no_schedule() -> anyhow::Result<()> {
    let world = World::new().await?;
    let resource = digest("0 * * * *");
    world.apply(&resource).await?;
    let stack = world.data.path().join("local/stacks").join(world.stack.to_string());
    let path = stack.join("schedules/digest.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let now = record["since"].as_i64().unwrap();
    // As if it had been deployed two hours ago, and then the clock had been a day ahead for a while.
    record["since"] = serde_json::json!(now - 7200);
    record["applied"] = record["since"].clone();
    std::fs::write(&path, serde_json::to_vec(&record)?)?;
    let runs = stack.join("runs/schedule.digest");
    let ahead = runs.join((now + 86_400).to_string());
    std::fs::create_dir_all(&ahead)?;
    let ended = serde_json::json!({ "end": { "exited": 0 }, "milliseconds": 7, "log": "/nowhere" });
    std::fs::write(ahead.join("status.json"), serde_json::to_vec(&ended)?)?;
    let world = world.killed(&[&resource]).await?;
    until("the run that was missed", async || history(&runs).iter().any(|(_, exit_code)| *exit_code == Some(6))).await;
    assert!(history(&runs).iter().all(|(due, _)| *due <= now + 3600), "{:?}", history(&runs));
    let health = world.provider.health(&[(world.stack, Lookup::from(&resource))]).await.remove(0)?;
    assert!(matches!(&health, Readiness::Failed(failure) if failure.message.contains("exit code 6")), "{health:?}");
    let log = world.provider.log_reader().tail(world.stack, &resource.id, 100)?;
    assert!(log.iter().any(|line| line.text.contains("the clock was ahead once")), "{log:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_whose_run_can_t_be_ended_in_time_is_neither_removed_nor_fenced() -> anyhow::Result<()> {
    let world = World::new().await?;
    let resource = script("0 * * * *", "trap '' TERM; echo $$ > $HOME/pid; while :; do sleep 0.1; done");
    world.apply(&resource).await?;
    let stack = world.data.path().join("local/stacks").join(world.stack.to_string());
    let path = stack.join("schedules/digest.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    record["since"] = serde_json::json!(record["since"].as_i64().unwrap() - 7200);
    std::fs::write(&path, serde_json::to_vec(&record)?)?;
    let world = world.killed(&[&resource]).await?;
    let pid = async || std::fs::read_to_string(world.home().join("pid")).ok()?.trim().parse::<i64>().ok();
    until("the run", async || pid().await.is_some()).await;
    let lookup = Lookup::from(&resource);
    for task in
        [Task::Delete { lookup: lookup.clone(), object: None }, Task::Fence { lookup: lookup.clone(), object: None }]
    {
        let context = Context { deadline: Instant::now() + Duration::from_millis(100), ..world.context() };
        let refused = world.provider.perform(&context, &task).await.unwrap_err();
        assert!(matches!(refused, ProviderError::Retryable { .. }), "{refused}");
        assert_eq!(refused.problem().code, Code::NotNow);
    }
    assert!(path.exists(), "the record stays as long as the run");
    assert_eq!(world.provider.runs_under_way()?.len(), 1, "and so does its lock");
    kill(pid().await.unwrap());
    world.delete(&resource).await?;
    assert!(!path.exists());
    world.end().await
}
