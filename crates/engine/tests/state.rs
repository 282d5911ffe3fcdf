//! The fold over the journal, and what decisions make of events that come twice or at the wrong time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::testing::World;
use freehold_engine::{
    Action, CallId, Input, InputKind, Limits, OperationState, Outcome, Performed, Record, Reply, Request, StateChange,
    decide,
};
use freehold_plan::Purpose;
use freehold_problem::{Code, Problem};

use crate::fixture::{Known, Shape, operation, plan};

fn state() -> OperationState {
    let shape =
        Shape { secrets: BTreeMap::from([("key", 1)]), services: BTreeMap::from([("web", 1)]), ..Shape::default() };
    let plan = plan(&World::default(), &Known::default(), Purpose::Deploy, &shape.graph(), false).unwrap();
    OperationState::new(operation(1), Arc::new(plan), Limits { calls: 4, providers: BTreeMap::new() })
}

fn started(step: &str, attempt: u32) -> Record {
    Record::StepStarted { step: step.parse().unwrap(), attempt, state: StateChange::None }
}

fn done(step: &str) -> Record {
    Record::StepDone { step: step.parse().unwrap(), state: StateChange::None, note: None }
}

fn failed(step: &str) -> Record {
    let failure = Problem::new(Code::Newer(999), String::new());
    Record::StepFailed { step: step.parse().unwrap(), failure }
}

fn unknown(step: &str) -> Record {
    Record::StepUnknown { step: step.parse().unwrap(), message: String::new(), retry_after_milliseconds: None }
}

fn fold(records: &[Record]) -> Result<OperationState, String> {
    let mut state = state();
    records.iter().try_for_each(|record| state.fold(record)).map_err(|error| error.to_string())?;
    Ok(state)
}

const KEY: &str = "create/secret.key";

#[test]
fn listed_transitions_are_taken() {
    let taken = Record::Acquired { times: 1 };
    for journal in [
        vec![taken.clone(), done(KEY)],
        vec![taken.clone(), started(KEY, 1), started(KEY, 2), done(KEY)],
        vec![taken.clone(), started(KEY, 1), unknown(KEY), started(KEY, 2), failed(KEY)],
        vec![taken.clone(), started(KEY, 1), unknown(KEY), done(KEY), started("create/service.web", 1)],
        vec![taken, started(KEY, 1), Record::CancelRequested, Record::Finished { outcome: Outcome::Cancelled }],
    ] {
        assert!(fold(&journal).is_ok(), "{journal:?}: {:?}", fold(&journal).err());
    }
}

#[test]
fn unlisted_transitions_are_errors() {
    for journal in [
        vec![Record::Acquired { times: 2 }],
        vec![started(KEY, 2)],
        vec![unknown(KEY)],
        vec![done(KEY), failed(KEY)],
        vec![failed(KEY), started(KEY, 1)],
        vec![started("create/service.web", 1)],
        vec![done("create/service.web")],
        vec![started("create/nothing", 1)],
        vec![Record::Finished { outcome: Outcome::Succeeded }],
        vec![Record::Finished { outcome: Outcome::Failed }, started(KEY, 1)],
        vec![Record::Finished { outcome: Outcome::Failed }, Record::Finished { outcome: Outcome::Cancelled }],
    ] {
        assert!(fold(&journal).is_err(), "{journal:?}");
    }
}

#[test]
fn a_record_that_is_there_twice_changes_nothing() {
    let journal = [Record::Acquired { times: 1 }, started(KEY, 1), unknown(KEY), started(KEY, 2), done(KEY)];
    for place in 0..journal.len() {
        let mut twice = journal.to_vec();
        twice.insert(place + 1, journal[place].clone());
        let (once, twice) = (fold(&journal).unwrap(), fold(&twice).unwrap());
        assert_eq!(once.statuses().collect::<Vec<_>>(), twice.statuses().collect::<Vec<_>>());
    }
}

fn feed(state: OperationState, what: InputKind) -> (OperationState, Vec<Action>) {
    decide(state, Input { at: Duration::ZERO, what })
}

fn calls(actions: &[Action]) -> Vec<(CallId, &Request)> {
    let call = |action| if let &Action::Call { call, ref request, .. } = action { Some((call, request)) } else { None };
    actions.iter().filter_map(call).collect()
}

/// Begins, and finds everything as the plan saw it: the looks of the first steps are out.
fn begun_and_compared() -> (OperationState, Vec<Action>) {
    let (mut state, mut actions) = feed(state(), InputKind::Begun);
    let looks: Vec<CallId> = calls(&actions).into_iter().map(|(call, _)| call).collect();
    assert_eq!(looks.len(), 2, "each line of the plan: {actions:?}");
    for look in looks {
        (state, actions) = feed(state, InputKind::Answered(look, Reply::Observed(Ok(None))));
    }
    (state, actions)
}

#[test]
fn nothing_acts_before_its_record_is_acknowledged_and_no_answer_counts_twice() {
    let (state, actions) = begun_and_compared();
    let [(look, Request::Observe(_))] = calls(&actions)[..] else { panic!("{actions:?}") };
    let seen = InputKind::Answered(look, Reply::Observed(Ok(None)));
    let (state, actions) = feed(state, seen.clone());
    assert_eq!(calls(&actions), [], "only the record");
    let [Action::Append(records)] = &actions[..] else { panic!("{actions:?}") };
    let (state, again) = feed(state, seen);
    assert!(again.is_empty(), "{again:?}");
    let mut written = vec![Record::Acquired { times: 1 }];
    written.extend_from_slice(records);
    let (state, actions) = feed(state, InputKind::Appended(written.clone()));
    assert!(matches!(calls(&actions)[..], [(_, Request::Perform(..))]));
    let (_, again) = feed(state, InputKind::Appended(written));
    assert_eq!(calls(&again), []);
}

/// The words with which an operation ended as broken.
fn broken(actions: &[Action]) -> String {
    let [.., Action::End(freehold_engine::End::Broken(contradiction))] = actions else { panic!("{actions:?}") };
    contradiction.to_string()
}

#[test]
fn an_answer_to_something_else_and_a_record_of_no_step_end_the_operation_as_broken() {
    let (state, actions) = begun_and_compared();
    let [(look, Request::Observe(_))] = calls(&actions)[..] else { panic!("{actions:?}") };
    for wrong in [Reply::Performed(Ok(Performed::default())), Reply::Owned(Ok(Vec::new()))] {
        let (broken_state, actions) = feed(state.clone(), InputKind::Answered(look, wrong));
        assert!(broken(&actions).contains("contradicts itself"), "{}", broken(&actions));
        assert_eq!(broken_state.next_wake(), None);
        assert!(feed(broken_state, InputKind::Woke).1.is_empty(), "nothing is decided any more");
    }
    let (_, actions) = feed(state, InputKind::Appended(vec![started("create/nothing", 1)]));
    assert!(broken(&actions).contains("is damaged"), "{}", broken(&actions));
}

#[test]
fn after_the_lease_is_lost_nothing_is_decided() {
    let (state, actions) = begun_and_compared();
    let [(look, _)] = calls(&actions)[..] else { panic!("{actions:?}") };
    let (state, actions) = feed(state, InputKind::LeaseLost);
    assert!(matches!(actions[..], [Action::End(freehold_engine::End::LeaseLost)]));
    for what in [
        InputKind::Answered(look, Reply::Observed(Ok(None))),
        InputKind::LeaseRestored,
        InputKind::CancelRequested,
        InputKind::Woke,
        InputKind::Begun,
    ] {
        assert!(feed(state.clone(), what).1.is_empty());
    }
}

#[test]
fn what_a_call_says_that_it_waits_for_is_written_down_as_it_changes_and_nothing_of_one_that_has_ended() {
    let (state, actions) = begun_and_compared();
    let [(look, Request::Observe(_))] = calls(&actions)[..] else { panic!("{actions:?}") };
    let (state, actions) = feed(state, InputKind::Answered(look, Reply::Observed(Ok(None))));
    let [Action::Append(records)] = &actions[..] else { panic!("{actions:?}") };
    let written = [vec![Record::Acquired { times: 1 }], records.clone()].concat();
    let (state, actions) = feed(state, InputKind::Appended(written));
    let [(call, Request::Perform(..))] = calls(&actions)[..] else { panic!("{actions:?}") };

    let said = |state: OperationState, at: u64, reason: Option<&str>| {
        let what = InputKind::Waits(call, reason.map(str::to_owned));
        let (state, actions) = decide(state, Input { at: Duration::from_secs(at), what });
        let told = actions.into_iter().find_map(|action| match action {
            Action::Append(records) => records.into_iter().find_map(|record| match record {
                Record::Waiting { reason, milliseconds, .. } => Some((reason, milliseconds)),
                _ => None,
            }),
            _ => None,
        });
        (state, told)
    };
    let (state, told) = said(state, 1, Some("no room"));
    assert_eq!(told, None, "it may be over in a moment");
    let (state, told) = said(state, 5, Some("no room"));
    assert_eq!(told, Some((Some("no room".to_owned()), 4000)));
    let (state, told) = said(state, 8, Some("no room"));
    assert_eq!(told, None, "everybody knows");
    let (state, told) = said(state, 11, Some("no image"));
    assert_eq!(told, Some((Some("no image".to_owned()), 0)));
    let (state, told) = said(state, 12, None);
    assert_eq!(told, Some((None, 0)), "it goes on");
    let (state, _) = feed(state, InputKind::Answered(call, Reply::Performed(Ok(Performed::default()))));
    let (state, _) = said(state, 20, Some("late"));
    assert_eq!(said(state, 30, Some("late")).1, None);
}
