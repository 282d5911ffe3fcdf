//! The failure matrix, through the real shell: every step of every kind of plan, with everything that can go wrong with it. Each
//! case is gone through twice: once the work is taken up again, once all is taken away.

use freehold_engine::testing::{Fault, complete};
use freehold_engine::{Outcome, Status, Step, StepId, Verb, steps};
use freehold_graph::{ResourceKind, Value};
use freehold_plan::{Plan, Purpose};
use tokio_util::sync::CancellationToken;

use crate::fixture::Shape;
use crate::shell::Site;

/// A kind of plan, and how to get to where it is made.
struct Kind {
    name: &'static str,
    before: Vec<Shape>,
    foreign_database: bool,
    purpose: Purpose,
    shape: Shape,
}

fn kinds() -> Vec<Kind> {
    let kind = |name, before: &[Shape], purpose, shape: &Shape| {
        let (before, shape) = (before.to_vec(), shape.clone());
        Kind { name, before, foreign_database: false, purpose, shape }
    };
    let (first, second) = (Shape::guestbook(1), Shape::guestbook(2));
    let mut replaced = Shape::guestbook(2);
    replaced.databases.insert("main", (1, 2));
    replaced.routes.insert("web", (1, 2));
    replaced.schedules.clear();
    let mut rotated = Shape::guestbook(1);
    rotated.logins.insert("main", 1);
    let destroy = |dump| Purpose::Destroy { dump };
    vec![
        kind("create", &[], Purpose::Deploy, &first),
        kind("update", std::slice::from_ref(&first), Purpose::Deploy, &second),
        kind("replace", std::slice::from_ref(&first), Purpose::Deploy, &replaced),
        kind("no-op", std::slice::from_ref(&first), Purpose::Deploy, &first),
        kind("rollback", &[first.clone(), second.clone()], Purpose::Rollback { to: 1 }, &first),
        kind("destroy", std::slice::from_ref(&first), destroy(true), &Shape::default()),
        kind("destroy after a rotation", std::slice::from_ref(&rotated), destroy(true), &Shape::default()),
        kind("destroy without a dump", std::slice::from_ref(&first), destroy(false), &Shape::default()),
        Kind { foreign_database: true, ..kind("adopt", &[], Purpose::Deploy, &first) },
    ]
}

/// What goes wrong with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disruption {
    /// With its call.
    Call(Fault),
    /// The process is killed when its call hangs.
    Killed(Fault),
    /// The process is killed before this is written of it.
    KilledBefore(Status),
}

const DISRUPTIONS: [Disruption; 13] = [
    Disruption::Call(Fault::RejectedBefore),
    Disruption::Call(Fault::RejectedAfter),
    Disruption::Call(Fault::RetryableBefore),
    Disruption::Call(Fault::RetryableAfter),
    Disruption::Call(Fault::UnknownBefore),
    Disruption::Call(Fault::UnknownAfter),
    Disruption::Call(Fault::HangsBefore),
    Disruption::Call(Fault::HangsAfter),
    Disruption::Call(Fault::Repeated),
    Disruption::Killed(Fault::HangsBefore),
    Disruption::Killed(Fault::HangsAfter),
    Disruption::KilledBefore(Status::Started),
    Disruption::KilledBefore(Status::Done),
];

impl Disruption {
    /// The verification calls nothing that could go wrong for good, and says only how it ended.
    fn can_happen_to(self, step: &Step) -> bool {
        // Lifting a fence has a matrix of its own.
        step.verb != Verb::Lift && (step.verb != Verb::Verify || self == Self::KilledBefore(Status::Done))
    }

    /// Whether the operation gets over it by itself.
    fn is_overcome(self, step: &Step, call: usize) -> bool {
        match self {
            Self::Call(Fault::RejectedBefore | Fault::RejectedAfter | Fault::HangsBefore) => false,
            // Nobody can look whether a job has run: its provider can be asked again, but its time is over.
            // And a replacement whose first half took all the time is only half done.
            Self::Call(Fault::HangsAfter) => match step.verb {
                Verb::Run | Verb::Dump | Verb::Fence => false,
                Verb::Replace => call == 2,
                _ => true,
            },
            _ => true,
        }
    }
}

async fn site(kind: &Kind) -> Site {
    let mut site = Site::new();
    for shape in &kind.before {
        assert_eq!(site.deploy(shape).await, Outcome::Succeeded);
    }
    if kind.foreign_database {
        site.world.lock().unwrap().intrude(ResourceKind::PostgresDatabase, "acme__main", Value::text("theirs"));
    }
    site
}

/// Runs the plan until it is finished, however often the process is killed.
async fn endure(site: &mut Site, plan: &Plan, step: &StepId, disruption: Disruption, call: usize) -> Outcome {
    for _ in 1..call {
        site.faults.plan(step.clone(), Fault::None);
    }
    match disruption {
        Disruption::Call(fault) | Disruption::Killed(fault) => site.faults.plan(step.clone(), fault),
        Disruption::KilledBefore(status) => site.store.stop_before(step.clone(), status),
    }
    let (operation, cancel) = (site.next_operation(), CancellationToken::new());
    let mut kills = 0;
    let outcome = loop {
        let parts = site.parts.clone();
        tokio::select! {
            outcome = complete(operation, plan, &parts, &cancel) => break outcome.unwrap(),
            () = site.store.stopped() => {}
            () = site.faults.hung.notified(), if matches!(disruption, Disruption::Killed(_)) => {}
        }
        kills += 1;
        site.store.forget_leases();
    };
    let killed = !matches!(disruption, Disruption::Call(_));
    assert_eq!(kills, i32::from(killed), "{disruption:?} of {step}");
    assert!(site.faults.are_over() && !site.store.will_stop(), "{disruption:?} of {step} did not happen");
    outcome
}

async fn case(kind: &Kind, step: &Step, disruption: Disruption, call: usize, destroy: bool) {
    let name = format!("{}: {disruption:?} of {}, call {call}, then destroy: {destroy}", kind.name, step.id);
    let mut site = site(kind).await;
    let before = site.world.lock().unwrap().data();
    let plan = site.plan_and_adopt(kind.purpose, &kind.shape);
    let outcome = endure(&mut site, &plan, &step.id, disruption, call).await;
    let expected = if disruption.is_overcome(step, call) { Outcome::Succeeded } else { Outcome::Failed };
    assert_eq!(outcome, expected, "{name}");
    site.settle(&plan, &kind.shape, outcome);
    if !matches!(step.verb, Verb::Delete | Verb::Verify) {
        let world = site.world.lock().unwrap();
        assert!(outcome == Outcome::Succeeded || world.fenced.is_empty(), "{name}: fenced: {:?}", world.fenced);
    }
    if outcome == Outcome::Succeeded {
        site.assert_is(&kind.shape);
    }
    if !plan.changes.values().any(|change| change.loses_data) {
        assert!(before.is_subset(&site.world.lock().unwrap().data()), "{name}: data is lost");
    } else if kind.purpose != (Purpose::Destroy { dump: false }) {
        let world = site.world.lock().unwrap();
        assert!(before.iter().all(|data| world.data().contains(data) || world.dumps.contains(data)), "{name}: no dump");
    }
    if destroy {
        let plan = site.plan(Purpose::Destroy { dump: true }, &Shape::default());
        let foreign_is_left =
            kind.foreign_database
                && !site.known.recorded.values().any(|recorded| {
                    recorded.object.is_some() && recorded.resource.kind == ResourceKind::PostgresDatabase
                });
        let operation = site.next_operation();
        assert_eq!(
            complete(operation, &plan, &site.parts, &CancellationToken::new()).await,
            Ok(Outcome::Succeeded),
            "{name}"
        );
        site.assert_clean();
        let left = site.world.lock().unwrap().objects.len();
        assert!(left == 0 || (foreign_is_left && left == 1), "{name}: {left} are left");
    } else {
        let plan = site.plan_and_adopt(kind.purpose, &kind.shape);
        let operation = site.next_operation();
        assert_eq!(
            complete(operation, &plan, &site.parts, &CancellationToken::new()).await,
            Ok(Outcome::Succeeded),
            "{name}"
        );
        site.assert_is(&kind.shape);
    }
}

/// Which of a step's calls: a replacement has two.
fn calls(step: &Step, disruption: Disruption) -> std::ops::RangeInclusive<usize> {
    let second = step.verb == Verb::Replace && !matches!(disruption, Disruption::KilledBefore(_));
    1..=if second { 2 } else { 1 }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_to_a_step_the_work_can_be_taken_up_or_taken_away() {
    let mut cases = 0;
    for kind in kinds() {
        let site = site(&kind).await;
        let plan = site.plan_and_adopt(kind.purpose, &kind.shape);
        for step in steps(&plan).values() {
            for disruption in DISRUPTIONS.into_iter().filter(|disruption| disruption.can_happen_to(step)) {
                for (call, destroy) in calls(step, disruption).flat_map(|call| [(call, false), (call, true)]) {
                    case(&kind, step, disruption, call, destroy).await;
                    cases += 1;
                }
            }
        }
    }
    println!(
        "failure matrix: {cases} cases, {} kinds of plans, orphans 0, duplicates 0, runs done twice 0",
        kinds().len()
    );
    assert!(cases > 500, "{cases}");
}

/// A destroy whose dump fails, and then something happens to the lifting of a fence.
async fn lifting_case(step: &Step, disruption: Disruption) {
    let name = format!("{disruption:?} of {}", step.id);
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    let before = site.world.lock().unwrap().objects.clone();
    let plan = site.plan(Purpose::Destroy { dump: true }, &Shape::default());
    site.faults.plan("dump/database.main".parse().unwrap(), Fault::RejectedBefore);
    let outcome = endure(&mut site, &plan, &step.id, disruption, 1).await;
    // The record that lifting begins is written together with the dump's failure: if it is lost, the dump is tried again, and succeeds.
    if outcome == Outcome::Succeeded && disruption == Disruption::KilledBefore(Status::Started) {
        return site.assert_clean();
    }
    assert_eq!(outcome, Outcome::Failed, "{name}");
    site.settle(&plan, &Shape::guestbook(1), Outcome::Failed);
    {
        let world = site.world.lock().unwrap();
        assert_eq!(world.objects, before, "{name}");
        let lifted = disruption.is_overcome(step, 1)
            || matches!(disruption, Disruption::Call(Fault::HangsAfter | Fault::RejectedAfter));
        assert_eq!(world.fenced.is_empty(), lifted, "{name}: fenced: {:?}", world.fenced);
    }
    // What could not be lifted is seen by the next plan, and either mended or taken away.
    assert_eq!(site.deploy(&Shape::guestbook(1)).await, Outcome::Succeeded, "{name}");
    site.assert_is(&Shape::guestbook(1));
    assert!(site.world.lock().unwrap().fenced.is_empty(), "{name}");
    assert_eq!(site.destroy().await, Outcome::Succeeded, "{name}");
    site.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_when_a_fence_is_lifted_nothing_is_deleted_and_the_next_deploy_mends_it() {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    let plan = site.plan(Purpose::Destroy { dump: true }, &Shape::default());
    let lifts: Vec<Step> = steps(&plan).into_values().filter(|step| step.verb == Verb::Lift).collect();
    assert_eq!(lifts.len(), 3, "roles, service, schedule: {lifts:?}");
    for step in &lifts {
        for disruption in DISRUPTIONS {
            lifting_case(step, disruption).await;
        }
    }
}
