//! The forms of numbers.

/// How many digits the values of a type have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    /// The most digits before the point.
    pub whole: u8,
    /// The digits after the point.
    pub scale: u8,
}

/// Parses `-?[0-9]+` that fits into 64 bits.
pub(super) fn integer(cell: &str) -> Option<i64> {
    if cell.starts_with('+') { None } else { cell.parse().ok() }
}

/// Parses `-?[0-9]{1,whole}(\.[0-9]{1,scale}0*)?`, or with a scale of 0 `-?[0-9]{1,whole}(\.0+)?`, as a multiple of
/// 10^-scale.
///
/// `whole` and `scale` must add up to 38 at most.
pub(super) fn decimal(cell: &str, Digits { whole, scale }: Digits) -> Option<i128> {
    let (negative, digits) = match cell.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
    let (before, after) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    if before.is_empty() || before.len() > whole.into() || point + 1 == digits.len() {
        return None;
    }
    let (after, zeros) = after.split_at(after.len().min(scale.into()));
    if zeros.iter().any(|byte| *byte != b'0') {
        return None;
    }
    let missing = usize::from(scale) - after.len();
    let value = match before.len() + usize::from(scale) {
        0..=DIGITS_IN_A_WORD => {
            i128::from(digits_as(before, after, missing, |value: u64, digit| value * 10 + u64::from(digit))?)
        }
        _ => digits_as(before, after, missing, |value: i128, digit| value * 10 + i128::from(digit))?,
    };
    Some(if negative { -value } else { value })
}

/// So many digits fit into 64 bits, whatever they are.
const DIGITS_IN_A_WORD: usize = 19;

/// The number that consists of these digits and so many zeros; `None` if one of them is no digit.
fn digits_as<T: Default>(before: &[u8], after: &[u8], zeros: usize, push: impl Fn(T, u8) -> T) -> Option<T> {
    let mut value = T::default();
    for byte in before.iter().chain(after) {
        value = push(value, byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    Some((0..zeros).fold(value, |value, _| push(value, 0)))
}

/// Whether a text consists of digits alone.
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads a number as people state it, for example a control total, and prints it without redundant zeros. Returns
/// `None` if the text is not a number or has more than 60 digits.
#[must_use]
pub fn stated_number(text: &str) -> Option<String> {
    plain_number(&spelled_out(text))
}

/// Does the same for text of the form `-?[0-9]+(\.[0-9]+)?`.
pub(super) fn plain_number(text: &str) -> Option<String> {
    const MOST_DIGITS: usize = 60;
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if whole.len() + fraction.len() > MOST_DIGITS {
        return None;
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(match fraction {
        "" if whole == "0" => "0".to_owned(),
        "" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    })
}

/// Converts a number to a plain cell. People may write it in ways that a cell may not: `+1`, `.5`, `1_000`, `007`.
pub(super) fn spelled_out(number: &str) -> String {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number.strip_prefix('+').unwrap_or(number)),
    };
    let digits = digits.replace('_', "");
    let digits = digits.trim_start_matches('0');
    let digits = digits.strip_suffix('.').unwrap_or(digits);
    if digits.starts_with(|first: char| first.is_ascii_digit()) {
        format!("{sign}{digits}")
    } else {
        format!("{sign}0{digits}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_has_digits_alone() {
        assert_eq!((integer("-007"), integer("9223372036854775807")), (Some(-7), Some(i64::MAX)));
        for other in ["", "-", "+7", "7.0", " 7", "7 ", "1e2", "9223372036854775808", "٧"] {
            assert_eq!(integer(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_decimal_with_too_many_digits_is_refused() {
        let money = |cell| decimal(cell, Digits { whole: 18, scale: 2 });
        assert_eq!(
            (money("015.5"), money("-0.01"), money("7"), money("-0")),
            (Some(1550), Some(-1), Some(700), Some(0))
        );
        assert_eq!((money("15.5000"), money("123456789012345678.99")), (Some(1550), Some(12_345_678_901_234_567_899)));
        for other in
            ["", "-", ".5", "5.", "--1", "+1", "15.555", "1,000.00", "1e2", "1234567890123456789", "1.2.3", "1.é"]
        {
            assert_eq!(money(other), None, "{other:?}");
        }
        let whole = |cell| decimal(cell, Digits { whole: 5, scale: 0 });
        assert_eq!((whole("5.00"), whole("5.01"), whole("5.")), (Some(5), None, None));
    }

    #[test]
    fn a_plain_number_has_one_form() {
        for (text, plain) in [("015.50", "15.5"), ("-0.00", "0"), ("-7", "-7"), ("0.10", "0.1"), ("100", "100")] {
            assert_eq!(plain_number(text).as_deref(), Some(plain));
        }
        for other in ["", "-", "1e3", ".5", "5.", "+1", "1,0"] {
            assert_eq!(plain_number(other), None, "{other:?}");
        }
        assert_eq!(plain_number(&"9".repeat(60)).map(|text| text.len()), Some(60));
        assert_eq!(plain_number(&"9".repeat(61)), None);
    }

    #[test]
    fn a_number_may_be_stated_in_more_ways_than_a_cell() {
        for (number, cell) in
            [("+1", "1"), (".5", "0.5"), ("-.5", "-0.5"), ("5.", "5"), ("1_000", "1000"), ("007", "7")]
        {
            assert_eq!(spelled_out(number), cell);
        }
        assert_eq!(
            (spelled_out("0"), spelled_out("much"), spelled_out("1e2")),
            ("0".into(), "0much".into(), "1e2".into())
        );
    }
}
