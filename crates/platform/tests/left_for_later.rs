//! Operations that nobody can work on: who watches learns why, they can be cancelled, and what can never go on ends.

use std::sync::Arc;
use std::time::Duration;

use freehold_engine::Leases as _;
use freehold_graph::StackKind;
use freehold_platform::view::{EventKind, StackHealth};
use freehold_platform::{Actor, Apply, Deploy, Executor};
use freehold_problem::Code;
use freehold_store::OperationState;
use freehold_testkit::postgres::TestServer;
use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use tokio::time::timeout;

use crate::testbed::{NOTES, Replica, Testbed};
use crate::watching::operation_of;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_whose_target_is_out_of_reach_tells_so_and_can_be_cancelled() {
    let Replica { platform, store } = Replica::alone().await;
    let engine = store.engine("here");
    let (operation, fence) = operation_of(&store, &engine).await;
    engine.release(operation, fence).await.unwrap();
    let mut events = platform.operations.events(&Actor::operator(), operation, 0).await.unwrap().boxed();
    let executor = Executor::new(engine, Arc::clone(&platform.targets));
    let working = tokio::spawn(executor.work(store.signals_from_now(), platform.stopping.clone()));
    let told = timeout(SOON, events.next()).await.unwrap().unwrap().kind;
    let EventKind::Waiting { subject, reason: Some(reason), retry_after_milliseconds: Some(_), .. } = told else {
        panic!("it tells why nothing happens: {told:?}")
    };
    assert_eq!(subject.0, "target.local");
    let view = platform.operations.get(&Actor::operator(), operation).await.unwrap();
    assert_eq!(view.waits.iter().map(|wait| &wait.reason).collect::<Vec<_>>(), [&reason]);

    platform.operations.cancel(&Actor::operator(), operation).await.unwrap();
    let last = timeout(SOON, events.collect::<Vec<_>>()).await.unwrap().pop().unwrap();
    let EventKind::Finished(finished) = last.kind else { panic!("{last:?}") };
    assert_eq!(finished.state, OperationState::Cancelled);
    assert_eq!(finished.failure.unwrap().code, Code::Cancelled);
    platform.stopping.cancel();
    working.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_with_a_damaged_journal_fails_and_its_stack_is_deployed_again() {
    let ([Replica { platform, store }, _], database) = Replica::pair().await;
    let engine = store.engine("before");
    let (operation, fence) = operation_of(&store, &engine).await;
    engine.release(operation, fence).await.unwrap();
    let damage = format!(
        "INSERT INTO journal (tenant_id, operation, seq, batch, place, version, record)
         SELECT tenant_id, id, 1, gen_random_uuid(), 1, 1, '{{\"record\": \"half of\"}}' FROM operations WHERE id = '{operation}'"
    );
    let mut superuser = TestServer::shared().superuser().database(&database).connect().await.unwrap();
    superuser.execute(AssertSqlSafe(damage)).await.unwrap();
    // Who watches already gets the end, too.
    let events = platform.operations.events(&Actor::operator(), operation, 0).await.unwrap();

    let testbed = Testbed::on(store, database).await;
    let last = timeout(SOON, events.collect::<Vec<_>>()).await.unwrap().pop().unwrap();
    let EventKind::Finished(finished) = last.kind else { panic!("{last:?}") };
    let failure = finished.failure.unwrap();
    assert_eq!((finished.state, failure.code), (OperationState::Failed, Code::StoreUnreadable));
    assert!(failure.message.starts_with("the operation can't go on: the journal is damaged: "), "{failure:?}");
    let stack = testbed.platform.stacks.get(&Actor::operator(), finished.stack).await.unwrap();
    assert_eq!(stack.health, StackHealth::Failed);

    let request = Testbed::deploy("acme");
    let definition = NOTES.replace("notes", "guestbook");
    let again = Deploy { artifacts: request.artifacts, ..Deploy::of(&definition, StackKind::Tenant, "acme") };
    let again = testbed.platform.operations.apply(&Actor::operator(), &Apply::Deploy(Box::new(again)), None).await;
    let again = timeout(SOON, testbed.end_of(again.unwrap().id)).await.unwrap();
    assert_eq!((again.state, again.failure), (OperationState::Succeeded, None));
    assert_eq!(again.stack, finished.stack);
}
