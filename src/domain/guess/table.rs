//! Where the tables of a file are: the header wherever it is, what stands before it, the rows, and what follows them.

use std::ops::Range;

use super::between::{self, FoundBetween, is_page, is_ruled};
use super::footer::{Usual, median};
use super::sample::Record;
use super::shape::{Shape, shape};
use super::terms::is_total;

/// A table in a file, by the places of its records in the sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundTable {
    /// The line that begins its section, where a file has several tables.
    pub section: Option<String>,
    /// The records of the header; empty where there is none.
    pub header: Range<usize>,
    /// The records that stand before the header and are not blank.
    pub preamble: Vec<usize>,
    /// Its rows.
    pub rows: Vec<usize>,
    /// What follows its rows.
    pub footer: Vec<usize>,
    /// How many columns it has.
    pub width: usize,
    /// Whether empty cells at the end of lines are no cells.
    pub trailing: bool,
    /// Whether rows may lack cells at their end.
    pub shorter: bool,
    /// Whether the table ends with a blank line, after which another one begins.
    pub ends_blank: bool,
    /// What the table after it begins with.
    pub next: Option<String>,
    /// What stands between its rows.
    pub between: FoundBetween,
}

/// How many lines in a row may be a header.
const MOST_HEADER_LINES: usize = 3;
/// How many rows after a header are enough to believe in it.
const ENOUGH: usize = 60;

/// Finds the tables. `sheet` says that the records are those of a workbook, whose rows end with their last cell.
#[must_use]
pub fn find_tables(records: &[Record], sheet: bool) -> Vec<FoundTable> {
    let there: Vec<usize> = (0..records.len()).filter(|at| !records[*at].is_blank()).collect();
    if there.is_empty() {
        return Vec::new();
    }
    let Some(first) = find_header(records, &there) else {
        return vec![headless(records, &there, sheet)];
    };
    let mut tables = Vec::new();
    let starts = section_starts(records, &there, first);
    let hidden = hidden_table(records, &there, starts[0].title.unwrap_or(first));
    for (nth, start) in starts.iter().enumerate() {
        let end = starts.get(nth + 1).map_or(there.len(), |next| next.title.unwrap_or(next.header));
        let named = starts.len() > 1 && start.title.is_some();
        // A source that reads a section sees nothing that stands before it.
        let from = if nth == 0 && !named { 0 } else { start.title.unwrap_or(start.header) };
        let mut table = table(records, &there, from, start, end, sheet);
        table.section = start.title.filter(|_| named).map(|title| records[there[title]].cell(0).trim().to_owned());
        if let Some(next) = starts.get(nth + 1) {
            let next = there[next.title.unwrap_or(next.header)];
            let last = table.rows.last().copied().unwrap_or(table.header.end);
            table.ends_blank = (last..next).any(|at| records[at].is_blank());
            table.next = Some(records[next].cell(0).trim().to_owned());
        }
        if let Some(hidden) = hidden.filter(|_| nth == 0) {
            table.between.refused = Some(another(&records[start_of(&there, start)], &records[hidden]));
        }
        tables.push(table);
    }
    tables
}

/// Where a table begins, in places among the records that are not blank.
#[derive(Clone, Copy, Debug)]
struct Start {
    title: Option<usize>,
    header: usize,
}

/// The place of the first header, if the file has one.
fn find_header(records: &[Record], there: &[usize]) -> Option<usize> {
    let mut candidates: Vec<(usize, usize)> = Vec::new();
    for (place, at) in there.iter().enumerate().filter(|(_, at)| is_header(&records[**at])) {
        let rows = following(records, there, place);
        if rows > 0 {
            candidates.push((rows.min(ENOUGH) * 4 + records[*at].filled() * ENOUGH, place));
        }
    }
    let rows_before = |place: usize| {
        let header = &records[there[place]];
        let is_row = |row: &Record| {
            let wide = row.cells.len() >= header.cells.len() && row.filled() * 4 >= header.filled() * 3;
            let labels = row.cell(0).trim_end().ends_with([':', '：']);
            row.values() > 0 && !labels && wide && is_row_of(row, header)
        };
        there[..place].iter().any(|at| is_row(&records[*at]))
    };
    // The best candidate, unless rows precede it: then it is the header of another table, or a row of texts.
    candidates.sort_by_key(|(score, place)| (std::cmp::Reverse(*score), *place));
    if let Some((_, best)) = candidates.iter().find(|(_, place)| !rows_before(*place)) {
        return Some(first_of_sections(records, there, &candidates, *best));
    }
    if !candidates.is_empty() || there.iter().any(|at| records[*at].values() > 0 && records[*at].filled() > 1) {
        return None;
    }
    // A file without rows: the widest line is the header.
    let lines = there.iter().enumerate().filter(|(_, at)| is_header(&records[**at]));
    lines.max_by_key(|(place, at)| (records[**at].filled(), std::cmp::Reverse(*place))).map(|(place, _)| place)
}

/// The first header of a file whose tables each have a title, or else the best one.
fn first_of_sections(records: &[Record], there: &[usize], candidates: &[(usize, usize)], best: usize) -> usize {
    if title_before(records, there, best).is_none() {
        return best;
    }
    let begins = |place: usize| {
        let header = &records[there[place]];
        let is_row = |at: &usize| records[*at].values() > 0 && is_row_of(&records[*at], header);
        title_before(records, there, place).is_some() && there[place + 1..best].iter().any(is_row)
    };
    let earlier = candidates.iter().map(|(_, place)| *place).filter(|place| *place < best && begins(*place));
    earlier.min().unwrap_or(best)
}

/// The place of the title of a table: a line with one text, right before its header.
fn title_before(records: &[Record], there: &[usize], place: usize) -> Option<usize> {
    let before = place.checked_sub(1)?;
    let record = &records[there[before]];
    (!is_ruled(record) && record.filled() == 1 && record.span() == 1 && shape(record.cell(0)) == Shape::Text)
        .then_some(before)
}

/// Checks whether a record could name columns: two names or more, none of which is a number or a date.
fn is_header(record: &Record) -> bool {
    record.filled() >= 2 && record.values() == 0 && !is_ruled(record) && {
        let mut names: Vec<&str> =
            record.cells.iter().map(|cell| cell.text.trim()).filter(|name| !name.is_empty()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        names.len() * 2 > all && record.cells.iter().all(|cell| shape(&cell.text) != Shape::Mark)
    }
}

/// How many records after a header are its rows.
fn following(records: &[Record], there: &[usize], place: usize) -> usize {
    let header = &records[there[place]];
    let rows = there[place + 1..].iter().map(|at| &records[*at]);
    rows.take(4 * ENOUGH).filter(|row| is_row_of(row, header)).count()
}

/// Checks whether a record may be a row below a header: it has about as many cells.
fn is_row_of(row: &Record, header: &Record) -> bool {
    let (width, span) = (row.cells.len(), row.span());
    let wide = header.span();
    let same = width == header.cells.len() || width == header.cells.len() + 1;
    span <= wide + 1 && (same || span * 2 > wide) && row.filled() * 4 >= wide.min(12) && (row.filled() >= 2 || wide < 2)
}

fn section_starts(records: &[Record], there: &[usize], first: usize) -> Vec<Start> {
    let title_before = |place: usize| title_before(records, there, place);
    let mut starts = vec![Start { title: title_before(first), header: first }];
    let header = &records[there[first]];
    for place in first + 2..there.len().saturating_sub(1) {
        let record = &records[there[place]];
        let Some(title) = title_before(place).filter(|title| *title > first) else { continue };
        if !is_header(record) || following(records, there, place) == 0 {
            continue;
        }
        // A row of texts alone below a short row is not a header: another header has other names than the rows above.
        let next = &records[there[place + 1]];
        let repeats = record.cells.iter().zip(&header.cells).all(|(one, other)| one.text == other.text);
        // A title that is that of the first table, or the mark of a page, begins another page of the same table.
        let named = |place: usize| records[there[place]].cell(0).trim();
        let pages = is_page(named(title)) || starts[0].title.is_some_and(|first| named(first) == named(title));
        if repeats && pages {
            continue;
        }
        if next.values() > 0 || repeats {
            starts.push(Start { title: Some(title), header: place });
        }
    }
    starts
}

fn table(records: &[Record], there: &[usize], from: usize, start: &Start, end: usize, sheet: bool) -> FoundTable {
    let rows: Vec<usize> = there[start.header + 1..end].to_vec();
    let mut first = start.header;
    let mut body = 0;
    let below = |lines: usize| rows.get(lines..).unwrap_or_default();
    let usual = |lines: usize| median(below(lines).iter().map(|at| records[*at].values()));
    // Further lines of the header: names or units in every column that has values below them.
    while body + 1 < MOST_HEADER_LINES
        && rows.len() > body + 1
        && is_further_line(&records[there[start.header]], &records[rows[body]], usual(body + 1))
        && rows[body] == there[start.header] + 1 + body
    {
        body += 1;
    }
    let header = &records[there[start.header]];
    // A line above that names groups of columns, where the names below it are not complete or not different.
    if body == 0
        && first > from
        && there[first - 1] + 1 == there[first]
        && Some(first - 1) != start.title
        && names_groups(&records[there[first - 1]], header)
    {
        first -= 1;
    }
    let header_end = there[start.header] + body + 1;
    let mut rows = below(body).to_vec();
    let lines: Vec<&Record> = (there[first]..header_end).map(|at| &records[at]).collect();
    let again = begins_again(records, &rows, header, &there[from..first]);
    let mut between = between::take_out(records, &mut rows, &lines);
    let usual = |rows: &[usize]| {
        let body: Vec<&Record> = rows.iter().map(|at| &records[*at]).collect();
        let usual = Usual::of(&body, |row| is_row_of(row, header));
        let footers = usual.footers(&body);
        (usual, footers)
    };
    let (usual, footers) = usual(&rows);
    let footer = rows.split_off(rows.len() - footers);
    let title = start.title.map(|title| records[there[title]].cell(0).trim());
    between::find(&mut between, records, &mut rows, &usual, title);
    let other = between::another_table(records, &rows, &usual).map(|place| rows[place]);
    if let Some(at) = again.or(other) {
        between.refused = Some(another(&records[at], header));
    }
    let header_width = (there[first]..header_end).map(|at| records[at].cells.len()).max().unwrap_or(0);
    let named = (there[first]..header_end).map(|at| records[at].span()).max().unwrap_or(0);
    let used =
        rows.iter().map(|at| records[*at].span()).filter(|span| *span <= header_width.max(named)).max().unwrap_or(0);
    let longest = rows.iter().map(|at| records[*at].cells.len()).max().unwrap_or(0);
    // Columns without a name that have no value are made by a delimiter at the end of lines.
    let width = named.max(used);
    let blank_beyond = rows.iter().all(|at| records[*at].span() <= width);
    let trailing = blank_beyond && (header_width > width || longest > width) && !sheet;
    let shortest = rows.iter().filter(|at| records[**at].cells.len() < width).count();
    FoundTable {
        section: None,
        header: there[first]..header_end,
        preamble: there[from..first].to_vec(),
        width: if trailing || sheet { width } else { header_width.max(width) },
        trailing,
        shorter: shortest > 0 && (sheet || shortest * 10 >= rows.len()),
        rows,
        footer,
        between,
        ..FoundTable::default()
    }
}

/// The header that comes again after lines that tell of another account, another day or the like: what stood before the first one is
/// not true of the rows below it. On a further page of one table, nothing but marks of pages and totals stand before it, or the same lines.
fn begins_again(records: &[Record], rows: &[usize], header: &Record, preamble: &[usize]) -> Option<usize> {
    let cells = |record: &Record| record.cells.iter().map(|cell| cell.text.trim().to_owned()).collect::<Vec<_>>();
    let named = cells(header);
    let is_row = |record: &Record| {
        record.values() > 0 && record.filled() * 4 >= header.filled() * 3 && is_row_of(record, header)
    };
    let tells = |at: &usize| {
        let (record, first) = (&records[*at], records[*at].first_filled());
        record.filled() > 1
            && !is_page(first)
            && !is_ruled(record)
            && !is_total(first)
            && preamble.iter().all(|before| records[*before].text.trim() != record.text.trim())
    };
    (0..rows.len()).find_map(|place| {
        let again = records[rows[place]].values() == 0 && cells(&records[rows[place]]) == named;
        let mut before = rows[..place].iter().rev().take_while(|at| !is_row(&records[**at]));
        (again && before.any(tells)).then(|| rows[place])
    })
}

fn start_of(there: &[usize], start: &Start) -> usize {
    there[start.header]
}

/// The header of a table that stands before the one that was found: names, and two rows or more with values below them.
fn hidden_table(records: &[Record], there: &[usize], first: usize) -> Option<usize> {
    let is_table = |place: &usize| {
        let header = &records[there[*place]];
        let rows = there[place + 1..first].iter().map(|at| &records[*at]);
        let is_row = |row: &&Record| {
            let label = row.cell(0).trim_end().ends_with([':', '：']);
            let told = shape(row.cell(0)) == Shape::Value || row.filled() >= 3;
            row.values() > 0 && !label && told && row.filled() * 4 >= header.filled() * 3 && is_row_of(row, header)
        };
        is_header(header) && rows.take_while(is_row).count() >= 2
    };
    (0..first).find(is_table).map(|place| there[place])
}

/// Why two tables are not taken for one.
fn another(header: &Record, other: &Record) -> String {
    let names: Vec<&str> = header.cells.iter().map(|cell| cell.text.trim()).filter(|name| !name.is_empty()).collect();
    let shown = names.iter().take(4).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    format!(
        "line {}: another table begins there ({shown}, …), and no line with a title alone sets it apart from the one whose header is on \
         line {}; put the tables into files of their own, or a title before each",
        header.line, other.line
    )
}

fn is_further_line(header: &Record, line: &Record, usual: usize) -> bool {
    usual > 0
        && line.values() == 0
        && !is_ruled(line)
        && line.filled() * 2 > header.filled()
        && line.span() <= header.span()
        && line.cells.iter().all(|cell| !matches!(shape(&cell.text), Shape::Mark))
        && line.cell(0).trim() != header.cell(0).trim()
        && !is_total(line.cell(0))
}

fn names_groups(above: &Record, header: &Record) -> bool {
    let names: Vec<&str> = header.cells.iter().map(|cell| cell.text.trim()).collect();
    let doubtful = |name: &str| name.is_empty() || names.iter().filter(|other| **other == name).count() > 1;
    let helps = |at: usize| doubtful(names[at]) && !above.cell(at).trim().is_empty();
    above.values() == 0 && above.filled() >= 2 && above.span() <= header.span() + 1 && (0..names.len()).any(helps)
}

fn headless(records: &[Record], there: &[usize], sheet: bool) -> FoundTable {
    let mut widths = std::collections::BTreeMap::new();
    for at in there {
        *widths.entry(records[*at].cells.len()).or_insert(0_usize) += 1;
    }
    let width = widths.iter().max_by_key(|(_, count)| **count).map_or(1, |(width, _)| *width);
    let mut rows = there.to_vec();
    let mut between = between::take_out(records, &mut rows, &[]);
    let body: Vec<&Record> = rows.iter().map(|at| &records[*at]).collect();
    let usual = Usual::of(&body, |_| true);
    let footer = rows.split_off(rows.len() - usual.footers(&body));
    between::find(&mut between, records, &mut rows, &usual, None);
    let used = rows.iter().map(|at| records[*at].span()).max().unwrap_or(0);
    let trailing = used < width && !sheet;
    FoundTable {
        width: if trailing { used } else { width.max(used.min(width)) },
        trailing,
        shorter: sheet && rows.iter().any(|at| records[*at].cells.len() < width),
        rows,
        footer,
        between,
        ..FoundTable::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str) -> Vec<Record> {
        let line = |(at, line): (usize, &str)| {
            let number = i64::try_from(at + 1).unwrap();
            Record::of(number, &line.split(',').collect::<Vec<_>>())
        };
        text.lines().enumerate().map(line).collect()
    }

    fn only(text: &str) -> FoundTable {
        let tables = find_tables(&records(text), false);
        assert_eq!(tables.len(), 1, "{tables:?}");
        tables[0].clone()
    }

    #[test]
    fn the_header_is_found_behind_a_preamble() {
        let table = only("Account: 12\n\nFrom,2025-01-01\nDate,Text,Amount\n2025-01-02,a,1\n2025-01-03,b,2\nTotal,,3");
        assert_eq!((table.header, table.preamble, table.rows, table.footer), (3..4, vec![0, 2], vec![4, 5], vec![6]));
    }

    #[test]
    fn a_file_without_a_header_has_none() {
        let table = only("05/01/2025,LOON CAFE,,863.99\n05/02/2025,SEND,5.20,\n\n");
        assert_eq!((table.header, table.rows, table.width), (0..0, vec![0, 1], 4));
    }

    #[test]
    fn a_table_of_texts_begins_with_its_header() {
        let table = only("code,name,market\nA,b,c\nB,c,d");
        assert_eq!((table.header, table.rows.len()), (0..1, 2));
    }

    #[test]
    fn sections_are_told_by_their_titles() {
        let text = "Plan,,,\n,,,\nCash,,,\n,,,\nDate,Amount,,\n03/04/2025,86.5,,\n07/04/2025,1.5,,\nBalance,88,,\n,,,\nShares,,,\n,,,\nDate,Name,Price,Cost\n04/04/2025,X,1.5,3\nCost,,,3";
        let tables = find_tables(&records(text), false);
        assert_eq!(tables.len(), 2);
        assert_eq!(tables.iter().map(|table| table.section.clone().unwrap()).collect::<Vec<_>>(), ["Cash", "Shares"]);
        assert_eq!((tables[0].rows.clone(), tables[0].footer.clone(), tables[0].trailing), (vec![5, 6], vec![7], true));
        assert_eq!((tables[1].rows.clone(), tables[1].footer.clone(), tables[1].width), (vec![12], vec![13], 4));
    }

    #[test]
    fn a_second_line_of_names_belongs_to_the_header() {
        let table = only("Code,Price,Volume\n(text),(EUR),(lots)\nA,1.5,3\nB,2.5,4");
        assert_eq!((table.header, table.rows.len()), (0..2, 2));
        let table = only(",Buy,,Sell,\nDate,Price,Qty,Price,Qty\n2025-01-02,1,2,3,4\n2025-01-03,1,2,3,4");
        assert_eq!((table.header, table.rows.len()), (0..2, 2));
    }

    #[test]
    fn a_delimiter_at_the_end_makes_no_column() {
        let table = only("a,b\n1,x,\n2,y,");
        assert!(table.trailing && table.width == 2);
        assert!(!only("a,b\n1,x\n2,y").trailing);
    }

    #[test]
    fn a_last_row_that_begins_like_a_total_or_a_note_is_a_row() {
        for last in ["Total SE,Total,2.5,4", "*ST康得,康得新,2.5,4", "Cost of living aid,x,2.5,4"] {
            let table = only(&format!("Symbol,Name,Price,Qty\nAAPL,Apple,1.5,3\nMSFT,Microsoft,1.5,3\n{last}"));
            assert_eq!((table.rows.len(), table.footer.len()), (3, 0), "{last}");
        }
        for last in ["Total,,4,7", "Total:,,4,7", "合计,,4,7", "* prices in EUR"] {
            let table = only(&format!("Symbol,Name,Price,Qty\nAAPL,Apple,1.5,3\nMSFT,Microsoft,1.5,3\n{last}"));
            assert_eq!((table.rows.len(), table.footer.len()), (2, 1), "{last}");
        }
    }

    #[test]
    fn a_short_table_may_have_more_lines_after_its_rows_than_rows() {
        let table = only(
            "Date,Text,Out,Balance\n2025-01-02,a,1.50,91.00\n2025-01-03,b,1.50,89.50\nClosing balance,,,89.50\n\
             Printed by x\nPage 1\nOpening balance,,,92.50\nAll amounts in EUR",
        );
        assert_eq!((table.rows, table.footer.len()), (vec![1, 2], 5));
    }
}
