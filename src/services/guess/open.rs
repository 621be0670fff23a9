//! Opens a file, whatever it consists of, and cuts what was looked at into records.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Cursor, Read};

use encoding_rs::{Encoding, UTF_8};

use super::archive::{general, label, may_be_a_table};
use super::input::Input;
use super::json;
use super::sample::{self, Sample};
use crate::data_access::csv::SplitError;
use crate::data_access::sent::Rows;
use crate::data_access::sent::members::Members;
use crate::data_access::sent::percentages::percentages;
use crate::data_access::sent::workbook::Workbook;
use crate::domain::guess::answers::{About, Answers};
use crate::domain::guess::dialect::{self, FoundDialect, find_dialect};
use crate::domain::guess::encoding::{Doubt, FoundEncoding, find_encoding};
use crate::domain::guess::fixed::{self, FoundPlaces};
use crate::domain::guess::place::Line;
use crate::domain::guess::question::{Asked, Question};
use crate::domain::guess::sample::{Record, SampleCell};
use crate::domain::guess::toml_text;
use crate::domain::source::cell_form::CellKind;
use crate::domain::source::row::Row;

/// A part of a file, cut into records.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened {
    pub(super) part: String,
    pub(super) label: String,
    pub(super) records: Vec<Record>,
    pub(super) layout: Vec<Line>,
    pub(super) sheet: bool,
    pub(super) named: bool,
    pub(super) places: Vec<(usize, usize)>,
    pub(super) apart: bool,
    pub(super) percents: Vec<usize>,
    pub(super) looked_at: String,
    pub(super) encoding: Option<Asked>,
}

/// [`BETWEEN_CELLS`](crate::domain::guess::sample::BETWEEN_CELLS) as a text.
const BETWEEN: &str = "\u{1f}";
const ZIP: &[u8] = b"PK\x03\x04";
const COMPOUND: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
const PARQUET: &[u8] = b"PAR1";
/// So many bytes of a member of an archive are looked at.
const OF_A_MEMBER: u64 = 2 * 1024 * 1024;
/// Rows of a sheet that are kept: so many first ones, and so many last ones.
const FIRST_ROWS: usize = 20_000;
const LAST_ROWS: usize = 500;
/// Workbooks keep 15 significant digits, and write 17.
const DIGITS: usize = 15;

/// Opens a file.
pub(super) fn open(input: &Input, answers: &Answers) -> Result<Vec<Opened>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: cannot be read: {error}", input.key);
    let sample = sample::read(&input.path).map_err(|error| failed(&error))?;
    if sample.head.is_empty() {
        return Err(format!("{}: the file is empty; not even a header is there", input.key));
    }
    if sample.head.starts_with(PARQUET) {
        let message = "this is Parquet, whose columns have names and types; write a definition with those, and a source with \
                       format = \"parquet\" (docs/sources.md)";
        return Err(format!("{}: {message}", input.key));
    }
    if sample.head.starts_with(COMPOUND) {
        return workbook(input);
    }
    if sample.head.starts_with(ZIP) {
        let file = File::open(&input.path).map_err(|error| failed(&error))?;
        let mut members = Members::open(file).map_err(|_| format!("{}: the archive is broken", input.key))?;
        let names = members
            .matching("**")
            .map_err(|_| format!("{}: the archive is broken, or names a member twice", input.key))?;
        return if names.iter().any(|name| name == "xl/workbook.xml") {
            workbook(input)
        } else {
            archive(input, answers, &mut members, &names)
        };
    }
    if let Some(what) = unread(&sample.head) {
        return Err(format!("{}: {what}", input.key));
    }
    let opened = text(&sample, &input.key, "", answers);
    if opened.as_ref().is_some_and(|opened| opened.named) {
        let message = "these are JSON lines, whose values have names and types; write a definition with those names, and a source with \
                       format = \"json_lines\" (docs/sources.md)";
        return Err(format!("{}: {message}", input.key));
    }
    Ok(opened.into_iter().collect())
}

fn archive(
    input: &Input,
    answers: &Answers,
    members: &mut Members<File>,
    names: &[String],
) -> Result<Vec<Opened>, String> {
    let mut all: Vec<Opened> = Vec::new();
    for name in names.iter().filter(|name| may_be_a_table(name)) {
        let broken = || format!("{}: member {name} cannot be unpacked", input.key);
        let Some(member) = members.read(name).map_err(|_| broken())? else { continue };
        let mut sample = Sample::default();
        // A member is read from its beginning: what comes after is not looked at.
        member.take(OF_A_MEMBER + 1).read_to_end(&mut sample.head).map_err(|_| broken())?;
        sample.size = sample.head.len() as u64;
        let is_cut = sample.size > OF_A_MEMBER;
        // Its true size does not matter, as long as it is not that of the head.
        sample.size += u64::from(is_cut);
        let Some(mut opened) = text(&sample, &format!("{}, member {name}", input.key), name, answers) else { continue };
        if opened.records.len() < 2 {
            continue;
        }
        if is_cut {
            opened.looked_at = format!("{}: the first 2 MB of the member were looked at", file_name(name));
        }
        let pattern = general(name);
        let option = Line::new(
            format!("member = {}", toml_text::text(&pattern)),
            "the file is an archive; each member that matches is a load of its own",
        );
        let layout = std::iter::once(option).chain(opened.layout).collect();
        all.push(Opened { part: name.clone(), label: label(name), layout, ..opened });
    }
    // Members with other columns have other patterns.
    let patterns: Vec<String> = all.iter().map(|opened| opened.layout[0].option.clone()).collect();
    for (at, opened) in all.iter_mut().enumerate() {
        if patterns.iter().filter(|pattern| **pattern == patterns[at]).count() > 1 {
            let exact = toml_text::text(&opened.part);
            opened.layout[0].option = format!("member = {exact}");
        }
    }
    Ok(all)
}

fn workbook(input: &Input) -> Result<Vec<Opened>, String> {
    let broken = |why: &str| format!("{}: {why}", input.key);
    let open = || File::open(&input.path).map_err(|error| broken(&format!("cannot be read: {error}")));
    let mut book =
        Workbook::open(open()?).map_err(|_| broken("the workbook is broken, too large, or has a password"))?;
    let sheets = book.sheets();
    let mut all = Vec::new();
    for sheet in &sheets {
        let rows = book.rows(sheet, Some(DIGITS)).map_err(|_| broken("a sheet of the workbook is broken"))?;
        let (records, count) = ends_of(rows).map_err(|_| broken("a sheet of the workbook is broken"))?;
        if records.iter().filter(|record| record.filled() > 1).count() < 2 {
            continue;
        }
        let looked_at = if records.len() == count {
            "all rows were looked at".to_owned()
        } else {
            format!("{} of {count} rows were looked at", records.len())
        };
        all.push(Opened {
            part: sheet.clone(),
            label: sheet.clone(),
            layout: layout_of_sheet(&records),
            records,
            sheet: true,
            percents: percentages(open()?, sheet).into_iter().collect(),
            looked_at: format!("{}: {looked_at}", file_name(&input.key)),
            ..Opened::default()
        });
    }
    name_sheets(&mut all, &sheets);
    Ok(all)
}

/// The first and the last rows of a sheet, and how many it has.
fn ends_of(mut rows: impl Rows) -> Result<(Vec<Record>, usize), SplitError> {
    let (mut row, mut count) = (Row::default(), 0_usize);
    let (mut records, mut last) = (Vec::new(), VecDeque::new());
    while rows.read(&mut row)? {
        count += 1;
        let cells: Vec<SampleCell> =
            row.cells().map(|cell| SampleCell { text: cell.text.to_owned(), kind: cell.kind }).collect();
        let text = cells.iter().map(|cell| cell.text.as_str()).collect::<Vec<_>>().join(BETWEEN);
        let record = Record { line: row.line, cells, text };
        if records.len() < FIRST_ROWS {
            records.push(record);
            continue;
        }
        last.push_back(record);
        if last.len() > LAST_ROWS {
            last.pop_front();
        }
    }
    records.extend(last);
    Ok((records, count))
}

fn layout_of_sheet(records: &[Record]) -> Vec<Line> {
    let mut layout = vec![Line::new("format = \"xlsx\"", "the bytes are those of a workbook")];
    if records.iter().flat_map(|record| &record.cells).any(|cell| cell.kind == CellKind::Number) {
        let digits = format!("significant_digits = {DIGITS}");
        layout.push(Line::new(digits, "as many as a workbook shows; the rest is noise"));
    }
    layout
}

/// Names the sheet of each table, unless the first sheet has the only table.
fn name_sheets(all: &mut [Opened], sheets: &[String]) {
    let single = all.len() == 1;
    for opened in all {
        let first = sheets.first().is_some_and(|first| *first == opened.part);
        if !single || !first {
            let name = toml_text::text(&opened.part);
            opened.layout.insert(1, Line::new(format!("sheet = {name}"), "the sheet with this table"));
        }
        if single {
            opened.part.clear();
        }
    }
}

fn file_name(key: &str) -> &str {
    key.rsplit(['/', '\\']).next().unwrap_or(key)
}

/// What a text is that has no table of cells; `None` if it may have one.
fn unread(head: &[u8]) -> Option<&'static str> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |tag: &[u8]| text.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
    if text.strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"{")) {
        return Some(
            "this is one JSON array; write each of its objects on a line of its own, for example with jq -c '.[]'",
        );
    }
    if [b"<!doctype".as_slice(), b"<html", b"<table", b"<?xml"].iter().any(|tag| begins(tag)) {
        return Some("this is a web page or XML, whatever its name says; save it as CSV or as a workbook");
    }
    if [b":20:".as_slice(), b"{1:F01"].iter().any(|tag| begins(tag)) {
        return Some("this is a SWIFT message such as MT940, and not a table; have it exported as CSV");
    }
    names_tables(text).then_some(
        "each line names the table that it is of (Statement,Header,…; Trades,Data,…), so that this is several tables; have each of them \
         exported as a file of its own (at Interactive Brokers, as a Flex query)",
    )
}

/// Whether each line begins with the name of a table and what it is there, from a header on, as in an activity statement.
fn names_tables(text: &[u8]) -> bool {
    let cells = |line: &'_ [u8]| {
        let mut cells = line.split(|byte| *byte == b',').map(|cell| cell.trim_ascii().to_vec());
        cells.next().zip(cells.next())
    };
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').take(200).filter_map(cells).collect();
    let (mut named, mut others): (Vec<&Vec<u8>>, usize) = (Vec::new(), 0);
    for (table, kind) in &lines {
        match kind.as_slice() {
            b"Header" => named.push(table),
            // A cell may have several lines.
            _ => others += usize::from(!named.contains(&table)),
        }
    }
    named.dedup();
    let begins = lines.first().is_some_and(|(_, kind)| kind == b"Header");
    begins && named.len() > 1 && others * 4 < lines.len() && lines.iter().any(|(_, kind)| kind == b"Data")
}

/// Asks for the encoding if the bytes do not tell it.
fn ask_encoding(part: &str, found: &FoundEncoding, answers: &Answers) -> Option<Asked> {
    let about = About { part, ..About::default() };
    // What a person says counts, also where the bytes seem to tell.
    let is_said = !found.marked && answers.get("encoding", about).is_some();
    let said = is_said.then(|| Doubt { encodings: vec![found.encoding], words: Vec::new() });
    let doubt = found.doubt.clone().or(said)?;
    let question = Question {
        id: about.id("encoding"),
        why:
            "the bytes are words in several encodings, or in none that is known; any label of an encoding is an answer"
                .into(),
        values: doubt.words,
        answers: doubt.encodings.iter().map(|encoding| encoding.name().to_ascii_lowercase()).collect(),
    };
    Some(answers.ask("encoding", about, question, |answer| {
        Encoding::for_label(answer.as_bytes()).map(|encoding| encoding.name().to_ascii_lowercase())
    }))
}

fn text(sample: &Sample, key: &str, part: &str, answers: &Answers) -> Option<Opened> {
    let mut found = find_encoding(&sample.head, sample.is_whole());
    let asked = ask_encoding(part, &found, answers);
    if let Some(asked) = &asked {
        let answer = asked.answer.as_ref().and_then(|answer| Encoding::for_label(answer.as_bytes()));
        found.encoding = answer.unwrap_or(found.encoding);
        found.evidence = match answer {
            Some(_) => "by your answer".to_owned(),
            None => format!("OPEN {}: {}", asked.question.id, asked.question.why),
        };
    }
    let head = decode(found.encoding, &sample.head, false, sample.is_whole());
    let looked_at = format!("{}: {}", file_name(key), sample.describe());
    let mut layout = Vec::new();
    if found.encoding != UTF_8 && !found.marked {
        layout.push(Line::new(
            format!("encoding = {}", toml_text::text(&found.encoding.name().to_ascii_lowercase())),
            found.evidence,
        ));
    }
    if head.trim_start().starts_with('{')
        && let Some(records) = json::records(&head)
    {
        layout.insert(0, Line::new("format = \"json_lines\"", "each line is a JSON object"));
        return Some(Opened { records, layout, named: true, looked_at, encoding: asked, ..Opened::default() });
    }
    // The last piece ends as the file does; all others end anywhere.
    let last = sample.pieces.len().saturating_sub(1);
    let pieces = sample.pieces.iter().enumerate();
    let texts: Vec<String> = pieces.map(|(at, piece)| decode(found.encoding, piece, true, at == last)).collect();
    let places = fixed::find_places(&head);
    let dialect = find_dialect(&head).filter(|dialect| {
        let at_places = places.as_ref().is_some_and(|places| places.beat(&head, &dialect.dialect.delimiter));
        !at_places
    });
    let Some(dialect) = dialect else {
        let fixed = fixed_width(&head, &texts, layout, looked_at, places?);
        return Some(Opened { encoding: asked, ..fixed });
    };
    layout.extend(dialect_options(&dialect));
    let mut records = dialect::cut(&head, &dialect);
    for text in &texts {
        records.extend(dialect::cut(text, &dialect).into_iter().map(|record| Record { line: 0, ..record }));
    }
    Some(Opened { records, layout, looked_at, encoding: asked, ..Opened::default() })
}

fn fixed_width(head: &str, texts: &[String], mut layout: Vec<Line>, looked_at: String, found: FoundPlaces) -> Opened {
    let FoundPlaces { places, apart } = found;
    layout.insert(
        0,
        Line::new(
            "format = \"fixed\"",
            "no sign stands between cells, and the same characters are blank in every line",
        ),
    );
    let mut records = fixed::cut(head, &places);
    for text in texts {
        records.extend(fixed::cut(text, &places).into_iter().map(|record| Record { line: 0, ..record }));
    }
    Opened { records, layout, places, apart, looked_at, ..Opened::default() }
}

fn dialect_options(found: &FoundDialect) -> Vec<Line> {
    let mut options = Vec::new();
    let dialect = &found.dialect;
    if dialect.delimiter != "," {
        options.push(Line::new(format!("delimiter = {}", toml_text::text(&dialect.delimiter)), found.evidence.clone()));
    }
    match dialect.quote {
        None => options.push(Line::new("quote = \"none\"", "quotes are a part of the cells")),
        Some(b'"') => {}
        Some(sign) => options.push(Line::new(
            format!("quote = {}", toml_text::text(&char::from(sign).to_string())),
            "cells stand in these quotes",
        )),
    }
    if let Some(sign) = dialect.escape {
        options.push(Line::new(
            format!("escape = {}", toml_text::text(&char::from(sign).to_string())),
            "quotes in cells have this sign before them",
        ));
    }
    if found.cr {
        options.push(Line::new("line_end = \"cr\"", "lines end with a CR alone"));
    }
    options
}

/// The text of some bytes, without what a cut at their beginning or end has spoiled.
fn decode(encoding: &'static Encoding, bytes: &[u8], cut_before: bool, whole_end: bool) -> String {
    let (text, ..) = if cut_before {
        encoding.decode_without_bom_handling(bytes).into_pair()
    } else {
        encoding.decode_with_bom_removal(bytes).into_pair()
    };
    let mut text: &str = &text;
    if cut_before {
        text = text.split_once('\n').map_or("", |(_, rest)| rest);
    }
    if !whole_end || cut_before {
        let end = text.rfind('\n').map_or(text.len(), |at| at + 1);
        // The tail ends as its file does.
        text = if cut_before && whole_end { text } else { &text[..end] };
    }
    text.to_owned()
}

/// The text of a pair whose second half says whether there were errors.
trait Pair {
    fn into_pair(self) -> (String, bool);
}

impl Pair for (std::borrow::Cow<'_, str>, bool) {
    fn into_pair(self) -> (String, bool) {
        (self.0.into_owned(), self.1)
    }
}

/// The bytes of a member, or of the whole file, for those who read all of them.
pub(super) fn part_of(input: &Input, member: Option<&str>) -> Result<Box<dyn Read + Send>, String> {
    let failed = |error: std::io::Error| format!("{}: cannot be read: {error}", input.key);
    let file = File::open(&input.path).map_err(failed)?;
    let Some(member) = member else { return Ok(Box::new(file)) };
    let broken = || format!("{}: member {member} cannot be unpacked", input.key);
    let mut members = Members::open(file).map_err(|_| broken())?;
    let mut bytes = Vec::new();
    let mut found = members.read(member).map_err(|_| broken())?.ok_or_else(broken)?;
    found.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Box::new(Cursor::new(bytes)))
}
