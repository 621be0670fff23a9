//! The value of a cell, exactly as it was sent and not yet of the type of a column.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::fault::Fault;

/// The value of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact<'a> {
    /// There is none.
    Null,
    /// The plain cell of the column's type.
    Plain(&'a str),
    /// So many of a unit. Of a number, the last digits are decimals; of anything else, none is.
    Counted {
        /// What is counted.
        unit: Unit,
        /// How many.
        count: i64,
        /// How many digits of the count are decimals.
        decimals: u8,
    },
}

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Ones: it is a number.
    One,
    /// Days since 1970.
    Day,
    /// Microseconds since midnight.
    TimeOfDay,
    /// Microseconds since 1970 in UTC.
    Instant,
    /// Microseconds since 1970 on a clock, wherever it stands.
    Local,
}

const MICROSECONDS: i64 = 1_000_000;
const DAY: i64 = 86_400 * MICROSECONDS;
/// When the year 1 begins and the year 9999 ends.
const FIRST_MOMENT: i64 = -719_162 * DAY;
const LAST_MOMENT: i64 = 2_932_897 * DAY - 1;

impl Exact<'_> {
    /// A number with that many decimals.
    pub(super) fn number(count: i64, decimals: u8) -> Self {
        Self::Counted { unit: Unit::One, count, decimals }
    }

    fn counted(unit: Unit, count: i64) -> Self {
        Self::Counted { unit, count, decimals: 0 }
    }

    /// A day.
    ///
    /// # Errors
    /// `OutOfRange` outside of the years 1 to 9999.
    pub(super) fn day(date: NaiveDate) -> Result<Self, Fault> {
        Ok(Self::counted(Unit::Day, in_range(date)?.to_epoch_days().into()))
    }

    /// A time of day.
    pub(super) fn time(time: NaiveTime) -> Self {
        let seconds = i64::from(time.num_seconds_from_midnight());
        Self::counted(Unit::TimeOfDay, seconds * MICROSECONDS + i64::from(time.nanosecond() / 1000))
    }

    /// The moment at which a clock, so many seconds ahead of UTC, shows a date and time.
    ///
    /// # Errors
    /// `OutOfRange` outside of the years 1 to 9999.
    pub(super) fn instant(clock: NaiveDateTime, ahead: i32) -> Result<Self, Fault> {
        let moment = clock.and_utc().timestamp_micros() - i64::from(ahead) * MICROSECONDS;
        if (FIRST_MOMENT..=LAST_MOMENT).contains(&moment) {
            return Ok(Self::counted(Unit::Instant, moment));
        }
        Err(Fault::OutOfRange)
    }

    /// Date and time of a clock.
    ///
    /// # Errors
    /// `OutOfRange` outside of the years 1 to 9999.
    pub(super) fn local(moment: NaiveDateTime) -> Result<Self, Fault> {
        in_range(moment.date())?;
        Ok(Self::counted(Unit::Local, moment.and_utc().timestamp_micros()))
    }

    /// Appends the plain cell of a value to `out`. Returns whether there is a value.
    pub fn write(self, out: &mut String) -> bool {
        match self {
            Self::Null => return false,
            Self::Plain(text) => out.push_str(text),
            Self::Counted { unit, count, decimals } => push_counted(unit, count, decimals, out),
        }
        true
    }
}

fn in_range(date: NaiveDate) -> Result<NaiveDate, Fault> {
    if (1..=9999).contains(&date.year()) { Ok(date) } else { Err(Fault::OutOfRange) }
}

/// Appends a count as a plain cell.
pub fn push_counted(unit: Unit, count: i64, decimals: u8, out: &mut String) {
    match unit {
        Unit::One => push_decimal(count, decimals, out),
        Unit::Day => push_day(count, out),
        Unit::TimeOfDay => push_time(count, out),
        Unit::Instant | Unit::Local => {
            push_day(count.div_euclid(DAY), out);
            out.push('T');
            push_time(count.rem_euclid(DAY), out);
            if unit == Unit::Instant {
                out.push('Z');
            }
        }
    }
}

fn push_decimal(count: i64, decimals: u8, out: &mut String) {
    if count < 0 {
        out.push('-');
    }
    let start = out.len();
    let digits = count.unsigned_abs().to_string();
    let decimals = usize::from(decimals);
    // A digit stands before the point.
    (digits.len()..=decimals).for_each(|_| out.push('0'));
    out.push_str(&digits);
    if decimals > 0 {
        out.insert(start.max(out.len() - decimals), '.');
    }
}

fn push_day(days: i64, out: &mut String) {
    let date = DateTime::from_timestamp_secs(days.saturating_mul(86_400)).unwrap_or_default().date_naive();
    push_number(date.year().unsigned_abs(), 4, out);
    out.push('-');
    push_number(date.month(), 2, out);
    out.push('-');
    push_number(date.day(), 2, out);
}

fn push_time(microseconds: i64, out: &mut String) {
    let parts = [3_600 * MICROSECONDS, 60 * MICROSECONDS, MICROSECONDS];
    let mut rest = microseconds;
    for (nth, part) in parts.into_iter().enumerate() {
        if nth > 0 {
            out.push(':');
        }
        push_number(u32::try_from(rest / part).unwrap_or_default(), 2, out);
        rest %= part;
    }
    if rest > 0 {
        out.push('.');
        push_number(u32::try_from(rest).unwrap_or_default(), 6, out);
    }
}

fn push_number(number: u32, width: u32, out: &mut String) {
    for power in (0..width).rev() {
        let digit = u8::try_from(number / 10_u32.pow(power) % 10).unwrap_or(0);
        out.push(char::from(b'0' + digit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(unit: Unit, count: i64, decimals: u8) -> String {
        let mut out = String::from("x");
        assert!(Exact::Counted { unit, count, decimals }.write(&mut out));
        out.split_off(1)
    }

    #[test]
    fn a_moment_lies_in_the_years_1_to_9999_of_utc() {
        let moment = |text: &str, ahead| Exact::instant(text.parse().unwrap(), ahead);
        let (first, last) = ("0001-01-01T00:00:00", "9999-12-31T23:59:59.999999");
        for (text, count, beyond) in [(first, FIRST_MOMENT, 1), (last, LAST_MOMENT, -1)] {
            assert_eq!(moment(text, 0), Ok(Exact::counted(Unit::Instant, count)));
            assert_eq!(
                moment(text, -beyond),
                Ok(Exact::counted(Unit::Instant, count + i64::from(beyond) * MICROSECONDS))
            );
            assert_eq!(moment(text, beyond), Err(Fault::OutOfRange));
        }
    }

    #[test]
    fn a_count_is_printed_as_a_plain_cell() {
        for (count, decimals, expected) in [
            (0, 0, "0"),
            (-5, 2, "-0.05"),
            (1550, 2, "15.50"),
            (100, 3, "0.100"),
            (i64::MIN, 0, "-9223372036854775808"),
            (123_456_789, 0, "123456789"),
        ] {
            assert_eq!(plain(Unit::One, count, decimals), expected);
        }
        assert_eq!(plain(Unit::Day, -719_162, 0), "0001-01-01");
        assert_eq!(plain(Unit::TimeOfDay, 34_265_000_001, 0), "09:31:05.000001");
        assert_eq!(plain(Unit::Instant, -1, 0), "1969-12-31T23:59:59.999999Z");
        assert_eq!(plain(Unit::Local, 86_400_000_000, 0), "1970-01-02T00:00:00");
        assert!(!Exact::Null.write(&mut String::new()));
    }
}
