//! Runs of jobs: made once, waited for, found again, and never forgotten.

use std::time::Duration;

use freehold_engine::{Performed, Provider, ProviderError, Task};
use freehold_graph::Run;
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{Cluster, KubernetesProvider};
use freehold_testkit::kubernetes::NODE_CPUS;
use serde_json::{Value as Json, json};

use crate::fixture::{Fixture, SOON, access, facts};

fn rejected(result: Result<Performed, ProviderError>) -> (Code, String, Vec<String>, String) {
    match result {
        Err(ProviderError::Rejected(Problem { code, message, lines: detail, help, .. })) => {
            (code, message, detail, help.unwrap_or_default())
        }
        other => panic!("not rejected: {other:?}"),
    }
}

#[tokio::test]
async fn a_run_succeeds_once_however_often_it_is_asked_for() {
    let Some(fixture) = Fixture::new("a_run_succeeds_once_however_often_it_is_asked_for").await else { return };
    let run = fixture.run("example.test/migrate:1", "ask", 60);
    let performed = fixture.perform(&run, 7).await.unwrap();
    assert!(performed.note.as_deref().is_some_and(|note| note.starts_with("exit code 0 after ")), "{performed:?}");
    let again = fixture.perform(&run, 7).await.unwrap();
    assert_eq!(again, performed);
    assert_eq!(fixture.jobs(), ["migrate-r7"]);
    fixture.perform(&run, 8).await.unwrap();
    assert_eq!(fixture.jobs(), ["migrate-r7", "migrate-r8"]);
}

#[tokio::test]
async fn two_that_ask_at_once_make_one_run() {
    let Some(fixture) = Fixture::new("two_that_ask_at_once_make_one_run").await else { return };
    let run = fixture.run("example.test/migrate:1", "ask", 60);
    let (one, other) = tokio::join!(fixture.perform(&run, 1), fixture.perform(&run, 1));
    assert_eq!(one.unwrap().object, other.unwrap().object);
    assert_eq!(fixture.jobs(), ["migrate-r1"]);
}

#[tokio::test]
async fn a_failed_run_is_told_with_its_exit_code_and_stays_failed() {
    let Some(fixture) = Fixture::new("a_failed_run_is_told_with_its_exit_code_and_stays_failed").await else { return };
    let run = fixture.run("example.test/fail-job-failed:1", "ask", 60);
    for _ in 0..2 {
        let (code, message, detail, help) = rejected(fixture.perform(&run, 1).await);
        assert_eq!(code, Code::JobFailed);
        let (first, second) = message.split_once('\n').unwrap();
        assert_eq!(first, "job migrate failed, so the new version was not started");
        assert!(second.starts_with("exit code 1 after "), "{message}");
        assert!(help.contains("freehold logs") && help.contains("--job migrate"), "{help}");
        // The simulated node has no logs, and says so.
        assert!(detail.iter().any(|line| line.contains("its log can't be read")), "{detail:?}");
    }
    assert_eq!(fixture.jobs(), ["migrate-r1"]);
}

#[tokio::test]
async fn a_run_that_was_given_up_after_a_crash_is_found_again_by_its_mark() {
    let Some(fixture) = Fixture::new("a_run_that_was_given_up_after_a_crash_is_found_again_by_its_mark").await else {
        return;
    };
    let run = fixture.run("example.test/migrate:1", "ask", 60);
    let task = Task::Run { run: run.clone() };
    // Killed in the middle: the call is dropped as soon as the Job is there.
    let context = fixture.context(1, SOON);
    let begun = fixture.provider.perform(&context, &task);
    tokio::select! {
        result = begun => drop(result),
        () = async { while fixture.jobs().is_empty() { tokio::time::sleep(Duration::from_millis(5)).await; } } => {}
    }
    fixture.perform(&run, 1).await.unwrap();
    assert_eq!(fixture.jobs(), ["migrate-r1"]);
}

#[tokio::test]
async fn a_run_that_is_still_going_on_at_the_deadline_has_no_outcome_yet() {
    let Some(fixture) = Fixture::new("a_run_that_is_still_going_on_at_the_deadline_has_no_outcome_yet").await else {
        return;
    };
    let run = fixture.run("example.test/fail-stuck:1", "ask", 60);
    let context = fixture.context(1, Duration::from_secs(3));
    let result = fixture.provider.perform(&context, &Task::Run { run }).await;
    assert!(
        matches!(&result, Err(ProviderError::Unknown(Problem { message, .. })) if message.contains("still running")),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_run_begins_when_that_of_a_revision_before_has_ended() {
    let Some(fixture) = Fixture::new("a_run_begins_when_that_of_a_revision_before_has_ended").await else { return };
    let context = fixture.context(1, Duration::from_secs(3));
    let stuck = Task::Run { run: fixture.run("example.test/fail-stuck:1", "ask", 5) };
    fixture.provider.perform(&context, &stuck).await.unwrap_err();
    fixture.perform(&fixture.run("example.test/migrate:1", "ask", 60), 2).await.unwrap();
    let job = |name: &str| fixture.control.get(&["job", name, "--namespace", &fixture.namespace]).unwrap();
    let (first, second) = (job("migrate-r1"), job("migrate-r2"));
    let ended = first.pointer("/status/conditions").unwrap().as_array().unwrap();
    let ended = ended.iter().find(|condition| condition["type"] == "Failed").expect("it has ended");
    let ended = ended["lastTransitionTime"].as_str().unwrap();
    assert!(second["status"]["startTime"].as_str().unwrap() >= ended, "{ended}: {second}");
}

#[tokio::test]
async fn a_run_that_vanished_stops_and_asks_unless_it_may_run_again() {
    let Some(fixture) = Fixture::new("a_run_that_vanished_stops_and_asks_unless_it_may_run_again").await else {
        return;
    };
    let run = fixture.run("example.test/migrate:1", "ask", 60);
    fixture.perform(&run, 3).await.unwrap();
    fixture.control.kubectl(&["delete", "job", "migrate-r3", "--namespace", &fixture.namespace]).unwrap();
    let (code, message, _, help) = rejected(fixture.perform(&run, 3).await);
    assert_eq!(code, Code::RunOutcomeUnknown);
    assert!(message.contains("its outcome is unknown") && message.contains("migrate-r3 is gone"), "{message}");
    assert!(help.contains("retry = \"safe\""), "{help}");
    assert!(fixture.jobs().is_empty());

    fixture.perform(&fixture.run("example.test/migrate:1", "safe", 60), 3).await.unwrap();
    assert_eq!(fixture.jobs(), ["migrate-r3"]);
}

/// A user who may run jobs, until that is taken back.
async fn limited(fixture: &Fixture) -> KubernetesProvider {
    let rules = json!([
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["get", "list"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "patch", "watch"]},
    ]);
    let access = access(&fixture.control.account_with_rules(&fixture.namespace, &rules).unwrap());
    KubernetesProvider::new(access.clone(), facts(&Cluster::connect(&access).await.unwrap()))
}

/// A run whose credentials are withdrawn while it goes on. Its Pod goes on all the same.
async fn lost_from_sight(fixture: &Fixture, run: &Run, revision: u64) {
    let (provider, task) = (limited(fixture).await, Task::Run { run: run.clone() });
    let name = format!("migrate-r{revision}");
    let begun = async {
        let here = ["--namespace", &fixture.namespace];
        let of_it = format!("--selector=job-name={name}");
        let pods = [&["get", "pods", "--output=name", &of_it], &here[..]].concat();
        while fixture.control.kubectl(&pods).unwrap().trim().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        fixture.control.kubectl(&["delete", "clusterrolebinding", &fixture.namespace]).unwrap();
        fixture.control.kubectl(&["delete", "clusterrole", &fixture.namespace]).unwrap();
        fixture.control.kubectl(&["delete", "serviceaccount", &fixture.namespace, "--namespace=default"]).unwrap();
    };
    let context = fixture.context(revision, SOON);
    let (result, ()) = tokio::join!(provider.perform(&context, &task), begun);
    let Err(ProviderError::Unknown(Problem { message, .. })) = &result else {
        panic!("no outcome was seen: {result:?}")
    };
    assert!(message.contains("the run can't be observed"), "{message}");
    // Asked again, it is still not known.
    let again = provider.perform(&context, &task).await;
    assert!(matches!(again, Err(ProviderError::Unknown(_))), "{again:?}");
}

#[tokio::test]
async fn a_run_that_ended_well_out_of_sight_is_taken_by_the_next_revision_and_never_repeated() {
    let name = "a_run_that_ended_well_out_of_sight_is_taken_by_the_next_revision_and_never_repeated";
    let Some(fixture) = Fixture::new(name).await else { return };
    let run = fixture.run("example.test/fail-stuck:1", "ask", 600);
    lost_from_sight(&fixture, &run, 1).await;
    let here = ["--namespace", &fixture.namespace];
    let pod = fixture.control.kubectl(&[&["get", "pods", "--output=name"], &here[..]].concat()).unwrap();
    let patch =
        ["patch", pod.trim(), "--subresource=status", "--type=merge", "--patch", r#"{"status":{"phase":"Succeeded"}}"#];
    fixture.control.kubectl(&[&patch, &here[..]].concat()).unwrap();
    let performed = fixture.perform(&run, 2).await.unwrap();
    assert!(performed.note.as_deref().is_some_and(|note| note.contains("in the run for revision 1")), "{performed:?}");
    assert_eq!(fixture.jobs(), ["migrate-r1"]);
    // A revision after one whose run was seen has its own.
    let done = fixture.run("example.test/migrate:1", "ask", 60);
    fixture.perform(&done, 3).await.unwrap();
    fixture.perform(&done, 4).await.unwrap();
    assert_eq!(fixture.jobs(), ["migrate-r1", "migrate-r3", "migrate-r4"]);
}

#[tokio::test]
async fn a_run_that_vanished_out_of_sight_is_asked_about_once_and_not_repeated_before_that() {
    let name = "a_run_that_vanished_out_of_sight_is_asked_about_once_and_not_repeated_before_that";
    let Some(fixture) = Fixture::new(name).await else { return };
    lost_from_sight(&fixture, &fixture.run("example.test/fail-stuck:1", "ask", 600), 1).await;
    fixture.control.kubectl(&["delete", "job", "migrate-r1", "--namespace", &fixture.namespace]).unwrap();
    let run = fixture.run("example.test/migrate:1", "ask", 60);
    let (code, message, ..) = rejected(fixture.perform(&run, 2).await);
    assert!(code == Code::RunOutcomeUnknown && message.contains("migrate-r1 is gone"), "{code}: {message}");
    assert!(fixture.jobs().is_empty());
    fixture.perform(&run, 3).await.unwrap();
    assert_eq!(fixture.jobs(), ["migrate-r3"]);
}

/// Makes a run's Job and then can't go on: noting it on the namespace takes a permission that this user hasn't got.
async fn begin(fixture: &Fixture, run: &Run, revision: u64) -> Json {
    let rules = json!([
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "patch"]},
    ]);
    let access = access(&fixture.control.account_with_rules(&fixture.namespace, &rules).unwrap());
    let dying = KubernetesProvider::new(access.clone(), facts(&Cluster::connect(&access).await.unwrap()));
    let task = Task::Run { run: run.clone() };
    let (code, message, ..) = rejected(dying.perform(&fixture.context(revision, SOON), &task).await);
    assert!(code == Code::NotPermitted && message.contains("patch namespaces"), "{code}: {message}");
    fixture.control.get(&["job", &format!("migrate-r{revision}"), "--namespace", &fixture.namespace]).unwrap()
}

#[tokio::test]
async fn a_job_that_was_made_and_not_noted_before_a_crash_has_not_run_and_runs_once() {
    let name = "a_job_that_was_made_and_not_noted_before_a_crash_has_not_run_and_runs_once";
    let Some(fixture) = Fixture::new(name).await else { return };
    let run = fixture.run("example.test/migrate:1", "ask", 60);
    let job = begin(&fixture, &run, 1).await;
    assert_eq!(job.pointer("/spec/suspend"), Some(&json!(true)));
    let performed = fixture.perform(&run, 1).await.unwrap();
    assert_eq!(performed.object.as_deref(), job["metadata"]["uid"].as_str(), "it is that very Job");
    assert_eq!(fixture.jobs(), ["migrate-r1"]);

    // Deleted before anybody goes on: since it was not noted, it has not run, and nobody has to be asked.
    begin(&fixture, &run, 2).await;
    fixture.control.kubectl(&["delete", "job", "migrate-r2", "--namespace", &fixture.namespace]).unwrap();
    fixture.perform(&run, 2).await.unwrap();
    assert_eq!(fixture.jobs(), ["migrate-r1", "migrate-r2"]);
}

#[tokio::test]
async fn a_job_in_the_place_of_the_one_that_ran_is_not_taken_for_it() {
    let Some(fixture) = Fixture::new("a_job_in_the_place_of_the_one_that_ran_is_not_taken_for_it").await else {
        return;
    };
    let run = fixture.run("example.test/migrate:1", "ask", 60);
    fixture.perform(&run, 1).await.unwrap();
    let mut copy = manifest(&fixture);
    copy["metadata"]["name"] = json!("migrate-r1");
    copy["metadata"]["namespace"] = json!(fixture.namespace);
    copy["spec"]["suspend"] = json!(true);
    fixture.control.kubectl(&["delete", "job", "migrate-r1", "--namespace", &fixture.namespace]).unwrap();
    fixture.control.apply(&copy.to_string()).unwrap();
    assert_eq!(rejected(fixture.perform(&run, 1).await).0, Code::RunOutcomeUnknown);
    let job = fixture.control.get(&["job", "migrate-r1", "--namespace", &fixture.namespace]).unwrap();
    assert_eq!(job.pointer("/spec/suspend"), Some(&json!(true)), "it was not let go");
}

#[tokio::test]
async fn a_run_that_vanishes_while_it_is_waited_for_stops_and_asks() {
    let Some(fixture) = Fixture::new("a_run_that_vanishes_while_it_is_waited_for_stops_and_asks").await else { return };
    let run = fixture.run("example.test/fail-stuck:1", "ask", 60);
    let delete = async {
        while fixture.jobs().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let arguments = ["delete", "job", "migrate-r1", "--namespace", &fixture.namespace, "--wait=false"];
        fixture.control.kubectl(&arguments).unwrap();
    };
    let (result, ()) = tokio::join!(fixture.perform(&run, 1), delete);
    assert_eq!(rejected(result).0, Code::RunOutcomeUnknown);
}

#[tokio::test]
async fn a_run_whose_pod_the_node_ends_is_told_with_the_nodes_reason() {
    let name = "a_run_whose_pod_the_node_ends_is_told_with_the_nodes_reason";
    let Some(fixture) = Fixture::new(name).await else { return };
    let run = fixture.run("example.test/fail-stuck:1", "ask", 60);
    let evict = async {
        let space = format!("--namespace={}", fixture.namespace);
        let mut pod = String::new();
        while pod.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            pod = fixture.control.kubectl(&["get", "pods", "--output=name", &space]).unwrap().trim().to_owned();
        }
        let status = json!({"status": {
            "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory.",
            "containerStatuses": [{
                "name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 137, "reason": "Error"}},
            }],
        }});
        let arguments = ["patch", &pod, &space, "--subresource=status", "--type=merge", "--patch", &status.to_string()];
        fixture.control.kubectl(&arguments).unwrap();
    };
    let (result, ()) = tokio::join!(fixture.perform(&run, 1), evict);
    let (code, message, ..) = rejected(result);
    assert_eq!(code, Code::JobFailed);
    assert!(message.contains("(Evicted): The node was low on resource: memory."), "{message}");
}

#[tokio::test]
async fn an_image_that_is_not_there_ends_the_run_before_its_deadline_and_nothing_starts_later() {
    let name = "an_image_that_is_not_there_ends_the_run_before_its_deadline_and_nothing_starts_later";
    let Some(fixture) = Fixture::new(name).await else { return };
    let run = fixture.run("example.test/fail-image-pull:1", "ask", 600);
    for _ in 0..2 {
        let (code, message, ..) = rejected(fixture.perform(&run, 1).await);
        assert_eq!(code, Code::ImageMissing);
        assert!(message.contains("the image can't be pulled: example.test/fail-image-pull:1"), "{message}");
    }
    let job = fixture.control.get(&["job", "migrate-r1", "--namespace", &fixture.namespace]).unwrap();
    assert_eq!(job.pointer("/spec/suspend"), Some(&json!(true)));
}

#[tokio::test]
async fn a_run_for_which_no_node_has_room_tells_so() {
    let Some(fixture) = Fixture::new("a_run_for_which_no_node_has_room_tells_so").await else { return };
    let mut manifest = manifest(&fixture);
    manifest["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": (NODE_CPUS + 1).to_string()}});
    let (code, message, ..) = rejected(fixture.perform(&fixture.run_of(&manifest, "ask", 8), 1).await);
    assert_eq!(code, Code::NoRoom);
    assert!(message.contains("no node fits its pod: 0/3 nodes are available"), "{message}");
}

#[tokio::test]
async fn a_quota_that_lets_the_runs_pod_not_in_is_told() {
    let Some(fixture) = Fixture::new("a_quota_that_lets_the_runs_pod_not_in_is_told").await else { return };
    fixture.put("v1", "ResourceQuota", "freehold", &json!({"spec": {"hard": {"pods": "0"}}}));
    let counted = || {
        let quota = fixture.control.get(&["resourcequota", "freehold", "--namespace", &fixture.namespace])?;
        Ok(quota.pointer("/status/hard").is_some())
    };
    fixture.control.wait("the quota is counted", SOON, counted).unwrap();
    let (code, message, ..) = rejected(fixture.perform(&fixture.run("example.test/migrate:1", "ask", 60), 1).await);
    assert_eq!(code, Code::QuotaTooSmall);
    assert!(message.contains("exceeded quota: freehold, requested: pods=1"), "{message}");
}

#[tokio::test]
async fn a_run_that_takes_longer_than_it_may_is_told_so() {
    let Some(fixture) = Fixture::new("a_run_that_takes_longer_than_it_may_is_told_so").await else { return };
    let run = fixture.run("example.test/fail-stuck:1", "ask", 3);
    let (code, message, ..) = rejected(fixture.perform(&run, 1).await);
    assert_eq!(code, Code::JobFailed);
    assert!(message.contains("ended because it took longer than it may, after 3 s"), "{message}");
}

fn manifest(fixture: &Fixture) -> Json {
    let run = fixture.run("example.test/migrate:1", "ask", 60);
    serde_json::to_value(run.body.get("manifest").unwrap()).unwrap()
}

#[tokio::test]
async fn a_manifest_that_would_show_a_secret_is_refused() {
    let Some(fixture) = Fixture::new("a_manifest_that_would_show_a_secret_is_refused").await else { return };
    let mut manifest = manifest(&fixture);
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "KEY", "value": {"$secret": {"stored": "key"}}}]);
    let (code, message, ..) = rejected(fixture.perform(&fixture.run_of(&manifest, "ask", 60), 1).await);
    assert_eq!(code, Code::StepFailed);
    assert!(message.contains("would show a secret"), "{message}");
    assert!(fixture.jobs().is_empty());
}

#[tokio::test]
async fn nothing_runs_beside_a_job_or_in_a_namespace_that_is_not_ours() {
    let Some(fixture) = Fixture::new("nothing_runs_beside_a_job_or_in_a_namespace_that_is_not_ours").await else {
        return;
    };
    let run = fixture.run("example.test/migrate:1", "ask", 60);
    let mut foreign = manifest(&fixture);
    foreign["metadata"] = json!({"name": "migrate-r1", "namespace": fixture.namespace});
    // A Job without labels gets those of its Pods.
    foreign["spec"]["template"]["metadata"] = json!({});
    fixture.control.apply(&foreign.to_string()).unwrap();
    let (code, message, ..) = rejected(fixture.perform(&run, 1).await);
    assert_eq!(code, Code::NotOwned, "{message}");

    fixture.control.kubectl(&["label", "namespace", &fixture.namespace, "freehold.dev/stack-"]).unwrap();
    let (code, message, ..) = rejected(fixture.perform(&run, 2).await);
    assert_eq!(code, Code::NotOwned, "{message}");
    assert_eq!(fixture.jobs(), ["migrate-r1"]);
    let label = format!("freehold.dev/stack={}", fixture.stack);
    fixture.control.kubectl(&["label", "namespace", &fixture.namespace, &label]).unwrap();
}
