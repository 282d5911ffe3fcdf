//! What "ready" and "verified" rest on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use freehold_engine::testing::complete;
use freehold_engine::{OperationId, Outcome, Readiness, Record};
use freehold_graph::{Resource, ResourceId, ResourceKind, Value};
use freehold_plan::{Plan, Purpose};
use freehold_problem::Code;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Shape, plan};
use crate::shell::Site;

/// Two services, one of which says so often that it is not ready yet.
fn two_services(site: &Site, slow: u32) -> Plan {
    site.world.lock().unwrap().slow.insert("acme/web".to_owned(), slow);
    let services = BTreeMap::from([("api", 1), ("web", 1)]);
    site.plan(Purpose::Deploy, &Shape { services, ..Shape::default() })
}

fn says(site: &Site, service: &str, sayings: impl IntoIterator<Item = Readiness>) {
    let mut world = site.world.lock().unwrap();
    world.sayings.insert(format!("acme/{service}"), VecDeque::from_iter(sayings));
}

fn was_told_ready(site: &Site, operation: OperationId) -> bool {
    site.store.journal(operation).contains(&Record::Ready)
}

fn settling() -> Readiness {
    Readiness::Settling { remaining: Duration::from_millis(500) }
}

#[tokio::test(start_paused = true)]
async fn what_was_ready_and_fell_while_others_were_waited_for_is_no_success() {
    let mut site = Site::new();
    let plan = two_services(&site, 20);
    says(&site, "api", [Readiness::Ready, Readiness::failed("it exited")]);
    let operation = site.next_operation();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Failed));
    assert_eq!(site.failure(operation).lines, ["service.api: it exited"]);
    assert!(!was_told_ready(&site, operation));
}

#[tokio::test(start_paused = true)]
async fn what_fell_and_got_up_again_while_others_were_waited_for_is_waited_for() {
    let mut site = Site::new();
    let plan = two_services(&site, 20);
    says(&site, "api", [Readiness::Ready, Readiness::Waiting("it is starting again".to_owned())]);
    let operation = site.next_operation();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Succeeded));
    assert!(site.world.lock().unwrap().sayings.values().all(VecDeque::is_empty));
}

#[tokio::test(start_paused = true)]
async fn ready_is_told_when_all_are_ready_at_the_same_time() {
    let mut site = Site::new();
    let plan = two_services(&site, 20);
    let waiting = || Readiness::Waiting("it is starting again".to_owned());
    says(&site, "api", [settling(), Readiness::Ready, waiting(), settling(), settling()]);
    let operation = site.next_operation();
    let cancel = CancellationToken::new();
    let (outcome, left) = tokio::join!(complete(operation, &plan, &site.parts, &cancel), async {
        while !was_told_ready(&site, operation) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        site.world.lock().unwrap().sayings["acme/api"].len()
    });
    assert_eq!(outcome, Ok(Outcome::Succeeded));
    assert!(left <= 2, "it was told ready before it was starting again: {left} sayings were left");
}

/// A plan that need not settle, of a service that settles ten times.
async fn hurried(logins: bool) -> usize {
    let mut site = Site::new();
    let shape = Shape { services: BTreeMap::from([("web", 1)]), ..Shape::default() };
    let mut graph = shape.graph();
    if logins {
        let id = ResourceId::new("logins", "main");
        let (kind, identity, body) =
            (ResourceKind::PostgresLogins, "acme__main".to_owned(), Value::map([("open", Value::from(1_u32))]));
        graph.resources.insert(id.clone(), Resource { id, kind, identity, body, depends_on: [].into() });
    }
    let plan = plan(&site.world.lock().unwrap(), &site.known, Purpose::Deploy, &graph, false).unwrap();
    says(&site, "web", std::iter::repeat_with(settling).take(10));
    let operation = site.next_operation();
    let plan = Plan { settle: false, ..plan };
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Succeeded));
    let world = site.world.lock().unwrap();
    world.sayings["acme/web"].len()
}

#[tokio::test(start_paused = true)]
async fn former_logins_are_closed_only_when_the_version_before_will_not_take_over_again() {
    assert_eq!(hurried(false).await, 9);
    assert_eq!(hurried(true).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ready_yet_beside_what_failed_is_named_behind_it_without_a_reason() {
    let mut site = Site::new();
    let plan = two_services(&site, u32::MAX);
    let starting = || Readiness::Waiting("it is starting".to_owned());
    let fails = Readiness::failed_with(Code::CrashLoop, "it fails again and again");
    says(&site, "api", [starting(), starting(), starting(), fails]);
    let operation = site.next_operation();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Failed));
    let expected = ["service.api: FH0706: it fails again and again", "not ready yet either: service.web"];
    assert_eq!(site.failure(operation).lines, expected);
}
