//! What follows the rows of a table: totals, notes and lines of dashes.

use std::collections::BTreeMap;

use super::sample::Record;
use super::shape::{Shape, shape};
use super::terms::{is_bare_total, is_total};

/// What the rows of a table usually have.
pub(super) struct Usual {
    /// Cells that are not blank.
    pub(super) filled: usize,
    /// Cells with numbers, dates or times.
    pub(super) values: usize,
    width: usize,
    first_is_value: bool,
    /// Whether the first cells are numbers of things, and no days.
    first_is_code: bool,
}

/// What the last line of a file may begin with.
const LAST_WORDS: &[&str] = &[
    "trailer",
    "trl",
    "tlr",
    "end",
    "eof",
    "fin",
    "ende",
    "record",
    "records",
    "row",
    "rows",
    "count",
    "anzahl",
    "saldo",
    "endsaldo",
    "kontostand",
    "balance",
    "closing",
    "opening",
];

impl Usual {
    /// What is usual among records, as those tell it that `may_be` rows.
    pub(super) fn of(body: &[&Record], may_be: impl Fn(&Record) -> bool) -> Self {
        // In a short table there may be more lines after the rows than rows.
        let like_first = |row: &&&Record| {
            body.len() >= 20 || body.first().is_none_or(|first| shape(row.cell(0)) == shape(first.cell(0)))
        };
        let sample: Vec<&Record> =
            body.iter().filter(|row| may_be(row)).filter(like_first).take(400).copied().collect();
        let mut widths = BTreeMap::new();
        for row in &sample {
            *widths.entry(row.cells.len()).or_insert(0_usize) += 1;
        }
        let count = |wanted: Shape| sample.iter().filter(|row| shape(row.cell(0)) == wanted).count();
        Self {
            filled: median(sample.iter().map(|row| row.filled())),
            values: median(sample.iter().map(|row| row.values())),
            width: widths.iter().max_by_key(|(_, count)| **count).map_or(0, |(width, _)| *width),
            first_is_value: count(Shape::Value) > count(Shape::Text),
            first_is_code: sample.iter().filter(|row| is_number_of_thing(row.cell(0).trim())).count() * 2
                > sample.len(),
        }
    }

    /// Whether a record has fewer cells than a row, or another number of them.
    pub(super) fn has_less(&self, row: &Record) -> bool {
        row.filled() < self.filled || self.has_odd_width(row)
    }

    fn has_odd_width(&self, row: &Record) -> bool {
        row.cells.len() != self.width && row.cells.len() != self.width + 1
    }

    /// Checks whether a record is a total. A name may begin like one, but then its row is as full as the others.
    pub(super) fn is_total(&self, row: &Record) -> bool {
        let begins = row.cell(0).trim();
        let first = row.first_filled();
        // A name that is not a currency.
        let is_name = |cell: &str| {
            cell.len() > 3
                && cell.chars().any(char::is_lowercase)
                && shape(cell) == Shape::Text
                && !first.contains(cell)
        };
        let has_other_text = (0..row.cells.len()).any(|at| is_name(row.cell(at).trim()));
        is_total(first)
            && (self.has_less(row) && !has_other_text || is_bare_total(first))
            && (shape(begins) == Shape::Text || begins.is_empty())
    }

    /// Checks whether a record at the end of a table is not a row.
    fn is_footer(&self, row: &Record) -> bool {
        let begins = row.cell(0).trim();
        let first = row.first_filled();
        let odd_width = self.has_odd_width(row);
        self.is_total(row)
            || self.has_less(row) && first.starts_with(['#', '*', '※'])
            || first.starts_with("----")
            || first.starts_with("====")
            || self.filled >= 3 && row.filled() == 1 && shape(begins) != Shape::Value && !self.may_be_code(first)
            || self.first_is_value
                && shape(begins) == Shape::Text
                && (odd_width
                    || !self.may_be_code(first)
                        && (row.values() == 0
                            || row.filled() * 2 <= self.filled
                            || self.has_less(row) && is_total(first)))
            || odd_width
                && row.span() < self.width
                && row.filled() * 2 <= self.filled
                && row.values() * 2 <= self.values
    }

    /// Whether a text may be the code of something that has a row, such as `HK0700` or `CASH` among numbers.
    fn may_be_code(&self, text: &str) -> bool {
        let text = text.trim();
        let is_code = text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        self.first_is_code && is_code && !LAST_WORDS.contains(&&*text.to_lowercase())
    }

    /// How many of the last records are not rows.
    pub(super) fn footers(&self, body: &[&Record]) -> usize {
        let count = body.iter().rev().take_while(|row| self.is_footer(row)).count();
        // A table of nothing but footers is one whose rows look odd.
        if count == body.len() && count > 0 && !body.iter().all(|row| is_total(row.cell(0))) { 0 } else { count }
    }
}

/// Digits alone that are no day.
fn is_number_of_thing(text: &str) -> bool {
    let is_day = text.len() == 8 && (text.starts_with("19") || text.starts_with("20"));
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !is_day
}

/// The middle one of some numbers.
pub(super) fn median(values: impl Iterator<Item = usize>) -> usize {
    let mut values: Vec<usize> = values.take(200).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
