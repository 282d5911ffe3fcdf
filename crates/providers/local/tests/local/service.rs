//! One version of a service: started, looked after, stopped.

use std::time::Duration;

use freehold_engine::{Lookup, Provider, Readiness};
use freehold_graph::Value;
use freehold_problem::Code;

use crate::world::{World, code, detail, is_alive, kill, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_answers_through_the_router_and_leaves_nothing_when_it_is_deleted() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = world.web(&[("VERSION", "one")], &[]);
    let performed = world.apply(&web).await?;
    assert!(performed.note.unwrap().starts_with("ready after "));
    world.apply(&world.route()).await?;
    assert_eq!(world.get("/").await?, (200, "one".to_owned()));
    let observed = world.provider.observe(world.stack, &Lookup::from(&web)).await?.unwrap();
    assert_eq!(observed.body, web.body);
    assert_eq!(Some(observed.object), performed.object);
    assert_eq!(world.readiness(&web).await?, Readiness::Ready);
    assert_eq!(world.readiness(&world.route()).await?, Readiness::Ready);
    let route = world.provider.observe(world.stack, &Lookup::from(&world.route())).await?.unwrap();
    assert_eq!(route.body, world.route().body);

    let pid = world.pid().await?;
    world.delete(&world.route()).await?;
    assert_eq!(world.get("/").await?.0, 404);
    world.delete(&web).await?;
    assert!(!is_alive(pid));
    assert_eq!(world.provider.observe(world.stack, &Lookup::from(&web)).await?, None);
    assert_eq!(world.provider.owned(Some(world.stack)).await?, []);
    assert_eq!(world.provider.owned(None).await?, []);
    // Once more: what is gone already is a success.
    world.delete(&web).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_exits_at_once_is_refused_with_the_end_of_its_log() -> anyhow::Result<()> {
    let world = World::new().await?;
    let error = world.apply(&world.web(&[("MODE", "exit")], &[])).await.unwrap_err();
    assert_eq!(code(&error), Code::ExitedAtOnce);
    assert!(error.to_string().contains("exit code 3"), "{error}");
    assert_eq!(detail(&error), "the table is missing");
    assert_eq!(world.processes().await?, Vec::<String>::new());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_never_gets_ready_is_refused_with_its_last_answer() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = world.web(&[("MODE", "never-ready")], &[("start_timeout_seconds", Value::from(5u32))]);
    let error = world.apply(&web).await.unwrap_err();
    assert_eq!(code(&error), Code::NeverReady);
    assert!(error.to_string().contains("answered 503: {\"status\":\"unhealthy\"}"), "{error}");
    assert_eq!(world.processes().await?, Vec::<String>::new());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_there_is_refused_and_the_places_are_named() -> anyhow::Result<()> {
    let world = World::new().await?;
    let error = world.apply(&world.web(&[], &[("command", Value::from(vec!["guestbok"]))])).await.unwrap_err();
    assert_eq!(code(&error), Code::CommandNotFound);
    assert!(detail(&error).contains("looked for guestbok in the artifact"), "{error:?}");
    assert!(detail(&error).contains("looked for /usr/bin/guestbok"), "{error:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_too_long_for_a_process_is_named() -> anyhow::Result<()> {
    let world = World::new().await?;
    let error = world.apply(&world.web(&[("RULES", &"x".repeat(200 << 10))], &[])).await.unwrap_err();
    assert_eq!(code(&error), Code::TooLongForProcess);
    assert!(error.to_string().contains("RULES is 200 KiB long with what its references come to"), "{error}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_dies_is_started_again() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = world.web(&[("VERSION", "one")], &[]);
    world.deploy(&web).await?;
    let first = world.pid().await?;
    kill(first);
    until("another process", async || world.pid().await.is_ok_and(|pid| pid != first)).await;
    assert_eq!(world.readiness(&web).await?, Readiness::Ready);
    assert_eq!(world.processes().await?.len(), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_reported_with_the_log_and_ends_by_itself() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    // Longer than a program that crashes takes for that on a busy machine.
    world.reopen(|options| options.steady = Duration::from_secs(10))?;
    let web = world.web(&[], &[]);
    world.deploy(&web).await?;
    world.get("/break").await?;
    let mut reason = String::new();
    until("the crash loop to show", async || match world.readiness(&web).await {
        Ok(Readiness::Failed(failure)) => {
            reason = failure.to_string();
            true
        }
        _ => false,
    })
    .await;
    assert!(reason.contains("FH0706") && reason.contains("the table is missing"), "{reason}");
    std::fs::remove_file(world.home().join("broken"))?;
    until("recovery", async || matches!(world.readiness(&web).await, Ok(Readiness::Ready))).await;
    assert_eq!(world.get("/").await?.0, 200);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_port_runs_and_one_that_ignores_the_signal_is_killed() -> anyhow::Result<()> {
    let world = World::new().await?;
    let health = Value::map([("ready", Value::Null), ("live", Value::Null)]);
    let changes = [("serves", Value::Bool(false)), ("health", health), ("stop_timeout_seconds", Value::from(1u32))];
    let worker = world.web(&[("MODE", "worker")], &changes);
    world.apply(&worker).await?;
    assert_eq!(world.processes().await?.len(), 1);
    let stubborn = world.web(&[("MODE", "stubborn")], &[("stop_timeout_seconds", Value::from(1u32))]);
    world.apply(&stubborn).await?;
    until("the worker to end", async || world.processes().await.is_ok_and(|all| all.len() == 1)).await;
    world.delete(&stubborn).await?;
    assert_eq!(world.processes().await?, Vec::<String>::new());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_started_and_moved_to_a_session_of_its_own_ends_with_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = world.web(&[], &[]);
    world.deploy(&web).await?;
    world.get("/fork").await?;
    until("the other process", async || world.processes().await.is_ok_and(|all| all.len() == 2)).await;
    world.delete(&world.route()).await?;
    world.delete(&web).await?;
    assert_eq!(world.processes().await?, Vec::<String>::new());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn services_reach_each_other_at_their_fixed_addresses() -> anyhow::Result<()> {
    let world = World::new().await?;
    let address = format!("127.99.{}.7:12345", std::process::id() % 250);
    let web = world.web(&[("VERSION", "inner")], &[("endpoint", Value::text(address.clone()))]);
    world.apply(&web).await?;
    assert_eq!(crate::world::request(address.parse()?, "/").await?, (200, "inner".to_owned()));
    world.delete(&web).await?;
    assert!(crate::world::request(address.parse()?, "/").await.is_err());
    world.end().await
}
