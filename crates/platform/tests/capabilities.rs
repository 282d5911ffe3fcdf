//! What a target can do is asked of its capabilities: the use cases know no provider.

use freehold_graph::StackId;
use freehold_plan::Action;
use freehold_platform::view::{Level, OperationState};
use freehold_platform::{Actor, Apply, Deploy, Destroy, LogQuery};
use freehold_problem::Code;
use futures::StreamExt;
use uuid::Uuid;

use crate::testbed::{NOTES, Testbed};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_planned_deployed_and_destroyed_in_this_process() {
    let bed = Testbed::new().await;
    let planned = bed.platform.plans.deploy(&Actor::operator(), &Testbed::deploy("acme")).await.unwrap();
    let finished = bed.apply(Testbed::deploy("acme")).await;

    assert!(planned.new_stack && planned.plan.changes.values().all(|change| change.action == Action::Create));
    assert!(planned.plan.not_enforced.contains(&"anything".to_owned()));
    assert_eq!((finished.state, finished.failure), (OperationState::Succeeded, None));
    let again = bed.platform.plans.deploy(&Actor::operator(), &Testbed::deploy("acme")).await.unwrap();
    assert!(again.noop, "{:?}", again.plan.changes);
    let destroy = Destroy { confirm: "acme".to_owned(), dump: true, plan: None, generation: None };
    let stack = planned_stack(&bed).await;
    let begun = bed.platform.operations.destroy(&Actor::operator(), stack, &destroy).await.unwrap();
    assert_eq!(bed.end_of(begun.id).await.state, OperationState::Succeeded);
    bed.world(|world| {
        assert!(world.objects.values().all(Vec::is_empty), "{:?}", world.objects);
        assert_eq!((world.dumps.len(), world.violations.len()), (1, 0));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_server_has_promised_to_others_are_refused_by_the_plan() {
    let bed = Testbed::new().await;
    bed.abilities.capacity.lock().unwrap().promised.insert(StackId(Uuid::from_u128(1)), 90);
    let refused = bed.platform.plans.deploy(&Actor::operator(), &Testbed::deploy("acme")).await.unwrap_err();
    assert_eq!(refused.code, Code::ConnectionsExceeded);
    assert!(refused.message.contains("25") && refused.message.contains("10 left"), "{}", refused.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_asked_for_with_what_the_stack_consists_of_and_ends_with_the_platform() {
    let bed = Testbed::new().await;
    bed.apply(Testbed::deploy("acme")).await;
    let stack = planned_stack(&bed).await;
    let query = LogQuery { of: "service.web".to_owned(), lines: Some(3), follow: true };
    let mut lines = bed.platform.logs.read(&Actor::operator(), stack, &query).await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap()[0].text, "service.web");
    bed.platform.stopping.cancel();
    assert!(lines.next().await.is_none(), "a stream must not hold up the end of the platform");
    {
        let asked = bed.abilities.asked.lock().unwrap();
        assert_eq!((asked.len(), asked[0].lines, asked[0].scheduled), (1, 3, false));
        assert!(asked[0].resources.iter().any(|resource| resource.id.0 == "service.web"));
    }
    let unknown = LogQuery { of: "service.wbe".to_owned(), lines: None, follow: false };
    let refused = bed.platform.logs.read(&Actor::operator(), stack, &unknown).await.err().unwrap();
    assert_eq!(refused.code, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_orphans_from_the_stacks_of_another_platform() {
    let bed = Testbed::new().await;
    bed.apply(Testbed::deploy("acme")).await;
    let [orphan, theirs] = [Uuid::new_v4(), Uuid::new_v4()].map(StackId);
    bed.world(|world| {
        let place = world.objects.keys().next().unwrap().clone();
        let mut left = world.objects[&place][0].clone();
        for (number, stack) in [orphan, theirs].into_iter().enumerate() {
            left.mark = Some(stack);
            left.id = format!("left-{number}");
            world.objects.insert((place.0, format!("left-{number}")), vec![left.clone()]);
        }
    });
    bed.abilities.platforms.lock().unwrap().insert(theirs, Uuid::from_u128(7));
    let findings = bed.platform.doctor.findings(&Actor::operator(), true).await.unwrap();
    let orphans: Vec<_> = findings.iter().filter(|finding| finding.subject == "orphan").collect();
    assert_eq!(orphans.len(), 1, "{findings:?}");
    assert!(orphans[0].level == Level::Error && orphans[0].message.contains(&orphan.to_string()));
    let subjects: Vec<&str> = findings.iter().map(|finding| finding.subject.as_str()).collect();
    for expected in ["world", "postgresql", "postgresql access", "other platforms", "drift notes/tenant/acme"] {
        assert!(subjects.contains(&expected), "{expected} is not among {subjects:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_whose_target_has_changed_since_is_outdated() {
    let bed = Testbed::new().await;
    let operator = Actor::operator();
    let planned = bed.platform.plans.deploy(&operator, &Testbed::deploy("acme")).await.unwrap();
    // As it would have been made while the database server was elsewhere.
    bed.write("UPDATE plans SET plan = replace(plan::text, 'nowhere', 'elsewhere')::json").await;
    let apply = |plan: Uuid| Apply::Plan { plan };
    let refused = bed.platform.operations.apply(&operator, &apply(planned.plan.id), None).await.unwrap_err();
    assert_eq!(refused.code, Code::PlanOutdated, "{refused:?}");
    let again = bed.platform.plans.deploy(&operator, &Testbed::deploy("acme")).await.unwrap();
    let begun = bed.platform.operations.apply(&operator, &apply(again.plan.id), None).await.unwrap();
    assert_eq!(bed.end_of(begun.id).await.state, OperationState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_has_changed_since_it_was_seen_is_not_destroyed() {
    let bed = Testbed::new().await;
    let operator = Actor::operator();
    bed.apply(Testbed::deploy("acme")).await;
    let seen = bed.platform.stacks.list(&operator, &Default::default()).await.unwrap().items.remove(0);
    let plan = bed.platform.plans.destroy(&operator, seen.id, false).await.unwrap().plan;
    bed.apply(Deploy {
        definition: Some(NOTES.replace("connections = 20", "connections = 10")),
        ..Testbed::deploy("acme")
    })
    .await;
    let destroy =
        |generation, plan| Destroy { confirm: "acme".to_owned(), dump: false, plan, generation: Some(generation) };
    let attempt = async |request: Destroy| bed.platform.operations.destroy(&operator, seen.id, &request).await;
    let refused = attempt(destroy(seen.generation, None)).await.unwrap_err();
    assert_eq!(refused.code, Code::PreconditionFailed);
    let now = bed.platform.stacks.get(&operator, seen.id).await.unwrap().generation;
    assert!(now > seen.generation);
    // As where a deploy ends between the look at the stack and the plan.
    let refused = attempt(destroy(now, Some(plan.id))).await.unwrap_err();
    assert_eq!(refused.code, Code::PreconditionFailed);
    let begun = attempt(destroy(now, None)).await.unwrap();
    assert_eq!(bed.end_of(begun.id).await.state, OperationState::Succeeded);
}

async fn planned_stack(bed: &Testbed) -> StackId {
    bed.platform.stacks.list(&Actor::operator(), &Default::default()).await.unwrap().items[0].id
}
