//! The text of a cell as a value of its type. Only the forms of the contract are values: nothing is rounded, shifted or
//! guessed.

use chrono::{NaiveDate, NaiveTime};

/// `-?[0-9]+` that fits into 64 bits.
#[must_use]
pub fn integer(cell: &str) -> Option<i64> {
    if cell.starts_with('+') { None } else { cell.parse().ok() }
}

/// `-?[0-9]{1,whole}(\.[0-9]{1,scale}0*)?`, or with a scale of 0 `-?[0-9]{1,whole}(\.0+)?`, as a multiple of 10^-scale.
///
/// `whole` and `scale` together are 38 at the most.
#[must_use]
pub fn decimal(cell: &str, whole: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = match cell.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
    let (before, behind) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    if before.is_empty() || before.len() > whole.into() || point + 1 == digits.len() {
        return None;
    }
    let (behind, zeros) = behind.split_at(behind.len().min(scale.into()));
    if zeros.iter().any(|byte| *byte != b'0') {
        return None;
    }
    let mut value = 0_i128;
    for byte in before.iter().chain(behind) {
        value = value * 10 + i128::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    for _ in behind.len()..scale.into() {
        value *= 10;
    }
    Some(if negative { -value } else { value })
}

/// `YYYY-MM-DDTHH:MM:SS`, with up to 6 decimals and a `Z` if need be, in UTC, as microseconds since 1970. Dates that do
/// not exist, the year 0 and leap seconds are none.
#[must_use]
pub fn timestamp(cell: &str) -> Option<i64> {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let bytes = cell.as_bytes();
    let (time, rest) = bytes.split_at_checked(FORM.len())?;
    let has_form = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    if !time.iter().zip(FORM).all(has_form) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0_u32, |number, byte| number * 10 + u32::from(byte - b'0'));
    let microseconds = match rest.strip_suffix(b"Z").unwrap_or(rest) {
        [] => 0,
        [b'.', decimals @ ..] if (1..=6).contains(&decimals.len()) && decimals.iter().all(u8::is_ascii_digit) => {
            (decimals.len()..6).fold(number(decimals), |number, _| number * 10)
        }
        _ => return None,
    };
    let year = i32::try_from(number(&time[0..4])).ok().filter(|year| *year > 0)?;
    let date = NaiveDate::from_ymd_opt(year, number(&time[5..7]), number(&time[8..10]))?;
    let (hour, minute, second) = (number(&time[11..13]), number(&time[14..16]), number(&time[17..19]));
    let time = NaiveTime::from_hms_micro_opt(hour, minute, second, microseconds)?;
    Some(date.and_time(time).and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_has_digits_alone() {
        assert_eq!((integer("-007"), integer("9223372036854775807")), (Some(-7), Some(i64::MAX)));
        for none in ["", "-", "+7", "7.0", " 7", "7 ", "1e2", "9223372036854775808", "٧"] {
            assert_eq!(integer(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_decimal_has_no_more_digits_than_it_may() {
        let money = |cell| decimal(cell, 18, 2);
        assert_eq!(
            (money("015.5"), money("-0.01"), money("7"), money("-0")),
            (Some(1550), Some(-1), Some(700), Some(0))
        );
        assert_eq!((money("15.5000"), money("123456789012345678.99")), (Some(1550), Some(12_345_678_901_234_567_899)));
        for none in
            ["", "-", ".5", "5.", "--1", "+1", "15.555", "1,000.00", "1e2", "1234567890123456789", "1.2.3", "1.é"]
        {
            assert_eq!(money(none), None, "{none:?}");
        }
        assert_eq!((decimal("5.00", 5, 0), decimal("5.01", 5, 0), decimal("5.", 5, 0)), (Some(5), None, None));
    }

    #[test]
    fn a_timestamp_is_one_of_utc_and_exists() {
        assert_eq!(timestamp("1970-01-01T00:00:01"), Some(1_000_000));
        assert_eq!(timestamp("1970-01-01T00:00:00.25Z"), Some(250_000));
        assert_eq!(timestamp("0001-01-01T00:00:00"), Some(-62_135_596_800_000_000));
        assert_eq!(timestamp("9999-12-31T23:59:59.999999Z"), Some(253_402_300_799_999_999));
        assert!(timestamp("2024-02-29T00:00:00").is_some());
        for none in [
            "",
            "2025-12-22",
            "2025-02-29T00:00:00",
            "0000-01-01T00:00:00",
            "2025-12-22T24:00:00",
            "2025-12-22T23:59:60",
            "2025-12-22T23:60:00",
            "2025-12-22 10:30:00",
            "2025-12-22T10:30:00.",
            "2025-12-22T10:30:00.1234567",
            "2025-12-22T10:30:00ZZ",
            "2025-12-22T10:30:00+08:00",
            "2025-12-22T10:30:0é",
        ] {
            assert_eq!(timestamp(none), None, "{none:?}");
        }
    }
}
