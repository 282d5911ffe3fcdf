//! From the queue to the end: what has to hold for an operation to begin, and what is left when it ends.

use std::collections::BTreeSet;

use freehold_engine::journal::Outcome;
use freehold_engine::{Journal, Leases, OperationId, Record, StateChange, StepId};
use freehold_graph::{Due, ProviderName, ResourceId, Run, SecretText, StackKind, Value};
use freehold_plan::{Plan, Purpose};
use freehold_problem::{Code, Problem};
use freehold_store::{Access, Claim, OperationState, Signal, Stack, StackPage, StackState, Store, StoreError};
use sqlx::Row;

use crate::fixture::{self, Fixture, deploy, end, key, next, resource, waiting};

async fn stack(fixture: &Fixture, plan: &Plan) -> Option<Stack> {
    let tenant = fixture.store.tenant_of(&plan.key).await.unwrap();
    fixture.store.begin(tenant).await.unwrap().stack(&plan.key).await.unwrap()
}

async fn finish(fixture: &Fixture, operation: OperationId, outcome: Outcome) {
    let engine = fixture.engine("finisher");
    let lease = engine.acquire(operation).await.unwrap().unwrap();
    fixture::finish(&engine, operation, lease.fence, &end(outcome)).await.unwrap();
}

#[tokio::test]
async fn a_deploy_makes_a_stack_a_revision_and_a_line_of_audit() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let plan = deploy("acme", 0);
    let operation = fixture.enqueue(&plan, &[]).await.unwrap();
    let now = stack(&fixture, &plan).await.unwrap();
    assert_eq!((now.id, now.state, now.generation, now.revision), (plan.stack, StackState::Deploying, 1, 1));
    assert_eq!((now.operation, now.verified_revision), (Some(operation), None));
    assert_eq!(now.request.as_ref(), Some(&plan.request));
    assert_eq!(waiting(&engine).await, [operation]);
    assert_eq!(engine.operation(operation).await.unwrap().state, OperationState::Queued);

    let lease = engine.acquire(operation).await.unwrap().unwrap();
    let running = engine.operation(operation).await.unwrap();
    assert_eq!((running.state, running.plan), (OperationState::Running, plan.clone()));
    fixture::finish(&engine, operation, lease.fence, &end(Outcome::Succeeded)).await.unwrap();

    let now = stack(&fixture, &plan).await.unwrap();
    assert_eq!((now.state, now.verified_revision, now.operation), (StackState::Ready, Some(1), None));
    assert_eq!(now.outputs, end(Outcome::Succeeded).outputs);
    let tenant = fixture.tenant("acme").await;
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    let revision = tx.revision(plan.stack, 1).await.unwrap().unwrap();
    assert_eq!((revision.operation, revision.request), (operation, plan.request.clone()));
    assert!(revision.verified_at.is_some());
    let definition = tx.definition(&plan.definition).await.unwrap().unwrap();
    assert_eq!(definition.source, "[app]\nname = \"guestbook\"\n");
    assert_eq!(definition.files.get("deploy/a.yaml").map(String::as_str), Some("kind: \0\n"), "as it was written");
    let audit = tx.audit_log(Some(plan.stack), None, 10).await.unwrap();
    let lines: Vec<_> = audit.iter().map(|line| (line.actor.as_str(), line.action.as_str())).collect();
    assert_eq!(lines, [("freehold", "deploy.succeeded"), ("a test", "deploy")]);
    let done = tx.operation(operation).await.unwrap().unwrap();
    assert_eq!(done.state, OperationState::Succeeded);
}

#[tokio::test]
async fn a_failure_is_told_and_leaves_the_verified_revision() {
    let fixture = Fixture::new().await;
    let first = fixture.deployed("acme").await;
    let second = next(&first, Purpose::Deploy);
    let engine = fixture.engine("server");
    let operation = fixture.enqueue(&second, &[]).await.unwrap();
    let lease = engine.acquire(operation).await.unwrap().unwrap();
    let failure = Problem::new(Code::JobFailed, "the migration failed").lines(vec!["with a NUL: \0".to_owned()]);
    let failed = freehold_store::End { failure: Some(failure.clone()), ..end(Outcome::Failed) };
    fixture::finish(&engine, operation, lease.fence, &failed).await.unwrap();
    let now = stack(&fixture, &second).await.unwrap();
    assert_eq!((now.state, now.revision, now.verified_revision), (StackState::Failed, 2, Some(1)));
    assert_eq!(engine.operation(operation).await.unwrap().failure, Some(failure));
    // And the next one can begin.
    let third = fixture.enqueue(&next(&second, Purpose::Rollback { to: 1 }), &[]).await.unwrap();
    finish(&fixture, third, Outcome::Succeeded).await;
    let now = stack(&fixture, &second).await.unwrap();
    assert_eq!((now.state, now.revision, now.verified_revision), (StackState::Ready, 3, Some(3)));
    let tenant = fixture.tenant("acme").await;
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    let revisions = tx.revisions(first.stack, 10).await.unwrap();
    let verified: Vec<_> =
        revisions.iter().flatten().map(|revision| (revision.number, revision.verified_at.is_some())).collect();
    assert_eq!(verified, [(3, true), (2, false), (1, true)]);
    assert_eq!(tx.operations(first.stack, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_plan_that_another_one_has_overtaken_is_outdated() {
    let fixture = Fixture::new().await;
    let first = fixture.deployed("acme").await;
    let (one, other) = (next(&first, Purpose::Deploy), next(&first, Purpose::Deploy));
    let operation = fixture.enqueue(&one, &[]).await.unwrap();
    finish(&fixture, operation, Outcome::Succeeded).await;
    for overtaken in [other, one, deploy("acme", 0), deploy("acme", 2)] {
        let error = fixture.enqueue(&overtaken, &[]).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::PlanOutdated { subject } if subject == "guestbook/tenant/acme"),
            "{error}"
        );
    }
    assert_eq!(stack(&fixture, &first).await.unwrap().generation, 4);
}

#[tokio::test]
async fn a_plan_that_was_made_beside_an_operation_is_outdated_by_its_end() {
    let fixture = Fixture::new().await;
    for outcome in [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled] {
        let name = format!("acme-{outcome:?}").to_lowercase();
        let first = deploy(&name, 0);
        let operation = fixture.enqueue(&first, &[]).await.unwrap();
        let mut beside = next(&first, Purpose::Deploy);
        beside.generation = stack(&fixture, &first).await.unwrap().generation;
        let error = fixture.enqueue(&beside, &[]).await.unwrap_err();
        assert!(matches!(error, StoreError::AnotherRunning { .. }), "{error}");
        finish(&fixture, operation, outcome).await;
        let error = fixture.enqueue(&beside, &[]).await.unwrap_err();
        assert!(matches!(error, StoreError::PlanOutdated { .. }), "{error}");
        assert!(fixture.enqueue(&next(&first, Purpose::Deploy), &[]).await.is_ok());
    }
}

#[tokio::test]
async fn a_rotation_outdates_plans_made_before_it_and_is_refused_after_another_change() {
    let fixture = Fixture::new().await;
    let first = fixture.deployed("acme").await;
    let before = stack(&fixture, &first).await.unwrap();
    let mut request = before.request.clone().unwrap();
    request.rotations.insert("postgres/main/app".to_owned(), 1);
    let tenant = fixture.store.tenant_of(&first.key).await.unwrap();
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    tx.set_request(&before, &request).await.unwrap();
    tx.commit().await.unwrap();
    let error = fixture.enqueue(&next(&first, Purpose::Deploy), &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::PlanOutdated { .. }), "{error}");
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    let error = tx.set_request(&before, &request).await.unwrap_err();
    assert!(matches!(error, StoreError::PlanOutdated { .. }), "{error}");
    drop(tx);
    assert_eq!(stack(&fixture, &first).await.unwrap().request, Some(request));
}

#[tokio::test]
async fn of_two_first_deploys_at_once_one_begins_and_the_other_is_told_which() {
    let fixture = Fixture::new().await;
    let (one, other) = (deploy("acme", 0), deploy("acme", 0));
    let (first, second) = tokio::join!(fixture.enqueue(&one, &[]), fixture.enqueue(&other, &[]));
    let (begun, refused) = match (first, second) {
        (Ok(begun), Err(refused)) | (Err(refused), Ok(begun)) => (begun, refused),
        both => panic!("{both:?}"),
    };
    assert!(matches!(refused, StoreError::AnotherRunning { operation, .. } if operation == begun), "{refused}");
}

#[tokio::test]
async fn a_second_claimant_is_told_the_first() {
    let fixture = Fixture::new().await;
    let host = [("host", "www.localhost")];
    let first = deploy("acme", 0);
    let operation = fixture.enqueue(&first, &host).await.unwrap();
    let second = deploy("globex", 0);
    let error = fixture.enqueue(&second, &host).await.unwrap_err();
    let StoreError::ClaimTaken { scope, name, holder, by } = error else { panic!("{error}") };
    assert_eq!((scope.as_str(), name.as_str(), holder), ("host", "www.localhost", first.stack));
    assert_eq!(by, "guestbook/tenant/acme");
    // Nothing of the refused deploy is left.
    assert_eq!(stack(&fixture, &second).await, None);

    // The plan already says so.
    let tenant = fixture.tenant("globex").await;
    let claims = BTreeSet::from([Claim { scope: "host".to_owned(), name: "www.localhost".to_owned() }]);
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    let planned = tx.check_claims(&second.key.target, second.stack, &claims).await;
    assert!(matches!(planned, Err(StoreError::ClaimTaken { .. })), "{planned:?}");
    drop(tx);

    // It keeps the name until a revision without it is verified.
    finish(&fixture, operation, Outcome::Succeeded).await;
    let without = next(&first, Purpose::Deploy);
    let operation = fixture.enqueue(&without, &[]).await.unwrap();
    assert!(fixture.enqueue(&second, &host).await.is_err());
    finish(&fixture, operation, Outcome::Succeeded).await;
    fixture.enqueue(&second, &host).await.unwrap();
}

#[tokio::test]
async fn two_stacks_that_want_the_same_names_at_once_do_not_both_get_them() {
    let fixture = Fixture::new().await;
    let names = [("host", "a.localhost"), ("host", "b.localhost"), ("database", "shared")];
    let reversed = [names[2], names[1], names[0]];
    let (one, other) = (deploy("acme", 0), deploy("globex", 0));
    let (first, second) = tokio::join!(fixture.enqueue(&one, &names), fixture.enqueue(&other, &reversed));
    let refused = match (first, second) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        both => panic!("{both:?}"),
    };
    assert!(matches!(refused, StoreError::ClaimTaken { .. }), "{refused}");
}

#[tokio::test]
async fn a_destroy_leaves_the_operations_and_the_audit_and_nothing_else() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (plan, operation, fence) = fixture.running("acme", &engine).await;
    let state = StateChange::Applied { resource: Box::new(resource("main")), object: None };
    let record = Record::StepDone { step: "create/database.main".parse().unwrap(), state, note: None };
    engine.append(operation, fence, &[record]).await.unwrap();
    fixture::finish(&engine, operation, fence, &end(Outcome::Succeeded)).await.unwrap();
    let tenant = fixture.tenant("acme").await;
    let data_key = fixture.store.data_key(tenant).await.unwrap();
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    tx.set_secret(&data_key, plan.stack, "session-key", &SecretText::new("x"), "a test").await.unwrap();
    tx.commit().await.unwrap();

    let destroy = next(&plan, Purpose::Destroy { dump: true });
    let operation = fixture.enqueue(&destroy, &[]).await.unwrap();
    assert_eq!(stack(&fixture, &plan).await.unwrap().state, StackState::Destroying);
    finish(&fixture, operation, Outcome::Succeeded).await;
    assert_eq!(stack(&fixture, &plan).await, None);
    let mut superuser = fixture.superuser().await;
    for table in ["stacks", "revisions", "resources", "leases", "claims", "secrets"] {
        let left = format!("SELECT count(*) FROM {table}");
        let left: i64 = sqlx::query(sqlx::AssertSqlSafe(left)).fetch_one(&mut superuser).await.unwrap().get(0);
        assert_eq!(left, 0, "{table}");
    }
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    assert_eq!(tx.operations(plan.stack, 10).await.unwrap().len(), 2);
    assert!(tx.audit_log(Some(plan.stack), None, 10).await.unwrap().len() >= 4);
    drop(tx);
    // The name is free again.
    fixture.enqueue(&deploy("acme", 0), &[]).await.unwrap();
}

#[tokio::test]
async fn a_destroy_that_failed_keeps_what_is_recorded_and_the_state_until_it_has_deleted_something() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let mut plan = fixture.deployed("acme").await;
    let started =
        |step: &str| Record::StepStarted { step: step.parse().unwrap(), attempt: 1, state: StateChange::None };
    let failed = |step: &str| Record::StepFailed {
        step: step.parse().unwrap(),
        failure: Problem::new(Code::StepFailed, "it did not work"),
    };
    for (record, state) in [
        (started("dump/database.main"), StackState::Ready),
        (failed("dump/database.main"), StackState::Ready),
        (failed("lift/service.web"), StackState::Failed),
        // Only what this one has not started again counts: a later one starts it again, too.
        (started("lift/service.web"), StackState::Ready),
        (started("delete/route.web"), StackState::Failed),
        (started("fence/service.web"), StackState::Failed),
    ] {
        plan = next(&plan, Purpose::Destroy { dump: true });
        let operation = fixture.enqueue(&plan, &[]).await.unwrap();
        let fence = engine.acquire(operation).await.unwrap().unwrap().fence;
        engine.append(operation, fence, std::slice::from_ref(&record)).await.unwrap();
        fixture::finish(&engine, operation, fence, &end(Outcome::Failed)).await.unwrap();
        let now = stack(&fixture, &plan).await.unwrap();
        let seen = (now.state, now.generation, now.verified_revision);
        assert_eq!(seen, (state, plan.generation + 2, Some(1)), "{record:?}");
    }
}

#[tokio::test]
async fn a_destroy_whose_journal_holds_what_only_a_newer_release_reads_is_not_taken_for_one_that_deleted_nothing() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let plan = next(&fixture.deployed("acme").await, Purpose::Destroy { dump: true });
    let operation = fixture.enqueue(&plan, &[]).await.unwrap();
    let fence = engine.acquire(operation).await.unwrap().unwrap().fence;
    engine.append(operation, fence, &[Record::CancelRequested]).await.unwrap();
    let mut superuser = fixture.superuser().await;
    sqlx::query("SET session_replication_role = replica").execute(&mut superuser).await.unwrap();
    let newer = r#"UPDATE journal SET record = '{"record": "something-new"}' WHERE operation = $1"#;
    sqlx::query(newer).bind(operation.0).execute(&mut superuser).await.unwrap();
    fixture::finish(&engine, operation, fence, &end(Outcome::Cancelled)).await.unwrap();
    assert_eq!(stack(&fixture, &plan).await.unwrap().state, StackState::Failed);
}

#[tokio::test]
async fn a_stack_can_be_named_before_its_first_deploy_and_keeps_its_identity() {
    let fixture = Fixture::new().await;
    let tenant = fixture.tenant("acme").await;
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    let named = tx.name_stack(&key("acme")).await.unwrap();
    assert_eq!(tx.name_stack(&key("acme")).await.unwrap(), named);
    tx.commit().await.unwrap();
    assert!(fixture.store.look(Access::AllTenants).await.unwrap().stacks().await.unwrap().is_empty());
    let stranger = deploy("acme", 0);
    assert!(matches!(fixture.enqueue(&stranger, &[]).await, Err(StoreError::PlanOutdated { .. })));
    let mut plan = deploy("acme", 0);
    plan.stack = named;
    fixture.enqueue(&plan, &[]).await.unwrap();
    assert_eq!(stack(&fixture, &plan).await.unwrap().state, StackState::Deploying);
}

#[tokio::test]
async fn a_request_to_stop_is_kept_once_and_told_to_other_processes() {
    let fixture = Fixture::new().await;
    let other = Store::open(&fixture.connections, fixture.master.clone()).await.unwrap();
    fixture.store.listen().await.unwrap();
    other.listen().await.unwrap();
    let mut heard = other.signals_from_now();
    let engine = fixture.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    let tenant = fixture.tenant("acme").await;
    assert!(!engine.is_cancel_requested(operation).await.unwrap());
    for by in ["ada", "bob"] {
        let state = fixture.store.request_cancel(tenant, operation, by).await.unwrap();
        assert_eq!(state, OperationState::Running);
    }
    assert!(engine.is_cancel_requested(operation).await.unwrap());
    assert_eq!(engine.operation(operation).await.unwrap().cancel.unwrap().1, "ada");
    let wait = async { while !matches!(heard.recv().await.unwrap(), Signal::Cancel(told) if told == operation) {} };
    tokio::time::timeout(std::time::Duration::from_secs(120), wait).await.unwrap();

    fixture::finish(&engine, operation, fence, &end(Outcome::Cancelled)).await.unwrap();
    let late = fixture.store.request_cancel(tenant, operation, "eve").await.unwrap();
    assert_eq!(late, OperationState::Cancelled);
    let stranger = fixture.tenant("globex").await;
    let missing = fixture.store.request_cancel(stranger, operation, "eve").await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
}

#[tokio::test]
async fn stacks_are_filtered_sorted_and_cut_into_pages_by_the_store() {
    let fixture = Fixture::alone().await;
    for name in ["acme", "acme-2", "globex"] {
        fixture.deployed(name).await;
    }
    let named = fixture.tenant("never-deployed").await;
    let mut tx = fixture.store.begin(named).await.unwrap();
    tx.name_stack(&key("never-deployed")).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = fixture.store.look(Access::AllTenants).await.unwrap();
    let all = StackPage { limit: 10, ..StackPage::default() };
    let mut names = async |page: StackPage<'_>| -> Vec<String> {
        let stacks = tx.page_of_stacks(&page).await.unwrap();
        stacks.into_iter().map(|stack| stack.unwrap().key.name.to_string()).collect()
    };
    assert_eq!(names(all).await, ["acme-2", "acme", "globex"], "as the places sort: `acme-2/…` before `acme/…`");
    assert_eq!(names(StackPage { limit: 1, ..all }).await, ["acme-2"]);
    let place = |name: &str| format!("{}/{}", key(name), key(name).target);
    assert_eq!(names(StackPage { after: Some(&place("acme-2")), ..all }).await, ["acme", "globex"]);
    assert_eq!(names(StackPage { after: Some(&place("between")), ..all }).await, ["globex"]);
    assert_eq!(names(StackPage { name: Some("globex"), kind: Some(StackKind::Tenant), ..all }).await, ["globex"]);
    assert!(names(StackPage { kind: Some(StackKind::Stage), ..all }).await.is_empty());
    assert!(names(StackPage { app: Some("other"), ..all }).await.is_empty());
}

#[tokio::test]
async fn what_runs_once_in_a_stack_s_life_is_remembered_however_its_operation_ends() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let run = |name: &str, due: Due| {
        let id = ResourceId::new("job", name);
        let (depends_on, before) = Default::default();
        Run { id, provider: ProviderName::Local, body: Value::Null, due, depends_on, before }
    };
    let mut plan = fixture.deployed("acme").await;
    for (outcome, done, remembered) in [
        (Outcome::Failed, vec!["migrate"], vec![]),
        (Outcome::Cancelled, vec!["seed", "migrate"], vec!["seed"]),
        (Outcome::Succeeded, vec!["load"], vec!["load", "seed"]),
        (Outcome::Failed, vec!["load"], vec!["load", "seed"]),
    ] {
        plan = next(&plan, Purpose::Deploy);
        let runs = [run("migrate", Due::Revision), run("seed", Due::Once), run("load", Due::Once)];
        plan.runs = runs.into_iter().map(|run| (run.id.clone(), run)).collect();
        let operation = fixture.enqueue(&plan, &[]).await.unwrap();
        let lease = engine.acquire(operation).await.unwrap().unwrap();
        for job in &done {
            let step: StepId = format!("run/job.{job}").parse().unwrap();
            let state = StateChange::None;
            let records = [
                Record::StepStarted { step: step.clone(), attempt: 1, state: state.clone() },
                Record::StepDone { step, state, note: None },
            ];
            engine.append(operation, lease.fence, &records).await.unwrap();
        }
        fixture::finish(&engine, operation, lease.fence, &end(outcome)).await.unwrap();
        let now = stack(&fixture, &plan).await.unwrap();
        let remembered: BTreeSet<ResourceId> = remembered.iter().map(|name| ResourceId::new("job", name)).collect();
        assert_eq!(now.ran_once, remembered, "{outcome:?} {done:?}");
    }
}
