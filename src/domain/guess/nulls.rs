//! Marks of missing values.

/// Marks that stand for a missing value in a column of texts as well.
const MARKS: &[&str] = &[
    "-", "/", "—", "–", "―", "N/A", "n/a", "#N/A", "NULL", "null", "Null", "(null)", "None", "\\N", "暂无", "<NA>",
    "<null>",
];
/// Marks that may be a text of their own, and stand for a missing value among numbers, dates and times alone.
const AMONG_VALUES: &[&str] = &[
    "NA",
    "na",
    "nan",
    "NaN",
    "NAN",
    "none",
    "NONE",
    "无",
    "?",
    ".",
    "*",
    "N.A.",
    "n.a.",
    "nil",
    "Nil",
    "TBD",
    "#VALUE!",
    "null ",
    "keine",
    "Not available",
    "not available",
    "Not Available",
    "--:--",
    "0000-00-00",
    "0000-00-00 00:00:00",
    "00000000",
];

/// The marks that every dataset takes for a missing value if its definition does not say otherwise.
pub(super) const PLAIN: &[&str] = &["", "NULL", "null", "None"];

/// Checks whether a cell stands for a missing value wherever it is.
pub(super) fn is_mark(cell: &str) -> bool {
    MARKS.contains(&cell) || is_line(cell)
}

/// Checks whether a cell among numbers, dates and times stands for a missing value.
pub(super) fn is_mark_among_values(cell: &str) -> bool {
    is_mark(cell) || AMONG_VALUES.contains(&cell)
}

/// Two dashes or more and nothing else.
fn is_line(cell: &str) -> bool {
    cell.chars().count() >= 2 && cell.chars().all(|c| matches!(c, '-' | '—' | '–' | '_' | '*')) && !cell.contains('*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_that_reads_na_is_a_text() {
        assert!(!is_mark("NA") && is_mark_among_values("NA"));
        assert!(is_mark("-") && is_mark("----------") && is_mark("n/a") && !is_mark("-5") && !is_mark(""));
    }
}
