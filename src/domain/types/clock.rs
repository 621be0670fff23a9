//! The forms of dates and times of day.

use chrono::{NaiveDate, NaiveTime, Timelike};

/// Days from 1970 to 2000, where the dates and times of Postgres begin.
pub(super) const EPOCH_DAYS: i32 = 10_957;

const DATE: &[u8] = b"0000-00-00";
const TIME: &[u8] = b"00:00:00";

fn has_form(text: &[u8], form: &[u8]) -> bool {
    let is_so = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    text.len() == form.len() && text.iter().zip(form).all(is_so)
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, byte| number * 10 + u32::from(byte - b'0'))
}

/// Parses `YYYY-MM-DD`. Dates that do not exist and the year 0 are not dates.
pub(super) fn date(text: &[u8]) -> Option<NaiveDate> {
    if !has_form(text, DATE) {
        return None;
    }
    let year = i32::try_from(number(&text[0..4])).ok().filter(|year| *year > 0)?;
    NaiveDate::from_ymd_opt(year, number(&text[5..7]), number(&text[8..10]))
}

/// Parses `HH:MM:SS` with up to 6 decimals. The hour 24 and leap seconds are not times of day.
pub(super) fn time(text: &[u8]) -> Option<NaiveTime> {
    let (time, rest) = text.split_at_checked(TIME.len())?;
    if !has_form(time, TIME) {
        return None;
    }
    let microseconds = match rest {
        [] => 0,
        [b'.', decimals @ ..] if (1..=6).contains(&decimals.len()) && decimals.iter().all(u8::is_ascii_digit) => {
            (decimals.len()..6).fold(number(decimals), |number, _| number * 10)
        }
        _ => return None,
    };
    NaiveTime::from_hms_micro_opt(number(&time[0..2]), number(&time[3..5]), number(&time[6..8]), microseconds)
}

/// Prints the decimals of a second with their point, as few as needed.
pub(super) fn decimals(time: &impl Timelike) -> String {
    let nanoseconds = time.nanosecond();
    if nanoseconds == 0 { String::new() } else { format!(".{nanoseconds:09}").trim_end_matches('0').to_owned() }
}

/// Whether a text begins with something that looks like a date but is not in the calendar.
pub(super) fn does_not_exist(text: &str) -> bool {
    let begin = text.as_bytes().get(..DATE.len());
    begin.is_some_and(|text| has_form(text, DATE) && number(&text[0..4]) > 0 && date(text).is_none())
}
