//! A program that asks for the number of its revision.

use freehold_graph::{StackKind, Value};
use freehold_platform::view::{OperationState, Planned};
use freehold_platform::{Actor, Deploy, PlanOptions};

use crate::testbed::{NOTES, Testbed};

fn request(mode: &str) -> Deploy {
    let source = NOTES.replace("reads = [\"DATABASE_URL\"]", "reads = [\"DATABASE_URL\", \"REVISION?\", \"MODE?\"]");
    let source = format!(
        "{source}\n[stage.production]\nservice.web.env.REVISION = \"${{stack.revision}}\"\nservice.web.env.MODE = \"{mode}\"\n"
    );
    let Deploy { artifacts, .. } = Testbed::deploy("acme");
    Deploy { artifacts, ..Deploy::of(source, StackKind::Tenant, "acme") }
}

async fn planned(bed: &Testbed, mode: &str) -> Planned {
    bed.platform.plans.deploy(&Actor::operator(), &request(mode)).await.unwrap()
}

/// The number that the service is told.
fn told(planned: &Planned) -> String {
    let change = planned.plan.changes.values().find(|change| change.id.0 == "service.web").unwrap();
    let env = change.resource.body.get("env").unwrap();
    env.get("REVISION").and_then(Value::as_text).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_the_revision_is_told_its_number_and_a_deploy_that_changes_nothing_makes_none() {
    let bed = Testbed::new().await;
    assert_eq!(told(&planned(&bed, "one").await), "1");
    let first = bed.apply(request("one")).await;
    assert_eq!(first.state, OperationState::Succeeded);

    let again = planned(&bed, "one").await;
    assert!(again.noop, "{:?}", again.plan.changes);
    assert_eq!((told(&again).as_str(), again.plan.revision), ("1", 1));

    let changed = planned(&bed, "two").await;
    assert_eq!((told(&changed).as_str(), changed.plan.revision, changed.plan.request.revision), ("2", 2, 2));
    assert_eq!(bed.apply(request("two")).await.state, OperationState::Succeeded);
    assert!(planned(&bed, "two").await.noop);

    let stack = again.plan.stack;
    let back = bed.platform.plans.rollback(&Actor::operator(), stack, Some(1), PlanOptions::default()).await.unwrap();
    assert_eq!((told(&back).as_str(), back.plan.revision), ("3", 3), "what is gone back to is a revision of its own");
}
