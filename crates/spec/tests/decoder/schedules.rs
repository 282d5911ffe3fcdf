//! Schedules, against croner as an oracle. Where the two differ on purpose: docs/adr/0013-schedules-and-event-streams-by-hand.md.

use std::str::FromStr;

use chrono::DateTime;
use croner::Cron;
use freehold_spec::Schedule;
use proptest::prelude::*;

/// How many times in a row are compared.
const TIMES: usize = 12;

/// `*`, a figure, a range, or a range with a step, several of them with commas.
fn field(lowest: u8, highest: u8) -> impl Strategy<Value = String> {
    let figure = lowest..=highest;
    let range = (figure.clone(), figure.clone()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let item = prop_oneof![
        figure.prop_map(|figure| figure.to_string()),
        range.clone().prop_map(|(from, to)| format!("{from}-{to}")),
        (range, 1..7_u8).prop_map(|((from, to), step)| format!("{from}-{to}/{step}")),
    ];
    prop_oneof![
        1 => Just("*".to_owned()),
        2 => prop::collection::vec(item, 1..4).prop_map(|items| items.join(",")),
    ]
}

/// `*/n`, too, where that means the same in both.
fn stepped(lowest: u8, highest: u8) -> impl Strategy<Value = String> {
    prop_oneof![3 => field(lowest, highest), 1 => (1..=highest).prop_map(|step| format!("*/{step}"))]
}

fn of_croner(expression: &str, after: i64) -> Vec<i64> {
    let cron = Cron::from_str(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let after = DateTime::from_timestamp(after, 0).unwrap();
    cron.iter_after(after).take(TIMES).map(|time| time.timestamp()).collect()
}

fn of_ours(expression: &str, after: i64) -> Vec<i64> {
    let schedule = Schedule::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    std::iter::successors(schedule.next_after(after), |last| schedule.next_after(*last)).take(TIMES).collect()
}

proptest! {
    #[test]
    fn a_schedule_comes_round_when_another_implementation_says_so(
        (minute, hour) in (stepped(0, 59), stepped(0, 23)),
        // A day that every month has, so that it always comes.
        (day, month, weekday) in (field(1, 28), stepped(1, 12), field(0, 7)),
        after in 0..4_000_000_000_i64,
    ) {
        let expression = format!("{minute} {hour} {day} {month} {weekday}");
        prop_assert_eq!(of_ours(&expression, after), of_croner(&expression, after), "{}", expression);
    }
}

#[test]
fn a_step_over_all_days_narrows_a_weekday_as_in_vixies_cron() {
    // date -u -d '2026-11-02 06:00' +%s, a Monday. Odd days that are Fridays here, odd days and Fridays there.
    let monday = 1_793_599_200;
    let (ours, croners) = (of_ours("0 6 */2 * 5", monday), of_croner("0 6 */2 * 5", monday));
    assert_eq!(ours.first(), Some(&(monday + 11 * 86_400)));
    assert_eq!(croners.first(), Some(&(monday + 86_400)));
}

#[test]
fn what_only_croner_knows_is_refused() {
    for expression in ["0 0 L * *", "0 0 * * 5#2", "0 0 * * 5L", "0 0 15W * *", "@daily", "0 0 0 * * *"] {
        assert!(Schedule::parse(expression).is_err(), "{expression}");
    }
}
