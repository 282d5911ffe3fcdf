//! What is told of an operation that waits.

use std::time::Duration;

use freehold_engine::testing::Fault;
use freehold_engine::{Outcome, Record};

use crate::fixture::Shape;
use crate::shell::{Site, step};

/// What the journal of an operation says of waits: for what, why, and for how long already.
fn waits(records: &[Record]) -> Vec<(String, Option<String>, Duration)> {
    let told = records.iter().filter_map(|record| match record {
        Record::Waiting { subject, reason, milliseconds, .. } => {
            Some((subject.to_string(), reason.clone(), Duration::from_millis(*milliseconds)))
        }
        _ => None,
    });
    told.collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_deploy_waits_for_is_in_its_journal_with_the_reason_and_its_age_and_so_is_the_end_of_it() {
    let mut site = Site::new();
    site.world.lock().unwrap().slow.insert("acme/web".to_owned(), 20);
    assert_eq!(site.deploy(&Shape::guestbook(1)).await, Outcome::Succeeded);
    let told = waits(&site.store.journal(crate::fixture::operation(1)));
    assert_eq!(told.len(), 2, "{told:?}");
    let (subject, reason, age) = &told[0];
    assert_eq!((subject.as_str(), reason.as_deref()), ("service.web", Some("it is starting")));
    assert!(*age >= Duration::from_secs(3) && *age < Duration::from_secs(6), "{age:?}");
    assert_eq!(told[1].1, None, "it is over");
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_soon_is_not_told_as_a_wait() {
    let mut site = Site::new();
    site.world.lock().unwrap().slow.insert("acme/web".to_owned(), 3);
    assert_eq!(site.deploy(&Shape::guestbook(1)).await, Outcome::Succeeded);
    assert_eq!(waits(&site.store.journal(crate::fixture::operation(1))), []);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_tried_again_and_again_is_told_once_with_why() {
    let mut site = Site::new();
    for _ in 0..9 {
        site.faults.plan(step("create/database.main"), Fault::RetryableBefore);
    }
    assert_eq!(site.deploy(&Shape::guestbook(1)).await, Outcome::Succeeded);
    let told = waits(&site.store.journal(crate::fixture::operation(1)));
    assert_eq!(told.len(), 1, "one reason, and the record of the step says that it is over: {told:?}");
    assert!(told[0].0 == "database.main" && told[0].1.is_some() && told[0].2 >= Duration::from_secs(3), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_record_of_a_call_without_an_answer_says_when_the_step_is_tried_again() {
    let mut site = Site::new();
    let started = tokio::time::Instant::now();
    site.faults.plan(step("create/database.main"), Fault::UnknownBefore);
    assert_eq!(site.deploy(&Shape::guestbook(1)).await, Outcome::Succeeded);
    let records = site.store.journal(crate::fixture::operation(1));
    let mut told = records.iter().filter_map(|record| match record {
        Record::StepUnknown { retry_after_milliseconds, .. } => *retry_after_milliseconds,
        _ => None,
    });
    let told = Duration::from_millis(told.next().expect("it says so"));
    assert!(told > Duration::ZERO && told <= started.elapsed(), "{told:?} of {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_told_before_a_call_without_an_answer_is_told_again_behind_it() {
    let mut site = Site::new();
    for fault in
        [[Fault::RetryableBefore; 7].as_slice(), &[Fault::UnknownBefore], &[Fault::RetryableBefore; 2]].concat()
    {
        site.faults.plan(step("create/database.main"), fault);
    }
    assert_eq!(site.deploy(&Shape::guestbook(1)).await, Outcome::Succeeded);
    let records = site.store.journal(crate::fixture::operation(1));
    let told = waits(&records);
    assert_eq!(told[0].1.as_deref(), Some("it was made to fail"));
    let unknown = records.iter().position(|record| matches!(record, Record::StepUnknown { .. })).unwrap();
    let behind = waits(&records[unknown..]);
    assert_eq!(told[0].1, behind.last().unwrap().1, "{told:?}");
}
