//! How a text is cut into records and cells: the delimiter, the quote, the escape.

use super::sample::{Record, SampleCell};
use super::shape::{Shape, shape};
use crate::domain::source::layout::Dialect;
use crate::domain::source::row::{Row, RowFault};
use crate::domain::source::split::Cutting;

/// A dialect and how it was found.
#[derive(Clone, Debug)]
pub struct FoundDialect {
    /// The dialect.
    pub dialect: Dialect,
    /// Whether lines end with a CR alone.
    pub cr: bool,
    /// How it was found.
    pub evidence: String,
}

/// What may stand between two cells, the most common first.
const DELIMITERS: &[&str] = &[",", ";", "\t", "|", "||", "，", "^", "~", "¦", "\u{1}"];
/// How many lines a quoted cell may have.
const MOST_LINES: usize = 50;
/// How many records are enough to know a dialect.
const ENOUGH: usize = 400;

/// Finds how a text is cut. `None` if no delimiter cuts it into columns.
#[must_use]
pub fn find_dialect(text: &str) -> Option<FoundDialect> {
    let cr = !text.contains('\n') && text.contains('\r');
    let mut best: Option<(f64, Dialect, usize)> = None;
    for delimiter in DELIMITERS.iter().filter(|delimiter| text.contains(**delimiter)) {
        for dialect in dialects(delimiter, text) {
            let (records, faults) = cut_until(text, &dialect, cr, ENOUGH);
            let score = consistency(&records) - penalty(faults, records.len());
            let width = records.iter().map(|record| record.cells.len()).max().unwrap_or(0);
            if width > 1 && best.as_ref().is_none_or(|(most, ..)| score > most + 1e-6) {
                best = Some((score, dialect, width));
            }
        }
    }
    let (score, dialect, width) = best?;
    if score < 0.3 {
        return None;
    }
    let shown = match dialect.delimiter.as_str() {
        "\t" => "a tab".to_owned(),
        sign => format!("{sign:?}"),
    };
    let evidence = format!("{shown} cuts the records into {width} cells more evenly than any other sign");
    Some(FoundDialect { dialect, cr, evidence })
}

/// The dialects with this delimiter that are worth a try, the plain one first.
fn dialects(delimiter: &str, text: &str) -> Vec<Dialect> {
    let plain = Dialect { delimiter: delimiter.to_owned(), ..Dialect::plain() };
    let mut all = vec![plain.clone()];
    if text.contains('"') {
        all.push(Dialect { padded: true, ..plain.clone() });
        if text.contains("\\\"") {
            all.push(Dialect { escape: Some(b'\\'), ..plain.clone() });
        }
        all.push(Dialect { quote: None, ..plain.clone() });
    }
    let single = format!("'{delimiter}'");
    if text.matches(&single).count() > 1 {
        all.push(Dialect { quote: Some(b'\''), ..plain });
    }
    all
}

fn penalty(faults: usize, records: usize) -> f64 {
    let (faults, records) = (to_f64(faults), to_f64(records.max(1)));
    (faults / records).min(1.0) * 0.9
}

#[expect(clippy::cast_precision_loss, reason = "counts of a sample")]
fn to_f64(count: usize) -> f64 {
    count as f64
}

/// How evenly records are cut: the share of those that have as many cells as most of them, more for more columns, and more
/// where the cells of a column are alike.
fn consistency(records: &[Record]) -> f64 {
    let widths: Vec<usize> =
        records.iter().filter(|record| !record.is_blank()).map(|record| record.cells.len()).collect();
    let total = widths.len();
    let mut counts = std::collections::BTreeMap::new();
    for width in widths.iter().filter(|width| **width > 1) {
        *counts.entry(*width).or_insert(0_usize) += 1;
    }
    // A header may be one shorter than its rows, or one longer.
    let weight = |(width, count): (&usize, &usize)| count * 10 + counts.get(&(width + 1)).unwrap_or(&0) * 3;
    let Some((width, _)) = counts.iter().max_by_key(|entry| (weight((entry.0, entry.1)), *entry.0)) else { return 0.0 };
    let near: usize =
        [width - 1, *width, width + 1].iter().filter(|near| **near > 1).filter_map(|near| counts.get(near)).sum();
    let even = to_f64(counts[width]) * 0.8 + to_f64(near) * 0.2;
    let rows: Vec<&Record> = records.iter().filter(|record| record.cells.len() == *width).collect();
    let alike = (0..*width).map(|column| likeness(&rows, column)).sum::<f64>() / to_f64(*width);
    // Lines before the table do not count against it.
    let share = (even / to_f64(total.max(1))).sqrt();
    share * (1.0 - 0.6 / to_f64(*width)) * (0.4 + 0.6 * alike)
}

/// The share of the cells of a column that look like most of them.
fn likeness(rows: &[&Record], column: usize) -> f64 {
    let shapes: Vec<Shape> = rows.iter().skip(1).map(|row| shape(row.cell(column))).collect();
    let count = |wanted: Shape| shapes.iter().filter(|found| **found == wanted).count();
    let (empty, mark, value, text) = (count(Shape::Empty), count(Shape::Mark), count(Shape::Value), count(Shape::Text));
    let there = value + text;
    if there == 0 {
        return if empty + mark > 0 { 0.5 } else { 0.7 };
    }
    to_f64(value.max(text)) / to_f64(there)
}

/// Cuts a whole text into records. A quote that stays open is content of its line.
#[must_use]
pub fn cut(text: &str, found: &FoundDialect) -> Vec<Record> {
    cut_until(text, &found.dialect, found.cr, usize::MAX).0
}

/// The first records of a text, and how many of them have a fault in their quotes.
fn cut_until(text: &str, dialect: &Dialect, cr: bool, most: usize) -> (Vec<Record>, usize) {
    let lines: Vec<&str> = if cr {
        text.split('\r').collect()
    } else {
        text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect()
    };
    let lines = lines.strip_suffix(&[""]).unwrap_or(&lines);
    let (mut records, mut faults, mut at) = (Vec::new(), 0, 0);
    let mut row = Row::default();
    while at < lines.len() && records.len() < most {
        let number = i64::try_from(at + 1).unwrap_or(i64::MAX);
        row.begin(number, 0);
        row.text_mut().push_str(lines[at]);
        let (mut cutting, mut used) = (Cutting::default(), 1);
        let mut complete = dialect.cut(&mut row, &mut cutting);
        while !complete && at + used < lines.len() && used < MOST_LINES {
            row.text_mut().push('\n');
            row.text_mut().push_str(lines[at + used]);
            used += 1;
            complete = dialect.cut(&mut row, &mut cutting);
        }
        if !complete {
            faults += 1;
            row.begin(number, 0);
            row.text_mut().push_str(lines[at]);
            dialect.cut_plainly(&mut row);
            used = 1;
        }
        faults += usize::from(row.fault == Some(RowFault::Quoting));
        let cells = row.cells().map(|cell| SampleCell { text: cell.text.to_owned(), kind: cell.kind }).collect();
        records.push(Record { line: number, cells, text: row.text().to_owned() });
        at += used;
    }
    (records, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Dialect {
        find_dialect(text).unwrap().dialect
    }

    #[test]
    fn the_delimiter_is_the_one_that_cuts_evenly() {
        for (text, delimiter) in [
            ("a,b\n1,2\n3,4\n", ","),
            ("Datum;Betrag;Text\n01.02.2025;1,50;a, b, c\n02.02.2025;2,5;x\n", ";"),
            ("a\tb\n1\t2,5\n", "\t"),
            ("a|b|c\n1|2|x, y\n2|3|z\n", "|"),
            ("title, with comma\nx\n\na;b;c\n1;2,0;3\n2;3,1;4\n4;5,5;6\n", ";"),
            ("ID;Type;Comment\n1;Deposit;ref, 12, id=4\n2;Buy;OPEN 6 @ 27.3\n", ";"),
        ] {
            assert_eq!(found(text).delimiter, delimiter, "{text}");
        }
    }

    #[test]
    fn quotes_and_escapes_are_found() {
        assert_eq!(found("a,b\n\"x, y\",2\n\"z\",3\n").quote, Some(b'"'));
        assert_eq!(found("a,b\n\"say \\\"hi\\\"\",2\n\"z\",3\n").escape, Some(b'\\'));
        assert_eq!(found("'a','b'\n'1,5','2'\n'2','3'\n").quote, Some(b'\''));
        assert!(found("a, b\n\"x\" , \"1,5\"\n\"y\" , \"2,5\"\n").padded);
        assert_eq!(found("a;b\n\"x;2\ny\";3\n5\";4\n").quote, None);
    }

    #[test]
    fn records_keep_their_lines() {
        let text = "a,b\r\n\"x\r\ny\",2\r\nz,3";
        let records = cut(text, &find_dialect(text).unwrap());
        assert_eq!(records.iter().map(|record| record.line).collect::<Vec<_>>(), [1, 2, 4]);
        assert!(find_dialect("one\ntwo\n").is_none());
    }
}
