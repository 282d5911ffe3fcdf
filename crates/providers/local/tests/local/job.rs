//! Jobs run once, whoever is killed when.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use freehold_engine::capability::LogLine;
use freehold_engine::{Context, Provider, ProviderError, Task};
use freehold_graph::{Run, Value};
use freehold_problem::{Code, Problem};
use serde_json::json;

use crate::world::{World, code, detail, is_alive, kill, until};

/// A job that counts how often it was started, and then does something.
fn counting(rest: &str) -> String {
    format!("echo run >> $HOME/count; {rest}")
}

fn count(world: &World) -> usize {
    std::fs::read_to_string(world.home().join("count")).unwrap_or_default().lines().count()
}

fn folder(world: &World) -> std::path::PathBuf {
    world.data.path().join("local/stacks").join(world.stack.to_string()).join("runs/1/migrate")
}

/// Runs a job until it has begun, and then hears no more of it.
async fn begin(world: &World, job: &Run, has_begun: impl AsyncFnMut() -> bool) {
    tokio::select! {
        ended = world.run(job) => panic!("it has ended: {ended:?}"),
        () = until("the job to begin", has_begun) => {}
    }
}

/// The pids of the stack's processes whose description contains `what`.
async fn pids(world: &World, what: &str) -> Vec<i64> {
    let all = world.processes().await.unwrap();
    let fitting = all.iter().filter(|name| name.contains(what));
    fitting.map(|name| name.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_once_for_a_revision() -> anyhow::Result<()> {
    let world = World::new().await?;
    let job = world.job(&counting("exit 0"), &[]);
    world.run(&job).await?;
    world.run(&job).await?;
    assert_eq!(count(&world), 1);
    let mut context = world.context();
    context.revision = 2;
    world.provider.perform(&context, &Task::Run { run: job }).await?;
    assert_eq!(count(&world), 2);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_is_refused_with_its_last_words_and_stays_so() -> anyhow::Result<()> {
    let world = World::new().await?;
    let job = world.job(&counting("echo 'column exists already' >&2; exit 4"), &[]);
    for _ in 0..2 {
        let error = world.run(&job).await.unwrap_err();
        assert_eq!(code(&error), Code::JobFailed);
        assert!(error.to_string().contains("exit code 4 after "), "{error}");
        assert_eq!(detail(&error), "column exists already");
    }
    assert_eq!(count(&world), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_command_is_missing_is_refused() -> anyhow::Result<()> {
    let world = World::new().await?;
    let error = world.run(&world.job("", &[("command", Value::from(vec!["gestbook", "migrate"]))])).await.unwrap_err();
    assert_eq!(code(&error), Code::CommandNotFound);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_arguments_are_too_long_together_is_refused_with_their_length() -> anyhow::Result<()> {
    let world = World::new().await?;
    let long = "x".repeat(100 << 10);
    let arguments: Vec<&str> = ["true"].into_iter().chain([long.as_str(); 30]).collect();
    let error = world.run(&world.job("", &[("command", Value::from(arguments))])).await.unwrap_err();
    assert_eq!(code(&error), Code::TooLongForProcess);
    assert!(error.to_string().contains("its arguments and variables are 30"), "{error}");
    assert!(error.to_string().contains(" KiB together, more than the kernel takes"), "{error}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_too_long_is_ended_with_all_that_it_started() -> anyhow::Result<()> {
    let world = World::new().await?;
    let job = world.job("sleep 600 & setsid sleep 600 & sleep 600", &[("timeout_seconds", Value::from(1u32))]);
    let error = world.run(&job).await.unwrap_err();
    assert_eq!(code(&error), Code::JobFailed);
    assert!(error.to_string().contains("longer than it may"), "{error}");
    assert_eq!(world.processes().await?, Vec::<String>::new());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_when_freehold_is_killed_and_the_next_one_hears_its_outcome() -> anyhow::Result<()> {
    let world = World::new().await?;
    let job = world.job(&counting("while ! test -e $HOME/go; do sleep 0.02; done; exit 5"), &[]);
    begin(&world, &job, async || count(&world) == 1).await;
    let world = world.killed(&[]).await?;
    until("the job to be found running", async || !pids(&world, "(job.migrate)").await.is_empty()).await;
    std::fs::write(world.home().join("go"), "")?;
    let error = world.run(&job).await.unwrap_err();
    assert!(error.to_string().contains("exit code 5"), "{error}");
    assert_eq!(count(&world), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_before_the_end_says_that_it_is_unknown_and_ends_nothing() -> anyhow::Result<()> {
    let world = World::new().await?;
    let job = world.job(&counting("while ! test -e $HOME/go; do sleep 0.02; done"), &[]);
    let mut context = world.context();
    // Enough to begin, on a busy machine as well.
    context.deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    let error = world.provider.perform(&context, &Task::Run { run: job.clone() }).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unknown(_)), "{error:?}");
    std::fs::write(world.home().join("go"), "")?;
    world.run(&job).await?;
    assert_eq!(count(&world), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_supervisor_was_killed_is_unknown_and_is_not_repeated() -> anyhow::Result<()> {
    let world = World::new().await?;
    let job = world.job(&counting("echo half way; while ! test -e $HOME/go; do sleep 0.02; done"), &[]);
    let is_half_way = |line: &LogLine| line.text == "half way";
    let log = || world.provider.log_reader().tail(world.stack, &job.id, 10).unwrap_or_default();
    begin(&world, &job, async || log().iter().any(is_half_way)).await;
    kill(pids(&world, "supervisor").await[0]);
    let orphan = pids(&world, "(job.migrate)").await[0];
    let asked = async {
        let error = world.run(&job).await.unwrap_err();
        // The job itself went on, and was waited for.
        assert!(!is_alive(orphan));
        assert_eq!(code(&error), Code::RunOutcomeUnknown);
        assert_eq!(detail(&error), "half way");
    };
    let released = async {
        tokio::task::yield_now().await;
        std::fs::write(world.home().join("go"), "").unwrap();
    };
    tokio::join!(asked, released);
    assert_eq!(count(&world), 1);
    let safe = world.job(&counting("exit 0"), &[("retry", Value::from("safe"))]);
    world.run(&safe).await?;
    assert_eq!(count(&world), 2);
    world.end().await
}

/// Starts a supervisor by hand.
fn supervise(world: &World, assignment: &[u8]) -> std::process::Child {
    std::fs::create_dir_all(folder(world)).unwrap();
    std::fs::create_dir_all(world.home()).unwrap();
    let mut child = Command::new(&world.options.executable)
        .args(["internal", "supervise", "--directory"])
        .arg(folder(world))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(assignment).unwrap();
    child
}

fn assignment(world: &World) -> Vec<u8> {
    let home = world.home();
    let assignment = json!({
        "instance": "by-hand", "program": "/bin/sh", "arguments": ["-c", counting("exit 0")], "folder": "/",
        "environment": {"HOME": home, "PATH": "/bin:/usr/bin"}, "user": null, "timeout_seconds": 10,
        "log": folder(world).join("1-x.log"), "log_size": 1000,
    });
    serde_json::to_vec(&assignment).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_that_was_cut_off_starts_nothing() -> anyhow::Result<()> {
    let world = World::new().await?;
    let whole = assignment(&world);
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        assert_eq!(supervise(&world, &whole[..length]).wait()?.code(), Some(3));
    }
    assert_eq!(count(&world), 0);
    // Nothing had happened, so the run takes place.
    world.run(&world.job(&counting("exit 0"), &[])).await?;
    assert_eq!(count(&world), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_supervisors_one_runs_the_job() -> anyhow::Result<()> {
    let world = World::new().await?;
    let whole = assignment(&world);
    let all: Vec<_> = (0..8).map(|_| supervise(&world, &whole)).collect();
    world.run(&world.job(&counting("exit 0"), &[])).await?;
    let mut codes: Vec<_> = all.into_iter().map(|mut one| one.wait().unwrap().code().unwrap()).collect();
    codes.sort_unstable();
    assert!(codes.iter().filter(|code| **code == 0).count() <= 1, "{codes:?}");
    assert_eq!(count(&world), 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_is_forgotten_takes_its_running_job_with_it() -> anyhow::Result<()> {
    let world = World::new().await?;
    let job = world.job("sleep 600", &[]);
    begin(&world, &job, async || !pids(&world, "(job.migrate)").await.is_empty()).await;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_failure_is_shown_even_before_a_line_that_never_ends() -> anyhow::Result<()> {
    let world = World::new().await?;
    let script = "echo 'ERROR: the reason'; printf 'nul\\000byte\\n'; head -c 1100000 /dev/zero | tr '\\0' B; exit 3";
    let error = world.run(&world.job(script, &[])).await.unwrap_err();
    assert_eq!(code(&error), Code::JobFailed);
    let ProviderError::Rejected(Problem { lines: detail, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(detail.first().map(String::as_str), Some("ERROR: the reason"));
    // No database takes a NUL.
    assert_eq!(detail.get(1).map(String::as_str), Some("nul\u{2400}byte"));
    assert!(detail.get(2).is_some_and(|line| line.starts_with("BBB") && line.contains("1.0 MB more")), "{detail:?}");
    assert!(detail.iter().all(|line| line.len() < 2_000));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_of_old_revisions_runs_are_bounded() -> anyhow::Result<()> {
    let world = World::new().await?;
    let runs = world.data.path().join("local/stacks").join(world.stack.to_string()).join("runs");
    for revision in 1..=12 {
        let context = Context { revision, ..world.context() };
        world.provider.perform(&context, &Task::Run { run: world.job("true", &[]) }).await?;
    }
    let mut left: Vec<u64> =
        std::fs::read_dir(&runs)?.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    left.sort();
    assert_eq!(left, (2..=12).collect::<Vec<u64>>());
    world.end().await
}
