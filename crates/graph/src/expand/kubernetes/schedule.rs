//! Schedules as a CronJob reads them.
//!
//! Kubernetes' cron differs from ours (and Vixie's) in two points: Sunday is 0 and never 7, and where a day field is `*/2`, it
//! counts as restricted, so that a day has to fit either field, not both.

use std::collections::BTreeSet;

/// The words for weekdays, Sunday first.
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The same schedule in Kubernetes' words; `None` where it has none for it.
pub fn cron(schedule: &str) -> Option<String> {
    let fields: Vec<&str> = schedule.split_ascii_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else { return None };
    let both = *day != "*" && *weekday != "*";
    if both && (day.contains('*') || weekday.contains('*')) {
        return None;
    }
    let weekday: Vec<String> = weekday.split(',').map(sunday_first).collect();
    Some([*minute, *hour, *day, *month, &weekday.join(",")].join(" "))
}

/// An item of the weekdays without the figure 7: `5-7` is `0,5,6`.
fn sunday_first(item: &str) -> String {
    let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, step.parse::<usize>().ok()));
    let figure = |text: &str| {
        let word = WEEKDAYS.iter().position(|word| word.eq_ignore_ascii_case(text));
        word.or_else(|| text.parse().ok())
    };
    let bounds = match range.split_once('-') {
        Some((from, to)) => figure(from).zip(figure(to)),
        // `1/2` goes on to the end of the week, 7 included.
        None => figure(range).map(|from| (from, if step.is_some() { 7 } else { from })),
    };
    let Some((from, to)) = bounds else { return item.to_owned() };
    let days: BTreeSet<usize> = (from..=to).step_by(step.unwrap_or(1).max(1)).collect();
    if !days.contains(&7) {
        return item.to_owned();
    }
    let days: BTreeSet<String> = days.into_iter().map(|day| (day % 7).to_string()).collect();
    days.into_iter().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_schedules_stay_as_they_are() {
        for same in
            ["0 6 * * *", "*/15 0-6/2 1,15 jan-mar *", "0 6 * * mon-fri", "0 6 */2 * *", "0 6 4 * 5", "0 0 * * */2"]
        {
            assert_eq!(cron(same).as_deref(), Some(same));
        }
        assert_eq!(cron("0  6\t* * *").as_deref(), Some("0 6 * * *"));
    }

    #[test]
    fn sunday_is_0() {
        let cases =
            [("7", "0"), ("5-7", "0,5,6"), ("fri-7", "0,5,6"), ("1/2", "0,1,3,5"), ("1-7/3", "0,1,4"), ("0/2", "0/2")];
        for (ours, theirs) in cases {
            assert_eq!(cron(&format!("0 6 * * {ours}")), Some(format!("0 6 * * {theirs}")));
        }
    }

    #[test]
    fn a_star_beside_a_restricted_day_has_no_words() {
        for none in ["0 6 */2 * 5", "0 6 5 * */2"] {
            assert_eq!(cron(none), None);
        }
    }
}
