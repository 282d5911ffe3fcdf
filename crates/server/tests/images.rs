//! Images of what runs beside services.

use std::path::Path;

use freehold::wire::{ApplyRequest, PlanResponse, StackPlanRequest};
use freehold_testkit::kubernetes::{ControlPlane, Image};
use serde_json::Value as Json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::setting::{Fixture, Replica, SOON, Setting, tenant};

/// What the plan would have the Deployment run beside its service.
fn beside(plan: &PlanResponse) -> String {
    plan.plan.request.containers["web"]["proxy"].clone()
}

/// Carries a plan out; the stack.
async fn carry_out(replica: &Replica, plan: &PlanResponse) -> Uuid {
    let operation = replica.client.apply(&ApplyRequest::Plan { plan: plan.plan.id }).await.unwrap();
    timeout(SOON, replica.client.wait(operation.id)).await.unwrap().unwrap();
    plan.plan.stack.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_of_a_sidecar_is_a_change_that_is_named_and_a_rollback_runs_the_old_digest() {
    let test = "a_moved_tag_of_a_sidecar_is_a_change_that_is_named_and_a_rollback_runs_the_old_digest";
    let Some(fixture) = Fixture::new(test) else { return };
    let setting = Setting::new();
    let replica = setting.replica().await;
    replica.client.put_target("prod", &fixture.target(&setting)).await.unwrap();
    let proxy = Image::of_program(Path::new("/bin/true")).unwrap();
    fixture.registry.push("proxy", "1", &proxy.clone().label("made", "first")).unwrap();
    let app = ControlPlane::unique("beside");
    let registry = fixture.registry.address();
    let definition =
        format!("{}\n[service.web.sidecar.proxy]\nimage = \"{registry}/proxy:1\"\n", fixture.definition(&app));

    let plan = replica.client.plan(&tenant("acme", &definition, Some(":1"))).await.unwrap();
    let first = beside(&plan);
    assert!(first.starts_with(&format!("{registry}/proxy@sha256:")), "{first}");
    let stack = carry_out(&replica, &plan).await;
    let runs = || {
        let path = "jsonpath={.spec.template.spec.initContainers[0].image}";
        let namespace = format!("acme--{app}");
        fixture.control.kubectl(&["get", "deployment", "web", "--namespace", &namespace, "--output", path]).unwrap()
    };
    assert_eq!(runs().trim(), first);
    let status = replica.client.stack(stack).await.unwrap();
    assert_eq!(status.outputs["images"]["web--proxy"], Json::from(first.clone()));
    assert!(replica.client.plan(&tenant("acme", &definition, None)).await.unwrap().noop);

    fixture.registry.push("proxy", "1", &proxy.label("made", "second")).unwrap();
    let plan = replica.client.plan(&tenant("acme", &definition, None)).await.unwrap();
    let second = beside(&plan);
    assert!(!plan.noop && second != first);
    let changed: Vec<_> =
        plan.plan.changes.values().flat_map(|change| &change.fields).map(|field| &field.path).collect();
    assert_eq!(changed, ["spec.template.spec.initContainers[proxy].image"]);
    carry_out(&replica, &plan).await;
    assert_eq!(runs().trim(), second);

    let plan = replica.client.plan_for(stack, &StackPlanRequest::rollback(Some(1))).await.unwrap();
    assert_eq!(beside(&plan), first);
    carry_out(&replica, &plan).await;
    assert_eq!(runs().trim(), first);
    replica.stopped().await;
}
