//! Those who watch operations: every record, in order, at whatever replica, without looking for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_engine::journal::Outcome;
use freehold_engine::{Fence, Journal as _, Leases as _, OperationId, Record};
use freehold_graph::{Graph, Request, ResourceId, StackId};
use freehold_plan::{Plan, Purpose};
use freehold_platform::Actor;
use freehold_platform::view::{Event, EventKind};
use freehold_spec::{Files, Language};
use freehold_store::{ConnectionRequest, End, EngineStore, NewOperation, Sharing, Store, StoredDefinition};
use freehold_testkit::postgres::TestServer;
use futures::{StreamExt as _, TryFutureExt as _};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, Row as _};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::actors::key;
use crate::testbed::Replica;

/// An operation that this test works on, as an executor would.
pub(crate) async fn operation_of(store: &Store, engine: &EngineStore) -> (OperationId, Fence) {
    let (stack, definition) = (StackId(Uuid::now_v7()), "d".repeat(64));
    let plan = Plan {
        id: Uuid::now_v7(),
        stack,
        key: key("acme"),
        purpose: Purpose::Deploy,
        generation: 0,
        revision: 1,
        definition: definition.clone(),
        request: Request {
            key: key("acme"),
            id: stack,
            tier: None,
            stage: None,
            artifacts: BTreeMap::new(),
            containers: BTreeMap::new(),
            rotations: BTreeMap::new(),
            revision: 0,
            former_ports: Default::default(),
        },
        changes: BTreeMap::new(),
        runs: BTreeMap::new(),
        outputs: BTreeMap::new(),
        layout: 0,
        not_enforced: Vec::new(),
        same: false,
        settle: true,
        notes: Vec::new(),
    };
    let tenant = store.tenant_of(&plan.key).await.unwrap();
    let mut tx = store.begin(tenant).await.unwrap();
    let source = "[app]\nname = \"guestbook\"\n".to_owned();
    let stored = StoredDefinition { source, files: Files::new(), language: Language::V1 };
    tx.save_definition(&definition, "guestbook", &stored).await.unwrap();
    tx.commit().await.unwrap();
    let id = OperationId(Uuid::now_v7());
    let new = NewOperation {
        id,
        plan: &plan,
        graph: &Graph::default(),
        secrets: &BTreeMap::new(),
        claims: &BTreeSet::new(),
        connections: ConnectionRequest { wanted: 0, usable: 0, limits: &BTreeMap::new() },
        sharing: Sharing::Tenants,
        requested_by: "a test",
        idempotency_key: None,
    };
    store.enqueue(tenant, &new).await.unwrap();
    let lease = engine.acquire(id).await.unwrap().unwrap();
    (id, lease.fence)
}

fn waits(number: u64) -> Record {
    Record::Waiting {
        subject: ResourceId("service.web".to_owned()),
        reason: Some(format!("{number} of 400 ready")),
        milliseconds: number,
        retry_after_milliseconds: None,
    }
}

async fn finish(engine: &EngineStore, operation: OperationId, fence: Fence) {
    let outcome = Outcome::Succeeded;
    let record = [Record::Finished { outcome }];
    until_done(|| engine.append(operation, fence, &record).map_err(drop)).await;
    let end = End { outcome, outputs: BTreeMap::new(), failure: None };
    until_done(|| engine.finish(operation, fence, &end).map_err(drop)).await;
}

/// Again and again: while no connections are let in, something is done once one of the open ones is free.
async fn until_done<F: Future<Output = Result<(), ()>>>(mut attempt: impl FnMut() -> F) {
    while attempt().await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn superuser() -> PgConnection {
    TestServer::shared().superuser().connect().await.unwrap()
}

/// Whether new connections to a database are let in. Those that there are stay.
async fn allow_connections(database: &str, allowed: bool) {
    let statement = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS {allowed}");
    superuser().await.execute(AssertSqlSafe(statement)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_gets_every_record_in_order_also_where_the_connection_that_tells_of_them_breaks() {
    const RECORDS: u64 = 400;
    let ([here, there], database) = Replica::pair().await;
    here.store.listen().await.unwrap();
    there.store.listen().await.unwrap();
    let engine = here.store.engine("here");
    let (operation, fence) = operation_of(&here.store, &engine).await;
    let mut watching = JoinSet::new();
    for (platform, after) in [(&here.platform, 0), (&there.platform, 0), (&there.platform, 7)].repeat(6) {
        let platform = Arc::clone(platform);
        let events = platform.operations.events(&Actor::operator(), operation, after).await.unwrap();
        watching.spawn(async move { (after, events.collect::<Vec<Event>>().await, platform) });
    }
    let records: Vec<Record> = (0..=RECORDS).map(waits).collect();
    for number in 1..records.len() {
        until_done(|| engine.append(operation, fence, std::slice::from_ref(&records[number])).map_err(drop)).await;
        if number == records.len() / 2 {
            allow_connections(&database, false).await;
            let killed = sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'LISTEN%'",
            );
            assert_eq!(killed.bind(&database).fetch_all(&mut superuser().await).await.unwrap().len(), 2);
        }
    }
    finish(&engine, operation, fence).await;
    // Until now the other replica could hear of nothing.
    allow_connections(&database, true).await;
    while let Some(watched) = watching.join_next().await {
        let (after, events, _) = watched.unwrap();
        let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
        // Behind the records comes the end; the record that announces it is none of its own.
        let expected: Vec<u64> = (after + 1..=RECORDS).chain([RECORDS + 2]).collect();
        assert_eq!(sequences, expected);
        assert!(matches!(events.last().unwrap().kind, EventKind::Finished(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_which_nothing_happens_asks_the_store_nothing() {
    let ([Replica { platform, store }, _], database) = Replica::pair().await;
    let engine = store.engine("here");
    let (operation, fence) = operation_of(&store, &engine).await;
    let mut events = platform.operations.events(&Actor::operator(), operation, 0).await.unwrap().boxed();
    engine.append(operation, fence, &[waits(1)]).await.unwrap();
    assert_eq!(events.next().await.unwrap().sequence, 1);
    let mut superuser = superuser().await;
    let last = async |superuser: &mut PgConnection| -> DateTime<Utc> {
        let activity = "SELECT max(query_start) AS last FROM pg_stat_activity
                        WHERE datname = $1";
        sqlx::query(activity).bind(&database).fetch_one(superuser).await.unwrap().get("last")
    };
    // The feed's first read may still be under way: what counts is that there is none behind it.
    let mut before = last(&mut superuser).await;
    let mut quiet = 0;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = last(&mut superuser).await;
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        if quiet == 30 {
            break;
        }
    }
    assert_eq!(quiet, 30, "the store is asked again and again");
    finish(&engine, operation, fence).await;
    assert!(matches!(events.next().await.unwrap().kind, EventKind::Finished(_)));
    assert!(events.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_lost_its_end_in_a_crash_is_told_as_it_went_on() {
    let ([Replica { platform, store }, _], database) = Replica::pair().await;
    let engine = store.engine("before");
    let (operation, fence) = operation_of(&store, &engine).await;
    let mut events = platform.operations.events(&Actor::operator(), operation, 0).await.unwrap().boxed();
    engine.append(operation, fence, &[waits(1)]).await.unwrap();
    engine.append(operation, fence, &[waits(2)]).await.unwrap();
    assert_eq!(events.next().await.unwrap().sequence, 1);
    assert_eq!(events.next().await.unwrap().sequence, 2);
    let mut damaged = TestServer::shared().superuser().database(&database).connect().await.unwrap();
    for lost in [
        "SET session_replication_role = replica",
        "DELETE FROM journal WHERE seq = 2",
        "UPDATE leases SET seq = 1, holder = NULL",
    ] {
        damaged.execute(lost).await.unwrap();
    }
    let engine = store.engine("behind");
    let lease = engine.acquire(operation).await.unwrap().unwrap();
    engine.append(operation, lease.fence, &[waits(3)]).await.unwrap();
    // While somebody still reads the feed that had the lost record.
    let later = platform.operations.events(&Actor::operator(), operation, 0).await.unwrap();
    finish(&engine, operation, lease.fence).await;
    assert!(matches!(events.next().await.unwrap().kind, EventKind::Finished(_)));
    let all: Vec<Event> = later.collect().await;
    let milliseconds = |event: &Event| match event.kind {
        EventKind::Waiting { milliseconds, .. } => Some(milliseconds),
        _ => None,
    };
    assert_eq!(all.iter().filter_map(milliseconds).collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_newer_release_is_left_out() {
    let ([Replica { platform, store }, _], database) = Replica::pair().await;
    let engine = store.engine("here");
    let (operation, fence) = operation_of(&store, &engine).await;
    for number in 1..=3 {
        engine.append(operation, fence, &[waits(number)]).await.unwrap();
    }
    let mut superuser = TestServer::shared().superuser().database(&database).connect().await.unwrap();
    superuser.execute("SET session_replication_role = replica").await.unwrap();
    superuser.execute(r#"UPDATE journal SET version = 999, record = '{"type": "later"}' WHERE seq = 2"#).await.unwrap();
    let watch = async || platform.operations.events(&Actor::operator(), operation, 0).await.unwrap();
    let seen: Vec<u64> = watch().await.take(2).map(|event| event.sequence).collect().await;
    assert_eq!(seen, [1, 3]);
    assert_eq!(platform.operations.get(&Actor::operator(), operation).await.unwrap().waits.len(), 1);
}
