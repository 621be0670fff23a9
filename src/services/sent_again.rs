//! The way back of rejects in their sender's form: a header of ours before the sender's, and how such a file is known.

use std::io::{self, Read, Write};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use serde_json::Value;

use crate::data_access::sent::kept::kept_row;
use crate::data_access::sent::text_rows::{Cut, cut_record};
use crate::domain::source::binding::{Binding, Surroundings};
use crate::domain::source::layout::{Dialect, End, Format, Header, TextLines};
use crate::domain::source::model::{Origin, Outside, Source};
use crate::domain::source::row::Row;
use crate::domain::{Dataset, LoadId, Violation};

const LOAD: &str = "_load_id";
const RECORD: &str = "_record";
const SOURCE: &str = "_source";
const KEY: &str = "_key";
const PART: &str = "_part";
const PREAMBLE: &str = "_preamble";
/// The columns before those of the sender, besides what the file told around its table.
const OWN: [&str; 5] = [LOAD, RECORD, "_line", SOURCE, "_errors"];
/// As much of a file as tells whether it is one of rejects.
const ENOUGH: usize = 64 * 1024;

/// What a source needs to know of a file besides its records, and what it calls that in a file of rejects.
fn told(source: &Source) -> Vec<(&'static str, Outside)> {
    let of = |outside| {
        source.columns.iter().any(|column| {
            matches!(&column.origin, Origin::Outside(known, _) if *known == outside)
                || column.year.as_ref().is_some_and(|year| year.origin == outside)
        })
    };
    let all = [(KEY, Outside::Key), (PART, Outside::Part), (PREAMBLE, Outside::Preamble)];
    all.into_iter().filter(|(_, outside)| of(*outside)).collect()
}

/// What a file told around its table, as far as its source asks for it: for the ledger.
pub(super) fn told_by(source: &Source, around: &Surroundings) -> Value {
    told(source)
        .into_iter()
        .map(|(name, outside)| (name.to_owned(), Value::String(around_text(around, outside))))
        .collect()
}

fn around_text(around: &Surroundings, outside: Outside) -> String {
    match outside {
        Outside::Key => around.key.clone(),
        Outside::Part => around.part.clone(),
        Outside::Preamble => around.preamble.join("\n"),
    }
}

/// The columns that are ours, in their order.
fn own_columns(source: &Source) -> Vec<&'static str> {
    OWN.into_iter().chain(told(source).into_iter().map(|(name, _)| name)).collect()
}

fn lines_of(source: &Source) -> TextLines {
    match &source.format {
        Format::Delimited(lines, _) | Format::Fixed(lines, _) => *lines,
        _ => TextLines { encoding: UTF_8, cr_ends_line: false, comment: None },
    }
}

/// How the rejects of a source are written: as the sender writes, and else in the plain form.
fn dialect_of(source: &Source) -> Dialect {
    match &source.format {
        Format::Delimited(_, dialect) => dialect.clone(),
        _ => Dialect::plain(),
    }
}

/// The first bytes of a file.
pub(super) struct Beginning(Vec<u8>);

impl Beginning {
    /// Looks at the beginning of a file, and gives the whole of it back.
    pub(super) fn of<'a>(mut plain: Box<dyn Read + Send + 'a>) -> io::Result<(Self, Box<dyn Read + Send + 'a>)> {
        let mut begin = Vec::new();
        plain.by_ref().take(ENOUGH as u64).read_to_end(&mut begin)?;
        let whole = io::Cursor::new(begin.clone()).chain(plain);
        Ok((Self(begin), Box::new(whole)))
    }

    /// If the file is one of rejects: how to read it, and the source that wrote its records.
    pub(super) fn again(&self, dataset: &Dataset, claimed: &Source) -> Option<Result<(Again, Source), String>> {
        let encoding = Encoding::for_bom(&self.0).map_or(lines_of(claimed).encoding, |(encoding, _)| encoding);
        let text = encoding.decode(&self.0).0;
        let mut lines = text.lines();
        let bare = |cell: &str| cell.trim().trim_matches('"').trim_matches('\'').to_owned();
        let header = lines.next()?;
        let after = header.trim_start_matches(['"', '\'']).strip_prefix(LOAD)?.trim_start_matches(['"', '\'']);
        let delimiter = &after[..after.find(RECORD)?];
        let delimiter = delimiter.trim_end_matches(['"', '\'']);
        let index = header.split(delimiter).position(|cell| bare(cell) == SOURCE)?;
        let name = bare(lines.next()?.split(delimiter).nth(index)?);
        Some(dataset.source(&name).map(|source| (Again::default(), read_again(source))))
    }
}

/// A source that reads what was written of its rejects: a header first, nothing before or after the table.
fn read_again(source: &Source) -> Source {
    let own = own_columns(source).len();
    let mut again = source.clone();
    again.member = None;
    again.format = Format::Delimited(lines_of(source), dialect_of(source));
    again.layout.header = Header::First;
    again.layout.header_lines = 1;
    again.layout.section = None;
    again.layout.end = End::Never;
    for column in &mut again.columns {
        if let Origin::Position(index) = &mut column.origin {
            *index += own;
        }
    }
    again
}

/// Where a file of rejects says what its records are.
#[derive(Clone, Debug, Default)]
pub(super) struct Again {
    names: Vec<String>,
}

impl Again {
    /// The same, of a file with this header.
    pub(super) fn found(self, names: &[String]) -> Self {
        Self { names: names.to_vec() }
    }

    fn cell<'r>(&self, row: &'r Row, name: &str) -> Option<&'r str> {
        let index = self.names.iter().position(|known| known == name)?;
        row.cell(index).map(|cell| cell.text)
    }

    /// The load and the record that a record is to mend.
    pub(super) fn mends<'r>(&self, row: &'r Row) -> (Option<&'r str>, Option<&'r str>) {
        (self.cell(row, LOAD), self.cell(row, RECORD))
    }

    fn around(&self, row: &Row, around: &Surroundings) -> Surroundings {
        let text = |name: &str| self.cell(row, name);
        Surroundings {
            key: text(KEY).map_or_else(|| around.key.clone(), str::to_owned),
            part: text(PART).map_or_else(|| around.part.clone(), str::to_owned),
            preamble: text(PREAMBLE)
                .map_or_else(|| around.preamble.clone(), |lines| lines.lines().map(str::to_owned).collect()),
        }
    }

    /// Takes over what a record says of the file that it was in. Returns whether that is news.
    pub(super) fn moves(&self, row: &Row, around: &mut Surroundings) -> bool {
        let found = self.around(row, around);
        let news = found != *around;
        *around = found;
        news
    }

    /// The source, bound as the record says.
    pub(super) fn rebound(&self, source: &Source, row: &Row) -> Option<Binding> {
        source.bind(&self.names, &self.around(row, &Surroundings::default())).ok()
    }
}

/// Cuts the bytes of a record into cells again.
pub(super) fn cut(source: &Source, raw: &[u8], line: i64) -> Row {
    let mut row = Row::default();
    row.begin(line, 0);
    row.raw.extend_from_slice(raw);
    match &source.format {
        Format::Delimited(lines, dialect) => cut_record(&mut row, *lines, &Cut::Delimited(dialect.clone())),
        Format::Fixed(lines, fields) => {
            cut_record(&mut row, *lines, &Cut::Fixed(fields.clone(), source.layout.shorter))
        }
        Format::Workbook(_) | Format::JsonLines | Format::Parquet => kept_row(&mut row),
    }
    row
}

fn encoded(encoding: &'static Encoding, text: &str) -> Vec<u8> {
    match encoding {
        utf16 if utf16 == UTF_16LE => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        utf16 if utf16 == UTF_16BE => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        // What the encoding lacks becomes a numeric reference.
        other => other.encode(text).0.into_owned(),
    }
}

fn quoted(dialect: &Dialect, cell: &str) -> String {
    let special = |sign: char| sign.is_control() || Some(sign) == dialect.quote.map(char::from);
    match dialect.quote.map(char::from) {
        Some(quote)
            if cell.contains(special) || cell.contains(&dialect.delimiter) || cell.starts_with([' ', '=', '\'']) =>
        {
            let inner = match dialect.escape.map(char::from) {
                None => cell.replace(quote, &format!("{quote}{quote}")),
                Some(escape) => {
                    cell.replace(escape, &format!("{escape}{escape}")).replace(quote, &format!("{escape}{quote}"))
                }
            };
            format!("{quote}{inner}{quote}")
        }
        Some(_) => cell.to_owned(),
        None => cell.replace(&dialect.delimiter, " ").replace(['\n', '\r'], " "),
    }
}

fn line_of<'c>(source: &Source, cells: impl Iterator<Item = &'c str>) -> Vec<u8> {
    let dialect = dialect_of(source);
    let cells: Vec<String> = cells.map(|cell| quoted(&dialect, cell)).collect();
    encoded(lines_of(source).encoding, &cells.join(&dialect.delimiter))
}

/// The header of a file, as its sender wrote it where that is one line of text; else its names, or the numbers of its columns.
pub(super) fn header_line(source: &Source, header: &[Row], names: &[String], width: usize) -> Vec<u8> {
    match (header, &source.format) {
        ([one], Format::Delimited(..)) => one.raw.clone(),
        ([], _) => {
            let numbers: Vec<String> = (1..=width).map(|number| number.to_string()).collect();
            line_of(source, numbers.iter().map(String::as_str))
        }
        _ => line_of(source, names.iter().map(String::as_str)),
    }
}

/// Writes rejects as their sender writes, so that a mended file loads through the same source.
pub struct SentWriter {
    source: Source,
    around: Value,
    header: Vec<u8>,
    /// Cells of ours that the records have already, since their file was one of rejects.
    had: usize,
}

impl SentWriter {
    /// For a file of this source with this header, which told that besides its records.
    #[must_use]
    pub fn new(source: Source, around: Value, header: &[u8]) -> Self {
        let own = line_of(&source, own_columns(&source).into_iter());
        let is_again = header.starts_with(&own);
        let had = if is_again { own_columns(&source).len() } else { 0 };
        Self { source, around, header: header.to_vec(), had }
    }

    fn around_cells(&self) -> Vec<String> {
        let cell = |name: &str| self.around[name].as_str().unwrap_or_default().to_owned();
        told(&self.source).into_iter().map(|(name, _)| cell(name)).collect()
    }

    /// The record as text, without the cells of ours.
    pub(super) fn text(&self, raw: &[u8]) -> String {
        let row = self.row(raw);
        row.cells().skip(self.had).map(|cell| cell.text).collect::<Vec<_>>().join(&dialect_of(&self.source).delimiter)
    }

    fn row(&self, raw: &[u8]) -> Row {
        if self.had == 0 { cut(&self.source, raw, 0) } else { cut(&read_again(&self.source), raw, 0) }
    }

    /// What the file begins with.
    pub(super) fn header(&self) -> &[u8] {
        &self.header
    }

    fn end(&self) -> Vec<u8> {
        encoded(lines_of(&self.source).encoding, "\n")
    }

    fn delimiter(&self) -> Vec<u8> {
        encoded(lines_of(&self.source).encoding, &dialect_of(&self.source).delimiter)
    }

    /// Writes the header.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn begin(&self, out: &mut dyn Write) -> io::Result<()> {
        let encoding = lines_of(&self.source).encoding;
        if encoding == UTF_16LE || encoding == UTF_16BE {
            out.write_all(&encoded(encoding, "\u{feff}"))?;
        }
        if self.had > 0 {
            out.write_all(&self.header)?;
        } else {
            out.write_all(&line_of(&self.source, own_columns(&self.source).into_iter()))?;
            out.write_all(&self.delimiter())?;
            out.write_all(&self.header)?;
        }
        out.write_all(&self.end())
    }

    /// Writes the records of `violations`, one after the other.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn write(&self, out: &mut dyn Write, load: Option<LoadId>, violations: &[Violation]) -> io::Result<()> {
        for record in violations.chunk_by(|one, next| one.record == next.record) {
            let errors: Vec<String> = record
                .iter()
                .map(|violation| {
                    let column = violation.column.as_ref().map_or(String::new(), |column| format!("{column}: "));
                    format!("{column}{} (rule {})", violation.message, violation.rule)
                })
                .collect();
            let load = load.map_or(String::new(), |load| load.to_string());
            let own = [load, record[0].record.to_string(), record[0].line.to_string()];
            let rest = [self.source.name.clone(), errors.join("; ")];
            let own: Vec<String> = own.into_iter().chain(rest).chain(self.around_cells()).collect();
            out.write_all(&line_of(&self.source, own.iter().map(String::as_str)))?;
            out.write_all(&self.delimiter())?;
            match &self.source.format {
                Format::Delimited(..) if self.had == 0 => out.write_all(&record[0].raw)?,
                _ => {
                    let row = self.row(&record[0].raw);
                    let cells = row.cells().skip(self.had).map(|cell| cell.text);
                    out.write_all(&line_of(&self.source, cells))?;
                }
            }
            out.write_all(&self.end())?;
        }
        Ok(())
    }
}
