//! Schedules: cron expressions of five fields, in UTC.
//!
//! ```text
//! minute 0-59 · hour 0-23 · day of the month 1-31 · month 1-12 or jan-dec · day of the week 0-7 or sun-sat (0 and 7: Sunday)
//! ```
//!
//! A field is `*`, a figure, a range `a-b`, a step `*/n`, `a-b/n` or `a/n` (from a on), or several of them with commas.
//! As in Vixie's cron, a day has to fit both day fields if one of them begins with `*`, and either of them if none does.
//!
//! ```
//! # use freehold_spec::schedule::{Schedule, ScheduleError};
//! let hourly = Schedule::parse("30 * * * *")?;
//! assert_eq!(hourly.next_after(0), Some(30 * 60));
//! assert_eq!(hourly.next_after(30 * 60), Some(90 * 60));
//! # Ok::<(), ScheduleError>(())
//! ```

use thiserror::Error;

/// Why a text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Too few or too many fields.
    #[error("a schedule has five fields (minute, hour, day, month, weekday), this one has {0}")]
    Fields(usize),
    /// A field that can't be read.
    #[error("{text:?} is no {field}: it takes {lowest} to {highest}")]
    Field {
        /// What was written.
        text: String,
        /// What it should be.
        field: &'static str,
        /// The lowest figure.
        lowest: u8,
        /// The highest figure.
        highest: u8,
    },
    /// A day that never comes, such as the 31st of February.
    #[error("this day never comes")]
    Never,
}

/// A schedule that comes round again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A day has to fit both day fields.
    both_days: bool,
}

struct Field {
    name: &'static str,
    lowest: u8,
    highest: u8,
    /// Words for the figures, from the lowest on.
    words: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", lowest: 0, highest: 59, words: &[] };
const HOUR: Field = Field { name: "hour", lowest: 0, highest: 23, words: &[] };
const DAY: Field = Field { name: "day of the month", lowest: 1, highest: 31, words: &[] };
const MONTH: Field = Field {
    name: "month",
    lowest: 1,
    highest: 12,
    words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field =
    Field { name: "day of the week", lowest: 0, highest: 7, words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

const SECONDS_A_DAY: i64 = 86_400;

/// No schedule that comes at all stays away longer: 29 February on a given weekday, over a century without a leap year.
const LONGEST_WAIT_DAYS: i64 = 41 * 366;

impl Schedule {
    /// Reads a cron expression.
    ///
    /// # Errors
    /// It isn't one, or it never comes round.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(ScheduleError::Fields(fields.len()));
        };
        let mut weekdays = WEEKDAY.parse(weekday)?;
        if weekdays & (1 << 7) != 0 {
            weekdays |= 1;
        }
        let schedule = Self {
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays,
            both_days: day.starts_with('*') || weekday.starts_with('*'),
        };
        schedule.next_after(0).map(|_| schedule).ok_or(ScheduleError::Never)
    }

    /// The first time after `unix_seconds` at which it comes round, in seconds since 1970 (UTC); `None` only beyond the
    /// end of time.
    pub fn next_after(&self, unix_seconds: i64) -> Option<i64> {
        let first_minute = unix_seconds.div_euclid(60).checked_add(1)?.checked_mul(60)?;
        let today = first_minute.div_euclid(SECONDS_A_DAY);
        let not_before = first_minute.rem_euclid(SECONDS_A_DAY);
        (0..=LONGEST_WAIT_DAYS).find_map(|ahead| {
            let day = today.checked_add(ahead)?;
            let not_before = if ahead == 0 { not_before } else { 0 };
            let second = self.fits_day(day).then(|| self.first_of_day(not_before)).flatten()?;
            day.checked_mul(SECONDS_A_DAY)?.checked_add(second)
        })
    }

    fn fits_day(&self, day: i64) -> bool {
        let (month, day_of_month) = month_and_day(day);
        // 1 January 1970 was a Thursday.
        let weekday = (day + 4).rem_euclid(7);
        let (by_month, by_week) = (has(self.days, day_of_month), has(self.weekdays, weekday));
        has(self.months, month) && if self.both_days { by_month && by_week } else { by_month || by_week }
    }

    /// The first fitting second of a day from `not_before` on.
    fn first_of_day(&self, not_before: i64) -> Option<i64> {
        let (hour, minute) = (not_before / 3600, not_before % 3600 / 60);
        let in_this_hour = (minute..60).find(|minute| has(self.hours, hour) && has(self.minutes, *minute));
        let (hour, minute) = match in_this_hour {
            Some(minute) => (hour, minute),
            None => (
                (hour + 1..24).find(|hour| has(self.hours, *hour))?,
                (0..60).find(|minute| has(self.minutes, *minute))?,
            ),
        };
        Some(hour * 3600 + minute * 60)
    }
}

fn has(set: u64, figure: i64) -> bool {
    u32::try_from(figure).ok().and_then(|figure| set.checked_shr(figure)).is_some_and(|rest| rest & 1 == 1)
}

impl Field {
    /// The set of the field's figures, as bits.
    fn parse(&self, text: &str) -> Result<u64, ScheduleError> {
        text.split(',').try_fold(0, |set, item| Ok(set | self.item(item)?))
    }

    fn item(&self, text: &str) -> Result<u64, ScheduleError> {
        let error = || ScheduleError::Field {
            text: text.to_owned(),
            field: self.name,
            lowest: self.lowest,
            highest: self.highest,
        };
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0).ok_or_else(error)?)),
            None => (text, None),
        };
        let (from, to) = if range == "*" {
            // Sunday is written 0 here; 7 would be a second one.
            (self.lowest, if self.highest == 7 { 6 } else { self.highest })
        } else if let Some((from, to)) = range.split_once('-') {
            (self.figure(from).ok_or_else(error)?, self.figure(to).ok_or_else(error)?)
        } else {
            let figure = self.figure(range).ok_or_else(error)?;
            (figure, if step.is_some() { self.highest } else { figure })
        };
        if from > to {
            return Err(error());
        }
        Ok((from..=to).step_by(step.unwrap_or(1).into()).fold(0, |set, figure| set | 1 << figure))
    }

    fn figure(&self, text: &str) -> Option<u8> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        match word {
            Some(position) => u8::try_from(position).ok()?.checked_add(self.lowest),
            None => number(text).filter(|figure| (self.lowest..=self.highest).contains(figure)),
        }
    }
}

/// Digits only: no sign, which `parse` would take.
fn number(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Month (1 to 12) and day of the month of a day since 1970, by the proleptic Gregorian calendar. Years are counted from
/// 1 March, so that the leap day is a year's last; an era is 400 years.
fn month_and_day(day: i64) -> (i64, i64) {
    const DAYS_AN_ERA: i64 = 146_097;
    // From 1 March of the year 0 to 1 January 1970.
    let day_of_era = (day + 719_468).rem_euclid(DAYS_AN_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    (if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 }, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    // date -u -d '2026-11-02 06:00' +%s
    const MONDAY_6_00: i64 = 1_793_599_200;
    const DAY_SECONDS: i64 = 86_400;

    fn next(expression: &str, after: i64) -> i64 {
        Schedule::parse(expression).unwrap().next_after(after).unwrap()
    }

    #[test]
    fn the_next_time_is_after_now_not_now() {
        assert_eq!(next("0 6 * * *", MONDAY_6_00), MONDAY_6_00 + DAY_SECONDS);
        assert_eq!(next("0 6 * * *", MONDAY_6_00 - 1), MONDAY_6_00);
        assert_eq!(next("* * * * *", MONDAY_6_00), MONDAY_6_00 + 60);
        assert_eq!(next("* * * * *", MONDAY_6_00 + 59), MONDAY_6_00 + 60);
    }

    #[test]
    fn steps_ranges_and_lists_are_read() {
        assert_eq!(next("*/15 * * * *", MONDAY_6_00), MONDAY_6_00 + 15 * 60);
        assert_eq!(next("5/20 * * * *", MONDAY_6_00), MONDAY_6_00 + 5 * 60);
        assert_eq!(next("30 9-17/4 * * *", MONDAY_6_00), MONDAY_6_00 + 3 * 3600 + 30 * 60);
        assert_eq!(next("1,59 5,6 * * *", MONDAY_6_00), MONDAY_6_00 + 60);
        assert_eq!(next("59 5 * * *", MONDAY_6_00), MONDAY_6_00 + DAY_SECONDS - 60);
    }

    #[test]
    fn weekdays_have_names_and_sunday_has_two_figures() {
        let sunday = MONDAY_6_00 + 6 * DAY_SECONDS;
        for expression in ["0 6 * * 0", "0 6 * * 7", "0 6 * * SUN", "0 6 * * sun"] {
            assert_eq!(next(expression, MONDAY_6_00), sunday, "{expression}");
        }
        assert_eq!(next("0 6 * * mon-fri", MONDAY_6_00 + 4 * DAY_SECONDS), MONDAY_6_00 + 7 * DAY_SECONDS);
        assert_eq!(next("0 6 * * 5-7", MONDAY_6_00 + 5 * DAY_SECONDS), sunday);
    }

    #[test]
    fn a_day_fits_either_field_if_both_are_restricted() {
        // The 4th is a Wednesday, and Friday is the 6th.
        assert_eq!(next("0 6 4 * 5", MONDAY_6_00), MONDAY_6_00 + 2 * DAY_SECONDS);
        assert_eq!(next("0 6 4 * 5", MONDAY_6_00 + 2 * DAY_SECONDS), MONDAY_6_00 + 4 * DAY_SECONDS);
    }

    #[test]
    fn a_day_fits_both_fields_if_one_begins_with_a_star() {
        // `*/2` begins with a star: odd days that are Fridays. 6 November is even, the 13th is odd.
        assert_eq!(next("0 6 */2 * 5", MONDAY_6_00), MONDAY_6_00 + 11 * DAY_SECONDS);
        assert_eq!(next("0 6 * * 5", MONDAY_6_00), MONDAY_6_00 + 4 * DAY_SECONDS);
        assert_eq!(next("0 6 13 * *", MONDAY_6_00), MONDAY_6_00 + 11 * DAY_SECONDS);
    }

    #[test]
    fn leap_days_come_in_leap_years_only() {
        // date -u -d '2028-02-29' +%s, and the same of 2096 and 2104: 2100 is no leap year.
        assert_eq!(next("0 0 29 2 *", MONDAY_6_00), 1_835_395_200);
        assert_eq!(next("0 0 29 2 *", 3_981_312_000), 4_233_686_400);
        assert_eq!(next("0 0 31 * *", 1_835_395_200), 1_835_395_200 + 31 * DAY_SECONDS);
    }

    #[test]
    fn months_have_names_and_a_year_ends() {
        // date -u -d '2027-01-01' +%s
        assert_eq!(next("0 0 1 jan *", MONDAY_6_00), 1_798_761_600);
        assert_eq!(next("0 0 1 1-3 *", MONDAY_6_00), 1_798_761_600);
    }

    #[test]
    fn times_before_1970_work_too() {
        assert_eq!(next("0 0 * * *", -1), 0);
        assert_eq!(next("0 0 1 3 *", -62_135_596_800), -62_135_596_800 + 59 * DAY_SECONDS);
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        assert_eq!(Schedule::parse("* * * * *").unwrap().next_after(i64::MAX), None);
        assert!(Schedule::parse("* * * * *").unwrap().next_after(i64::MIN + 60).is_some());
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for wrong in ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *"]
        {
            assert!(Schedule::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in
            ["* * * * 8", "*/0 * * * *", "5-1 * * * *", "+1 * * * *", "a * * * *", "1, * * * *", "@daily", "*/ * * * *"]
        {
            assert!(Schedule::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_day_that_never_comes_is_refused() {
        assert_eq!(Schedule::parse("0 0 30 2 *"), Err(ScheduleError::Never));
        assert!(Schedule::parse("0 0 30 2 1").is_ok());
    }
}
