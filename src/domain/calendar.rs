//! When a file is expected: days, a time of day, and the time zone of that time.

use std::fmt;

use chrono::{DateTime, Datelike, Days, NaiveTime, TimeDelta, TimeZone, Utc, Weekday};
use chrono_tz::Tz;

use super::expression::unknown;

/// The calendar of a dataset, such as `weekdays 18:00 Asia/Shanghai`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    days: Vec<Weekday>,
    time: NaiveTime,
    zone: Tz,
}

const WEEK: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];
/// At least one file is due in a fortnight.
const FORTNIGHT: TimeDelta = TimeDelta::days(14);
const DAY_NAMES: [&str; 9] = ["daily", "weekdays", "mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Calendar {
    /// Reads `DAYS HH:MM ZONE`. The days are `daily`, `weekdays`, or a list such as `mon,wed,fri`; the zone is a name
    /// of the IANA database.
    ///
    /// # Errors
    /// A message that says which part is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = "write DAYS HH:MM ZONE, such as \"weekdays 18:00 Asia/Shanghai\"";
        let [days, time, zone] = text.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(format!("{text:?} is not a calendar; {form}"));
        };
        let days = match days {
            "daily" => WEEK.to_vec(),
            "weekdays" => WEEK[..5].to_vec(),
            list => list.split(',').map(day).collect::<Result<_, _>>()?,
        };
        let time =
            NaiveTime::parse_from_str(time, "%H:%M").map_err(|_| format!("{time:?} is not a time of day; {form}"))?;
        let zone = zone.parse().map_err(|_| format!("{zone:?} is not a time zone of the IANA database; {form}"))?;
        Ok(Self { days, time, zone })
    }

    /// Returns the moments at which a file is due, later than `after` and not later than `until`, in order.
    pub fn due(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        let first = after.with_timezone(&self.zone).date_naive();
        let dates = (0..).map_while(move |days| first.checked_add_days(Days::new(days)));
        let moments = dates.filter(|date| self.days.contains(&date.weekday())).filter_map(|date| {
            // A clock that is put forward may skip the time. Then the file is due when the gap ends.
            let local = date.and_time(self.time);
            let found =
                (0..=3).find_map(|hours| self.zone.from_local_datetime(&(local + TimeDelta::hours(hours))).earliest());
            found.map(|moment| moment.with_timezone(&Utc))
        });
        moments.skip_while(move |moment| *moment <= after).take_while(move |moment| *moment <= until)
    }

    /// Returns the last moment before `moment` at which a file was due.
    #[must_use]
    pub fn due_before(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.due(moment - FORTNIGHT, moment).take_while(|due| *due < moment).last()
    }

    /// Returns the moments between which an arriving file counts as the one due at `due`: nearer to it than to the one
    /// before or after.
    #[must_use]
    pub fn window(&self, due: DateTime<Utc>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let (before, after) = (self.due_before(due)?, self.due(due, due + FORTNIGHT).next()?);
        Some((before + (due - before) / 2, due + (after - due) / 2))
    }
}

/// The calendar as a definition has it, each day by its name.
impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = match &self.days[..] {
            days if days == WEEK => "daily".to_owned(),
            days if days == &WEEK[..5] => "weekdays".to_owned(),
            days => days.iter().map(|day| day.to_string().to_lowercase()).collect::<Vec<_>>().join(","),
        };
        write!(f, "{days} {} {}", self.time.format("%H:%M"), self.zone)
    }
}

fn day(name: &str) -> Result<Weekday, String> {
    let known = DAY_NAMES[2..].iter().position(|day| *day == name);
    known.map(|index| WEEK[index]).ok_or_else(|| unknown("day", name, &DAY_NAMES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn due(calendar: &str, after: &str, until: &str) -> Vec<String> {
        let calendar = Calendar::parse(calendar).unwrap();
        calendar.due(moment(after), moment(until)).map(|due| due.to_rfc3339()).collect()
    }

    #[test]
    fn a_file_is_due_by_the_clock_of_its_time_zone() {
        // From a Friday to the following Tuesday; 18:00 in Shanghai is 10:00 UTC.
        let found = due("weekdays 18:00 Asia/Shanghai", "2026-11-20T10:00:00Z", "2026-11-24T10:00:00Z");
        assert_eq!(found, ["2026-11-23T10:00:00+00:00", "2026-11-24T10:00:00+00:00"]);
        assert!(due("sat,sun 00:00 UTC", "2026-11-22T00:00:00Z", "2026-11-27T23:59:59Z").is_empty());
    }

    #[test]
    fn summer_time_moves_it_and_a_skipped_hour_delays_it() {
        let found = due("daily 02:30 Europe/Berlin", "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z");
        let expected = ["2026-03-28T01:30:00+00:00", "2026-03-29T01:30:00+00:00", "2026-03-30T00:30:00+00:00"];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_last_due_moment_is_found_across_a_weekend() {
        let calendar = Calendar::parse("weekdays 18:00 Asia/Shanghai").unwrap();
        assert_eq!(calendar.due_before(moment("2026-11-23T10:00:00Z")), Some(moment("2026-11-20T10:00:00Z")));
    }

    #[test]
    fn a_file_belongs_to_the_moment_that_is_nearest() {
        let calendar = Calendar::parse("weekdays 18:00 Asia/Shanghai").unwrap();
        let window = calendar.window(moment("2026-11-23T10:00:00Z")).unwrap();
        assert_eq!(window, (moment("2026-11-21T22:00:00Z"), moment("2026-11-23T22:00:00Z")));
    }

    #[test]
    fn a_wrong_part_of_a_calendar_is_named() {
        assert_eq!(
            Calendar::parse("weekday 18:00 Asia/Shanghai").unwrap_err(),
            r#"unknown day "weekday"; did you mean "weekdays"?"#
        );
        assert!(Calendar::parse("daily 25:00 UTC").unwrap_err().starts_with("\"25:00\" is not a time of day"));
        assert!(Calendar::parse("daily 18:00 Asia/Shangai").unwrap_err().contains("not a time zone"));
        assert!(Calendar::parse("daily").unwrap_err().contains("write DAYS HH:MM ZONE"));
    }
}
