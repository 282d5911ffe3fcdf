//! The order of steps, for any plan.

use std::collections::{BTreeMap, BTreeSet};

use freehold_engine::testing::World;
use freehold_engine::{Lookup, Step, StepId, Verb, steps};
use freehold_graph::{Resource, ResourceId, ResourceKind, Run, Value};
use freehold_plan::{Action, Change, Plan, Purpose};
use proptest::prelude::*;

use crate::fixture::{Known, STACK, Shape, plan};

/// A plan of any changes with any dependencies (on those before them), and a job for each service.
fn any_plan() -> impl Strategy<Value = Plan> {
    let kinds = prop::sample::select(vec![
        ResourceKind::StoreSecret,
        ResourceKind::PostgresRoles,
        ResourceKind::PostgresDatabase,
        ResourceKind::LocalService,
        ResourceKind::LocalRoute,
        ResourceKind::Deployment,
        ResourceKind::HorizontalPodAutoscaler,
    ]);
    let actions = prop::sample::select(vec![
        Action::Create,
        Action::Update,
        Action::Replace,
        Action::Adopt,
        Action::Delete,
        Action::NoOp,
    ]);
    let line = (kinds, actions, any::<u16>(), any::<bool>());
    let purpose = prop::sample::select(vec![
        Purpose::Deploy,
        Purpose::Rollback { to: 1 },
        Purpose::Destroy { dump: true },
        Purpose::Destroy { dump: false },
    ]);
    (prop::collection::vec(line, 0..12), purpose, any::<u16>()).prop_map(|(lines, purpose, needs)| {
        let mut plan =
            plan(&World::default(), &Known::default(), Purpose::Deploy, &Shape::default().graph(), false).unwrap();
        plan.purpose = purpose;
        let mut ids: Vec<ResourceId> = Vec::new();
        for (number, (kind, action, needs, former)) in lines.into_iter().enumerate() {
            let action = if matches!(purpose, Purpose::Destroy { .. }) { Action::Delete } else { action };
            let mut id = ResourceId::new(kind.word(), format!("n{number}"));
            // Sometimes it is what an earlier one was called before.
            if let (Action::Delete, true, Some(other)) = (action, former, ids.last()) {
                id = ResourceId(format!("{other}@old"));
            }
            let chosen = ids.iter().enumerate().filter(|(place, _)| needs >> place & 1 == 1);
            let depends_on = chosen.map(|(_, id)| id.clone()).filter(|other| !id.0.starts_with(&other.0)).collect();
            plan.changes.insert(id.clone(), change(&id, kind, action, depends_on));
            ids.push(id);
        }
        let services: BTreeSet<ResourceId> = ids.iter().filter(|id| id.word() == "service").cloned().collect();
        for job in ["a", "b"].into_iter().filter(|_| !matches!(purpose, Purpose::Destroy { .. })) {
            let shift = usize::from(job == "b");
            let chosen = ids.iter().enumerate().filter(|(place, _)| needs >> (place + shift) & 1 == 1);
            // One after the other, half of the time.
            let earlier = (job == "b" && needs % 2 == 0).then(|| ResourceId::new("job", "a"));
            let depends_on = chosen.map(|(_, id)| id.clone()).chain(earlier).collect();
            let id = ResourceId::new("job", job);
            let run = Run {
                id: id.clone(),
                provider: freehold_graph::ProviderName::Local,
                body: Value::Null,
                due: freehold_graph::Due::Revision,
                depends_on,
                before: services.clone(),
            };
            plan.runs.insert(id, run);
        }
        plan
    })
}

fn change(id: &ResourceId, kind: ResourceKind, action: Action, depends_on: BTreeSet<ResourceId>) -> Change {
    let loses_data = kind == ResourceKind::PostgresDatabase && matches!(action, Action::Delete | Action::Replace);
    let resource =
        Resource { id: id.clone(), kind, identity: id.0.clone(), body: Value::Null, depends_on: depends_on.clone() };
    Change {
        id: id.clone(),
        kind,
        identity: id.0.clone(),
        action,
        fields: Vec::new(),
        reasons: Vec::new(),
        resource,
        desired: None,
        observed: None,
        fingerprint: None,
        object: None,
        depends_on,
        loses_data,
        takes: Vec::new(),
        foreign_fields: Vec::new(),
    }
}

/// An order in which the steps can be done; `None` if they wait for each other in a circle.
fn step(id: &str) -> StepId {
    id.parse().unwrap()
}

fn order(steps: &BTreeMap<StepId, Step>) -> Option<Vec<StepId>> {
    let mut done: Vec<StepId> = Vec::new();
    while done.len() < steps.len() {
        let next = steps
            .values()
            .find(|step| !done.contains(&step.id) && step.depends_on.iter().all(|other| done.contains(other)))?;
        done.push(next.id.clone());
    }
    Some(done)
}

/// All that a step waits for, directly or not.
fn behind(steps: &BTreeMap<StepId, Step>, id: &StepId) -> BTreeSet<StepId> {
    let mut found = BTreeSet::new();
    let mut open = vec![id.clone()];
    while let Some(id) = open.pop() {
        for other in &steps[&id].depends_on {
            if found.insert(other.clone()) {
                open.push(other.clone());
            }
        }
    }
    found
}

fn of_change(change: &Change) -> Option<StepId> {
    let verb = match change.action {
        Action::Create => Verb::Create,
        Action::Update => Verb::Update,
        Action::Replace => Verb::Replace,
        Action::Adopt => Verb::Adopt,
        Action::Delete => Verb::Delete,
        Action::NoOp => return None,
    };
    Some(StepId::new(verb, &change.id))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_has_an_order_with_verify_last(plan in any_plan()) {
        let steps = steps(&plan);
        let order = order(&steps);
        prop_assert!(order.is_some(), "{steps:#?}");
        let done: Vec<StepId> = order.unwrap().into_iter().filter(|id| steps[id].verb != Verb::Lift).collect();
        prop_assert_eq!(steps[done.last().unwrap()].verb, Verb::Verify);
        let changes = plan.changes.values().filter_map(of_change).collect::<BTreeSet<_>>();
        let kept = steps.values().filter(|step| {
            !matches!(step.verb, Verb::Run | Verb::Dump | Verb::Fence | Verb::Lift | Verb::Verify)
        });
        prop_assert_eq!(kept.map(|step| step.id.clone()).collect::<BTreeSet<_>>(), changes);
    }

    #[test]
    fn a_job_runs_after_those_that_it_is_after(plan in any_plan()) {
        let steps = steps(&plan);
        for run in plan.runs.values() {
            let behind = behind(&steps, &StepId::new(Verb::Run, &run.id));
            for earlier in run.depends_on.iter().filter(|id| plan.runs.contains_key(id)) {
                prop_assert!(behind.contains(&StepId::new(Verb::Run, earlier)), "{} before {earlier}", run.id);
            }
        }
    }

    #[test]
    fn what_is_applied_comes_after_what_it_depends_on(plan in any_plan()) {
        let steps = steps(&plan);
        for change in plan.changes.values().filter(|change| change.action != Action::Delete) {
            let Some(step) = of_change(change) else { continue };
            let behind = behind(&steps, &step);
            for other in change.depends_on.iter().filter_map(|id| plan.changes.get(id)) {
                if other.action != Action::Delete {
                    prop_assert!(of_change(other).is_none_or(|other| behind.contains(&other)), "{step} before {}", other.id);
                }
            }
        }
    }

    #[test]
    fn a_thing_is_deleted_after_all_that_depends_on_it(plan in any_plan()) {
        let steps = steps(&plan);
        for change in plan.changes.values().filter(|change| change.action == Action::Delete) {
            let behind = behind(&steps, &of_change(change).unwrap());
            for other in plan.changes.values().filter(|other| other.action == Action::Delete && other.id != change.id) {
                if other.depends_on.contains(&change.id) {
                    prop_assert!(behind.contains(&of_change(other).unwrap()), "{} before {}", change.id, other.id);
                }
            }
        }
    }

    #[test]
    fn data_is_dumped_before_it_is_lost_unless_nobody_wants_it(plan in any_plan()) {
        let steps = steps(&plan);
        for change in plan.changes.values().filter(|change| change.loses_data) {
            let dump = StepId::new(Verb::Dump, &change.id);
            let behind = behind(&steps, &of_change(change).unwrap());
            let wanted = plan.purpose != Purpose::Destroy { dump: false };
            prop_assert_eq!(behind.contains(&dump), wanted);
            prop_assert_eq!(steps.contains_key(&dump), wanted);
        }
    }
}

#[test]
fn a_service_waits_for_the_job_and_the_job_for_the_database() {
    let world = World::default();
    let plan = plan(&world, &Known::default(), Purpose::Deploy, &Shape::guestbook(1).graph(), false).unwrap();
    let steps = steps(&plan);
    let job = step("run/job.migrate");
    assert!(steps[&job].depends_on.contains(&step("create/database.main")));
    assert!(steps[&step("create/service.web")].depends_on.contains(&job));
    assert!(!behind(&steps, &step("create/schedule.digest")).contains(&job));
}

#[test]
fn an_autoscaler_goes_before_the_deployment_is_changed_and_after_the_jobs() {
    let mut plan =
        plan(&World::default(), &Known::default(), Purpose::Deploy, &Shape::guestbook(1).graph(), false).unwrap();
    let (web, scaler) = (ResourceId::new("deployment", "web"), ResourceId::new("horizontalpodautoscaler", "web"));
    let database = [ResourceId::new("database", "main")].into();
    plan.changes.insert(web.clone(), change(&web, ResourceKind::Deployment, Action::Update, database));
    let kind = ResourceKind::HorizontalPodAutoscaler;
    plan.changes.insert(scaler.clone(), change(&scaler, kind, Action::Delete, [web.clone()].into()));
    for run in plan.runs.values_mut() {
        run.before.insert(web.clone());
    }
    let steps = steps(&plan);
    let gone = StepId::new(Verb::Delete, &scaler);
    assert!(steps[&StepId::new(Verb::Update, &web)].depends_on.contains(&gone));
    assert!(behind(&steps, &gone).contains(&step("run/job.migrate")), "until then, the old version serves");
    assert!(order(&steps).is_some());
}

/// Found by chance in `every_plan_has_an_order_with_verify_last`, once in some ten thousand plans.
#[test]
fn a_former_self_is_found_behind_the_name_that_it_shares() {
    let mut plan =
        plan(&World::default(), &Known::default(), Purpose::Deploy, &Shape::default().graph(), false).unwrap();
    plan.changes.clear();
    plan.runs.clear();
    for (name, action, needs) in [
        ("n0", Action::Replace, &[][..]),
        ("n1", Action::Delete, &[]),
        ("n1@old", Action::Delete, &["n0"]),
        ("n3", Action::Create, &["n0"]),
        // It may depend on either of the two that were called n1.
        ("n3@old", Action::Delete, &["n1"]),
    ] {
        let id = ResourceId::new("secret", name);
        let needs = needs.iter().map(|name| ResourceId::new("secret", name)).collect();
        plan.changes.insert(id.clone(), change(&id, ResourceKind::StoreSecret, action, needs));
    }
    assert!(order(&steps(&plan)).is_some());
}

#[test]
fn a_job_that_uses_a_service_comes_after_it() {
    let world = World::default();
    let mut graph = Shape::guestbook(1).graph();
    graph.runs.values_mut().next().unwrap().depends_on.insert(ResourceId::new("service", "web"));
    let steps = steps(&plan(&world, &Known::default(), Purpose::Deploy, &graph, false).unwrap());
    assert!(order(&steps).is_some());
    let job = step("run/job.migrate");
    assert!(steps[&job].depends_on.contains(&step("create/service.web")));
}

#[test]
fn an_old_host_name_is_given_up_right_before_the_new_one_is_taken() {
    let mut world = World::default();
    let mut known = Known::default();
    let old = Shape::guestbook(1);
    for resource in old.graph().resources.into_values() {
        world.intrude(resource.kind, &resource.identity, resource.body.clone());
        world.objects.get_mut(&(resource.kind, resource.identity.clone())).unwrap()[0].mark = Some(STACK);
        let object = world.observe(STACK, &Lookup::from(&resource)).map(|seen| seen.object);
        known.recorded.insert(resource.id.clone(), freehold_plan::Recorded { resource, object });
    }
    let mut new = Shape::guestbook(2);
    new.routes.insert("web", (1, 2));
    let steps = steps(&plan(&world, &known, Purpose::Deploy, &new.graph(), false).unwrap());
    let delete = &steps[&step("delete/route.web@web1.localhost")];
    assert!(delete.depends_on.contains(&step("update/service.web")));
    assert!(steps[&step("create/route.web")].depends_on.contains(&delete.id));
}

/// Until the new version has proved itself, the one before may have to take over again.
#[test]
fn former_logins_are_closed_after_the_verification_and_with_a_stack_they_go_before_it() {
    let world = World::default();
    let mut plan = plan(&world, &Known::default(), Purpose::Deploy, &Shape::guestbook(1).graph(), false).unwrap();
    let logins = ResourceId::new("logins", "main");
    let needs: std::collections::BTreeSet<_> = [ResourceId::new("service", "web")].into();
    let line = |action| change(&logins, ResourceKind::PostgresLogins, action, needs.clone());
    plan.changes.insert(logins.clone(), line(Action::Update));
    let gone = ResourceId::new("service", "gone");
    plan.changes.insert(gone.clone(), change(&gone, ResourceKind::LocalService, Action::Delete, [].into()));
    let found = steps(&plan);
    assert!(order(&found).is_some());
    let close = StepId::new(Verb::Update, &logins);
    let verify = found.values().find(|step| step.verb == Verb::Verify).unwrap();
    assert_eq!(found[&close].depends_on, [verify.id.clone()].into());
    assert!(!verify.depends_on.contains(&close));
    assert!(behind(&found, &close).contains(&StepId::new(Verb::Delete, &gone)));
    plan.changes.insert(logins.clone(), line(Action::Delete));
    let found = steps(&plan);
    assert!(order(&found).is_some());
    let verify = found.values().find(|step| step.verb == Verb::Verify).unwrap();
    assert!(verify.depends_on.contains(&StepId::new(Verb::Delete, &logins)));
}

#[tokio::test(start_paused = true)]
async fn a_destroy_stops_everybody_then_dumps_and_only_then_deletes() {
    let mut site = crate::shell::Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    let plan = site.plan(Purpose::Destroy { dump: true }, &Shape::default());
    let steps = steps(&plan);
    let of = |verb: Verb| steps.values().filter(move |step| step.verb == verb).map(|step| step.id.clone());
    let dump = of(Verb::Dump).next().unwrap();
    let fences: BTreeSet<StepId> = of(Verb::Fence).collect();
    assert_eq!(
        fences.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["fence/roles.main", "fence/schedule.digest", "fence/service.web"]
    );
    assert_eq!(behind(&steps, &dump), fences, "before the dump nothing is done but the fence");
    for delete in of(Verb::Delete) {
        assert!(behind(&steps, &delete).contains(&dump), "{delete} before the dump");
    }
    let mut older = plan.clone();
    older.layout = 0;
    let older = freehold_engine::steps(&older);
    assert!(
        older.values().all(|step| !matches!(step.verb, Verb::Fence | Verb::Lift)),
        "an operation of an older release"
    );
}
