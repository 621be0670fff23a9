//! A table of a file becomes the definition of a dataset and of its source.

use super::answers::{About, Answers};
use super::between::{beginning, exact_or_beginning};
use super::column::{Found, Sent};
use super::convention::Convention;
use super::field::Field;
use super::fields;
use super::key::{self, Key};
use super::known_table::Table;
use super::names;
use super::outside;
use super::place::{Line, Place, about};
use super::question::{Asked, Question};
use super::sample::Record;
use super::table::FoundTable;
use crate::domain::source::binding::header_name;
use crate::domain::source::cell_form::Clean;

/// A dataset as far as a file tells it.
#[derive(Clone, Debug)]
pub struct Guessed {
    /// What is known of the file.
    pub place: Place,
    /// The options of its source that say where the table is and how its cells are written.
    pub options: Vec<Line>,
    /// Its columns.
    pub fields: Vec<Field>,
    /// What tells its rows apart.
    pub key: Key,
    /// The column that tells which of two rows is newer.
    pub version: Option<String>,
    /// The questions, with the answers that were given.
    pub asked: Vec<Asked>,
}

impl Guessed {
    /// The questions that nobody has answered.
    pub fn open(&self) -> impl Iterator<Item = &Question> {
        self.asked.iter().filter(|asked| asked.is_open()).map(|asked| &asked.question)
    }
}

/// Looks at a table. `records` are those of the file, `rows` further rows of other files of the same kind.
#[must_use]
pub fn look_at(place: Place, records: &[Record], found: &FoundTable, rows: &[&Record], answers: &Answers) -> Guessed {
    let mut asked: Vec<Asked> = place.encoding.iter().cloned().collect();
    let headings = headings(&place, records, found, answers, &mut asked);
    let mut own: Vec<usize> = found.rows.clone();
    if headings == Headings::AreRows {
        own.extend(&found.between.headings);
        own.sort_unstable();
    }
    let own: Vec<&Record> = own.iter().map(|at| &records[*at]).collect();
    let rows: Vec<&Record> = own.into_iter().chain(rows.iter().copied()).collect();
    let header: Vec<&Record> = found.header.clone().map(|at| &records[at]).collect();
    let preamble: Vec<String> = found.preamble.iter().map(|at| records[*at].text.trim().to_owned()).collect();
    let clean = clean_of(&rows, &header, found.width);
    let mut sent = columns(&header, &rows, found.width, clean);
    rename(&mut sent, &place, answers);
    let looked: Vec<Found> = sent.iter().map(|column| column.look(clean)).collect();
    let convention = Convention::of(&sent, &looked, place.sheet, semicolons(&place));
    let table = Table {
        place: &place,
        sent: &sent,
        found: &looked,
        convention: &convention,
        clean,
        preamble: &preamble,
        answers,
        has_header: !header.is_empty(),
    };
    let mut fields = fields::fields(&table, &mut asked);
    let named: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
    let outside = outside::fields(&table, &fields, &named, &mut asked);
    let key = key::find(&table, &fields, &outside, &mut asked);
    let version = key::version(&fields);
    fields.extend(outside);
    for field in &mut fields {
        let is_key = key.columns().contains(&field.name);
        field.required |= is_key || version.as_ref() == Some(&field.name);
    }
    let mut options = place.layout.clone();
    options.extend(layout_options(&table, found, records));
    options.extend(between_options(&table, found, records, headings));
    options.extend(convention.options(clean, &fields));
    options.extend(null_options(&table));
    Guessed { place, options, fields, key, version, asked }
}

fn semicolons(place: &Place) -> bool {
    place.layout.iter().any(|line| line.option == "delimiter = \";\"")
}

/// What stands around the values of cells.
fn clean_of(rows: &[&Record], header: &[&Record], width: usize) -> Clean {
    let cells =
        || rows.iter().chain(header).flat_map(|row| row.cells.iter().take(width)).map(|cell| cell.text.as_str());
    let of_rows = || rows.iter().flat_map(|row| row.cells.iter().take(width)).map(|cell| cell.text.as_str());
    let excel_text =
        cells().any(|cell| cell.trim().starts_with("=\"") && cell.trim().ends_with('"') && cell.trim().len() > 2);
    Clean { trim: of_rows().any(|cell| cell.trim().len() != cell.len()), excel_text, apostrophes: false }
}

/// The columns of a table.
fn columns<'s>(header: &[&Record], rows: &[&'s Record], width: usize, clean: Clean) -> Vec<Sent<'s>> {
    static NOTHING: super::sample::SampleCell =
        super::sample::SampleCell { text: String::new(), kind: crate::domain::source::cell_form::CellKind::Text };
    let name = |at: usize| match header {
        [] => None,
        [one] => Some(one.cell(at).to_owned()),
        several => {
            let parts = several.iter().map(|row| header_name(clean.apply(row.cell(at))).into_owned());
            Some(parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
        }
    };
    let headers: Vec<Option<String>> = (0..width).map(name).collect();
    let trimmed = |at: usize| headers[at].as_ref().map(|header| header_name(clean.apply(header)).into_owned());
    let cell = |row: &'s Record, at: usize| row.cells.get(at).unwrap_or(&NOTHING);
    // Where it is no day, it is the currency, as in Swedish and Dutch.
    let is_code = |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    let has_codes = |at: usize| rows.iter().any(|row| is_code(clean.apply(&cell(row, at).text)));
    let plain = |at: usize, header: String| match names::plain(&header) {
        Some(_) if header.eq_ignore_ascii_case("valuta") && has_codes(at) => Some("currency".to_owned()),
        name => name,
    };
    let wanted: Vec<Option<String>> = (0..width).map(|at| trimmed(at).and_then(|header| plain(at, header))).collect();
    let names = names::unique(&wanted);
    let sent = |(at, plain): (usize, String)| {
        let same = |other: &usize| trimmed(*other) == trimmed(at);
        let twice = (0..width).filter(same).count() > 1;
        Sent {
            position: at + 1,
            header: headers[at].clone(),
            nth: if twice && headers[at].is_some() { (0..=at).filter(same).count() } else { 0 },
            name: plain,
            cells: rows.iter().map(|row| (row.line, cell(row, at))).collect(),
        }
    };
    names.into_iter().enumerate().map(sent).collect()
}

/// Gives columns the names that a person chose.
fn rename(sent: &mut [Sent<'_>], place: &Place, answers: &Answers) {
    for at in 0..sent.len() {
        let column = &sent[at];
        let wanted = answers.get("name", about(place, column)).filter(|name| names::is_legal(name)).map(str::to_owned);
        if let Some(name) = wanted.filter(|name| sent.iter().all(|other| other.name != *name)) {
            sent[at].name = name;
        }
    }
}

/// What lines with one text alone between the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Headings {
    /// There are none, or they are to be skipped.
    AreSkipped,
    /// They are rows.
    AreRows,
}

fn headings(
    place: &Place,
    records: &[Record],
    found: &FoundTable,
    answers: &Answers,
    asked: &mut Vec<Asked>,
) -> Headings {
    let lines = &found.between.headings;
    if lines.is_empty() {
        return Headings::AreSkipped;
    }
    let about = About { part: &place.part, ..About::default() };
    let question = Question {
        id: about.id("heading_lines"),
        why:
            "lines between the rows have one text alone: headings of the rows below them, which can be skipped, or rows"
                .into(),
        values: lines.iter().take(5).map(|at| records[*at].first_filled().to_owned()).collect(),
        answers: vec!["skip".into(), "keep".into()],
    };
    let question = answers.ask("heading_lines", about, question, |answer| {
        Some(answer.to_ascii_lowercase()).filter(|answer| ["skip", "keep"].contains(&answer.as_str()))
    });
    let keep = question.answer.as_deref() == Some("keep");
    asked.push(question);
    if keep { Headings::AreRows } else { Headings::AreSkipped }
}

/// Which lines between the rows are no rows.
fn between_options(table: &Table<'_>, found: &FoundTable, records: &[Record], headings: Headings) -> Vec<Line> {
    let mut lines = Vec::new();
    let between = &found.between;
    if let Some(first) = between.repeated.first() {
        lines.push(Line::new("repeated_header = true", format!("line {first} is the header again")));
    }
    if let Some(first) = between.ruled.first() {
        lines.push(Line::new("ruled = true", format!("line {first} has nothing but dashes and signs like them")));
    }
    let mut skip = between.skip.clone();
    if headings == Headings::AreSkipped {
        for record in between.headings.iter().map(|at| &records[*at]) {
            let pattern = exact_or_beginning(record.first_filled());
            if skip.iter().all(|(known, _)| *known != pattern) {
                skip.push((pattern, record.line));
            }
        }
    }
    if let Some((_, first)) = skip.first() {
        let cells: Vec<String> = skip.iter().map(|(cell, _)| table.clean.apply(cell).trim().to_owned()).collect();
        lines.push(Line::new(
            format!("skip = {}", super::toml_text::list(&cells)),
            format!("subtotals, headings and notes between the rows, from line {first} on"),
        ));
    }
    if !table.place.places.is_empty() && table.place.apart {
        lines.push(Line::new("blank_between = true", "a blank stands between any two cells; a wider value is refused"));
    }
    lines
}

/// Where the table is in the file.
fn layout_options(table: &Table<'_>, found: &FoundTable, records: &[Record]) -> Vec<Line> {
    let mut lines = Vec::new();
    if table.place.named {
        return lines;
    }
    if let Some(section) = &found.section {
        lines.push(Line::new(
            format!("section = {}", super::toml_text::text(section)),
            "the line that begins this table; the file has several",
        ));
    }
    let first = records.get(found.header.start).map_or(0, |record| record.line);
    if found.header.is_empty() && !table.place.places.is_empty() {
        // Cells at fixed places have no header if nothing is said.
    } else if found.header.is_empty() {
        lines.push(Line::new("header = \"none\"", "the first line has values, and so has every other"));
    } else if !table.place.places.is_empty() {
        lines.push(Line::new(format!("header = {first}"), "the line with the names"));
    } else if !found.preamble.is_empty() || found.section.is_some() {
        let before = lines_of(found.preamble.len());
        lines.push(Line::new("header = \"find\"", format!("on line {first}, after {before} outside of the table")));
    }
    if found.header.len() > 1 {
        lines.push(Line::new(
            format!("header_lines = {}", found.header.len()),
            "names stand on several lines, one below the other",
        ));
    }
    let footer: Vec<&Record> = found.footer.iter().map(|at| &records[*at]).collect();
    let rows: Vec<&Record> = found.rows.iter().map(|at| &records[*at]).collect();
    lines.extend(end_options(table, found, &footer, &rows));
    if found.trailing {
        lines.push(Line::new("trailing_delimiter = true", "lines end with a delimiter after their last cell"));
    }
    if found.shorter {
        let short = rows.iter().filter(|row| row.cells.len() < found.width).count();
        lines.push(Line::new(
            "shorter = \"null\"",
            format!("{short} of {} rows end before the last column", rows.len()),
        ));
    }
    lines
}

fn end_options(table: &Table<'_>, found: &FoundTable, footer: &[&Record], rows: &[&Record]) -> Vec<Line> {
    let Some(first) = footer.first() else {
        let next = found.next.iter().filter(|_| !found.ends_blank);
        let next = next.map(|title| {
            Line::new(format!("end = {}", super::toml_text::list(&[title])), "the next table begins there")
        });
        let blank = found.ends_blank.then(|| Line::new("end = \"blank\"", "another table follows after a blank line"));
        return next.chain(blank).collect();
    };
    let text = |row: &Record| table.clean.apply(row.cell(0)).trim().to_owned();
    let mut ends: Vec<String> = Vec::new();
    for row in footer {
        let begin = beginning(&text(row));
        if !ends.iter().any(|end| begin.starts_with(end.as_str())) {
            ends.push(begin);
        }
    }
    let clash = |end: &String| end.is_empty() || rows.iter().any(|row| text(row).starts_with(end.as_str()));
    let evidence = format!("{} after the last row, from line {} on", lines_of(footer.len()), first.line);
    if ends.len() <= 3 && !ends.iter().any(clash) {
        return vec![Line::new(format!("end = {}", super::toml_text::list(&ends)), evidence)];
    }
    if !clash(&ends[0]) {
        let end = super::toml_text::list(&ends[..1]);
        return vec![
            Line::new(format!("end = {end}"), evidence),
            Line::new("anything_after_end = true", "the lines after the end are notes"),
        ];
    }
    if found.section.is_some() {
        return Vec::new();
    }
    vec![Line::new(format!("footer_lines = {}", footer.len()), evidence)]
}

fn lines_of(count: usize) -> String {
    if count == 1 { "1 line".into() } else { format!("{count} lines") }
}

/// The marks of missing values that are not those of every dataset.
fn null_options(table: &Table<'_>) -> Vec<Line> {
    let mut marks: Vec<(&str, i64, usize)> = Vec::new();
    for (found, column) in table.found.iter().zip(table.sent) {
        for (mark, line) in &found.marks {
            let plain = super::nulls::PLAIN.contains(&mark.as_str()) || !super::nulls::is_mark(mark);
            if !plain && marks.iter().all(|(known, ..)| known != mark) {
                marks.push((mark, *line, column.position));
            }
        }
    }
    if marks.is_empty() {
        return Vec::new();
    }
    let all: Vec<&str> = super::nulls::PLAIN.iter().copied().chain(marks.iter().map(|(mark, ..)| *mark)).collect();
    let shown: Vec<String> =
        marks.iter().map(|(mark, line, column)| format!("line {line} column {column} is `{mark}`")).collect();
    vec![Line::new(format!("null_values = {}", super::toml_text::list(&all)), shown.join(", "))]
}
