//! A source meets a file: its columns are found in the header, what the file says besides is read, and each record becomes the
//! plain form of the dataset's columns.

use std::borrow::Cow;

use regex::{Captures, Match, Regex};
use unicode_normalization::UnicodeNormalization;

use super::cell_form::{Cell, CellForm, CellKind, UNREADABLE, Value, exactly_kept};
use super::exact::Exact;
use super::fault::Fault;
use super::layout::{Format, Header, Layout};
use super::model::{Member, Named, Origin, Outside, Source, SourceColumn, YearFrom};
use super::row::Row;
use super::time_form::StatementYear;

/// What a file tells besides its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The object's key.
    pub key: String,
    /// The name of the member, the sheet or the section; empty for a whole object.
    pub part: String,
    /// The lines before the header.
    pub preamble: Vec<String>,
}

/// Why a file does not fit its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The header lacks these columns, each as the source names it.
    Missing(Vec<String>),
    /// The header has a column twice that the source takes for one.
    Twice(String),
    /// Nothing tells the value of this column: neither key nor preamble nor part match its pattern.
    Untold(String),
    /// What the key, the preamble, the part or the constant tells of this column is not a value of it.
    Unreadable(String, Fault),
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(columns) => write!(f, "the header lacks column {}", columns.join(", ")),
            Self::Twice(column) => {
                write!(f, "the header names column {column} twice; say with nth which one it is")
            }
            Self::Untold(column) => {
                write!(f, "the pattern of column {column} matches nothing in the place that its `from` names")
            }
            Self::Unreadable(column, fault) => {
                write!(
                    f,
                    "what is told of column {column} outside of the table is not a value of it (rule {})",
                    fault.rule()
                )
            }
        }
    }
}

/// The name in a header cell: without white space at its ends, composed as Unicode says (NFC).
#[must_use]
pub fn header_name(cell: &str) -> Cow<'_, str> {
    let trimmed = cell.trim();
    if trimmed.is_ascii() { Cow::Borrowed(trimmed) } else { Cow::Owned(trimmed.nfc().collect()) }
}

/// The places in a header of each column of a file that a source reads.
#[derive(Clone, Debug)]
struct Bound {
    from: Place,
    form: CellForm,
    zone: Option<usize>,
}

#[derive(Clone, Debug)]
enum Place {
    /// A cell of the record.
    Cell(usize),
    /// Several cells, and whether one empty one makes the value null.
    Cells(Vec<usize>, bool),
    /// The same in every record, in the plain form.
    Same(Option<String>),
    Record,
    Line,
    /// An expression over these cells, which is computed elsewhere.
    Expression(Vec<usize>),
}

/// A source that knows the places of its columns in one file.
#[derive(Clone, Debug, Default)]
pub struct Binding {
    columns: Vec<Bound>,
    /// Cells that a record has.
    width: usize,
    /// What becomes of cells that are too many or too few.
    trailing: bool,
    longer: bool,
    shorter: bool,
    joined: String,
    scratch: String,
}

/// Whether a header has the column, where, and how often.
fn places(names: &[String], wanted: &Named) -> Vec<usize> {
    let is = |name: &&String| wanted.names.iter().any(|known| header_name(known) == name.as_str());
    (0..names.len()).filter(|index| is(&&names[*index])).collect()
}

fn place(names: &[String], wanted: &Named) -> Result<Option<usize>, Misfit> {
    let found = places(names, wanted);
    match (wanted.nth, found.as_slice()) {
        (Some(nth), found) => Ok(found.get(nth - 1).copied()),
        (None, []) => Ok(None),
        (None, [one]) => Ok(Some(*one)),
        (None, _) => Err(Misfit::Twice(shown(wanted))),
    }
}

/// A column for messages: the names that the source has for it.
fn shown(wanted: &Named) -> String {
    let names = wanted.names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" or ");
    match wanted.nth {
        Some(nth) => format!("{names} (number {nth})"),
        None => names,
    }
}

impl Source {
    /// The names of a header; that of a column with several lines has them with a blank between them.
    #[must_use]
    pub fn names_of(&self, header: &[Row]) -> Vec<String> {
        let width = header.iter().map(Row::len).max().unwrap_or(0);
        let clean = self.clean;
        let name = |index: usize| {
            let parts = header.iter().filter_map(|row| row.cell(index)).map(|cell| header_name(clean.apply(cell.text)));
            parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
        };
        let mut names: Vec<String> = (0..width).map(name).collect();
        if self.layout.trailing_delimiter {
            let count = names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
            names.truncate(count);
        }
        names
    }

    /// How many cells a record has, where no header says so.
    #[must_use]
    pub fn width(&self) -> usize {
        if let Format::Fixed(_, fields) = &self.format {
            return fields.len();
        }
        let position = |column: &SourceColumn| match column.origin {
            Origin::Position(index) => Some(index + 1),
            _ => None,
        };
        self.columns.iter().filter_map(position).max().unwrap_or(0)
    }

    /// Every header that the source needs, with whether a file may lack it.
    fn needed(&self) -> impl Iterator<Item = (Cow<'_, Named>, bool)> {
        self.columns.iter().flat_map(needed_by)
    }

    /// Checks whether it reads a column by this name of a header.
    #[must_use]
    pub fn reads(&self, name: &str) -> bool {
        self.needed().any(|(wanted, _)| wanted.names.iter().any(|known| header_name(known) == name))
    }

    /// The members of objects that the source reads, each once.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let mut members: Vec<Member> = Vec::new();
        for column in &self.columns {
            let is_json = matches!(column.form.value, Value::Json);
            for (wanted, is_optional) in needed_by(column) {
                let names: Vec<String> = wanted.names.iter().map(|name| header_name(name).into_owned()).collect();
                match members.iter_mut().find(|known| (&known.names, known.is_json) == (&names, is_json)) {
                    Some(known) => known.is_optional &= is_optional,
                    None => members.push(Member { names, is_json, is_optional }),
                }
            }
        }
        members
    }

    /// The places of the cells, below a header with these names, that are read as the text that they have: a code that begins with
    /// zeros is another one as a number.
    #[must_use]
    pub fn places_of_text(&self, names: &[String]) -> Vec<usize> {
        let of = |column: &SourceColumn| match (&column.origin, &column.form.value) {
            (Origin::Expression(expression), _) => {
                let of = |name: &String| places(names, &Named { names: vec![name.clone()], nth: None });
                expression.reads().iter().flat_map(of).collect()
            }
            (Origin::Position(index), Value::Plain | Value::Map(_)) => vec![*index],
            (Origin::Header { header, .. }, Value::Plain | Value::Map(_)) => {
                place(names, header).ok().flatten().into_iter().collect()
            }
            _ => Vec::new(),
        };
        let mut found: Vec<usize> = self.columns.iter().flat_map(of).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The columns that a header with these names lacks.
    #[must_use]
    pub fn lacks(&self, names: &[String]) -> Vec<String> {
        let missing = |(wanted, optional): &(Cow<'_, Named>, bool)| {
            !optional && wanted.nth.map_or(places(names, wanted).is_empty(), |nth| places(names, wanted).len() < nth)
        };
        let mut missing: Vec<String> = self.needed().filter(missing).map(|(wanted, _)| shown(&wanted)).collect();
        missing.dedup();
        missing
    }

    /// The columns of the dataset that a header with these names lacks, and may lack.
    pub fn lacks_optional(&self, names: &[String]) -> impl Iterator<Item = &str> {
        let lacks = |column: &&SourceColumn| match &column.origin {
            Origin::Header { header, optional: true } => place(names, header).is_ok_and(|place| place.is_none()),
            _ => false,
        };
        self.columns.iter().filter(lacks).map(|column| column.name.as_str())
    }

    /// Binds the source to a file with this header, or without one.
    ///
    /// # Errors
    /// [`Misfit`], which fails the file.
    pub fn bind(&self, names: &[String], around: &Surroundings) -> Result<Binding, Misfit> {
        let missing = self.lacks(names);
        if !missing.is_empty() {
            return Err(Misfit::Missing(missing));
        }
        let columns =
            self.columns.iter().map(|column| bind_column(column, names, around)).collect::<Result<Vec<_>, _>>()?;
        let width = match (self.layout.header, &self.format) {
            (_, Format::Fixed(..)) | (Header::None, _) => self.width(),
            _ => names.len(),
        };
        let Layout { trailing_delimiter: trailing, longer, shorter, .. } = self.layout;
        Ok(Binding { columns, width, trailing, longer, shorter, joined: String::new(), scratch: String::new() })
    }
}

/// Every header that a column needs, with whether a file may lack it.
fn needed_by(column: &SourceColumn) -> impl Iterator<Item = (Cow<'_, Named>, bool)> {
    let named = |name: &String| Cow::Owned(Named { names: vec![name.clone()], nth: None });
    let own: Vec<(Cow<'_, Named>, bool)> = match &column.origin {
        Origin::Header { header, optional } => vec![(Cow::Borrowed(header), *optional)],
        Origin::Join { headers, .. } => headers.iter().map(|header| (Cow::Borrowed(header), false)).collect(),
        Origin::Expression(expression) => expression.reads().iter().map(|name| (named(name), false)).collect(),
        _ => Vec::new(),
    };
    own.into_iter().chain(column.zone_header.as_ref().map(|zone| (Cow::Borrowed(zone), false)))
}

impl Bound {
    fn cells(&self) -> Vec<usize> {
        let own = match &self.from {
            Place::Cell(index) => vec![*index],
            Place::Cells(indexes, _) | Place::Expression(indexes) => indexes.clone(),
            _ => Vec::new(),
        };
        own.into_iter().chain(self.zone).collect()
    }
}

fn bind_column(column: &SourceColumn, names: &[String], around: &Surroundings) -> Result<Bound, Misfit> {
    let mut form = column.form.clone();
    if let (Some(year), Value::Time(rule)) = (&column.year, &mut form.value) {
        let told = year.read(around).map_err(|fault| match fault {
            None => Misfit::Untold(column.name.clone()),
            Some(fault) => Misfit::Unreadable(column.name.clone(), fault),
        });
        rule.calendar.year = Some(told?);
    }
    let missing = |wanted: &Named| Misfit::Missing(vec![shown(wanted)]);
    let from = match &column.origin {
        Origin::Header { header, .. } => place(names, header)?.map_or(Place::Same(None), Place::Cell),
        Origin::Position(index) => Place::Cell(*index),
        Origin::Join { headers, partial } => {
            let at = |header| place(names, header)?.ok_or_else(|| missing(header));
            Place::Cells(headers.iter().map(at).collect::<Result<Vec<_>, _>>()?, *partial)
        }
        Origin::Constant(value) => Place::Same(Some(value.clone())),
        Origin::Outside(outside, pattern) => {
            let told = around.find(*outside, pattern.as_ref()).ok_or_else(|| Misfit::Untold(column.name.clone()))?;
            let unreadable = |fault| Misfit::Unreadable(column.name.clone(), fault);
            if *outside == Outside::Preamble && (told.contains('\0') || told.contains(UNREADABLE)) {
                return Err(unreadable(Fault::Undecodable));
            }
            let mut plain = String::new();
            let there = form.write(Cell::text(&told), None, &mut plain).map_err(unreadable)?;
            Place::Same(there.then_some(plain))
        }
        Origin::Record => Place::Record,
        Origin::Line => Place::Line,
        Origin::Expression(expression) => {
            let at = |name: &String| {
                let wanted = Named { names: vec![name.clone()], nth: None };
                place(names, &wanted)?.ok_or_else(|| missing(&wanted))
            };
            Place::Expression(expression.reads().iter().map(at).collect::<Result<_, _>>()?)
        }
    };
    let zone = match &column.zone_header {
        Some(header) => Some(place(names, header)?.ok_or_else(|| missing(header))?),
        None => None,
    };
    Ok(Bound { from, form, zone })
}

impl Surroundings {
    fn texts(&self, outside: Outside) -> Vec<&str> {
        match outside {
            Outside::Key => vec![&self.key],
            Outside::Part => vec![&self.part],
            Outside::Preamble => self.preamble.iter().map(String::as_str).collect(),
        }
    }

    /// The part of the first text that the pattern matches.
    fn find(&self, outside: Outside, pattern: Option<&Regex>) -> Option<String> {
        let Some(pattern) = pattern else { return self.texts(outside).first().map(|text| (*text).to_owned()) };
        // A group that takes no part in the match tells nothing.
        let counts = pattern.captures_len().min(2) - 1;
        self.texts(outside).into_iter().find_map(|text| groups(text, pattern)?.into_iter().nth(counts)?)
    }
}

/// What a pattern and its groups match in a text that stood outside of the table, such as the line of a preamble. The cells of a workbook have
/// tabs between them; a pattern may be made for their texts without any, if each group lies in one cell.
#[must_use]
pub fn groups(text: &str, pattern: &Regex) -> Option<Vec<Option<String>>> {
    let owned = |found: Captures<'_>| found.iter().map(|group| group.map(|group| group.as_str().to_owned())).collect();
    if let Some(found) = pattern.captures(text) {
        return Some(owned(found));
    }
    let mut ends: Vec<usize> = text
        .split('\t')
        .scan(0, |end, cell| {
            *end += cell.len();
            Some(*end)
        })
        .collect();
    ends.pop();
    let joined = text.replace('\t', "");
    let found = pattern.captures(&joined).filter(|_| !ends.is_empty())?;
    let whole = usize::from(found.len() > 1);
    let in_one = |group: Match<'_>| !ends.iter().any(|end| group.start() < *end && *end < group.end());
    found.iter().skip(whole).flatten().all(in_one).then(|| owned(found))
}

/// Years that a file tells. One of two digits would be a year of antiquity.
const YEARS: std::ops::RangeInclusive<u32> = 1000..=9999;

impl YearFrom {
    /// The year that is told; an error is what is wrong with it, or `None` if nothing is told.
    fn read(&self, around: &Surroundings) -> Result<StatementYear, Option<Fault>> {
        let texts = around.texts(self.origin);
        let found = texts.into_iter().find_map(|text| groups(text, &self.pattern)).ok_or(None)?;
        let number = |index: usize| found.get(index).and_then(|group| group.as_ref()?.parse::<u32>().ok());
        let year = number(1).filter(|year| YEARS.contains(year)).and_then(|year| i32::try_from(year).ok());
        let month = number(2).filter(|month| (1..=12).contains(month));
        let is_told = self.pattern.captures_len() == 3;
        match (year, month) {
            (Some(year), month) if month.is_some() == is_told => Ok(StatementYear { year, month }),
            _ => Err(Some(Fault::NoSuchDate)),
        }
    }
}

/// The plain form of a record. It is filled again and again.
#[derive(Clone, Debug, Default)]
pub struct PlainRow {
    text: String,
    cells: Vec<Result<Option<(usize, usize)>, Fault>>,
}

impl PlainRow {
    /// What the column at `index` holds: a value in its plain form, nothing, or what is wrong with it.
    ///
    /// # Errors
    /// What is wrong with the cell.
    pub fn value(&self, index: usize) -> Result<Option<&str>, Fault> {
        self.cells[index].map(|place| place.map(|(start, end)| &self.text[start..end]))
    }

    /// Gives a column that was computed elsewhere its value.
    pub fn set(&mut self, index: usize, value: Result<Option<&str>, Fault>) {
        let start = self.text.len();
        self.text.push_str(value.ok().flatten().unwrap_or_default());
        self.cells[index] = value.map(|value| value.map(|_| (start, self.text.len())));
    }
}

impl Binding {
    /// How many cells a record has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Checks whether a record has as many cells as the source allows.
    #[must_use]
    pub fn fits(&self, row: &Row) -> bool {
        match row.len() {
            length if length == self.width => true,
            length if length < self.width => self.shorter,
            _ if self.longer => true,
            _ => self.trailing && row.cells().skip(self.width).all(|cell| cell.text.trim().is_empty()),
        }
    }

    /// Whether a column is read from the cell at this place of a record.
    #[must_use]
    pub fn reads(&self, cell: usize) -> bool {
        self.columns.iter().any(|column| column.cells().contains(&cell))
    }

    /// Reads the value of the column at `index` from a record of that number. Cells that the record lacks are empty.
    ///
    /// # Errors
    /// What is wrong with its cell.
    #[inline]
    pub fn value<'v>(&'v mut self, row: &'v Row, number: i64, index: usize) -> Result<Exact<'v>, Fault> {
        let Self { columns, joined, scratch, .. } = self;
        let column = &columns[index];
        match &column.from {
            Place::Cell(place) => column.form.read(row.cell_or_empty(*place), column.zone_text(row), scratch),
            Place::Cells(places, partial) => {
                let Some(kind) = column.join(row, places, *partial, joined)? else { return Ok(Exact::Null) };
                column.form.read(Cell { text: joined, kind }, column.zone_text(row), scratch)
            }
            Place::Same(value) => Ok(value.as_deref().map_or(Exact::Null, Exact::Plain)),
            Place::Record => Ok(Exact::number(number, 0)),
            Place::Line => Ok(Exact::number(row.line, 0)),
            Place::Expression(_) => Ok(Exact::Null),
        }
    }

    /// Writes the plain form of a record.
    pub fn translate(&mut self, row: &Row, number: i64, plain: &mut PlainRow) {
        plain.text.clear();
        plain.cells.clear();
        for index in 0..self.columns.len() {
            let start = plain.text.len();
            let written = self.value(row, number, index).map(|value| value.write(&mut plain.text));
            plain.cells.push(written.map(|there| there.then_some((start, plain.text.len()))));
        }
    }

    /// The cell or cells that a column is read from, as they were sent.
    #[must_use]
    pub fn sent(&self, row: &Row, column: usize) -> String {
        self.columns[column]
            .cells()
            .into_iter()
            .filter_map(|index| row.cell(index))
            .map(|cell| cell.text)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The cells that the expression of a column reads, in the order of its names: `None` for one that is null.
    ///
    /// # Errors
    /// `ErrorCell` if one of them is an error of a workbook.
    pub fn inputs<'r>(&self, row: &'r Row, column: usize) -> Result<Vec<Option<&'r str>>, Fault> {
        let bound = &self.columns[column];
        let input = |index: usize| {
            let cell = row.cell_or_empty(index);
            if cell.kind == CellKind::Error {
                return Err(Fault::ErrorCell);
            }
            exactly_kept(cell)?;
            Ok((!bound.form.is_null(cell)).then(|| bound.form.clean.apply(cell.text)))
        };
        bound.cells().into_iter().map(input).collect()
    }

    /// Says why the cell of a column is not a value.
    #[must_use]
    pub fn explain(&self, row: &Row, column: usize, fault: Fault) -> String {
        let bound = &self.columns[column];
        let cell = match (fault, bound.zone) {
            (Fault::UnknownZone, Some(zone)) => row.cell(zone).map_or(String::new(), |cell| cell.text.to_owned()),
            _ => self.sent(row, column),
        };
        fault.explain(&cell, &bound.form.declared(fault))
    }
}

impl Bound {
    #[inline]
    fn zone_text<'r>(&self, row: &'r Row) -> Option<&'r str> {
        row.cell(self.zone?).map(|cell| self.form.clean.apply(cell.text))
    }

    /// Joins the trimmed cells with blanks. Returns the kind of the result; `None` if there is no value.
    fn join(
        &self,
        row: &Row,
        indexes: &[usize],
        partial: bool,
        joined: &mut String,
    ) -> Result<Option<CellKind>, Fault> {
        joined.clear();
        // A true date and a true time are a true moment, whatever form the sender's texts have.
        let are_true = indexes.iter().all(|index| row.cell_or_empty(*index).kind == CellKind::Moment);
        let (between, kind) = if are_true { ('T', CellKind::Moment) } else { (' ', CellKind::Text) };
        let mut empty = 0;
        for (nth, index) in indexes.iter().enumerate() {
            let cell = row.cell_or_empty(*index);
            if cell.kind == CellKind::Error {
                return Err(Fault::ErrorCell);
            }
            exactly_kept(cell)?;
            empty += usize::from(self.form.is_null(cell));
            if nth > 0 {
                joined.push(between);
            }
            let text = self.form.clean.apply(cell.text);
            // The date of a workbook has a time of day, too.
            let date = text.strip_suffix("T00:00:00").filter(|_| cell.kind == CellKind::Moment);
            joined.push_str(date.unwrap_or(text));
        }
        match empty {
            0 => Ok(Some(kind)),
            _ if partial || empty == indexes.len() => Ok(None),
            _ => Err(Fault::Incomplete),
        }
    }
}
