//! Local times of a declared zone become UTC, or are refused: nothing is shifted by a guess.

use std::cell::RefCell;
use std::collections::HashMap;

use chrono::{Datelike, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::Deserialize;

use super::fault::Fault;

/// Where local times are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Always the same number of seconds before or after UTC.
    Fixed(i32),
    /// A zone with a history.
    Named(Tz),
    /// An abbreviation that means so many seconds before or after UTC, and is also the name of a zone with summer time.
    Letters(Tz, i32),
}

/// Such abbreviations, with their offsets in hours.
const LETTERS: [(&str, Tz, i32); 4] =
    [("CET", Tz::CET, 1), ("EET", Tz::EET, 2), ("MET", Tz::MET, 1), ("WET", Tz::WET, 0)];

/// Names that always mean the same offset, in hours (RFC 2822, without CST and CDT, which China has as well).
const NAMED_OFFSETS: [(&str, i32); 10] = [
    ("Z", 0),
    ("UTC", 0),
    ("GMT", 0),
    ("UT", 0),
    ("EST", -5),
    ("EDT", -4),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
];

impl Zone {
    /// UTC.
    pub const UTC: Self = Self::Fixed(0);

    /// The names that always mean the same offset.
    pub fn named_offsets() -> impl Iterator<Item = &'static str> {
        NAMED_OFFSETS.iter().map(|(name, _)| *name)
    }

    /// Reads the zone in a cell. There, `CET` may mean an offset, or the zone of that name.
    #[must_use]
    pub fn of_cell(text: &str) -> Option<Self> {
        let letters = LETTERS.iter().find(|(letters, ..)| *letters == text);
        letters.map_or_else(|| Self::parse(text), |(_, zone, hours)| Some(Self::Letters(*zone, hours * 3600)))
    }

    /// Reads the name of a zone (`Europe/Paris`), or an offset (`Z`, `+08:00`, `-0330`, `+8`, `UTC+8`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((_, hours)) = NAMED_OFFSETS.iter().find(|(name, _)| *name == text) {
            return Some(Self::Fixed(hours * 3600));
        }
        if let Ok(zone) = text.parse::<Tz>() {
            return Some(Self::Named(zone));
        }
        let offset = text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT")).unwrap_or(text);
        match offset_at(offset.as_bytes(), Colon::Free)? {
            (seconds, length) if length == offset.len() => Some(Self::Fixed(seconds)),
            _ => None,
        }
    }
}

/// Whether the hours and minutes of an offset stand apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colon {
    /// `+0800`, or `+08:00` as well.
    Free,
    /// `+08:00` alone.
    Needed,
}

/// The offset in seconds at the start of `text`, and how many bytes it takes. `Z` is one of zero.
pub(super) fn offset_at(text: &[u8], colon: Colon) -> Option<(i32, usize)> {
    let (sign, rest) = match text {
        [b'Z', ..] => return Some((0, 1)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let digit = |at: usize| rest.get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| i32::from(byte - b'0'));
    let two = |at: usize| digit(at).zip(digit(at + 1)).map(|(tens, ones)| tens * 10 + ones);
    let (hours, hour_digits) = match two(0) {
        Some(hours) => (hours, 2),
        None => (digit(0)?, 1),
    };
    let has_colon = rest.get(hour_digits) == Some(&b':');
    let (minutes, length) = match two(hour_digits + usize::from(has_colon)) {
        Some(minutes) if has_colon => (minutes, hour_digits + 3),
        Some(minutes) if colon == Colon::Free && hour_digits == 2 => (minutes, 4),
        _ if has_colon || colon == Colon::Needed => return None,
        _ => (0, hour_digits),
    };
    let seconds = hours * 3600 + minutes * 60;
    (minutes < 60 && seconds <= 18 * 3600).then_some((sign * seconds, length + 1))
}

/// Which moment a local time means that occurred twice, when the clocks went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// The first, before they went back.
    First,
    /// The second, after that.
    Second,
}

/// By which clock a local time was read that the clocks skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// With the offset that held before.
    Before,
    /// With the offset that held after.
    After,
}

/// What a source says of local times that are not exactly one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubtful {
    /// For times that came twice; otherwise they are refused.
    pub fold: Option<Fold>,
    /// For times that were skipped; otherwise they are refused.
    pub gap: Option<Gap>,
}

/// How many seconds a local time is ahead of UTC.
///
/// # Errors
/// `Skipped` or `Repeated` where the time is not exactly one moment and `doubtful` does not say which it means; `SummerTime` where letters
/// mean another offset than the zone that they name.
pub(super) fn offset_of(local: NaiveDateTime, zone: Zone, doubtful: Doubtful) -> Result<i32, Fault> {
    let local = within_table(local);
    let zone = match zone {
        Zone::Fixed(seconds) => return Ok(seconds),
        Zone::Named(zone) => zone,
        Zone::Letters(zone, seconds) => {
            let known = zone.offset_from_local_datetime(&local);
            let fits =
                [known.earliest(), known.latest()].iter().flatten().any(|at| at.fix().local_minus_utc() == seconds);
            return if fits { Ok(seconds) } else { Err(Fault::SummerTime) };
        }
    };
    if let Some(seconds) = steady_offset(zone, local.date()) {
        return Ok(seconds);
    }
    match zone.offset_from_local_datetime(&local) {
        MappedLocalTime::Single(offset) => Ok(offset.fix().local_minus_utc()),
        MappedLocalTime::Ambiguous(one, other) => {
            let (one, other) = (one.fix().local_minus_utc(), other.fix().local_minus_utc());
            match doubtful.fold.ok_or(Fault::Repeated)? {
                // The clock that is further ahead of UTC reads a local time earlier.
                Fold::First => Ok(one.max(other)),
                Fold::Second => Ok(one.min(other)),
            }
        }
        MappedLocalTime::None => skipped(local, zone, doubtful.gap.ok_or(Fault::Skipped)?),
    }
}

/// The last year for which the zone database of this program lists when the clocks are changed.
const LAST_YEAR: i32 = 2099;

/// The same time of a year that has the same days of the week: clocks are changed by them, and the rules of today go on.
fn within_table(local: NaiveDateTime) -> NaiveDateTime {
    if local.year() <= LAST_YEAR {
        return local;
    }
    let (is_leap, begins) = (local.date().leap_year(), local.with_ordinal(1).map(|first| first.weekday()));
    let same = (LAST_YEAR - 27..=LAST_YEAR).filter_map(|year| local.with_year(year)).find(|other| {
        other.date().leap_year() == is_leap && other.with_ordinal(1).map(|first| first.weekday()) == begins
    });
    same.unwrap_or(local)
}

/// How many days are remembered, of all zones: more than there are in a century.
const MOST_DAYS: usize = 40_000;

thread_local! {
    /// The offset of each day that was asked for, if it held all day: a file has few days, and many rows of each.
    static DAYS: RefCell<HashMap<(Tz, NaiveDate), Option<i32>>> = RefCell::default();
}

/// The offset that held in a zone from the beginning to the end of a day; `None` if the clocks were changed, or if that is not known.
fn steady_offset(zone: Tz, date: NaiveDate) -> Option<i32> {
    DAYS.with_borrow_mut(|days| match days.get(&(zone, date)) {
        Some(offset) => *offset,
        None if days.len() < MOST_DAYS => *days.entry((zone, date)).or_insert_with(|| offset_of_day(zone, date)),
        None => None,
    })
}

fn offset_of_day(zone: Tz, date: NaiveDate) -> Option<i32> {
    // Between two quarters of an hour no clock was ever changed there and back.
    let quarters = (0..96).map(|quarter| quarter * 900).chain([86_399]);
    let mut offsets = quarters.map(|second| {
        let time = NaiveTime::from_num_seconds_from_midnight_opt(second, 0)?;
        zone.offset_from_local_datetime(&date.and_time(time)).single().map(|offset| offset.fix().local_minus_utc())
    });
    let first = offsets.next()??;
    offsets.all(|offset| offset == Some(first)).then_some(first)
}

/// The offset before or after the gap in which `local` lies. A gap is at most a day long (Samoa left one out).
fn skipped(local: NaiveDateTime, zone: Tz, gap: Gap) -> Result<i32, Fault> {
    let aside = match gap {
        Gap::Before => TimeDelta::hours(-25),
        Gap::After => TimeDelta::hours(25),
    };
    let there = local.checked_add_signed(aside).ok_or(Fault::OutOfRange)?;
    match zone.offset_from_local_datetime(&there) {
        MappedLocalTime::Single(offset) => Ok(offset.fix().local_minus_utc()),
        _ => Err(Fault::Skipped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(local: &str, zone: &str, doubtful: Doubtful) -> Result<String, Fault> {
        let local = NaiveDateTime::parse_from_str(local, "%Y-%m-%d %H:%M").unwrap();
        let offset = offset_of(local, Zone::parse(zone).unwrap(), doubtful)?;
        Ok((local - TimeDelta::seconds(offset.into())).format("%Y-%m-%d %H:%M").to_string())
    }

    #[test]
    fn a_zone_is_a_name_or_an_offset() {
        for (text, seconds) in [
            ("Z", 0),
            ("UTC", 0),
            ("+08:00", 28_800),
            ("+0800", 28_800),
            ("-0330", -12_600),
            ("+8", 28_800),
            ("UTC+8", 28_800),
            ("GMT-05:00", -18_000),
        ] {
            assert_eq!(Zone::parse(text), Some(Zone::Fixed(seconds)), "{text}");
        }
        assert_eq!(Zone::parse("Asia/Shanghai"), Some(Zone::Named(chrono_tz::Asia::Shanghai)));
        for unknown in ["", "Mars/Olympus", "asia/shanghai", "+", "+1:5", "+08:60", "+19:00", "+08:00x", "8", "+080"] {
            assert_eq!(Zone::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn an_offset_may_be_asked_for_its_colon() {
        assert_eq!(offset_at(b"+08:00 x", Colon::Needed), Some((28_800, 6)));
        assert_eq!(offset_at(b"+0800", Colon::Needed), None);
        assert_eq!(offset_at(b"Z", Colon::Needed), Some((0, 1)));
    }

    #[test]
    fn a_local_time_is_the_moment_that_its_zone_had() {
        let none = Doubtful::default();
        assert_eq!(utc("2025-01-12 23:14", "Asia/Shanghai", none).unwrap(), "2025-01-12 15:14");
        assert_eq!(utc("2025-07-01 12:00", "Europe/London", none).unwrap(), "2025-07-01 11:00");
        assert_eq!(utc("2025-12-01 12:00", "Europe/London", none).unwrap(), "2025-12-01 12:00");
        assert_eq!(utc("2025-12-01 12:00", "+05:30", none).unwrap(), "2025-12-01 06:30");
    }

    #[test]
    fn a_time_that_was_skipped_or_came_twice_is_refused() {
        let none = Doubtful::default();
        assert_eq!(utc("2025-03-30 02:30", "Europe/Berlin", none), Err(Fault::Skipped));
        assert_eq!(utc("2025-10-26 02:30", "Europe/Berlin", none), Err(Fault::Repeated));
        assert_eq!(utc("2011-12-30 12:00", "Pacific/Apia", none), Err(Fault::Skipped));
    }

    /// Whatever the letters beside a time mean, the moment is the same, or it is refused.
    #[test]
    fn letters_that_are_also_a_zone_mean_one_moment_or_none() {
        let ahead = |text: &str, letters: &str| {
            let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
            offset_of(local, Zone::of_cell(letters).unwrap(), Doubtful::default())
        };
        for (letters, hours) in [("CET", 1), ("EET", 2), ("MET", 1), ("WET", 0)] {
            assert_eq!(ahead("2025-01-15 12:00", letters), Ok(hours * 3600), "{letters}");
            assert_eq!(ahead("2025-07-15 12:00", letters), Err(Fault::SummerTime), "{letters}");
        }
        // It came twice, and only one of the two is meant by the letters.
        assert_eq!(ahead("2025-10-26 02:30", "CET"), Ok(3600));
        assert_eq!(ahead("2025-03-30 02:30", "CET"), Err(Fault::SummerTime));
        // A source that declares the zone means the zone.
        assert_eq!(utc("2025-07-15 12:00", "CET", Doubtful::default()).unwrap(), "2025-07-15 10:00");
    }

    #[test]
    fn the_rules_of_today_go_on_after_the_last_listed_year() {
        let none = Doubtful::default();
        for (local, zone, expected) in [
            ("2100-07-01 12:00", "Europe/Paris", "2100-07-01 10:00"),
            ("2100-01-01 12:00", "Europe/Paris", "2100-01-01 11:00"),
            ("2100-07-01 12:00", "Australia/Sydney", "2100-07-01 02:00"),
            ("9999-12-31 00:00", "Australia/Sydney", "9999-12-30 13:00"),
            ("2400-02-29 12:00", "America/New_York", "2400-02-29 17:00"),
            ("9999-12-31 00:00", "Asia/Shanghai", "9999-12-30 16:00"),
        ] {
            assert_eq!(utc(local, zone, none).unwrap(), expected, "{local} {zone}");
        }
        // The last Sundays of March and October 2100.
        assert_eq!(utc("2100-03-28 02:30", "Europe/Paris", none), Err(Fault::Skipped));
        assert_eq!(utc("2100-10-31 02:30", "Europe/Paris", none), Err(Fault::Repeated));
    }

    #[test]
    fn a_source_may_say_which_time_is_meant() {
        let folds = [(Fold::First, "2025-10-26 00:30"), (Fold::Second, "2025-10-26 01:30")];
        for (fold, expected) in folds {
            let doubtful = Doubtful { fold: Some(fold), gap: None };
            assert_eq!(utc("2025-10-26 02:30", "Europe/Berlin", doubtful).unwrap(), expected);
        }
        let gaps = [(Gap::Before, "2025-03-30 01:30"), (Gap::After, "2025-03-30 00:30")];
        for (gap, expected) in gaps {
            let doubtful = Doubtful { fold: None, gap: Some(gap) };
            assert_eq!(utc("2025-03-30 02:30", "Europe/Berlin", doubtful).unwrap(), expected);
        }
    }

    proptest::proptest! {
        /// What is known of a whole day says the same as the zone does of each of its seconds.
        #[test]
        fn a_time_of_any_day_has_the_offset_of_its_zone(
            zone in proptest::sample::select(&chrono_tz::TZ_VARIANTS[..]),
            days in proptest::collection::vec(0_i64..73_000, 8),
            seconds in 0_i64..86_400,
        ) {
            for day in days {
                let first = NaiveDate::from_ymd_opt(1900, 1, 1).unwrap();
                let local = first.and_time(NaiveTime::MIN) + TimeDelta::seconds(day * 86_400 + seconds);
                let expected = match zone.offset_from_local_datetime(&local) {
                    MappedLocalTime::Single(offset) => Ok(offset.fix().local_minus_utc()),
                    MappedLocalTime::Ambiguous(..) => Err(Fault::Repeated),
                    MappedLocalTime::None => Err(Fault::Skipped),
                };
                proptest::prop_assert_eq!(offset_of(local, Zone::Named(zone), Doubtful::default()), expected);
            }
        }
    }
}
