//! A real Freehold is killed at arbitrary moments, again and again.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use freehold_engine::{Lookup, Provider};
use freehold_graph::Value;

use crate::world::{World, until};

/// How often it is killed.
const KILLS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_at_any_moment_nothing_is_doubled_and_nothing_is_left_over() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let victim = world.options.executable.with_file_name("victim");
    let seed = u64::from(std::process::id());
    let web = world.web(&[], &[]);
    let mut adopted = 0;
    for round in 0..KILLS {
        // There are never two at once: this one would start anew what the other one ends.
        world.release()?;
        let mut freehold = tokio::process::Command::new(&victim)
            .arg(world.data.path())
            .arg(world.stack.to_string())
            .arg(&world.artifact)
            .arg(&world.options.executable)
            .arg((1 + round * 1000).to_string())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let moment = Duration::from_micros(
            seed.wrapping_mul(6_364_136_223_846_793_005).rotate_left(round as u32 * 5) % 1_500_000,
        );
        if round + 1 < KILLS {
            tokio::time::timeout(moment, freehold.wait()).await.expect_err("it ended by itself");
        } else {
            // The last one, however slow the machine is, when its first service is up: the next version's job has run.
            let next = format!("\n{}\n", 2 + round * 1000);
            let runs = world.home().join("runs");
            until("a service", async || std::fs::read_to_string(&runs).is_ok_and(|runs| runs.contains(&next))).await;
        }
        freehold.kill().await?;

        // A successor takes over, knowing only that there is, or was to be, such a service.
        let mut remembered = world.remembered(&[&web]);
        remembered[0].object = None;
        // A process that its predecessor had told to end may do so only now, and is started anew.
        (world, _) = world.succeeded(remembered).await?;
        let seen = world.provider.observe(world.stack, &Lookup::from(&web)).await?;
        let wanted = seen.and_then(|seen| seen.body.get("replicas").and_then(Value::as_integer)).unwrap_or(0);
        let services = async || {
            let all = world.processes().await.unwrap();
            i64::try_from(all.iter().filter(|name| name.contains("(service.web)")).count()).unwrap()
        };
        let what = format!("{wanted} processes, in round {round}, seed {seed}, killed after {moment:?}");
        until(&what, async || services().await == wanted).await;
        adopted += wanted;
        // A job that was running goes on by itself.
        until("the jobs to end", async || {
            world.processes().await.is_ok_and(|all| all.iter().all(|name| name.contains("(service.web)")))
        })
        .await;
    }
    assert!(adopted > 0, "no kill ever found a service");
    let runs = std::fs::read_to_string(world.home().join("runs"))?;
    let mut counted: BTreeMap<&str, u32> = BTreeMap::new();
    runs.lines().for_each(|version| *counted.entry(version).or_default() += 1);
    assert!(counted.values().all(|count| *count == 1), "seed {seed}: {counted:?}");
    world.end().await
}
