//! What progress looks like, where somebody watches and where nobody does.

use chrono::{DateTime, TimeDelta, Utc};
use freehold::wire::{Event, EventKind, Operation};
use uuid::Uuid;

use super::*;

const SUBJECTS: [&str; 6] =
    ["roles.main", "database.main", "secret.session-key", "job.migrate", "service.web", "route.web"];

fn started(verb: &str, subject: &str) -> EventKind {
    EventKind::StepStarted {
        step: format!("{verb}/{subject}"),
        verb: verb.into(),
        subject: subject.to_owned(),
        attempt: 1,
    }
}

fn done(verb: &str, subject: &str, note: Option<&str>, milliseconds: u64) -> EventKind {
    EventKind::StepDone {
        step: format!("{verb}/{subject}"),
        verb: verb.into(),
        subject: subject.to_owned(),
        note: note.map(str::to_owned),
        milliseconds,
    }
}

fn finished() -> EventKind {
    EventKind::Finished {
        stack: Uuid::nil(),
        operation: Uuid::nil(),
        revision: 1,
        state: "succeeded".into(),
        outputs: serde_json::Value::Null,
        timings: Default::default(),
        failure: None,
        exists: Vec::new(),
        missing: Vec::new(),
    }
}

fn deploy() -> Vec<EventKind> {
    vec![
        EventKind::Taken { times: 1, done: 0, steps: 7 },
        done("create", "roles.main", None, 12),
        done("create", "database.main", None, 61),
        done("create", "secret.session-key", None, 1),
        done("run", "job.migrate", None, 310),
        done("create", "service.web", Some("ready after 3 probes"), 420),
        done("create", "route.web", None, 2),
        done("verify", "stack", None, 5),
        finished(),
    ]
}

fn plain(lines: &[String]) -> String {
    anstream::adapter::strip_str(&lines.join("\n")).to_string()
}

fn play(progress: &mut Progress, events: &[EventKind]) -> String {
    let lines: Vec<String> = events.iter().flat_map(|event| progress.event(event, Duration::ZERO)).collect();
    plain(&lines)
}

#[test]
fn what_is_done_stands_side_by_side_where_somebody_watches() {
    let mut progress = Progress::new(true, 80, SUBJECTS.into_iter());
    insta::assert_snapshot!(play(&mut progress, &deploy()));
    assert!(progress.live(Duration::ZERO).is_empty());
}

#[test]
fn what_is_done_has_a_line_each_where_nobody_watches() {
    let mut progress = Progress::new(false, 80, SUBJECTS.into_iter());
    insta::assert_snapshot!(play(&mut progress, &deploy()));
}

#[test]
fn what_is_under_way_is_shown_with_its_time() {
    let mut progress = Progress::new(true, 80, SUBJECTS.into_iter());
    progress.event(&EventKind::Taken { times: 1, done: 2, steps: 7 }, Duration::ZERO);
    progress.event(&started("run", "job.migrate"), Duration::ZERO);
    progress.event(&started("create", "secret.session-key"), Duration::from_secs(3));
    assert_eq!(plain(&progress.live(Duration::from_secs(3))), "  ⠋ 2 of 7  secret · migrate 3 s");
    let retrying = EventKind::StepRetrying {
        step: "run/job.migrate".to_owned(),
        reason: "no connections left".to_owned(),
        retry_after_milliseconds: Some(500),
    };
    assert!(progress.event(&retrying, Duration::ZERO).is_empty());
    let live = plain(&progress.live(Duration::from_secs(3)));
    assert!(live.ends_with("migrate: no connections left; again in 0.50 s"), "{live}");
    let retrying = EventKind::StepRetrying {
        step: "run/job.migrate".to_owned(),
        reason: "the server did not answer".to_owned(),
        retry_after_milliseconds: None,
    };
    assert!(progress.event(&retrying, Duration::ZERO).is_empty());
    let live = plain(&progress.live(Duration::from_secs(3)));
    assert!(live.ends_with("migrate: the server did not answer"), "{live}");
}

#[test]
fn lines_that_are_drawn_over_are_never_wider_than_the_terminal() {
    let mut progress = Progress::new(true, 40, SUBJECTS.into_iter());
    for at in 0..20 {
        progress.event(&started("create", &format!("service.a-long-name-{at}")), Duration::ZERO);
        let lines = progress
            .event(&done("create", &format!("secret.another-long-name-{at}"), Some("with a note"), 9), Duration::ZERO);
        assert!(
            plain(&lines).lines().chain(plain(&progress.live(Duration::ZERO)).lines()).all(|line| columns(line) <= 40)
        );
    }
}

#[test]
fn a_destruction_shows_the_dump_and_proves_the_end() {
    let mut progress = Progress::new(true, 80, ["database.main", "service.web"].into_iter()).destroying();
    let events = [
        done("delete", "service.web", None, 210),
        done("dump", "database.main", Some("acme__guestbook-20260302.dump (6 MB), restored once to prove it"), 900),
        done("delete", "database.main", None, 80),
        done("verify", "stack", Some("0 objects, 0 databases, 0 roles left with its mark"), 10),
    ];
    insta::assert_snapshot!(play(&mut progress, &events));
}

#[test]
fn a_failed_step_is_marked() {
    let mut progress = Progress::new(false, 80, SUBJECTS.into_iter());
    progress.event(&started("run", "job.migrate"), Duration::ZERO);
    let problem: freehold::wire::Problem = serde_json::from_value(serde_json::json!({
        "type": "urn:freehold:FH0701", "title": "", "status": 500, "detail": "x", "code": "FH0701",
    }))
    .unwrap();
    let failed =
        EventKind::StepFailed { step: "run/job.migrate".to_owned(), subject: "job.migrate".to_owned(), problem };
    assert_eq!(plain(&progress.event(&failed, Duration::ZERO)), "  ✗ migrate");
    assert!(progress.still(Duration::ZERO).is_none());
}

fn operation(at: DateTime<Utc>) -> Operation {
    Operation {
        id: Uuid::from_u128(0x0193_4d5e_aaaa_bbbb_cccc_dddd_eeee_9f9f),
        stack: Uuid::nil(),
        key: "guestbook/tenant/acme".to_owned(),
        purpose: "deploy".into(),
        state: "running".into(),
        revision: 4,
        taken: 2,
        created_at: at,
        finished_at: None,
        failure: None,
        outputs: serde_json::Value::Null,
        waits: Vec::new(),
    }
}

#[test]
fn who_comes_late_is_told_of_the_interruption_and_what_was_done() {
    let begin = DateTime::UNIX_EPOCH;
    let at = |seconds: i64, sequence: u64, kind: EventKind| Event {
        sequence,
        at: begin + TimeDelta::seconds(seconds),
        kind,
    };
    let events = [
        at(0, 1, EventKind::Taken { times: 1, done: 0, steps: 7 }),
        at(1, 2, done("create", "database.main", None, 61)),
        at(1, 3, done("create", "roles.main", None, 12)),
        at(2, 4, done("create", "secret.session-key", None, 1)),
        at(10, 5, EventKind::Taken { times: 2, done: 4, steps: 7 }),
        at(11, 6, done("run", "job.migrate", None, 310)),
    ];
    let mut progress = Progress::new(true, 80, SUBJECTS.into_iter());
    let lines = progress.replay(&operation(begin), &events, begin + TimeDelta::seconds(14));
    insta::assert_snapshot!(plain(&lines), @r"
    Following operation 01934d…9f9f of revision 4 (the server was interrupted 12 s
    ago at step 5 of 7 and has resumed it)
      ✓ database, roles, secret: done before
      ✓ migrate: finished meanwhile
    ");
}

#[test]
fn who_joins_another_terminal_is_told_since_when_it_runs() {
    let begin = DateTime::UNIX_EPOCH;
    let taken = Event { sequence: 1, at: begin, kind: EventKind::Taken { times: 1, done: 0, steps: 7 } };
    let mut progress = Progress::new(true, 80, SUBJECTS.into_iter());
    let lines = progress.replay(&operation(begin), &[taken], begin + TimeDelta::seconds(2));
    assert_eq!(plain(&lines), "Following operation 01934d…9f9f of revision 4 (it was begun 2 s ago)");
}

/// A stack in a cluster.
const OBJECTS: [&str; 9] = [
    "namespace.main",
    "resourcequota.main",
    "networkpolicy.deny-all",
    "configmap.web",
    "roles.main",
    "job.migrate",
    "service.web",
    "deployment.web",
    "httproute.web",
];

#[test]
fn the_many_small_objects_of_a_cluster_are_one_line() {
    let mut progress = Progress::new(false, 80, OBJECTS.into_iter()).folding(OBJECTS.into_iter());
    let mut lines = Vec::new();
    for (at, subject) in OBJECTS.into_iter().enumerate() {
        let now = Duration::from_millis(100 * at as u64);
        lines.extend(progress.event(&started("create", subject), now));
        lines.extend(progress.event(&done("create", subject, None, 60), now + Duration::from_millis(60)));
    }
    insta::assert_snapshot!(plain(&lines), @r"
      ✓ 4 objects          0.36 s
      ✓ roles              0.06 s
      ✓ migrate            0.06 s
      ✓ service web        0.06 s
      ✓ web                0.06 s
      ✓ route              0.06 s
    ");
}

#[test]
fn who_follows_a_resumed_deploy_to_a_cluster_reads_no_list_of_its_small_objects() {
    let begin = DateTime::UNIX_EPOCH;
    let at =
        |after: i64, sequence: u64, kind: EventKind| Event { sequence, at: begin + TimeDelta::seconds(after), kind };
    let events = [
        at(0, 1, EventKind::Taken { times: 1, done: 0, steps: 9 }),
        at(1, 2, done("create", "namespace.main", None, 61)),
        at(1, 3, done("create", "roles.main", None, 12)),
        at(2, 4, done("create", "resourcequota.main", None, 12)),
        at(2, 5, done("create", "networkpolicy.deny-all", None, 12)),
        at(2, 6, done("create", "configmap.web", None, 12)),
        at(10, 7, EventKind::Taken { times: 2, done: 5, steps: 9 }),
    ];
    let mut progress = Progress::new(false, 80, OBJECTS.into_iter()).folding(OBJECTS.into_iter());
    let lines = progress.replay(&operation(begin), &events, begin + TimeDelta::seconds(14));
    insta::assert_snapshot!(plain(&lines), @r"
    Following operation 01934d…9f9f of revision 4 (the server was interrupted 12 s
    ago at step 6 of 9 and has resumed it)
      ✓ objects, roles: done before
    ");
}

#[test]
fn an_object_that_fails_is_named_and_those_that_were_made_are_counted() {
    let mut progress = Progress::new(false, 80, OBJECTS.into_iter()).folding(OBJECTS.into_iter());
    let mut lines = progress.event(&done("create", "namespace.main", None, 60), Duration::from_millis(60));
    lines.extend(progress.event(&started("create", "resourcequota.main"), Duration::ZERO));
    lines.extend(progress.event(&started("create", "configmap.web"), Duration::ZERO));
    assert_eq!(progress.still(Duration::from_secs(2)).as_deref().map(|line| line.contains("2 objects")), Some(true));
    let problem: freehold::wire::Problem = serde_json::from_value(serde_json::json!({
        "type": "urn:freehold:FH1206", "title": "", "status": 500, "detail": "x", "code": "FH1206",
    }))
    .unwrap();
    let step = "create/resourcequota.main".to_owned();
    let failed = EventKind::StepFailed { step, subject: "resourcequota.main".to_owned(), problem };
    lines.extend(progress.event(&failed, Duration::from_secs(1)));
    let finished: EventKind = serde_json::from_value(serde_json::json!({
        "event": "finished", "stack": Uuid::nil(), "operation": Uuid::nil(), "revision": 1, "state": "failed",
        "outputs": {}, "timings": {},
    }))
    .unwrap();
    lines.extend(progress.event(&finished, Duration::from_secs(1)));
    assert_eq!(plain(&lines), "  ✗ quota\n  ✓ 1 object           0.06 s");
}

#[test]
fn what_is_waited_for_is_told_with_its_reason_and_age_where_nobody_watches_and_drawn_where_somebody_does() {
    let waiting = |reason: Option<&str>, milliseconds| EventKind::Waiting {
        subject: "deployment.web".to_owned(),
        reason: reason.map(str::to_owned),
        milliseconds,
        retry_after_milliseconds: None,
    };
    let at = Duration::from_secs;
    let mut progress = Progress::new(false, 80, SUBJECTS.into_iter());
    progress.event(&started("verify", "stack"), at(0));
    let paused = waiting(Some("0 of 1 ready: its rollout is paused"), 3000);
    assert_eq!(
        plain(&progress.event(&paused, at(4))),
        "  … deployment web: 0 of 1 ready: its rollout is paused, for 3 s"
    );
    let still = progress.still(at(16)).unwrap();
    assert_eq!(plain(&[still]), "  … verify 16 s · deployment web: 0 of 1 ready: its rollout is paused, for 15 s");
    assert_eq!(progress.event(&waiting(None, 0), at(17)), Vec::<String>::new());
    assert!(!plain(&[progress.still(at(18)).unwrap()]).contains("paused"));

    let mut watched = Progress::new(true, 80, SUBJECTS.into_iter());
    watched.event(&started("verify", "stack"), at(0));
    assert_eq!(watched.event(&paused, at(4)), Vec::<String>::new());
    assert!(plain(&watched.live(at(6))).contains("\n    deployment web: 0 of 1 ready: its rollout is paused, for 5 s"));
}

#[test]
fn what_failed_is_told_with_when_it_is_tried_again() {
    let failing = EventKind::Waiting {
        subject: "database.main".to_owned(),
        reason: Some("the server is starting up".to_owned()),
        milliseconds: 3000,
        retry_after_milliseconds: Some(4000),
    };
    let at = Duration::from_secs;
    let mut progress = Progress::new(false, 80, SUBJECTS.into_iter());
    progress.event(&started("create", "database.main"), at(0));
    assert_eq!(
        plain(&progress.event(&failing, at(4))),
        "  … database main: the server is starting up, for 3 s; next attempt in 4 s"
    );
    let still = |at| plain(&[progress.still(at).unwrap()]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(still(at(6)).ends_with("for 5 s; next attempt in 2 s"), "{}", still(at(6)));
    assert!(still(at(9)).ends_with("the server is starting up, for 8 s"), "{}", still(at(9)));
}
