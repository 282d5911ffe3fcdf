//! Commands: a Job each, and nothing of it afterwards.

use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_engine::capability::{CommandEvent, CommandEvents, CommandRequest, Commands as _};
use freehold_graph::Run;
use freehold_testkit::kubernetes::Node;
use futures::StreamExt;

use crate::fixture::{Fixture, access};
use crate::node::{job, shell};

const LONG: Duration = Duration::from_secs(60);

async fn start(fixture: &Fixture, run: Run, timeout: Duration) -> Result<CommandEvents, ProviderError> {
    let context = fixture.context(1, LONG);
    fixture.provider.start(CommandRequest { context, run, timeout }).await
}

/// What it printed, its exit code, and why it ended.
async fn outcome(mut events: CommandEvents) -> (String, i32, Option<String>) {
    let mut output = String::new();
    while let Some(event) = events.next().await {
        match event.unwrap() {
            CommandEvent::Output(text) => output.push_str(&text),
            CommandEvent::Ended { exit, reason } => return (output, exit, reason),
        }
    }
    panic!("it has no end: {output}");
}

async fn is_gone(fixture: &Fixture) {
    while !fixture.jobs().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_command_is_a_job_of_its_own_that_goes_with_its_end() {
    let Some(fixture) = Fixture::new("a_command_is_a_job_of_its_own_that_goes_with_its_end").await else { return };
    let run = || fixture.run("example.test/fail-job-failed:1", "ask", 60);
    let (one, other) = tokio::join!(start(&fixture, run(), LONG), start(&fixture, run(), LONG));
    // Two at once are two.
    let (one, other) = tokio::join!(outcome(one.unwrap()), outcome(other.unwrap()));
    assert_eq!((one.1, other.1), (1, 1));
    assert_eq!(fixture.jobs(), [] as [String; 0]);
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_any_more_is_deleted() {
    let Some(fixture) = Fixture::new("a_command_that_nobody_waits_for_any_more_is_deleted").await else { return };
    let stuck = || fixture.run("example.test/fail-stuck:1", "ask", 60);
    let events = start(&fixture, stuck(), LONG).await.unwrap();
    let [job] = &fixture.jobs()[..] else { panic!("{:?}", fixture.jobs()) };
    let seen = fixture.control.get(&["job", job, "--namespace", &fixture.namespace]).unwrap();
    // What the cluster does by itself, should nobody be left to do it.
    assert_eq!(
        (&seen["spec"]["activeDeadlineSeconds"], &seen["spec"]["ttlSecondsAfterFinished"]),
        (&120.into(), &60.into())
    );
    drop(events);
    is_gone(&fixture).await;
    let (_, exit, reason) = outcome(start(&fixture, stuck(), Duration::from_secs(2)).await.unwrap()).await;
    assert_eq!((exit, reason.as_deref()), (124, Some("it took longer than it may")));
    assert_eq!(fixture.jobs(), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_in_a_real_container_gives_its_output_and_its_exit_code() {
    let Some(node) = Node::for_test("a_command_in_a_real_container_gives_its_output_and_its_exit_code") else { return };
    let image = shell(node);
    let fixture = Fixture::with(node.cluster(), &access(node.cluster().admin())).await;
    let run = |text: &str| start(&fixture, job(&fixture, &image, text, 60), LONG);
    let script = "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; exit 42";
    let (output, exit, reason) = outcome(run(script).await.unwrap()).await;
    let expected: String = (0..500).map(|number| format!("line {number}\n")).collect();
    assert_eq!((output.as_str(), exit, reason), (expected.as_str(), 42, None));
    // What is printed comes while it runs, and who is gone ends it.
    let mut events = run("echo begun; /sleep 500").await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), CommandEvent::Output("begun\n".to_owned()));
    drop(events);
    is_gone(&fixture).await;
    let left = fixture.control.get(&["pods", "--namespace", &fixture.namespace]).unwrap();
    assert_eq!(left["items"].as_array().map(Vec::len), Some(0), "{left}");
    // An image that isn't there is told as such.
    let missing = format!("{}/shell@sha256:{}", node.registry().address(), "0".repeat(64));
    let missing = fixture.run(&missing, "ask", 60);
    let mut events = start(&fixture, missing, LONG).await.unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("could not be started"), "{error}");
    is_gone(&fixture).await;
}
