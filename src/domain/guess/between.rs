//! Lines between the rows of a table that are no rows: the header again, lines of dashes, subtotals, marks of pages, and the
//! beginning of another table.

use std::sync::LazyLock;

use regex::Regex;

use super::footer::Usual;
use super::sample::Record;
use super::shape::{Shape, shape};
use crate::domain::source::binding::header_name;
use crate::domain::source::layout::is_drawn;

/// What stands between the rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundBetween {
    /// The lines that are the header again.
    pub repeated: Vec<i64>,
    /// The lines of nothing but dashes and signs like them.
    pub ruled: Vec<i64>,
    /// First cells of subtotals, comments and marks of pages, as `skip` lists them, and the first line of each.
    pub skip: Vec<(String, i64)>,
    /// Lines with one text alone, by their places in the sample: either a heading of the rows below it, or a row.
    pub headings: Vec<usize>,
    /// What forbids to take the lines for one table.
    pub refused: Option<String>,
}

impl FoundBetween {
    /// Adds what was found in another file of the same kind.
    pub fn extend(&mut self, other: &Self) {
        self.repeated.extend(&other.repeated);
        self.ruled.extend(&other.ruled);
        for skip in &other.skip {
            if self.skip.iter().all(|(known, _)| *known != skip.0) {
                self.skip.push(skip.clone());
            }
        }
        self.refused = self.refused.take().or_else(|| other.refused.clone());
    }
}

/// `Page 2 of 7`, `第 2 页`: a mark of a page.
static PAGE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)^[-–\s]*(?:page|seite|pagina|página|strona|sida|side|stránka|strana|oldal|страница|стр\.?|头?第|p\.)\s*:?\s*\d+|\s(?:page|seite|pagina|página|strona)\s*:?\s*\d+\s*(?:of|von|de|di|z|/)\s*\d+\s*$").ok()
});

/// Checks whether a text is a mark of a page.
pub(super) fn is_page(text: &str) -> bool {
    PAGE.as_ref().is_some_and(|page| page.is_match(text.trim()))
}

/// Checks whether a line is drawn of dashes and signs like them.
pub(super) fn is_ruled(record: &Record) -> bool {
    !record.is_blank() && record.text.chars().filter(|c| !c.is_whitespace()).count() >= 3 && {
        record.cells.iter().all(|cell| is_drawn(&cell.text))
            && record.cells.iter().any(|cell| cell.text.trim().chars().count() > 1)
    }
}

/// The names of a header as they are compared.
fn names(record: &Record) -> Vec<String> {
    let mut names: Vec<String> = record.cells.iter().map(|cell| header_name(&cell.text).into_owned()).collect();
    while names.pop_if(|name| name.is_empty()).is_some() {}
    names
}

/// Takes the lines out of `rows` that are the header again or are drawn of dashes.
pub(super) fn take_out(records: &[Record], rows: &mut Vec<usize>, header: &[&Record]) -> FoundBetween {
    let mut between = FoundBetween::default();
    let known: Vec<Vec<String>> = header.iter().map(|record| names(record)).filter(|names| names.len() > 1).collect();
    rows.retain(|at| {
        let record = &records[*at];
        // A header has no values, so that most rows need no second look.
        let repeats = record.values() == 0 && known.contains(&names(record));
        let ruled = !repeats && is_ruled(record);
        if repeats {
            between.repeated.push(record.line);
        }
        if ruled {
            between.ruled.push(record.line);
        }
        !repeats && !ruled
    });
    between
}

/// Takes subtotals, comments and marks of pages out of the rows of a table with a header. `title` is the line right before its
/// header, which may be on every page.
pub(super) fn find(
    between: &mut FoundBetween,
    records: &[Record],
    rows: &mut Vec<usize>,
    usual: &Usual,
    title: Option<&str>,
) {
    let mut skipped: Vec<usize> = Vec::new();
    for at in rows.iter() {
        let record = &records[*at];
        let first = record.first_filled();
        let alone = record.filled() == 1 && record.span() == 1;
        let pattern = match () {
            () if alone && is_page(first) => format!("{}*", beginning(first)),
            () if alone && title == Some(first) => first.to_owned(),
            () if usual.has_less(record) && first.starts_with(['#', '※']) => {
                first.chars().take(1).chain(['*']).collect()
            }
            () if usual.filled > 2 && usual.is_total(record) => exact_or_beginning(first),
            () => {
                if usual.filled >= 3 && alone && shape(first) == Shape::Text {
                    between.headings.push(*at);
                }
                continue;
            }
        };
        skipped.push(*at);
        if between.skip.iter().all(|(known, _)| *known != pattern) {
            between.skip.push((pattern, record.line));
        }
    }
    // Half of the rows are no exceptions.
    if (skipped.len() + between.headings.len()) * 2 > rows.len() {
        between.skip.clear();
        between.headings.clear();
        return;
    }
    rows.retain(|at| skipped.binary_search(at).is_err() && !between.headings.contains(at));
    refuse_clash(between, records, rows);
}

/// Lines that are skipped must not begin like rows.
fn refuse_clash(between: &mut FoundBetween, records: &[Record], rows: &[usize]) {
    let is = |pattern: &str, first: &str| match pattern.strip_suffix('*') {
        Some(begin) => first.starts_with(begin),
        None => first == pattern,
    };
    let clash = between.skip.iter().find_map(|(pattern, line)| {
        let row = rows.iter().find(|at| is(pattern, records[**at].first_filled()))?;
        Some((*line, records[*row].line))
    });
    if let Some((line, row)) = clash {
        between.refused = Some(format!(
            "line {line} looks like a subtotal or a comment, and line {row}, which looks like a row, begins like it; \
             take such lines out, or write the definition by hand"
        ));
    }
}

/// The line on which another table begins within the rows of one: names where there are values above and below.
pub(super) fn another_table(records: &[Record], rows: &[usize], usual: &Usual) -> Option<usize> {
    if usual.values == 0 {
        return None;
    }
    let rows_of = |range: &[usize]| -> Vec<bool> {
        let width = range.iter().map(|at| records[*at].cells.len()).max().unwrap_or(0);
        let values = |column: usize| {
            let shapes = range.iter().map(|at| shape(records[*at].cell(column)));
            let (mut value, mut text) = (0, 0);
            for found in shapes {
                value += usize::from(found == Shape::Value);
                text += usize::from(found == Shape::Text);
            }
            value > text * 10 && value > 0
        };
        (0..width).map(values).collect()
    };
    let candidates = (1..rows.len().saturating_sub(1)).filter(|place| {
        let record = &records[rows[*place]];
        record.values() == 0 && record.filled() >= 2 && records[rows[*place + 1]].values() > 0
    });
    for place in candidates.take(50) {
        let above = rows_of(&rows[place.saturating_sub(50)..place]);
        let record = &records[rows[place]];
        let texts = record
            .cells
            .iter()
            .enumerate()
            .filter(|(at, cell)| above.get(*at).copied().unwrap_or(false) && shape(&cell.text) == Shape::Text);
        let valued = above.iter().filter(|is_value| **is_value).count();
        if texts.count() >= valued.clamp(1, 2) && valued > 0 {
            return Some(place);
        }
    }
    None
}

/// A text as `skip` lists it: as it is, or what it begins with before what changes.
pub(super) fn exact_or_beginning(first: &str) -> String {
    let begin = beginning(first);
    if begin.is_empty() || begin == first || begin.chars().count() < 3 && begin.is_ascii() {
        return first.to_owned();
    }
    format!("{begin}*")
}

/// What a line begins with, without what changes from file to file.
pub(super) fn beginning(first: &str) -> String {
    if let Some(sign) = first.chars().next().filter(|sign| matches!(sign, '#' | '*' | '※')) {
        return sign.to_string();
    }
    let end =
        first.find(|c: char| c.is_ascii_digit() || matches!(c, ':' | '：' | '[' | '(' | '（')).unwrap_or(first.len());
    first[..end].trim().chars().take(30).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_pages_and_lines_of_dashes_are_recognized() {
        assert!(["Page 2 of 7", "Seite 3", "第2页", "- page 4 -"].iter().all(|text| is_page(text)));
        assert!(!["Pageant 12", "2 pages", "Side"].iter().any(|text| is_page(text)));
        for cells in [&["---", ":---:", "---"][..], &["+-----+----+"], &["", "---", "----", ""], &["=====", "==="]] {
            assert!(is_ruled(&Record::of(1, cells)), "{cells:?}");
        }
        for cells in [&["-", "-"][..], &["---", "x"], &["", ""], &["-5", "---"]] {
            assert!(!is_ruled(&Record::of(1, cells)), "{cells:?}");
        }
    }

    #[test]
    fn what_changes_is_no_part_of_a_beginning() {
        assert_eq!(exact_or_beginning("Subtotal 2025-01"), "Subtotal*");
        assert_eq!(exact_or_beginning("小计"), "小计");
        assert_eq!(exact_or_beginning("Total:"), "Total*");
    }
}
