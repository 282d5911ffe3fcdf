//! Whoever watches is told of changes to managed objects, whoever makes them.

use std::sync::Arc;
use std::time::Duration;

use freehold_engine::{Changed, Lookup, Provider as _, Readiness};
use freehold_graph::{Resource, ResourceKind};
use freehold_provider_kubernetes::KubernetesProvider;
use futures::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use crate::fixture::access;
use crate::proxy::{Proxy, ProxyAction};
use crate::stage::{STEP, Stage};

#[tokio::test]
async fn a_change_by_hand_is_told_and_nothing_of_what_bears_no_mark() {
    let Some(stage) = Stage::settled("a_change_by_hand_is_told_and_nothing_of_what_bears_no_mark").await else {
        return;
    };
    let map = |name: &str| {
        let api = ("v1", "ConfigMap");
        stage.resource(ResourceKind::ConfigMap, api, name, &json!({"data": {"a": "1"}}))
    };
    stage.deploy(&map("settings")).await;
    let provider = Arc::new(KubernetesProvider::new(access(stage.control.admin()), stage.facts.clone()));
    let mut changes = provider.watch();
    let mut next = async || loop {
        if let Changed::Object(object) = changes.next().await.unwrap()
            && object.name.starts_with(&stage.namespace)
        {
            assert_eq!(object.stack, stage.stack);
            return object.name.rsplit('/').next().unwrap().to_owned();
        }
    };
    // Until the watch, which begins in its own time, tells of it.
    let begins = async {
        for number in 0_u32.. {
            let data = json!({"data": {"a": number.to_string()}}).to_string();
            stage.kubectl(&["patch", "configmap", "settings", "--type=merge", "--patch", &data]);
            if timeout(Duration::from_secs(1), next()).await.is_ok_and(|name| name == "settings") {
                return;
            }
        }
    };
    timeout(STEP, begins).await.expect("nobody was told");
    stage.kubectl(&["create", "configmap", "foreign"]);
    stage.deploy(&map("other")).await;
    let told = async {
        loop {
            match next().await.as_str() {
                "other" => return,
                name => assert_eq!(name, "settings", "it bears no mark"),
            }
        }
    };
    timeout(STEP, told).await.expect("nobody was told");
}

#[tokio::test]
async fn what_gets_ready_after_its_apply_is_seen_without_a_look() {
    let Some(stage) = Stage::new("what_gets_ready_after_its_apply_is_seen_without_a_look").await else { return };
    let proxy = Proxy::start(stage.control.admin()).await;
    let stage = stage.as_user(&proxy.access());
    stage.deploy(&stage.namespace_resource()).await;
    let selector = json!({"freehold.dev/stack": stage.stack.to_string()});
    let spec = json!({"spec": {"selector": selector, "ports": [{"port": 80}]}});
    let (web, service) = (
        stage.deployment("web", |_| {}),
        stage.resource(ResourceKind::ClusterService, ("v1", "Service"), "web", &spec),
    );
    let planned = [stage.plan(&web).await, stage.plan(&service).await];
    proxy.rule(|_, _| ProxyAction::Pass);
    stage.apply(&web, &planned[0]).await.unwrap();
    stage.apply(&service, &planned[1]).await.unwrap();
    let ready = async |of: &Resource| {
        stage.provider.readiness_after(stage.stack, &Lookup::from(of), Duration::ZERO).await.unwrap()
    };
    assert_eq!(futures::join!(ready(&web), ready(&service)), (Readiness::Ready, Readiness::Ready));
    let looks = || proxy.seen().into_iter().filter(|request| request.starts_with("GET") && !request.contains("watch="));
    assert_eq!(looks().collect::<Vec<_>>(), [""; 0]);
    // It is asked for once more: the cluster is.
    assert_eq!(ready(&web).await, Readiness::Ready);
    assert_eq!(looks().count(), 1);
}

#[tokio::test]
async fn without_a_watch_what_was_applied_is_looked_at() {
    let Some(stage) = Stage::new("without_a_watch_what_was_applied_is_looked_at").await else { return };
    let proxy = Proxy::start(stage.control.admin()).await;
    let stage = stage.as_user(&proxy.access());
    stage.deploy(&stage.namespace_resource()).await;
    let web = stage.deployment("web", |_| {});
    let planned = stage.plan(&web).await;
    proxy.rule(|_, path| if path.contains("watch=true") { ProxyAction::Forbidden } else { ProxyAction::Pass });
    stage.apply(&web, &planned).await.unwrap();
    let ready = async {
        while stage.provider.readiness_after(stage.stack, &Lookup::from(&web), Duration::ZERO).await.unwrap()
            != Readiness::Ready
        {}
    };
    timeout(STEP, ready).await.expect("it does not get ready");
    let seen = proxy.seen();
    assert!(seen.iter().any(|request| request.starts_with("GET") && request.ends_with("/deployments/web")), "{seen:?}");
}
