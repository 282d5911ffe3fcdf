//! Several replicas without any target: what they answer, and how they end.

use std::time::Duration;

use freehold::wire::{StackPlanRequest, TargetRequest};
use freehold::{Client, Connection};
use freehold_problem::Code;
use freehold_server::cluster;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::setting::{SOON, Setting, TOKEN, problem, tenant};

const DEFINITION: &str =
    "[app]\nname = \"guestbook\"\n[service.web]\nimage = \"ghcr.io/acme/web\"\ncommand = [\"web\"]\n[tier.pro]\n";

#[tokio::test(flavor = "multi_thread")]
async fn replicas_start_at_once_and_answer_whoever_shows_the_token_under_any_name() {
    let setting = Setting::new();
    let (first, second) = tokio::join!(setting.replica(), setting.replica());
    for replica in [&first, &second] {
        let (status, health) = replica.health().await;
        assert_eq!((status, &health["status"]), (200, &json!("ok")), "{health}");
        assert_eq!(health["checks"][0]["name"], "database");
        assert!(replica.client.targets().await.unwrap().is_empty());
        let platform = replica.client.platform().await.unwrap();
        assert_eq!((platform.router_port, platform.data_directory.as_str()), (0, ""));
        assert!(!platform.postgres.contains("password"), "{}", platform.postgres);
    }
    let url = format!("http://{}/api/v1/platform", first.address);
    let request = reqwest::Client::new().get(&url).header("Host", "freehold.example.org");
    assert_eq!(request.try_clone().unwrap().bearer_auth(TOKEN).send().await.unwrap().status(), 200);
    assert_eq!(request.bearer_auth("0123456789abcdef").send().await.unwrap().status(), 401);
    first.stopped().await;
    second.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_target_nothing_is_deployed_and_the_answer_says_what_to_do() {
    let setting = Setting::new();
    let replica = setting.replica().await;
    let client = &replica.client;
    let refused = problem(client.plan(&tenant("acme", DEFINITION, Some(":1"))).await);
    assert_eq!((refused.code, refused.status), (Code::TargetNotChosen, 422), "{refused:?}");
    assert!(refused.help.unwrap().contains("target add"));
    let mut request = tenant("acme", DEFINITION, None);
    request.target = Some("prod".to_owned());
    let refused = problem(client.plan(&request).await);
    assert_eq!((refused.code, refused.status), (Code::UnknownTarget, 404), "{refused:?}");
    assert_eq!(problem(client.check_target("prod").await).code, Code::UnknownTarget);
    assert_eq!(problem(client.remove_target("prod").await).code, Code::UnknownTarget);
    assert_eq!(problem(client.remove_target("local").await).code, Code::OtherKindOfTarget);
    let artifact = format!("sha256:{}", "a".repeat(64));
    assert!(!client.has_artifact(&artifact).await.unwrap());
    assert_eq!(problem(client.send_artifact(&artifact, "x").await).code, Code::OtherKindOfTarget);
    assert_eq!(problem(client.plan_for(Uuid::new_v4(), &StackPlanRequest::Repair).await).code, Code::NotFound);
    replica.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_can_t_be_used_is_refused_with_all_reasons_and_nothing_of_it_is_kept() {
    let setting = Setting::new();
    let replica = setting.replica().await;
    let client = &replica.client;
    let refused = problem(client.put_target("prod", &TargetRequest::default()).await);
    assert_eq!(refused.code, Code::TargetSettings);
    for part in ["domain", "Gateway", "databases"] {
        assert!(refused.detail.contains(part), "{}", refused.detail);
    }
    let complete = TargetRequest {
        kubeconfig: Some("apiVersion: v1\nkind: Config\nusers: [{name: a, user: {token: hunter2}}]\n".to_owned()),
        domain: Some("example.org".to_owned()),
        gateway: Some("infra/main".to_owned()),
        cloudnative_pg: true,
        ..TargetRequest::default()
    };
    let refused = problem(client.put_target("prod", &complete).await);
    assert_eq!(refused.code, Code::KubeconfigUnusable, "{refused:?}");
    assert!(!format!("{refused:?}").contains("hunter2"));
    // Read last by the server, so nothing but this is wrong.
    let registry = TargetRequest { registry_credentials: Some("no json".to_owned()), ..complete.clone() };
    assert_eq!(problem(client.put_target("prod", &registry).await).code, Code::PullCredentials);
    let in_cluster = TargetRequest { kubeconfig: None, ..complete };
    let refused = problem(client.put_target("prod", &in_cluster).await);
    assert_eq!(refused.code, Code::KubeconfigUnusable, "this is no Pod: {refused:?}");
    assert!(client.targets().await.unwrap().is_empty());
    replica.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_told_to_stop_is_not_ready_still_answers_and_then_ends() {
    let setting = Setting::new();
    // Long enough for what is asked meanwhile.
    let replica = Setting::start(cluster::Options { linger: Duration::from_secs(10), ..setting.options() }).await;
    replica.tell_to_stop();
    let (status, health) = replica.health().await;
    assert_eq!((status, &health["status"]), (503, &json!("unhealthy")), "{health}");
    let live = reqwest::get(format!("http://{}/health/live", replica.address)).await.unwrap();
    assert_eq!(live.status(), 200);
    assert!(replica.client.targets().await.unwrap().is_empty());
    let address = replica.address;
    replica.stopped().await;
    let gone = Connection { url: format!("http://{address}"), token: TOKEN.to_owned(), pid: 0 };
    assert!(Client::to(gone).unwrap().targets().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_another_master_key_or_without_a_token_does_not_start() {
    let setting = Setting::new();
    setting.replica().await.stopped().await;
    let start = async |options| {
        let run = cluster::run(options, |_| panic!("it started"), CancellationToken::new());
        tokio::time::timeout(SOON, run).await.unwrap().unwrap_err()
    };
    let other = setting.path().join("other");
    std::fs::write(&other, [8; 32]).unwrap();
    std::fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let error = start(cluster::Options { master_key_file: other, ..setting.options() }).await;
    assert_eq!(error.code, Code::MasterKeyWrong, "{error}");
    let none = setting.path().join("none");
    let error = start(cluster::Options { token_file: none.clone(), ..setting.options() }).await;
    assert!(error.message.contains("token"), "{error}");
    let error = start(cluster::Options { master_key_file: none, ..setting.options() }).await;
    assert_eq!(error.code, Code::MasterKeyUnreadable, "{error}");
    let url = "postgresql://ada:hunter2@127.0.0.1:1/postgres".to_owned();
    let error = start(cluster::Options { database_url: url, ..setting.options() }).await;
    assert_eq!(error.code, Code::PostgresUnreachable, "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}
