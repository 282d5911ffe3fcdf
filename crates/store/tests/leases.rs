//! Leases: one holder at a time, fences that only grow.

use freehold_engine::journal::Outcome;
use freehold_engine::{Fence, Journal, JournalError, Leases, Record};
use freehold_problem::Code;
use sqlx::Executor;

use crate::fixture::{Fixture, deploy, end, waiting};

/// Lets all leases run out, as 15 seconds would.
async fn let_leases_run_out(fixture: &Fixture) {
    let expire = "UPDATE leases SET expires_at = clock_timestamp() - interval '1 ms'";
    fixture.superuser().await.execute(expire).await.unwrap();
}

#[tokio::test]
async fn of_many_claimants_one_gets_the_lease() {
    let fixture = Fixture::new().await;
    let operation = fixture.enqueue(&deploy("acme", 0), &[]).await.unwrap();
    let engines: Vec<_> = (0..5).map(|number| fixture.engine(&format!("server {number}"))).collect();
    let mut attempts = tokio::task::JoinSet::new();
    for engine in engines {
        attempts.spawn(async move { engine.acquire(operation).await.unwrap() });
    }
    let granted: Vec<_> = attempts.join_all().await.into_iter().flatten().collect();
    assert_eq!(granted.len(), 1);
    assert!(granted[0].remaining.as_secs_f64() > 14.0 && granted[0].remaining.as_secs_f64() <= 15.0);
}

#[tokio::test]
async fn the_same_process_does_not_get_it_twice() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, _) = fixture.running("acme", &engine).await;
    assert_eq!(engine.acquire(operation).await.unwrap(), None);
}

#[tokio::test]
async fn a_successor_has_a_higher_fence_and_the_old_one_is_refused_everywhere() {
    let fixture = Fixture::new().await;
    let (old, new) = (fixture.engine("old"), fixture.engine("new"));
    let (_, operation, fence) = fixture.running("acme", &old).await;
    assert_eq!(new.acquire(operation).await.unwrap(), None);
    let_leases_run_out(&fixture).await;
    let taken = new.acquire(operation).await.unwrap().unwrap();
    assert!(taken.fence > fence);
    let record = [Record::Acquired { times: 2 }];
    assert_eq!(old.append(operation, fence, &record).await, Err(JournalError::Fenced));
    assert_eq!(old.renew(operation, fence).await, Err(JournalError::Fenced));
    assert_eq!(old.finish(operation, fence, &end(Outcome::Succeeded)).await.unwrap_err().code(), Code::LeaseLost);
    // To give back what one no longer has takes nothing from who has it.
    old.release(operation, fence).await.unwrap();
    new.renew(operation, taken.fence).await.unwrap();
    new.append(operation, taken.fence, &record).await.unwrap();
    assert_eq!(new.load(operation).await.unwrap(), record);
}

#[tokio::test]
async fn a_fence_that_was_never_granted_is_refused() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    let made_up = Fence(fence.0 + 1);
    let append = engine.append(operation, made_up, &[Record::CancelRequested]).await;
    assert_eq!(append, Err(JournalError::Fenced));
    assert_eq!(engine.load(operation).await.unwrap(), []);
}

#[tokio::test]
async fn a_lease_that_ran_out_unnoticed_can_be_renewed() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    let_leases_run_out(&fixture).await;
    let renewed = engine.renew(operation, fence).await.unwrap();
    assert!(renewed.remaining.as_secs_f64() > 14.0);
    assert_eq!(engine.acquire(operation).await.unwrap(), None);
}

#[tokio::test]
async fn a_released_lease_is_free_at_once() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.engine("first"), fixture.engine("second"));
    let (_, operation, fence) = fixture.running("acme", &first).await;
    assert_eq!(waiting(&second).await, []);
    first.release(operation, fence).await.unwrap();
    assert_eq!(waiting(&second).await, [operation]);
    assert!(second.acquire(operation).await.unwrap().unwrap().fence > fence);
}

#[tokio::test]
async fn a_restarted_server_takes_over_at_once_and_its_predecessor_can_write_no_more() {
    let fixture = Fixture::new().await;
    let (dead, restarted) = (fixture.engine("server, first start"), fixture.engine("server, second start"));
    let (_, operation, fence) = fixture.running("acme", &dead).await;
    let (_, other, _) = fixture.running("globex", &restarted).await;
    assert_eq!(restarted.take_over_predecessors().await.unwrap(), 1);
    assert_eq!(waiting(&restarted).await, [operation]);
    assert_eq!(dead.renew(operation, fence).await, Err(JournalError::Fenced));
    assert_eq!(dead.append(operation, fence, &[Record::CancelRequested]).await, Err(JournalError::Fenced));
    // Its own leases stay.
    assert_eq!(restarted.acquire(other).await.unwrap(), None);
    assert!(restarted.acquire(operation).await.unwrap().is_some());
}

#[tokio::test]
async fn an_operation_that_has_ended_is_not_taken_up_again() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine("server");
    let (_, operation, fence) = fixture.running("acme", &engine).await;
    crate::fixture::finish(&engine, operation, fence, &end(Outcome::Failed)).await.unwrap();
    assert_eq!(engine.acquire(operation).await, Err(JournalError::Fenced));
    assert_eq!(waiting(&engine).await, []);
}
