//! The health of many stacks' objects at once, in the words that each has by itself.

use freehold_engine::{Lookup, Provider, Readiness};
use freehold_graph::{ResourceId, ResourceKind, StackId, Value};
use serde_json::json;

use crate::fixture::{Fixture, is_failed, words};

fn lookup(fixture: &Fixture, kind: ResourceKind, name: &str) -> (StackId, Lookup) {
    let identity = match kind {
        ResourceKind::Namespace => fixture.namespace.clone(),
        _ => format!("{}/{name}", fixture.namespace),
    };
    (fixture.stack, Lookup { id: ResourceId::new(kind.word(), name), kind, identity, body: Value::Null })
}

#[tokio::test]
async fn what_several_stacks_have_is_told_of_each_part_and_a_schedule_whose_last_run_failed_is_no_healthy_one() {
    let name = "what_several_stacks_have_is_told_of_each_part";
    let (Some(first), Some(second)) = (Fixture::new(name).await, Fixture::new(name).await) else { return };
    first.put("v1", "ConfigMap", "web", &json!({}));
    first.control.apply(&first.deployment(&json!({})).to_string()).unwrap();
    first.until(ResourceKind::Deployment, "web", |told| *told == Readiness::Ready).await;
    let unready = json!({"env": [{"name": "FREEHOLD_TEST_FAIL", "value": "not-ready"}]});
    second.control.apply(&second.deployment(&unready).to_string()).unwrap();
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "digest", "image": "example.test/fail-job-failed:1"}]});
    second.until(ResourceKind::Deployment, "web", |told| words(told).contains("0 of 1 ready")).await;
    let labels = second.labels("digest", "job");
    let template = json!({"metadata": {"labels": labels}, "spec": {"backoffLimit": 0, "template": {"spec": pod}}});
    let schedule = json!({"spec": {"schedule": "0 0 1 1 *", "jobTemplate": template}});
    second.put("batch/v1", "CronJob", "digest", &schedule);
    let ask = async || {
        let objects = [
            lookup(&first, ResourceKind::Namespace, "main"),
            lookup(&first, ResourceKind::ConfigMap, "web"),
            lookup(&first, ResourceKind::Deployment, "web"),
            lookup(&second, ResourceKind::Deployment, "web"),
            lookup(&second, ResourceKind::CronJob, "digest"),
            lookup(&second, ResourceKind::ConfigMap, "web"),
        ];
        let health = first.provider.health(&objects).await;
        health.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let health = ask().await;
    assert_eq!(health[..3], [Readiness::Ready, Readiness::Ready, Readiness::Ready]);
    assert!(words(&health[3]).contains("0 of 1 ready"), "{health:?}");
    assert_eq!(health[4], Readiness::Ready, "it has not run yet");
    assert_eq!(words(&health[5]), "it does not exist");

    second
        .control
        .kubectl(&["create", "job", "digest-1", "--from=cronjob/digest", "--namespace", &second.namespace])
        .unwrap();
    let failed =
        || Ok(second.control.get(&["job", "digest-1", "--namespace", &second.namespace])?["status"]["failed"] == 1);
    second.control.wait("the run has failed", crate::fixture::SOON, failed).unwrap();
    let limit = tokio::time::Instant::now() + crate::fixture::SOON;
    let told = loop {
        let told = ask().await[4].clone();
        if is_failed(&told) || tokio::time::Instant::now() > limit {
            break told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert!(words(&told).starts_with("its last run failed; digest-1"), "{told:?}");
    let alone = first.provider.health(&[lookup(&second, ResourceKind::CronJob, "digest")]).await;
    assert!(words(alone[0].as_ref().unwrap()).starts_with("its last run failed; digest-1"), "of one stack as of many");
}
