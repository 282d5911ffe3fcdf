//! The asynchronous shell, in tokio's paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use freehold_engine::testing::{FakeProvider, FakeStore, Fault, Faults, Faulty, JobEnd, NoSecrets, World, complete};
use freehold_engine::{
    Context, Dependencies, OperationId, Outcome, Performed, Provider, ProviderError, Record, RunError, StepId, Task,
    Verb,
};
use freehold_graph::{ProviderName, ResourceId};
use freehold_plan::{Plan, Previous, Purpose};
use freehold_problem::Code;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Known, STACK, Shape, operation, plan};

pub(crate) const PROVIDERS: [ProviderName; 3] = [ProviderName::Store, ProviderName::Postgres, ProviderName::Local];

/// A fake world with a store and everything that an operation needs.
pub(crate) struct Site {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) parts: Arc<Dependencies>,
    pub(crate) known: Known,
    operations: u64,
}

impl Site {
    pub(crate) fn new() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let (store, faults) = (Arc::new(FakeStore::default()), Arc::new(Faults::default()));
        let providers = PROVIDERS.map(|name| -> Arc<dyn Provider> {
            let provider = FakeProvider::new(name, Arc::clone(&world), Duration::from_millis(10));
            Arc::new(Faulty::new(Arc::new(provider), Arc::clone(&faults)))
        });
        let parts = Dependencies::new(store.clone(), store.clone(), Arc::new(NoSecrets), providers);
        let parts = Arc::new(parts);
        Self { world, store, faults, parts, known: Known::default(), operations: 0 }
    }

    pub(crate) fn plan(&self, purpose: Purpose, shape: &Shape) -> Plan {
        plan(&self.world.lock().unwrap(), &self.known, purpose, &shape.graph(), false).unwrap()
    }

    pub(crate) fn plan_and_adopt(&self, purpose: Purpose, shape: &Shape) -> Plan {
        plan(&self.world.lock().unwrap(), &self.known, purpose, &shape.graph(), true).unwrap()
    }

    pub(crate) fn next_operation(&mut self) -> OperationId {
        self.operations += 1;
        operation(self.operations)
    }

    /// What the server does when an operation is over.
    pub(crate) fn settle(&mut self, plan: &Plan, shape: &Shape, outcome: Outcome) {
        self.known.recorded = self.store.resources();
        self.known.last_revision = plan.revision;
        self.known.generation += 1;
        if outcome == Outcome::Succeeded {
            let previous = Previous { revision: plan.revision, graph: shape.graph() };
            self.known.previous = (!matches!(plan.purpose, Purpose::Destroy { .. })).then_some(previous);
        }
    }

    pub(crate) async fn apply(&mut self, purpose: Purpose, shape: &Shape) -> Outcome {
        let plan = self.plan(purpose, shape);
        let outcome = complete(self.next_operation(), &plan, &self.parts, &CancellationToken::new()).await.unwrap();
        self.settle(&plan, shape, outcome);
        outcome
    }

    pub(crate) async fn deploy(&mut self, shape: &Shape) -> Outcome {
        self.apply(Purpose::Deploy, shape).await
    }

    pub(crate) async fn destroy(&mut self) -> Outcome {
        self.apply(Purpose::Destroy { dump: true }, &Shape::default()).await
    }

    /// Whether the world is exactly what a definition says, by a scan and by looking at each object.
    pub(crate) fn assert_is(&self, shape: &Shape) {
        let world = self.world.lock().unwrap();
        let graph = shape.graph();
        let owned: usize = PROVIDERS.iter().map(|provider| world.owned(*provider, None).len()).sum();
        assert_eq!(owned, graph.resources.len(), "{:?}", world.objects);
        for resource in graph.resources.values() {
            let seen = world.observe(STACK, &resource.into());
            assert_eq!(seen.map(|seen| seen.body), Some(resource.body.clone()), "{}", resource.id);
        }
        assert_eq!((world.duplicates, world.doubled_runs), (0, 0));
        assert_eq!(world.violations, Vec::<String>::new());
    }

    /// Waits until the operation's first effect is on its way.
    pub(crate) async fn until_started(store: &FakeStore, operation: OperationId) {
        let started = |record: &Record| matches!(record, Record::StepStarted { .. });
        while !store.journal(operation).iter().any(started) {
            sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn assert_clean(&self) {
        self.assert_is(&Shape::default());
    }

    pub(crate) fn failure(&self, operation: OperationId) -> freehold_problem::Problem {
        let failed = self.store.journal(operation).into_iter().find_map(|record| match record {
            Record::StepFailed { failure, .. } => Some(failure),
            _ => None,
        });
        failed.unwrap()
    }
}

pub(crate) fn step(id: &str) -> StepId {
    id.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stack_is_made_changed_rolled_back_and_taken_away() {
    let mut site = Site::new();
    let (first, second) = (Shape::guestbook(1), Shape::guestbook(2));
    assert_eq!(site.deploy(&first).await, Outcome::Succeeded);
    site.assert_is(&first);
    assert_eq!(site.deploy(&second).await, Outcome::Succeeded);
    site.assert_is(&second);
    assert_eq!(site.apply(Purpose::Rollback { to: 1 }, &first).await, Outcome::Succeeded);
    site.assert_is(&first);
    assert_eq!(site.world.lock().unwrap().runs.len(), 2, "a rollback runs no job");
    assert_eq!(site.destroy().await, Outcome::Succeeded);
    site.assert_clean();
    assert_eq!(site.world.lock().unwrap().dumps.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_journal_tells_each_step_once_and_ends_with_the_outcome() {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    let told = site.store.journal(operation(1));
    let done = told.iter().filter(|record| matches!(record, Record::StepDone { .. })).count();
    assert_eq!(done, 8, "{told:#?}");
    assert!(matches!(told.first(), Some(Record::Acquired { times: 1 })));
    assert!(matches!(told.last(), Some(Record::Finished { outcome: Outcome::Succeeded })));
}

#[tokio::test(start_paused = true)]
async fn a_plan_without_changes_changes_nothing() {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    let effects = site.world.lock().unwrap().effects.len();
    assert_eq!(site.deploy(&Shape::guestbook(1)).await, Outcome::Succeeded);
    assert_eq!(site.world.lock().unwrap().effects.len(), effects);
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_stops_its_dependants_and_the_old_version_stays() {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    site.world.lock().unwrap().job_ends.insert(ResourceId::new("job", "migrate"), JobEnd::Fails);
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(2));
    let operation = site.next_operation();
    let outcome = complete(operation, &plan, &site.parts, &CancellationToken::new()).await;
    assert_eq!(outcome, Ok(Outcome::Failed));
    assert_eq!(site.failure(operation).code, Code::JobFailed);
    let journal = site.store.journal(operation);
    let started = |id: &str| {
        journal.iter().any(|record| matches!(record, Record::StepStarted { step, .. } if step.to_string() == id))
    };
    assert!(!started("update/service.web"));
    assert!(started("update/schedule.digest"), "what doesn't depend on the job goes on");
}

#[tokio::test(start_paused = true)]
async fn what_changed_after_the_plan_is_not_touched() {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(2));
    for objects in site.world.lock().unwrap().objects.values_mut() {
        objects[0].body = freehold_graph::Value::text("changed by hand");
    }
    let effects = site.world.lock().unwrap().effects.len();
    let operation = site.next_operation();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Failed));
    assert_eq!(site.failure(operation).code, Code::PlanOutdated);
    assert_eq!(site.world.lock().unwrap().effects[effects..], []);
}

#[tokio::test(start_paused = true)]
async fn something_that_passes_is_tried_again() {
    let mut site = Site::new();
    for _ in 0..5 {
        site.faults.plan(step("create/database.main"), Fault::RetryableBefore);
    }
    assert_eq!(site.deploy(&Shape::guestbook(1)).await, Outcome::Succeeded);
    let journal = site.store.journal(operation(1));
    let begun = journal.iter().filter(
        |record| matches!(record, Record::StepStarted { step, .. } if step.to_string() == "create/database.main"),
    );
    assert_eq!(begun.count(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_returns_fails_its_step_at_the_deadline() {
    let mut site = Site::new();
    site.faults.plan(step("create/database.main"), Fault::HangsBefore);
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    let operation = site.next_operation();
    let before = Instant::now();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Failed));
    assert_eq!(site.failure(operation).code, Code::DeadlinePassed);
    assert!(before.elapsed() < Duration::from_secs(150), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_returns_but_took_effect_is_found_done_at_the_deadline() {
    let mut site = Site::new();
    site.faults.plan(step("create/database.main"), Fault::HangsAfter);
    assert_eq!(site.deploy(&Shape::guestbook(1)).await, Outcome::Succeeded);
    site.assert_is(&Shape::guestbook(1));
}

#[tokio::test(start_paused = true)]
async fn cancelling_lets_the_running_step_finish_and_begins_nothing_new() {
    let mut site = Site::new();
    site.faults.plan(step("create/roles.main"), Fault::Repeated);
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    let (operation, cancel) = (site.next_operation(), CancellationToken::new());
    let (outcome, ()) = tokio::join!(complete(operation, &plan, &site.parts, &cancel), async {
        Site::until_started(&site.store, operation).await;
        cancel.cancel();
    });
    assert_eq!(outcome, Ok(Outcome::Cancelled));
    let world = site.world.lock().unwrap().objects.keys().map(|(kind, _)| kind.word()).collect::<Vec<_>>();
    assert_eq!(world, ["secret", "roles"]);
    site.settle(&plan, &Shape::guestbook(1), Outcome::Cancelled);
    assert_eq!(site.deploy(&Shape::guestbook(1)).await, Outcome::Succeeded);
    site.assert_is(&Shape::guestbook(1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_minute_does_not_lose_an_effect() {
    let mut site = Site::new();
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    let operation = site.next_operation();
    let store = Arc::clone(&site.store);
    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(complete(operation, &plan, &site.parts, &cancel), async {
        Site::until_started(&store, operation).await;
        store.set_silent(true);
        sleep(Duration::from_secs(60)).await;
        store.set_silent(false);
    });
    assert_eq!(outcome, Ok(Outcome::Succeeded));
    site.assert_is(&Shape::guestbook(1));
    let away = |record: &Record| matches!(record, Record::Waiting { subject, reason: Some(_), milliseconds, .. } if subject.0 == "store" && *milliseconds > 30_000);
    let journal = site.store.journal(operation);
    let position = journal.iter().position(away).expect("those who watch learn why nothing happened");
    assert!(matches!(&journal[position + 1], Record::Waiting { subject, reason: None, .. } if subject.0 == "store"));
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_answer_was_lost_is_written_once() {
    let mut site = Site::new();
    site.store.lose_answers(3);
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    let operation = site.next_operation();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Succeeded));
    let journal = site.store.journal(operation);
    for (number, record) in journal.iter().enumerate() {
        assert!(!journal[..number].contains(record), "twice: {record:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_job_outlives_many_leases() {
    let mut site = Site::new();
    site.faults.plan(step("run/job.migrate"), Fault::HangsBefore);
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    let operation = site.next_operation();
    let before = Instant::now();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Failed));
    assert!(before.elapsed() >= Duration::from_secs(600), "it had its own time");
    let waits_for_the_store =
        |record: &Record| matches!(record, Record::Waiting { subject, .. } if subject.0 == "store");
    assert!(!site.store.journal(operation).iter().any(waits_for_the_store));
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_stops_at_once() {
    let mut site = Site::new();
    site.faults.plan(step("create/roles.main"), Fault::HangsBefore);
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    let operation = site.next_operation();
    let store = Arc::clone(&site.store);
    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(complete(operation, &plan, &site.parts, &cancel), async {
        sleep(Duration::from_millis(100)).await;
        store.steal();
    });
    assert_eq!(outcome, Err(RunError::LeaseLost));
}

#[tokio::test(start_paused = true)]
async fn who_wakes_up_late_does_nothing() {
    let mut site = Site::new();
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    let operation = site.next_operation();
    let (store, world) = (Arc::clone(&site.store), Arc::clone(&site.world));
    let cancel = CancellationToken::new();
    let (outcome, effects) = tokio::join!(complete(operation, &plan, &site.parts, &cancel), async {
        // The first effects are on their way: looked at after 10 ms, made after 20 ms.
        sleep(Duration::from_millis(15)).await;
        store.steal();
        tokio::time::advance(Duration::from_secs(40)).await;
        world.lock().unwrap().effects.len()
    });
    assert_eq!(outcome, Err(RunError::LeaseLost));
    assert_eq!((effects, site.world.lock().unwrap().effects.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_goes_on_where_it_was() {
    let mut site = Site::new();
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    let (operation, cancel) = (site.next_operation(), CancellationToken::new());
    let mut runs = 0;
    let outcome = loop {
        runs += 1;
        let limit = Duration::from_millis(15 * runs);
        match tokio::time::timeout(limit, complete(operation, &plan, &site.parts, &cancel)).await {
            Ok(outcome) => break outcome,
            Err(_) => site.store.forget_leases(),
        }
    };
    assert_eq!(outcome, Ok(Outcome::Succeeded));
    assert!(runs > 3);
    site.assert_is(&Shape::guestbook(1));
    assert_eq!(
        complete(operation, &plan, &site.parts, &cancel).await,
        Ok(Outcome::Succeeded),
        "a finished one tells how"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ready_in_time_is_named_with_its_reason() {
    let mut site = Site::new();
    site.world.lock().unwrap().slow.insert("acme/web".to_owned(), u32::MAX);
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    let operation = site.next_operation();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Failed));
    let failure = site.failure(operation);
    assert_eq!((failure.code, failure.lines), (Code::DeadlinePassed, vec!["service.web: it is starting".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn what_only_waits_for_a_cause_is_folded_below_it_and_named_once() {
    let mut site = Site::new();
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    for slow in ["acme/web", "web1.localhost"] {
        site.world.lock().unwrap().slow.insert(slow.to_owned(), u32::MAX);
    }
    let operation = site.next_operation();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Failed));
    let expected = ["service.web: it is starting", "waiting for these: route.web"];
    assert_eq!(site.failure(operation).lines, expected);
}

/// The guestbook is changed, and somebody changes its last line (the route) after the plan was made.
async fn outdated_in_its_last_line(purpose: Purpose, shape: &Shape) -> (Site, usize, OperationId) {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    let plan = site.plan(purpose, shape);
    let effects = {
        let mut world = site.world.lock().unwrap();
        let route = (freehold_graph::ResourceKind::LocalRoute, "web1.localhost".to_owned());
        world.objects.get_mut(&route).unwrap()[0].body = freehold_graph::Value::text("changed");
        world.effects.len()
    };
    let operation = site.next_operation();
    let outcome = complete(operation, &plan, &site.parts, &CancellationToken::new()).await;
    assert_eq!(outcome, Ok(Outcome::Failed));
    (site, effects, operation)
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_outdated_in_one_line_does_nothing_at_all_and_says_so() {
    let second = Shape::guestbook(2);
    for (purpose, shape) in [(Purpose::Deploy, &second), (Purpose::Destroy { dump: true }, &Shape::default())] {
        let (site, effects, operation) = outdated_in_its_last_line(purpose, shape).await;
        let world = site.world.lock().unwrap();
        assert_eq!(world.effects[effects..], [], "{purpose:?}");
        let failure = site.failure(operation);
        assert_eq!(failure.code, Code::PlanOutdated);
        assert!(failure.message.contains("web1.localhost"), "{}", failure.message);
        assert!(failure.help.unwrap().starts_with("nothing was done;"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_done_before_a_line_was_found_outdated_is_named() {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(2));
    // The job runs, and its call hangs until somebody has changed the service behind it.
    site.faults.plan(step("run/job.migrate"), Fault::UnknownAfter);
    let (operation, cancel, parts) = (site.next_operation(), CancellationToken::new(), site.parts.clone());
    let world = Arc::clone(&site.world);
    let meddle = async {
        while !site.store.journal(operation).iter().any(|record| matches!(record, Record::StepUnknown { .. })) {
            sleep(Duration::from_millis(1)).await;
        }
        let service = (freehold_graph::ResourceKind::LocalService, "acme/web".to_owned());
        world.lock().unwrap().objects.get_mut(&service).unwrap()[0].body = freehold_graph::Value::text("changed");
    };
    let (outcome, ()) = tokio::join!(complete(operation, &plan, &parts, &cancel), meddle);
    assert_eq!(outcome, Ok(Outcome::Failed));
    let help = site.failure(operation).help.unwrap();
    assert!(help.contains("run/job.migrate"), "{help}");
    assert!(!help.contains("nothing was done"), "{help}");
}

#[tokio::test(start_paused = true)]
async fn a_destroy_whose_dump_fails_deletes_nothing_starts_everything_again_and_says_so() {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    let before = site.world.lock().unwrap().objects.clone();
    site.faults.plan(step("dump/database.main"), Fault::RejectedBefore);
    let plan = site.plan(Purpose::Destroy { dump: true }, &Shape::default());
    let operation = site.next_operation();
    let outcome = complete(operation, &plan, &site.parts, &CancellationToken::new()).await;
    assert_eq!(outcome, Ok(Outcome::Failed));
    {
        let world = site.world.lock().unwrap();
        assert_eq!(world.objects, before);
        assert!(world.fenced.is_empty(), "{:?}", world.fenced);
    }
    let help = site.failure(operation).help.unwrap();
    assert!(help.starts_with("nothing was deleted"), "{help}");
    assert!(help.contains("--no-dump"), "{help}");
    let told = freehold_engine::failure::summary(&site.store.journal(operation)).unwrap();
    assert!(told.help.unwrap().starts_with("what was stopped for the dump is started again; nothing was deleted"));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_started_again_after_a_failed_dump_is_told_and_not_said_to_run() {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    site.faults.plan(step("dump/database.main"), Fault::RejectedBefore);
    // It is running again, but doesn't get ready.
    site.faults.plan(step("lift/service.web"), Fault::RejectedAfter);
    let plan = site.plan(Purpose::Destroy { dump: true }, &Shape::default());
    let operation = site.next_operation();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Failed));
    let told = freehold_engine::failure::summary(&site.store.journal(operation)).unwrap();
    let words = format!("{} {}", told.lines.join(" "), told.help.unwrap());
    assert!(words.contains("lift/service.web has failed, so this doesn't work again yet"), "{words}");
    assert!(!words.contains("still stopped") && !words.contains("is started again"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_not_answered_for_an_hour_does_not_fill_the_journal() {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    for _ in 0..100 {
        site.faults.plan(step("dump/database.main"), Fault::UnknownBefore);
    }
    let plan = site.plan(Purpose::Destroy { dump: true }, &Shape::default());
    let operation = site.next_operation();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Succeeded));
    let journal = site.store.journal(operation);
    let unknown = journal.iter().filter(|record| matches!(record, Record::StepUnknown { .. })).count();
    assert_eq!(unknown, 20);
    site.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_deploy_whose_dump_fails_keeps_the_database_and_does_not_say_that_nothing_was_deleted() {
    let mut site = Site::new();
    let mut shape = Shape::guestbook(1);
    shape.services.insert("old", 1);
    site.deploy(&shape).await;
    let database = (freehold_graph::ResourceKind::PostgresDatabase, "acme__main".to_owned());
    let before = site.world.lock().unwrap().objects[&database].clone();
    site.faults.plan(step("dump/database.main"), Fault::RejectedBefore);
    shape.databases.clear();
    shape.services.remove("old");
    let plan = site.plan(Purpose::Deploy, &shape);
    let operation = site.next_operation();
    assert_eq!(complete(operation, &plan, &site.parts, &CancellationToken::new()).await, Ok(Outcome::Failed));
    let world = site.world.lock().unwrap();
    assert_eq!(world.objects[&database], before);
    assert!(!world.objects.contains_key(&(freehold_graph::ResourceKind::LocalService, "acme/old".to_owned())));
    let failure = site.failure(operation);
    assert!(!format!("{failure:?}").contains("nothing was deleted"), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_is_cancelled_while_it_dumps_starts_everything_again() {
    let mut site = Site::new();
    site.deploy(&Shape::guestbook(1)).await;
    let before = site.world.lock().unwrap().objects.clone();
    let plan = site.plan(Purpose::Destroy { dump: true }, &Shape::default());
    let (operation, cancel, store) = (site.next_operation(), CancellationToken::new(), Arc::clone(&site.store));
    let dumping = |record: &Record| matches!(record, Record::StepStarted { step, .. } if step.verb() == Verb::Dump);
    let (outcome, ()) = tokio::join!(complete(operation, &plan, &site.parts, &cancel), async {
        while !store.journal(operation).iter().any(dumping) {
            sleep(Duration::from_millis(1)).await;
        }
        cancel.cancel();
    });
    assert_eq!(outcome, Ok(Outcome::Cancelled));
    let world = site.world.lock().unwrap();
    assert_eq!(world.objects, before);
    assert!(world.fenced.is_empty(), "{:?}", world.fenced);
}

#[tokio::test(start_paused = true)]
async fn a_destroy_after_a_rotation_deletes_the_logins_that_its_own_fence_shut() {
    let mut site = Site::new();
    let mut shape = Shape::guestbook(1);
    shape.logins.insert("main", 1);
    assert_eq!(site.deploy(&shape).await, Outcome::Succeeded);
    site.assert_is(&shape);
    assert_eq!(site.destroy().await, Outcome::Succeeded);
    site.assert_clean();
}

/// A provider whose jobs run until somebody asks to stop.
struct Endless {
    inner: FakeProvider,
    stopped: tokio::sync::Notify,
}

#[async_trait::async_trait]
impl Provider for Endless {
    fn name(&self) -> ProviderName {
        self.inner.name()
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    async fn observe(
        &self,
        stack: freehold_graph::StackId,
        lookup: &freehold_engine::Lookup,
    ) -> Result<Option<freehold_plan::Observation>, ProviderError> {
        self.inner.observe(stack, lookup).await
    }

    async fn perform(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError> {
        if !matches!(task, Task::Run { .. }) {
            return self.inner.perform(context, task).await;
        }
        self.stopped.notified().await;
        Err(ProviderError::rejected(Code::Cancelled, "job migrate was ended on request"))
    }

    async fn interrupt(&self, _: freehold_graph::StackId, task: &Task) {
        assert!(matches!(task, Task::Run { .. }));
        self.stopped.notify_one();
    }

    async fn readiness(
        &self,
        stack: freehold_graph::StackId,
        lookup: &freehold_engine::Lookup,
    ) -> Result<freehold_engine::Readiness, ProviderError> {
        self.inner.readiness(stack, lookup).await
    }

    async fn owned(
        &self,
        stack: Option<freehold_graph::StackId>,
    ) -> Result<Vec<freehold_engine::OwnedObject>, ProviderError> {
        self.inner.owned(stack).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_to_stop_reaches_a_job_that_runs_and_the_operation_is_cancelled_not_failed() {
    let mut site = Site::new();
    let plan = site.plan(Purpose::Deploy, &Shape::guestbook(1));
    let (operation, cancel) = (site.next_operation(), CancellationToken::new());
    let delay = Duration::from_millis(10);
    let providers = PROVIDERS.map(|name| -> Arc<dyn Provider> {
        let inner = FakeProvider::new(name, Arc::clone(&site.world), delay);
        Arc::new(Endless { inner, stopped: tokio::sync::Notify::new() })
    });
    let parts = Dependencies::new(site.store.clone(), site.store.clone(), Arc::new(NoSecrets), providers);
    let running =
        |record: &Record| matches!(record, Record::StepStarted { step, .. } if step.to_string() == "run/job.migrate");
    let before = Instant::now();
    let (outcome, ()) = tokio::join!(complete(operation, &plan, &parts, &cancel), async {
        while !site.store.journal(operation).iter().any(running) {
            sleep(Duration::from_millis(1)).await;
        }
        cancel.cancel();
    });
    assert_eq!(outcome, Ok(Outcome::Cancelled));
    assert!(before.elapsed() < Duration::from_secs(60), "it did not wait for the job's own time");
}
