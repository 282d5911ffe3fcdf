//! The control plane with simulated nodes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use freehold_testkit::kubernetes::{ControlPlane, NODE_CPUS};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(180);

fn namespace(cluster: &ControlPlane) -> String {
    let name = ControlPlane::unique("testkit");
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string()).unwrap();
    name
}

fn deployment(namespace: &str, image: &str, extra: &Value) -> String {
    let mut container = json!({"name": "app", "image": image});
    container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "app", "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "app"}},
            "template": {"metadata": {"labels": {"app": "app"}}, "spec": {"containers": [container]}},
        },
    })
    .to_string()
}

/// Of the first Pod in the namespace: what its container waits for, and how it ended last.
fn reasons(cluster: &ControlPlane, namespace: &str) -> (String, String) {
    let pods = cluster.get(&["pods", "--namespace", namespace]).unwrap();
    let text = |path: &str| {
        pods.pointer(&format!("/items/0/status/containerStatuses/0/{path}"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    (text("state/waiting/reason"), text("lastState/terminated/reason"))
}

#[test]
fn a_deployment_becomes_ready_and_its_namespace_vanishes() {
    let Some(cluster) = ControlPlane::for_test("a_deployment_becomes_ready_and_its_namespace_vanishes") else { return };
    let namespace = namespace(cluster);
    cluster.apply(&deployment(&namespace, "example.test/app:1", &json!({}))).unwrap();
    cluster.kubectl(&["rollout", "status", "deployment/app", "--namespace", &namespace, "--timeout=60s"]).unwrap();

    cluster.kubectl(&["delete", "namespace", &namespace, "--timeout=60s"]).unwrap();
    let gone = cluster.kubectl(&["get", "namespace", &namespace]).unwrap_err().to_string();
    assert!(gone.contains("NotFound"), "{gone}");
}

#[test]
fn a_job_succeeds_unless_it_is_to_fail() {
    let Some(cluster) = ControlPlane::for_test("a_job_succeeds_unless_it_is_to_fail") else { return };
    let namespace = namespace(cluster);
    for (name, image) in [("good", "example.test/app:1"), ("bad", "example.test/fail-job-failed:1")] {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"backoffLimit": 0, "template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "job", "image": image}]}}},
        });
        cluster.apply(&job.to_string()).unwrap();
    }
    let wait = |job: &str, condition: &str| {
        cluster.kubectl(&["wait", "--for", condition, job, "--namespace", &namespace, "--timeout=60s"]).unwrap();
    };
    wait("job/good", "condition=Complete");
    wait("job/bad", "condition=Failed");
    cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
}

#[test]
fn a_pod_fails_in_the_way_that_its_image_or_its_variable_names() {
    let Some(cluster) = ControlPlane::for_test("a_pod_fails_in_the_way_that_its_image_or_its_variable_names") else {
        return;
    };
    let expected = [
        ("image-pull", "ImagePullBackOff", ""),
        ("config", "CreateContainerConfigError", ""),
        ("crash-loop", "CrashLoopBackOff", "Error"),
        ("oom", "CrashLoopBackOff", "OOMKilled"),
    ];
    for (number, (way, waiting, last)) in expected.into_iter().enumerate() {
        let namespace = namespace(cluster);
        let document = if number % 2 == 0 {
            deployment(&namespace, &format!("example.test/fail-{way}@sha256:{}", "0".repeat(64)), &json!({}))
        } else {
            let variable = json!({"env": [{"name": "FREEHOLD_TEST_FAIL", "value": way}]});
            deployment(&namespace, "example.test/app:1", &variable)
        };
        cluster.apply(&document).unwrap();
        cluster
            .wait(way, SOON, || Ok(reasons(cluster, &namespace) == (waiting.to_owned(), last.to_owned())))
            .unwrap_or_else(|error| panic!("{error:#}: {:?}", reasons(cluster, &namespace)));
        let ready = cluster.get(&["deployment", "app", "--namespace", &namespace]).unwrap();
        assert_eq!(ready.pointer("/status/readyReplicas"), None, "{way}");
        cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
    }
}

#[test]
fn a_pod_that_asks_for_more_than_a_node_has_is_unschedulable() {
    let Some(cluster) = ControlPlane::for_test("a_pod_that_asks_for_more_than_a_node_has_is_unschedulable") else {
        return;
    };
    let namespace = namespace(cluster);
    let greed = json!({"resources": {"requests": {"cpu": (NODE_CPUS + 1).to_string()}}});
    cluster.apply(&deployment(&namespace, "example.test/app:1", &greed)).unwrap();
    cluster
        .wait("Unschedulable", SOON, || {
            let pods = cluster.get(&["pods", "--namespace", &namespace])?;
            let reason = pods.pointer("/items/0/status/conditions/0/reason").and_then(Value::as_str);
            Ok(reason == Some("Unschedulable"))
        })
        .unwrap();
    cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
}

#[test]
fn an_account_may_do_what_its_rules_say_and_nothing_else() {
    let Some(cluster) = ControlPlane::for_test("an_account_may_do_what_its_rules_say_and_nothing_else") else { return };
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
    let account = cluster.account_with_rules(&ControlPlane::unique("reader"), &rules).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    fs::write(&kubeconfig, account.kubeconfig()).unwrap();
    let with = format!("--kubeconfig={}", kubeconfig.display());
    cluster.kubectl(&[&with, "get", "configmaps"]).unwrap();
    let refused = cluster.kubectl(&[&with, "get", "secrets"]).unwrap_err().to_string();
    assert!(refused.contains("Forbidden"), "{refused}");
}

#[test]
fn the_api_server_is_killed_frozen_and_restarted_without_loss() {
    let name = "the_api_server_is_killed_frozen_and_restarted_without_loss";
    if let Some(reason) = ControlPlane::missing() {
        println!("skipped: {name}: kubernetes: {reason}");
        return;
    }
    let cluster = ControlPlane::start().unwrap();
    let namespace = namespace(&cluster);
    cluster.kill_api_server().unwrap();
    let refused = cluster.kubectl(&["get", "namespaces"]).unwrap_err().to_string();
    assert!(refused.contains("refused"), "{refused}");
    cluster.restart_api_server().unwrap();
    cluster.kubectl(&["get", "namespace", &namespace]).unwrap();

    cluster.freeze_api_server().unwrap();
    let silent = cluster.kubectl(&["get", "namespaces", "--request-timeout=2s"]).unwrap_err().to_string();
    assert!(silent.to_lowercase().contains("timeout"), "{silent}");
    cluster.thaw_api_server().unwrap();
    cluster.kubectl(&["get", "namespaces", "--request-timeout=60s"]).unwrap();
}

/// Runs this very test as another process, which starts a control plane and is killed.
#[test]
fn nothing_of_a_killed_test_process_stays_behind() {
    let name = "nothing_of_a_killed_test_process_stays_behind";
    if std::env::var_os("FREEHOLD_TEST_TO_BE_KILLED").is_some() {
        let cluster = ControlPlane::start().unwrap();
        println!("\nfolder={}", cluster.kubeconfig_path().parent().unwrap().display());
        thread::sleep(Duration::from_secs(600));
    }
    if let Some(reason) = ControlPlane::missing() {
        println!("skipped: {name}: kubernetes: {reason}");
        return;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("control_plane::{name}"), "--nocapture"])
        .env("FREEHOLD_TEST_TO_BE_KILLED", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(victim.stdout.take().unwrap());
    let folder = std::io::BufRead::lines(output)
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("folder=").map(str::to_owned))
        .expect("it says where its control plane works");
    assert_eq!(daemons_in(&folder), 5);
    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = std::time::Instant::now() + SOON;
    while daemons_in(&folder) > 0 || Path::new(&folder).exists() {
        assert!(std::time::Instant::now() < deadline, "{folder} is still there");
        thread::sleep(Duration::from_millis(50));
    }
}

fn daemons_in(folder: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|at| at.starts_with(folder))).count()
}
