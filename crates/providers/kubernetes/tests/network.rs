//! Lost answers, busy servers, and objects that appear in the wrong moment, between us and the real API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use freehold_engine::{Provider as _, ProviderError};
use freehold_problem::{Code, Problem};
use serde_json::json;

use crate::proxy::{Proxy, ProxyAction};
use crate::stage::{Stage, rejected};

/// A settled stage, the same through a proxy, and the proxy.
async fn staged(test: &str) -> Option<(Stage, Stage, Proxy)> {
    let stage = Stage::settled(test).await?;
    let proxy = Proxy::start(stage.control.admin()).await;
    let through = stage.as_user(&proxy.access());
    through.provider.cluster().await.unwrap();
    Some((stage, through, proxy))
}

#[tokio::test]
async fn a_lost_answer_is_an_unknown_outcome_and_is_never_sent_twice() {
    let Some((_stage, through, proxy)) = staged("a_lost_answer_is_an_unknown_outcome").await else { return };
    let config = through.config_map("web", &json!({"A": "1"}));
    let plan = through.plan(&config).await;
    proxy.rule(|method, _| if method == "PATCH" { ProxyAction::LoseAnswer } else { ProxyAction::Pass });
    let error = through.apply(&config, &plan).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unknown(_)), "{error:?}");
    assert_eq!(proxy.seen().iter().filter(|request| request.starts_with("PATCH")).count(), 1, "{:?}", proxy.seen());

    // It did happen: looking again shows it, and the step that is repeated does no harm.
    proxy.rule(|_, _| ProxyAction::Pass);
    let uid = through.observe(&config).await.unwrap().object;
    let performed = through.apply(&config, &plan).await.unwrap();
    assert_eq!(performed.object, Some(uid.clone()));

    proxy.rule(|method, _| if method == "DELETE" { ProxyAction::LoseAnswer } else { ProxyAction::Pass });
    let error = through.delete(&config, Some(&uid)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unknown(_)), "{error:?}");
    through.delete(&config, Some(&uid)).await.unwrap();
}

#[tokio::test]
async fn a_look_whose_answer_is_lost_is_made_again() {
    let Some((_stage, through, proxy)) = staged("a_look_whose_answer_is_lost").await else { return };
    let times = Arc::new(AtomicU32::new(0));
    proxy.rule(
        move |_, _| if times.fetch_add(1, Ordering::Relaxed) < 2 { ProxyAction::LoseAnswer } else { ProxyAction::Pass },
    );
    assert!(through.observe(&through.namespace_resource()).await.is_some());
}

#[tokio::test]
async fn a_busy_server_is_given_the_time_that_it_asks_for() {
    let Some((_stage, through, proxy)) = staged("a_busy_server_is_given_time").await else { return };
    let config = through.config_map("web", &json!({"A": "1"}));
    let plan = through.plan(&config).await;
    let times = Arc::new(AtomicU32::new(0));
    proxy.rule(move |method, _| match method {
        "PATCH" if times.fetch_add(1, Ordering::Relaxed) < 1 => ProxyAction::Busy,
        _ => ProxyAction::Pass,
    });
    let begun = Instant::now();
    through.apply(&config, &plan).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After: 1");

    proxy.rule(|_, _| ProxyAction::Busy);
    let lookup = (&config).into();
    let error = through.provider.observe(through.stack, &lookup).await.unwrap_err();
    let ProviderError::Retryable { problem: Problem { message, .. }, after } = &error else { panic!("{error:?}") };
    assert!(message.contains("is overloaded"), "{message}");
    assert_eq!(*after, Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn a_full_database_is_told_and_may_pass() {
    let Some((stage, through, proxy)) = staged("a_full_database_is_told").await else { return };
    let config = through.config_map("web", &json!({"A": "1"}));
    let plan = through.plan(&config).await;
    let full = |method: &str, _: &str| match method {
        "PATCH" => ProxyAction::Fault("etcdserver: mvcc: database space exceeded"),
        _ => ProxyAction::Pass,
    };
    proxy.rule(full);
    let error = through.apply(&config, &plan).await.unwrap_err();
    let ProviderError::Retryable { problem: Problem { message, .. }, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("(etcd) is out of space") && message.contains("configmap"), "{message}");
    assert!(stage.observe(&config).await.is_none());
}

#[tokio::test]
async fn our_fields_are_taken_back_from_an_object_that_appeared_in_the_last_moment() {
    let Some((stage, through, proxy)) = staged("our_fields_are_taken_back").await else { return };
    let config = through.config_map("web", &json!({"A": "1"}));
    let plan = through.plan(&config).await;
    let (control, namespace) = (stage.control, stage.namespace.clone());
    proxy.rule(move |method, _| {
        let namespace = namespace.clone();
        let create = move || {
            let _ =
                control.kubectl(&["create", "configmap", "web", "--from-literal=Z=theirs", "--namespace", &namespace]);
        };
        match method {
            "PATCH" => ProxyAction::After(Box::pin(async move { tokio::task::spawn_blocking(create).await.unwrap() })),
            _ => ProxyAction::Pass,
        }
    });
    let error = through.apply(&config, &plan).await.unwrap_err();
    let (code, words) = rejected(&error);
    assert_eq!(code, Code::AppearedMeanwhile, "{words}");
    assert!(words.contains("kubectl-create") && words.contains("released its fields"), "{words}");
    let live = stage.live(&config);
    assert_eq!(live["data"], json!({"Z": "theirs"}));
    assert_eq!(live["metadata"].get("labels"), None, "no mark of ours");
    assert_eq!(stage.owned().await.iter().filter(|object| object.starts_with("configmap")).count(), 0);
}

#[tokio::test]
async fn what_somebody_makes_in_our_name_in_a_namespace_that_we_made_is_not_taken_for_ours() {
    let Some(stage) = Stage::new("what_somebody_makes_in_our_name").await else { return };
    let proxy = Proxy::start(stage.control.admin()).await;
    let through = stage.as_user(&proxy.access());
    let (namespace, config) = (through.namespace_resource(), through.config_map("web", &json!({"A": "1"})));
    let (space, plan) = (through.plan(&namespace).await, through.plan(&config).await);
    let mut context = through.context();
    context.step = "create/namespace.main".parse().unwrap();
    through.provider.perform(&context, &through.task(&namespace, &space)).await.unwrap();
    let (control, name) = (stage.control, stage.namespace.clone());
    proxy.rule(move |method, _| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"Z": "theirs"}, "metadata": {"name": "web", "namespace": name},
        });
        let make = move || control.apply_as("freehold", &object.to_string()).unwrap();
        match method {
            "PATCH" => ProxyAction::After(Box::pin(async move { tokio::task::spawn_blocking(make).await.unwrap() })),
            _ => ProxyAction::Pass,
        }
    });
    let error = through.provider.perform(&context, &through.task(&config, &plan)).await.unwrap_err();
    assert!(!proxy.seen()[0].starts_with("GET"), "nothing is looked for there: {:?}", proxy.seen());
    let (code, words) = rejected(&error);
    assert_eq!(code, Code::AppearedMeanwhile, "{words}");
    assert!(words.contains("who applies as freehold") && words.contains("released its fields"), "{words}");
    assert_eq!(stage.live(&config)["metadata"].get("labels"), None, "no mark of ours");
}

#[tokio::test]
async fn a_plan_asks_once_and_tries_once() {
    let Some((_stage, through, proxy)) = staged("a_plan_asks_once_and_tries_once").await else { return };
    let config = through.config_map("web", &json!({"A": "1"}));
    through.deploy(&config).await;
    proxy.rule(|_, _| ProxyAction::Pass);
    through.plan(&config).await;
    let seen = proxy.seen();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].starts_with("GET") && seen[1].starts_with("PATCH") && seen[1].contains("dryRun=All"), "{seen:?}");
}

#[tokio::test]
async fn what_was_just_seen_is_seen_again_when_it_has_changed() {
    let Some((stage, through, proxy)) = staged("what_was_just_seen_is_seen_again").await else { return };
    let config = through.config_map("web", &json!({"A": "1"}));
    through.deploy(&config).await;
    // A controller writes between the look and the trial.
    let (control, namespace) = (stage.control, stage.namespace.clone());
    let times = AtomicU32::new(0);
    proxy.rule(move |method, _| {
        let namespace = namespace.clone();
        let write = move || {
            control.kubectl(&["annotate", "configmap", "web", "example.org/x=y", "--namespace", &namespace]).unwrap();
        };
        match method {
            "PATCH" if times.fetch_add(1, Ordering::Relaxed) == 0 => {
                ProxyAction::After(Box::pin(async move { tokio::task::spawn_blocking(write).await.unwrap() }))
            }
            _ => ProxyAction::Pass,
        }
    });
    let changed = through.config_map("web", &json!({"A": "2"}));
    assert_eq!(through.plan(&changed).await.fields(), ["data.A"], "what the controller wrote is no change of ours");
}
