//! What a cell looks like at first sight, before its column is known.

use super::nulls::is_mark;

/// What a cell looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It has nothing but blanks.
    Empty,
    /// It stands for a missing value, such as `-` or `n/a`.
    Mark,
    /// A number, a date or a time, perhaps with a unit.
    Value,
    /// Anything else.
    Text,
}

/// How many letters a number or a date may have beside its digits.
const MOST_LETTERS: usize = 5;

/// Says what a cell looks like.
pub(super) fn shape(cell: &str) -> Shape {
    let cell = cell.trim().trim_start_matches("=\"").trim_matches(['\'', '"']).trim();
    if cell.is_empty() {
        return Shape::Empty;
    }
    if is_period(cell) {
        return Shape::Text;
    }
    if is_mark(cell) {
        return Shape::Mark;
    }
    let digits = cell.chars().filter(char::is_ascii_digit).count();
    let letters = cell.chars().filter(|c| c.is_alphabetic()).count();
    let begins =
        |c: char| c.is_ascii_digit() || !c.is_alphanumeric() && !matches!(c, '#' | '*' | '[' | '{' | '<' | '_');
    let starts_like_a_value = cell.starts_with(begins) || starts_with_a_word(cell);
    let is_value =
        digits > 0 && letters <= MOST_LETTERS && (letters == 0 || digits >= letters.min(2)) && starts_like_a_value;
    if is_value { Shape::Value } else { Shape::Text }
}

/// `1M %`, `3Y`, `12 M`: a period, which names a column of a performance.
fn is_period(cell: &str) -> bool {
    let rest = cell.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = cell.len() - rest.len();
    (1..=2).contains(&digits)
        && matches!(rest.trim_end_matches('%').trim(), "D" | "W" | "M" | "Q" | "Y" | "d" | "w" | "y" | "Mo" | "Yr")
}

/// `Nov 28, 2025`, `Fri 28.11.`, `USD 12.50`: a short word, a blank, and a digit or a sign.
fn starts_with_a_word(cell: &str) -> bool {
    let Some((word, rest)) = cell.split_once(' ') else { return false };
    let word = word.trim_end_matches([',', '.']);
    word.len() == 3
        && word.bytes().all(|byte| byte.is_ascii_alphabetic())
        && rest.starts_with(|c: char| c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_from_headers() {
        for cell in [
            "12",
            "-3.5",
            "$1,234",
            "(194.80)",
            "0.00019348SOL",
            "2025-11-04 21:15:02-05:00",
            "28 Nov 2025",
            "USD 12.50",
            "=\"000037\"",
            "'5101",
            "41e00",
            "09:51",
        ] {
            assert_eq!(shape(cell), Shape::Value, "{cell}");
        }
        for cell in
            ["PV01", "1M %", "T4400", "Amount (EUR)", "Q1", "1.每行是一笔订单的付款", "# 12", "T+2", "GB00ZQ31KX73"]
        {
            assert_eq!(shape(cell), Shape::Text, "{cell}");
        }
        assert_eq!((shape(" "), shape("n/a"), shape("-----")), (Shape::Empty, Shape::Mark, Shape::Mark));
    }
}
