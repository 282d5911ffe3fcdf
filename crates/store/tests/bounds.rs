//! What is bounded: connections are promised once, history is kept for a while, and an outcome isn't written over a journal that lost it.

use std::collections::BTreeMap;

use freehold_engine::journal::Outcome;
use freehold_engine::{Journal, Leases, Record};
use freehold_graph::{StackId, StackKind};
use freehold_plan::{Plan, Purpose};
use freehold_store::plans::KEPT_REVISIONS;
use freehold_store::{Access, ConnectionRequest, StoreError};
use sqlx::Executor;
use sqlx::postgres::PgConnection;

use crate::fixture::{Fixture, deploy, end, finish, next};

fn wants(wanted: u32, usable: u32, limits: &BTreeMap<StackId, u32>) -> ConnectionRequest<'_> {
    ConnectionRequest { wanted, usable, limits }
}

async fn carry_out(fixture: &Fixture, plan: &Plan, connections: ConnectionRequest<'_>, outcome: Outcome) {
    let engine = fixture.engine("server");
    let operation = fixture.enqueue_with(plan, &[], connections).await.unwrap();
    let lease = engine.acquire(operation).await.unwrap().unwrap();
    finish(&engine, operation, lease.fence, &end(outcome)).await.unwrap();
}

#[tokio::test]
async fn connections_are_promised_once_however_many_ask_at_once() {
    let fixture = Fixture::new().await;
    let none = BTreeMap::new();
    let plans: Vec<Plan> = (0..8).map(|number| deploy(&format!("t{number}"), 0)).collect();
    let asked = plans.iter().map(|plan| fixture.enqueue_with(plan, &[], wants(20, 70, &none)));
    let answers = futures::future::join_all(asked).await;
    let promised = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(promised, 3, "{answers:?}");
    for refused in answers.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, StoreError::ConnectionsTaken { wanted: 20, left: 10, has: 0, .. }), "{refused}");
    }
}

#[tokio::test]
async fn of_many_first_tenants_at_once_where_there_may_be_one_only_one_gets_in() {
    let fixture = Fixture::new().await;
    let apart: Vec<Plan> = (0..24).map(|number| deploy(&format!("t{number}"), 0)).collect();
    let answers = futures::future::join_all(apart.iter().map(|plan| fixture.enqueue_alone(plan))).await;
    let (let_in, refused): (Vec<_>, Vec<_>) = apart.iter().zip(answers).partition(|(_, answer)| answer.is_ok());
    let [(first, _)] = let_in.as_slice() else { panic!("{let_in:?}") };
    for (_, answer) in refused {
        let refused = answer.unwrap_err();
        let words = refused.to_string();
        let StoreError::SecondTenant { beside, .. } = refused else { panic!("not refused as a second: {words}") };
        assert!(words.contains(&format!("would be a second tenant beside {beside}, and")), "{words}");
        assert_eq!(beside, first.key.name.as_str());
    }
    // The one that is there goes on, with other apps too; the operator's own don't count; and its place is free when it has gone.
    let engine = fixture.engine("server");
    let end_of = async |plan: &Plan| {
        let tenant = fixture.store.tenant_of(&plan.key).await.unwrap();
        let stack = fixture.store.begin(tenant).await.unwrap().stack(&plan.key).await.unwrap().unwrap();
        let operation = stack.operation.unwrap();
        let lease = engine.acquire(operation).await.unwrap().unwrap();
        finish(&engine, operation, lease.fence, &end(Outcome::Succeeded)).await.unwrap();
    };
    end_of(first).await;
    let again = next(first, Purpose::Deploy);
    fixture.enqueue_alone(&again).await.unwrap();
    end_of(&again).await;
    let mut beside = deploy(first.key.name.as_str(), 0);
    beside.key.app = "another".parse().unwrap();
    fixture.enqueue_alone(&beside).await.unwrap();
    end_of(&beside).await;
    let mut stage = deploy("dev", 0);
    stage.key.kind = StackKind::Stage;
    fixture.enqueue_alone(&stage).await.unwrap();
    let other = deploy("globex", 0);
    let mut gone = next(&beside, Purpose::Destroy { dump: false });
    gone.key.app = beside.key.app.clone();
    fixture.enqueue_alone(&gone).await.unwrap();
    let refused = fixture.enqueue_alone(&other).await;
    assert!(matches!(refused, Err(StoreError::SecondTenant { .. })), "{refused:?}");
    end_of(&beside).await;
    let refused = fixture.enqueue_alone(&other).await;
    assert!(matches!(refused, Err(StoreError::SecondTenant { .. })), "{refused:?}");
    fixture.enqueue_alone(&next(&again, Purpose::Destroy { dump: false })).await.unwrap();
    end_of(&again).await;
    fixture.enqueue_alone(&other).await.unwrap();
}

#[tokio::test]
async fn a_stack_that_asks_for_no_more_than_it_has_is_never_refused() {
    let fixture = Fixture::new().await;
    let none = BTreeMap::new();
    let first = deploy("acme", 0);
    carry_out(&fixture, &first, wants(20, 100, &none), Outcome::Succeeded).await;
    // The server has become smaller, or somebody was promised too much: that is nothing to this one.
    let second = next(&first, Purpose::Deploy);
    carry_out(&fixture, &second, wants(20, 10, &none), Outcome::Failed).await;
    let third = next(&second, Purpose::Rollback { to: 1 });
    let more = fixture.enqueue_with(&third, &[], wants(21, 10, &none)).await;
    assert!(matches!(more, Err(StoreError::ConnectionsTaken { has: 20, .. })), "{more:?}");
    carry_out(&fixture, &third, wants(15, 10, &none), Outcome::Succeeded).await;
    // What it has let go of is there for others.
    let other = deploy("globex", 0);
    let limits = BTreeMap::from([(first.stack, 15)]);
    let taken = fixture.enqueue_with(&other, &[], wants(6, 20, &limits)).await;
    assert!(matches!(taken, Err(StoreError::ConnectionsTaken { left: 5, .. })), "{taken:?}");
    fixture.enqueue_with(&other, &[], wants(5, 20, &limits)).await.unwrap();
}

#[tokio::test]
async fn what_roles_on_the_server_are_limited_to_counts_where_no_promise_was_written() {
    let fixture = Fixture::new().await;
    let limits = BTreeMap::from([(StackId(uuid::Uuid::from_u128(1)), 40)]);
    let plan = deploy("acme", 0);
    let taken = fixture.enqueue_with(&plan, &[], wants(20, 50, &limits)).await;
    assert!(matches!(taken, Err(StoreError::ConnectionsTaken { left: 10, .. })), "{taken:?}");
}

#[tokio::test]
async fn an_outcome_that_the_journal_has_lost_is_not_written_over_it() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    engine.append(operation, fence, &[Record::Acquired { times: 1 }]).await.unwrap();
    engine.append(operation, fence, &[Record::Finished { outcome: Outcome::Succeeded }]).await.unwrap();
    // As a crash of PostgreSQL leaves it, for a process that comes afterwards and was told the outcome before.
    let mut superuser = fixture.superuser().await;
    superuser.execute("SET session_replication_role = replica").await.unwrap();
    superuser.execute("DELETE FROM journal WHERE seq = 2").await.unwrap();
    superuser.execute("UPDATE leases SET seq = 1, holder = NULL").await.unwrap();
    let successor = fixture.engine("successor");
    let lease = successor.acquire(operation).await.unwrap().unwrap();
    let ended = successor.finish(operation, lease.fence, &end(Outcome::Succeeded)).await;
    assert!(matches!(ended, Err(StoreError::Fenced)), "{ended:?}");
    assert!(!successor.operation(operation).await.unwrap().state.is_finished());
    // It goes on from what is there, and ends.
    finish(&successor, operation, lease.fence, &end(Outcome::Succeeded)).await.unwrap();
}

/// Everything that has happened was this long ago.
async fn age(superuser: &mut PgConnection, days: u32) {
    for (table, column) in [("operations", "finished_at"), ("definitions", "last_used_at")] {
        let older = format!("UPDATE {table} SET {column} = {column} - interval '{days} days'");
        superuser.execute(sqlx::AssertSqlSafe(older)).await.unwrap();
    }
}

async fn count(superuser: &mut PgConnection, what: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {what}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(superuser).await.unwrap()
}

#[tokio::test]
async fn of_each_stack_the_newest_revisions_stay_with_all_that_belongs_to_them_and_no_more() {
    let fixture = Fixture::new().await;
    let (none, kept) = (BTreeMap::new(), i64::from(KEPT_REVISIONS));
    let mut plan = deploy("acme", 0);
    for number in 0..kept + 5 {
        // The first two serve; all that follow fail.
        let outcome = if number < 2 { Outcome::Succeeded } else { Outcome::Failed };
        if number == 3 {
            plan.definition = "0".repeat(64);
        }
        carry_out(&fixture, &plan, wants(0, 0, &none), outcome).await;
        plan = next(&plan, Purpose::Deploy);
    }
    let other = fixture.deployed("globex").await;
    let engine = fixture.engine("server");
    assert_eq!(engine.collect_history().await.unwrap(), 3, "the revisions; their operations are too young");
    let mut superuser = fixture.superuser().await;
    age(&mut superuser, 3).await;
    assert_eq!(engine.collect_history().await.unwrap(), 3, "the operations of these");
    assert_eq!(engine.collect_history().await.unwrap(), 0);
    assert_eq!(count(&mut superuser, "revisions").await, kept + 2 + 1);
    assert_eq!(count(&mut superuser, "operations").await, kept + 2 + 1);
    assert_eq!(count(&mut superuser, "journal").await, kept + 2 + 1, "one record each");
    assert_eq!(count(&mut superuser, "definitions").await, 1, "nothing refers to the other one any more");
    let mut tx = fixture.store.begin(fixture.tenant("acme").await).await.unwrap();
    let numbers: Vec<u64> =
        tx.revisions(plan.stack, 100).await.unwrap().iter().map(|one| one.as_ref().unwrap().number).collect();
    assert!(numbers.contains(&2) && numbers.contains(&1), "what serves, and where a rollback goes: {numbers:?}");
    drop(tx);
    let mut tx = fixture.store.begin(fixture.tenant("globex").await).await.unwrap();
    assert!(tx.revision(other.stack, 1).await.unwrap().is_some());
}

#[tokio::test]
async fn the_history_of_a_destroyed_stack_goes_in_the_end_and_that_of_a_waiting_one_never() {
    let fixture = Fixture::new().await;
    let plan = fixture.deployed("acme").await;
    let none = BTreeMap::new();
    carry_out(&fixture, &next(&plan, Purpose::Destroy { dump: true }), wants(0, 0, &none), Outcome::Succeeded).await;
    let waiting = fixture.enqueue(&deploy("globex", 0), &[]).await.unwrap();
    let (engine, mut superuser) = (fixture.engine("server"), fixture.superuser().await);
    age(&mut superuser, 30).await;
    assert_eq!(engine.collect_history().await.unwrap(), 0);
    age(&mut superuser, 100).await;
    assert_eq!(engine.collect_history().await.unwrap(), 2);
    assert_eq!(engine.operation(waiting).await.unwrap().id, waiting);
    assert!(count(&mut superuser, "audit").await >= 3, "the audit log stays");
}

#[tokio::test]
async fn nothing_but_the_collection_takes_anything_out_of_the_journal() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    engine.append(operation, fence, &[Record::Acquired { times: 1 }]).await.unwrap();
    for (options, setting) in
        [(&fixture.connections.owner, "off"), (&fixture.connections.tenant, "on"), (&fixture.connections.engine, "on")]
    {
        let mut session = Fixture::session(options).await;
        let set = format!("SET freehold.collecting = '{setting}'");
        session.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
        let refused = session.execute("DELETE FROM journal").await.unwrap_err().to_string();
        assert!(refused.contains("append-only") || refused.contains("permission denied"), "{refused}");
    }
}

#[tokio::test]
async fn old_lines_of_audit_are_collected_and_newer_ones_stay() {
    let fixture = Fixture::new().await;
    let none = BTreeMap::new();
    carry_out(&fixture, &deploy("acme", 0), wants(0, 0, &none), Outcome::Succeeded).await;
    let lines = async || {
        let mut tx = fixture.store.look(Access::AllTenants).await.unwrap();
        tx.audit_log(None, 10_000).await.unwrap().len()
    };
    let mut superuser = fixture.superuser().await;
    let fresh = lines().await;
    assert!(fresh > 0);
    // As many as take several transactions to remove; their age is written where nobody but a superuser can.
    let old = "INSERT INTO audit (tenant_id, at, actor, action, subject, detail)
         SELECT tenant_id, clock_timestamp() - interval '31 days', 'a test', 'look', 'acme', '{}' FROM audit, generate_series(1, 1500)";
    superuser.execute(old).await.unwrap();
    let engine = fixture.engine("server");
    assert_eq!(engine.collect_audit(32).await.unwrap(), 0);
    // The clock was put ahead, or back: it is believed after a day, and not before.
    for jump in ["- interval '10 days'", "+ interval '10 days'"] {
        let seen = format!("UPDATE settings SET value = (clock_timestamp() {jump})::text WHERE name = 'clock-seen'");
        superuser.execute(sqlx::AssertSqlSafe(seen)).await.unwrap();
        assert_eq!(engine.collect_audit(30).await.unwrap(), 0, "{jump}");
        assert_eq!(engine.collect_audit(30).await.unwrap(), 0, "{jump}");
    }
    let day = "UPDATE settings SET value = (value::timestamptz - interval '1 day')::text WHERE name = 'clock-believed'";
    superuser.execute(day).await.unwrap();
    let removed = engine.collect_audit(30).await.unwrap();
    assert_eq!((removed, lines().await), (1500 * fresh as u64, fresh));
    // Nobody else takes one out.
    for options in [&fixture.connections.tenant, &fixture.connections.engine, &fixture.connections.owner] {
        let mut session = Fixture::session(options).await;
        let refused = session.execute("DELETE FROM audit").await.unwrap_err().to_string();
        assert!(refused.contains("append-only") || refused.contains("permission denied"), "{refused}");
    }
}
