//! Stopping: what starts gives way to it, nobody waits behind what starts, and what was stopped on purpose comes back.

use freehold_engine::{Lookup, Performed, Provider, ProviderError, Readiness, Task};
use freehold_graph::{Resource, Value};
use freehold_problem::Code;

use crate::world::{Known, World, until};

/// A service that never gets ready, and may take all the time there is.
fn never_ready(world: &World) -> Resource {
    world.web(&[("MODE", "never-ready")], &[("start_timeout_seconds", Value::from(3600u32))])
}

async fn until_started(world: &World) {
    until("a process", async || !world.processes().await.unwrap().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_service_that_starts() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = never_ready(&world);
    let (applied, ()) = tokio::join!(world.apply(&web), async {
        until_started(&world).await;
        world.provider.shutdown().await;
    });
    assert!(matches!(applied, Err(ProviderError::Retryable { .. })), "{applied:?}");
    assert_eq!(world.processes().await?, Vec::<String>::new());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_starts_can_be_looked_at_and_deleted() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = never_ready(&world);
    let (applied, deleted) = tokio::join!(world.apply(&web), async {
        until_started(&world).await;
        let seen = world.provider.observe(world.stack, &Lookup::from(&web)).await;
        assert_eq!(seen, Ok(None), "it isn't there yet, and nobody waits for it");
        assert!(matches!(world.readiness(&web).await, Ok(Readiness::Waiting(_))));
        world.delete(&web).await
    });
    assert!(matches!(applied, Err(ProviderError::Retryable { .. })), "{applied:?}");
    assert_eq!(deleted, Ok(Performed::default()));
    assert_eq!(world.processes().await?, Vec::<String>::new());
    assert_eq!(world.provider.observe(world.stack, &Lookup::from(&web)).await?, None);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_somebody_gave_up_is_seen_to_its_end() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = world.web(&[("MODE", "late")], &[]);
    tokio::select! {
        biased;
        applied = world.apply(&web) => anyhow::bail!("it was to be given up: {applied:?}"),
        () = until("the program", async || world.home().join("port").exists()) => {}
    }
    std::fs::write(world.home().join("go"), "")?;
    let seen = world.provider.observe(world.stack, &Lookup::from(&web)).await?;
    assert_eq!(
        seen.map(|seen| seen.body),
        Some(web.body.clone()),
        "what was given up has happened by the time it is looked at"
    );
    world.end().await
}

async fn fence(world: &World, web: &Resource) -> Result<Performed, ProviderError> {
    let task = Task::Fence { lookup: Lookup::from(web), object: None };
    world.provider.perform(&world.context(), &task).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_behind_a_fence_answers_503_and_comes_back_as_it_was() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = world.web(&[("VERSION", "one")], &[]);
    world.deploy(&web).await?;
    let before = world.provider.observe(world.stack, &Lookup::from(&web)).await?.unwrap();
    for _ in 0..2 {
        fence(&world, &web).await?;
        assert_eq!(world.get("/").await?.0, 503);
        assert_eq!(world.processes().await?, Vec::<String>::new());
        let seen = world.provider.observe(world.stack, &Lookup::from(&web)).await?.unwrap();
        assert_eq!(seen.object, before.object, "it is there, and can be deleted or brought back");
    }
    let object = Some(before.object.clone());
    let lift = Task::Lift { resource: web.clone(), observed: web.body.comparable(&Known), object };
    for _ in 0..2 {
        world.provider.perform(&world.context(), &lift).await?;
        assert_eq!(world.get("/").await?, (200, "one".to_owned()));
        assert_eq!(world.provider.observe(world.stack, &Lookup::from(&web)).await?.as_ref(), Some(&before));
    }
    fence(&world, &web).await?;
    world.delete(&world.route()).await?;
    world.delete(&web).await?;
    assert_eq!(world.provider.owned(Some(world.stack)).await?, []);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_service_than_the_one_that_was_meant_is_not_stopped() -> anyhow::Result<()> {
    let world = World::new().await?;
    let web = world.web(&[("VERSION", "one")], &[]);
    world.deploy(&web).await?;
    let task = Task::Fence { lookup: Lookup::from(&web), object: Some("another".to_owned()) };
    let refused = world.provider.perform(&world.context(), &task).await;
    assert!(matches!(refused, Err(ProviderError::Rejected(_))), "{refused:?}");
    assert_eq!(world.get("/").await?, (200, "one".to_owned()));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_given_up_when_somebody_asks_to_stop_and_the_old_version_goes_on() -> anyhow::Result<()> {
    let world = World::new().await?;
    let old = world.web(&[("VERSION", "one")], &[]);
    world.deploy(&old).await?;
    let web = never_ready(&world);
    let apply = Task::Apply {
        resource: web.clone(),
        desired: web.body.comparable(&Known),
        object: None,
        adopt: false,
        takes: Vec::new(),
    };
    let (applied, ()) = tokio::join!(world.apply(&web), async {
        until("a second process", async || world.processes().await.unwrap().len() > 1).await;
        world.provider.interrupt(world.stack, &apply).await;
    });
    assert!(matches!(applied, Err(ProviderError::Retryable { .. })), "{applied:?}");
    assert_eq!(world.get("/").await?, (200, "one".to_owned()));
    assert_eq!(world.processes().await?.len(), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_ended_when_somebody_asks_to_stop_and_says_that_it_was() -> anyhow::Result<()> {
    let world = World::new().await?;
    let job = world.job("echo begun; exec sleep 1000", &[]);
    let (ran, ()) = tokio::join!(world.run(&job), async {
        until("the job", async || world.processes().await.unwrap().len() > 1).await;
        let runs = world.provider.runs_under_way().unwrap();
        assert!(matches!(&runs[..], [run] if run.starts_with("1/migrate of stack ")), "{runs:?}");
        world.provider.interrupt(world.stack, &Task::Run { run: job.clone() }).await;
    });
    assert_eq!(world.provider.runs_under_way()?, Vec::<String>::new());
    let error = ran.unwrap_err();
    assert_eq!(crate::world::code(&error), Code::Cancelled, "{error}");
    assert_eq!(world.processes().await?, Vec::<String>::new());
    world.end().await
}
