//! Whoever watches is told of changes to managed objects, whoever makes them.

use std::sync::Arc;
use std::time::Duration;

use freehold_engine::{Changed, Provider as _};
use freehold_graph::ResourceKind;
use freehold_provider_kubernetes::KubernetesProvider;
use futures::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use crate::ground::access;
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
