//! What only real containers can show: logs, commands that aren't there, images that a registry doesn't have, probes.

use std::path::Path;
use std::time::Duration;

use freehold_engine::ProviderError;
use freehold_engine::capability::LogLine;
use freehold_graph::{ResourceId, ResourceKind};
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::PodLogs;
use freehold_testkit::kubernetes::{Image, Node};
use futures::StreamExt;
use serde_json::{Value as Json, json};

use crate::fixture::{Fixture, access, is_failed, words};

const PATIENCE: Duration = Duration::from_secs(120);

/// An image with a shell and `sleep`.
pub(crate) fn shell(node: &Node) -> String {
    let image = Image::of_program(Path::new("/bin/dash")).unwrap().file("/sleep", Path::new("/bin/sleep"));
    node.registry().push("shell", "1", &image).unwrap()
}

/// A container that runs a script.
fn script(image: &str, script: &str) -> Json {
    json!({"image": image, "command": ["/dash", "-c", script]})
}

fn query(fixture: &Fixture, of: (&str, &str), follow: bool) -> PodLogs {
    PodLogs {
        stack: fixture.stack,
        namespace: fixture.namespace.clone(),
        of: ResourceId::new(of.0, of.1),
        lines: 100,
        follow,
        since: None,
        previous: false,
    }
}

async fn lines(fixture: &Fixture, query: PodLogs) -> Vec<LogLine> {
    let lines = fixture.provider.pod_logs(query).await.unwrap();
    tokio::time::timeout(PATIENCE, lines.collect()).await.expect("the log ends")
}

pub(crate) fn job(fixture: &Fixture, image: &str, text: &str, timeout: u32) -> freehold_graph::Run {
    let run = fixture.run(image, "ask", timeout);
    let mut manifest = serde_json::to_value(run.body.get("manifest").unwrap()).unwrap();
    manifest["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["/dash", "-c", text]);
    fixture.run_of(&manifest, "ask", timeout)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_and_reasons_of_real_containers() {
    let Some(node) = Node::for_test("logs_and_reasons_of_real_containers") else { return };
    let image = shell(node);
    let fixture = Fixture::with(node.cluster(), &access(node.cluster().admin())).await;

    // A job that fails, with its last lines; and its log afterwards. Between standard output and standard error a container runtime
    // keeps no order, so both are one here.
    let run = job(&fixture, &image, "exec 2>&1; echo migrating; echo 'error: column exists' >&2; exit 3", 60);
    let failed = fixture.perform(&run, 1).await.unwrap_err();
    let ProviderError::Rejected(Problem { code, message, lines: detail, .. }) = &failed else { panic!("{failed:?}") };
    assert_eq!(
        (*code, detail.as_slice()),
        (Code::JobFailed, ["migrating", "error: column exists"].map(str::to_owned).as_slice())
    );
    assert!(message.contains("exit code 3 after "), "{message}");
    fixture.perform(&job(&fixture, &image, "echo well done", 60), 2).await.unwrap();
    let told = lines(&fixture, query(&fixture, ("job", "migrate"), false)).await;
    assert_eq!(told.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["well done"], "of the latest run");
    assert!(told[0].source.starts_with("migrate-r2-"), "{told:?}");

    // One that takes too long.
    let late = fixture.perform(&job(&fixture, &image, "echo begun; /sleep 100", 3), 3).await.unwrap_err();
    let ProviderError::Rejected(Problem { code, message, .. }) = &late else { panic!("{late:?}") };
    assert_eq!(*code, Code::JobFailed);
    assert!(message.contains("ended because it took longer than it may, after 3 s"), "{message}");

    // A service that crashes, with what it said.
    let deployment = fixture.deployment(&script(&image, "echo starting; echo no such database; exit 1"));
    node.cluster().apply(&deployment.to_string()).unwrap();
    let told = fixture.until(ResourceKind::Deployment, "web", |told| words(told).contains("│ no such database")).await;
    assert!(words(&told).contains("it ended: exit code 1 after 0 s"), "{told:?}");

    // Of the container before the present one, once there is another.
    let limit = tokio::time::Instant::now() + PATIENCE;
    loop {
        let before = lines(&fixture, PodLogs { previous: true, ..query(&fixture, ("service", "web"), false) }).await;
        if before.iter().map(|line| line.text.as_str()).eq(["starting", "no such database"]) {
            break;
        }
        assert!(tokio::time::Instant::now() < limit, "{before:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    // A command that the image doesn't have.
    let deployment = fixture.deployment(&json!({"image": image, "command": ["/nothing"]}));
    node.cluster().apply(&deployment.to_string()).unwrap();
    let told = words(&fixture.until(ResourceKind::Deployment, "web", is_failed).await);
    assert!(told.starts_with("FH0704: ") && told.contains("/nothing"), "{told}");

    // An image that the registry doesn't have.
    let missing = format!("{}/shell@sha256:{}", node.registry().address(), "0".repeat(64));
    node.cluster().apply(&fixture.deployment(&json!({"image": missing, "command": null})).to_string()).unwrap();
    let told = words(&fixture.until(ResourceKind::Deployment, "web", is_failed).await);
    assert!(told.starts_with("FH0607: ") && told.contains("not found"), "{told}");

    // A probe that fails.
    let mut container = script(&image, "while true; do /sleep 1; done");
    container["readinessProbe"] = json!({"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 1});
    node.cluster().apply(&fixture.deployment(&container).to_string()).unwrap();
    fixture
        .until(ResourceKind::Deployment, "web", |told| words(told).contains("is not ready: Readiness probe failed"))
        .await;

    // One for which the kubelet ends the container: its exit code would say nothing of it.
    let mut container = script(&image, "while true; do /sleep 1; done");
    container["livenessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1});
    node.cluster().apply(&fixture.deployment(&container).to_string()).unwrap();
    let ended = "the kubelet ended it: its liveness probe failed: dial tcp";
    fixture.until(ResourceKind::Deployment, "web", |told| words(told).contains(ended)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_log_goes_on_in_restarted_containers_and_new_pods_without_loss_or_repetition() {
    let test = "a_followed_log_goes_on_in_restarted_containers_and_new_pods_without_loss_or_repetition";
    let Some(node) = Node::for_test(test) else { return };
    let image = shell(node);
    let fixture = Fixture::with(node.cluster(), &access(node.cluster().admin())).await;
    let count = |word: &str, end: &str| {
        format!("i=0; while [ $i -lt 20 ]; do echo {word} $i; i=$((i+1)); /sleep 0.1; done; {end}")
    };
    let container = script(&image, &count("old", "exit 1"));
    node.cluster().apply(&fixture.deployment(&container).to_string()).unwrap();
    let lines = fixture.provider.pod_logs(query(&fixture, ("service", "web"), true)).await.unwrap();
    let mut lines = std::pin::pin!(lines);
    let mut next = async || {
        let line = tokio::time::timeout(PATIENCE, lines.next()).await.expect("there is more").expect("it goes on");
        line.text
    };
    for _ in 0..2 {
        for number in 0..20 {
            assert_eq!(next().await, format!("old {number}"));
        }
    }
    let container = script(&image, &count("new", "while true; do /sleep 1; done"));
    node.cluster().apply(&fixture.deployment(&container).to_string()).unwrap();
    let mut told = Vec::new();
    while told.last().is_none_or(|line| line != "new 19") {
        let line = next().await;
        if line.starts_with("new") {
            told.push(line);
        }
    }
    assert_eq!(told, (0..20).map(|number| format!("new {number}")).collect::<Vec<_>>());
}
