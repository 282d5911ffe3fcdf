//! The journal: whole batches, in order, never changed; and the resources that follow from it.

use freehold_engine::{Journal, JournalError, Record, StateChange, StepId, Verb};
use freehold_graph::ResourceId;
use freehold_store::ResourceState;
use sqlx::{AssertSqlSafe, Executor};

use crate::fixture::{Fixture, resource};

fn step(name: &str) -> StepId {
    StepId::new(Verb::Create, &ResourceId::new("database", name))
}

fn started(name: &str, state: StateChange) -> Record {
    Record::StepStarted { step: step(name), attempt: 1, state }
}

fn done(name: &str, state: StateChange) -> Record {
    Record::StepDone { step: step(name), state, note: None }
}

#[tokio::test]
async fn records_come_back_in_the_order_in_which_they_were_written() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (plan, operation, fence) = fixture.running("acme", &engine).await;
    let first = [Record::Acquired { times: 1 }, started("main", StateChange::None)];
    let message = "odd: '\"\\ \u{0} é".to_owned();
    let second = [Record::StepUnknown { step: step("main"), message, retry_after_milliseconds: Some(400) }];
    engine.append(operation, fence, &first).await.unwrap();
    engine.append(operation, fence, &[]).await.unwrap();
    engine.append(operation, fence, &second).await.unwrap();
    let expected: Vec<Record> = first.into_iter().chain(second).collect();
    assert_eq!(engine.load(operation).await.unwrap(), expected);
    let tenant = fixture.tenant("acme").await;
    let mut tx = fixture.store.begin(tenant).await.unwrap();
    let tail: Vec<_> =
        tx.journal(operation, 1).await.unwrap().into_iter().map(|(seq, _, record)| (seq, record.unwrap())).collect();
    assert_eq!(tail, [(2, expected[1].clone()), (3, expected[2].clone())]);
    drop(plan);
}

#[tokio::test]
async fn many_appends_at_once_leave_no_gap_and_lose_nothing() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    let mut appends = tokio::task::JoinSet::new();
    for number in 0..40 {
        let engine = engine.clone();
        appends.spawn(async move {
            let name = number.to_string();
            engine.append(operation, fence, &[started(&name, StateChange::None), done(&name, StateChange::None)]).await
        });
    }
    assert!(appends.join_all().await.into_iter().all(|append| append.is_ok()));
    let records = engine.load(operation).await.unwrap();
    assert_eq!(records.len(), 80);
    for pair in records.chunks(2) {
        let (Record::StepStarted { step: first, .. }, Record::StepDone { step: second, .. }) = (&pair[0], &pair[1])
        else {
            panic!("a batch was torn: {pair:?}");
        };
        assert_eq!(first, second);
    }
}

#[tokio::test]
async fn the_resources_follow_from_the_records() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (plan, operation, fence) = fixture.running("acme", &engine).await;
    let tenant = fixture.tenant("acme").await;
    let resources = async || fixture.store.begin(tenant).await.unwrap().resources(plan.stack).await.unwrap();

    let (main, spare) = (Box::new(resource("main")), Box::new(resource("spare")));
    let pending = |resource: &Box<_>| StateChange::Pending(Clone::clone(resource));
    engine
        .append(operation, fence, &[started("main", pending(&main)), started("spare", pending(&spare))])
        .await
        .unwrap();
    let now = resources().await;
    assert_eq!(now.len(), 2);
    assert_eq!((&now[0].resource, now[0].state, &now[0].object), (&*main, ResourceState::Pending, &None));

    let applied = StateChange::Applied { resource: main.clone(), object: Some("oid 1".to_owned()) };
    // The last word of a batch counts.
    engine.append(operation, fence, &[started("main", pending(&main)), done("main", applied)]).await.unwrap();
    let now = resources().await;
    assert_eq!((now[0].state, now[0].object.as_deref()), (ResourceState::Applied, Some("oid 1")));

    // A change that has begun keeps the object that is there.
    engine.append(operation, fence, &[started("main", pending(&main))]).await.unwrap();
    let now = resources().await;
    assert_eq!((now[0].state, now[0].object.as_deref()), (ResourceState::Pending, Some("oid 1")));

    let gone = StateChange::Gone(ResourceId::new("database", "main"));
    engine.append(operation, fence, &[done("main", gone)]).await.unwrap();
    let now = resources().await;
    assert_eq!(now.into_iter().map(|stored| stored.resource).collect::<Vec<_>>(), [*spare]);
}

#[tokio::test]
async fn what_a_record_says_of_a_resource_is_kept_once_and_read_where_earlier_releases_kept_it_twice() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    let main = Box::new(resource("main"));
    let records = [
        started("main", StateChange::Pending(main.clone())),
        done("main", StateChange::Applied { resource: main.clone(), object: None }),
    ];
    engine.append(operation, fence, &records).await.unwrap();
    let bare = [started("main", StateChange::None), done("main", StateChange::None)];
    assert_eq!(engine.load(operation).await.unwrap(), bare);

    let earlier = started("spare", StateChange::Pending(main));
    let version = freehold_engine::journal::RECORD_VERSION;
    let insert = format!(
        "INSERT INTO journal (tenant_id, operation, seq, batch, place, version, record)
         SELECT tenant_id, id, 3, gen_random_uuid(), 1, {version}, '{}' FROM operations WHERE id = '{operation}'",
        serde_json::to_string(&earlier).unwrap().replace('\'', "''")
    );
    fixture.superuser().await.execute(AssertSqlSafe(insert)).await.unwrap();
    assert_eq!(engine.load(operation).await.unwrap().pop(), Some(earlier));
}

#[tokio::test]
async fn a_refused_append_leaves_no_trace() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (plan, operation, fence) = fixture.running("acme", &engine).await;
    let pending = StateChange::Pending(Box::new(resource("main")));
    let append = engine.append(operation, freehold_engine::Fence(fence.0 - 1), &[started("main", pending)]).await;
    assert_eq!(append, Err(JournalError::Fenced));
    let tenant = fixture.tenant("acme").await;
    assert_eq!(fixture.store.begin(tenant).await.unwrap().resources(plan.stack).await.unwrap(), []);
}

#[tokio::test]
async fn a_record_of_a_newer_release_is_an_error_and_not_a_guess() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, _) = fixture.running("acme", &engine).await;
    let version = freehold_engine::journal::RECORD_VERSION + 1;
    let newer = format!(
        "INSERT INTO journal (tenant_id, operation, seq, batch, place, version, record)
         SELECT tenant_id, id, 1, gen_random_uuid(), 1, {version}, '{{\"record\": \"taken\", \"times\": 1}}'
         FROM operations WHERE id = '{operation}'"
    );
    fixture.superuser().await.execute(AssertSqlSafe(newer)).await.unwrap();
    let error = engine.load(operation).await.unwrap_err();
    let said = format!("version {version}");
    assert!(matches!(&error, JournalError::Unreadable(message) if message.contains(&said)), "{error}");
}

#[tokio::test]
async fn nobody_changes_or_removes_what_was_written() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    engine.append(operation, fence, &[Record::Acquired { times: 1 }]).await.unwrap();
    for table in ["journal", "audit"] {
        for statement in [
            format!("UPDATE {table} SET at = clock_timestamp()"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ] {
            for options in [&fixture.connections.tenant, &fixture.connections.engine, &fixture.connections.owner] {
                let mut session = Fixture::session(options).await;
                let error = session.execute(AssertSqlSafe(statement.clone())).await.unwrap_err();
                let message = error.to_string();
                assert!(
                    message.contains("permission denied") || message.contains("append-only"),
                    "{statement}: {message}"
                );
            }
        }
    }
    assert_eq!(engine.load(operation).await.unwrap().len(), 1);
}
