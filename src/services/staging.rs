//! Staging: records are split and their cells read as values of their types, while the staging database inserts what was read before.

use std::io::Read;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayBuilder as _, ArrayRef, AsArray as _, BooleanArray, Int32Array, Int64Array, Int64Builder};
use arrow::compute::nullif;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};

use super::checks::{Breach, CellChecks};
use super::content::ContentKeys;
use super::form::Form;
use super::header::Header;
use super::reading::split_error;
use crate::data_access::csv::{Record, Records};
use crate::data_access::duckdb::{Put, Stage};
use crate::domain::content::CONTENT_KEY;
use crate::domain::source::binding::{Binding, PlainRow};
use crate::domain::source::exact::Exact;
use crate::domain::source::fault::Fault;
use crate::domain::source::row::{Row, RowFault};
use crate::domain::types::{Cells, ColumnSum, Sum};
use crate::domain::{Column, Dataset};
use crate::error::{Error, Result};

pub(super) const ROWS_IN_A_CHUNK: usize = 8 * 1024;
pub(super) const BYTES_IN_A_CHUNK: usize = 4 * 1024 * 1024;

const STAGED: &str = "staged";
const VIOLATION: &str = "violation";
const RESUBMISSION: &str = "resubmission";

/// The columns of a table with a row for each check that a record fails.
pub(super) const VIOLATION_COLUMNS: &str =
    "(_record bigint, _line bigint, _offset bigint, _length bigint, _check integer, _detail bigint)";

/// `staged` holds the records that have the header's width: their place, their cells, null where one is no value, and
/// whether they are good so far; `violation` every broken rule; `resubmission` the records that say what they are to mend.
pub(super) fn create_tables(dataset: &Dataset, stage: &Stage) -> Result<()> {
    let own = ["_record bigint", "_line bigint", "_offset bigint", "_length bigint", "_ok boolean", "_warnings bigint"];
    let of_file = dataset.staged_columns().map(|column| format!("\"{}\" {}", column.name, column.kind.stage_type()));
    let columns: Vec<String> = own.map(str::to_owned).into_iter().chain(of_file).collect();
    stage.expect_columns(columns.len());
    stage.create_table(STAGED, &format!("({})", columns.join(", ")))?;
    stage.create_table(VIOLATION, VIOLATION_COLUMNS)?;
    stage.create_table(RESUBMISSION, "(_record bigint, _line bigint, _of_load bigint, _of_record bigint)")
}

/// Splits all records into the stage; returns how many there were, and what was sent of each column of the dataset.
pub(super) fn stage_records<R: Read>(
    records: Records<R>,
    header: &Header,
    dataset: &Dataset,
    name: &str,
    stage: &Stage,
) -> Result<(i64, Vec<ColumnSum>)> {
    stage.insert(|put| Splitter { header, stage, rows: StagedRows::new(dataset, put) }.split(records, name))
}

/// Sorts records into rows of the tables of the stage.
struct Splitter<'a> {
    header: &'a Header,
    stage: &'a Stage,
    rows: StagedRows<'a>,
}

/// Rows of the tables of the stage on their way there.
pub(super) struct StagedRows<'a> {
    put: Put<'a>,
    chunk: Chunk<'a>,
    broken: Broken,
    mending: Mending,
}

impl Splitter<'_> {
    fn split<R: Read>(mut self, mut records: Records<R>, name: &str) -> Result<(i64, Vec<ColumnSum>)> {
        let (mut read, mut line) = (0, 0);
        while let Some(mut record) = records.next_record().map_err(|error| split_error(name, error))? {
            read += 1;
            if self.header.form != Form::Csv {
                // Each is a line or a row of the file, and a blank line is one here as well.
                line += 1 + record.blank_lines;
                record.line = line;
            }
            self.stage.progress().set_staged(read);
            if let Some((load, of_record)) = self.header.mends {
                let number_in = |position: usize| {
                    let text = (position < record.len()).then(|| std::str::from_utf8(record.field(position)));
                    text.and_then(std::result::Result::ok)
                };
                self.rows.mending.push(read, record.line, number_in(load), number_in(of_record));
            }
            let place = Place::of(read, &record);
            if !record.well_quoted {
                self.rows.broken.push(place, Breach::Record(RowFault::Quoting));
            } else if record.len() != self.header.width {
                self.rows.broken.push(place, Breach::FieldCount(number_of(record.len())));
            } else {
                self.rows.chunk.push(place, &record, &self.header.positions, &mut self.rows.broken);
            }
            self.rows.send_full()?;
        }
        Ok((read, self.rows.finish()?))
    }
}

impl<'a> StagedRows<'a> {
    /// Rows of a dataset.
    pub(super) fn new(dataset: &'a Dataset, put: Put<'a>) -> Self {
        Self { put, chunk: Chunk::new(dataset), broken: Broken::default(), mending: Mending::default() }
    }

    /// Adds a record of a declared source, whose number is this.
    pub(super) fn push_row(&mut self, place: Place, number: i64, row: &Row, binding: &mut Binding) -> Result<()> {
        self.chunk.push_row(place, &mut self.broken, |put| binding.read(row, number, put));
        self.send_full()
    }

    /// Adds a record whose cells are in the plain form.
    pub(super) fn push_plain(&mut self, place: Place, plain: &PlainRow) -> Result<()> {
        let value = |index| plain.value(index).map(|value| value.map_or(Exact::Null, Exact::Plain));
        let width = self.chunk.columns.len();
        self.chunk.push_row(place, &mut self.broken, |put| (0..width).for_each(|index| put(index, value(index))));
        self.send_full()
    }

    /// Adds a record that is broken as a whole.
    pub(super) fn push_broken(&mut self, place: Place, breach: Breach) -> Result<()> {
        self.broken.push(place, breach);
        self.send_full()
    }

    /// Notes which reject a record is to mend.
    pub(super) fn push_mending(&mut self, number: i64, line: i64, load: Option<&str>, record: Option<&str>) {
        self.mending.push(number, line, load, record);
    }

    fn send_full(&mut self) -> Result<()> {
        if self.chunk.is_full() {
            self.send_rows()?;
        }
        if self.broken.is_full() {
            (self.put)(VIOLATION, self.broken.take()?)?;
        }
        if self.mending.len() >= ROWS_IN_A_CHUNK {
            (self.put)(RESUBMISSION, self.mending.take()?)?;
        }
        Ok(())
    }

    /// Sends the rest; returns what was sent of each column.
    pub(super) fn finish(mut self) -> Result<Vec<ColumnSum>> {
        if !self.chunk.good.is_empty() {
            self.send_rows()?;
        }
        if !self.broken.numbers.is_empty() {
            (self.put)(VIOLATION, self.broken.take()?)?;
        }
        if self.mending.len() > 0 {
            (self.put)(RESUBMISSION, self.mending.take()?)?;
        }
        Ok(self.chunk.columns.iter().map(CellColumn::total).collect())
    }

    fn send_rows(&mut self) -> Result<()> {
        let Taken { places, mut good, mut unread } = self.chunk.take();
        let (mut names, mut columns) = (Vec::new(), Vec::new());
        for column in &mut self.chunk.columns {
            let (values, bad) = column.take()?;
            for (row, breach) in bad {
                good[row] = false;
                unread[row] |= column.leaves_unread(breach);
                self.broken.push(place_at(&places, row), breach);
            }
            names.push(column.definition.name.as_str());
            columns.push(values);
            if self.broken.is_full() {
                (self.put)(VIOLATION, self.broken.take()?)?;
            }
        }
        match &self.chunk.content {
            Some(content) if content.is_given => {
                for row in content.mismatches(&columns, &unread) {
                    good[row] = false;
                    self.broken.push(place_at(&places, row), self.chunk.changed_content);
                }
            }
            Some(content) => {
                names.push(CONTENT_KEY);
                columns.push(Arc::new(content.first_copies(&columns, &unread)));
            }
            None => {}
        }
        let columns =
            names.into_iter().zip(columns).filter(|(name, _)| !self.chunk.unstaged.iter().any(|other| other == name));
        let warnings: ArrayRef = Arc::new(Int64Array::from_value(0, good.len()));
        let flags = [("_ok", Arc::new(BooleanArray::from(good)) as ArrayRef), ("_warnings", warnings)];
        (self.put)(STAGED, rows(named(places).chain(flags).chain(columns))?)
    }
}

/// Records on their way into `staged`, whose cells are not read yet.
struct Chunk<'a> {
    places: Places,
    /// Whether nothing is wrong with each of them so far.
    good: Vec<bool>,
    /// Whether a cell of which its content key is made is not a value.
    unread: Vec<bool>,
    columns: Vec<CellColumn<'a>>,
    /// The names of those that are read, and not staged.
    unstaged: &'a [String],
    content: Option<ContentKeys<'a>>,
    /// What a row breaks whose given key is not made of its values.
    changed_content: Breach,
    bytes: usize,
}

/// The records of a chunk without their cells.
struct Taken {
    places: [Int64Array; 4],
    good: Vec<bool>,
    unread: Vec<bool>,
}

impl<'a> Chunk<'a> {
    fn new(dataset: &'a Dataset) -> Self {
        let (checks, content) = (CellChecks::of(dataset), ContentKeys::of(dataset));
        let changed_content = checks.last().and_then(|checks| checks.content).unwrap_or(Breach::UNREADABLE);
        let columns = dataset.file_columns().iter().zip(checks).enumerate();
        let columns = columns.map(|(place, (column, checks))| {
            let is_content = content.as_ref().is_some_and(|content| content.covers(place));
            CellColumn::new(column, dataset, checks, is_content)
        });
        let columns = columns.collect();
        Self {
            places: Places::default(),
            good: Vec::new(),
            unread: Vec::new(),
            columns,
            unstaged: &dataset.unstaged,
            content,
            changed_content,
            bytes: 0,
        }
    }

    fn push(&mut self, place: Place, record: &Record<'_>, positions: &[usize], broken: &mut Broken) {
        self.places.push(place);
        let text = record.text();
        let (mut good, mut unread) = (text.is_some() || only_loaded_columns_are_bad(record, positions), false);
        if !good {
            broken.push(place, Breach::UNREADABLE);
        }
        for (column, position) in self.columns.iter_mut().zip(positions) {
            let cell = match text {
                Some(text) => Some(record.cell(text, *position)),
                None => as_text(record.field(*position)),
            };
            if let Some(breach) = column.push(cell) {
                good = false;
                unread |= column.leaves_unread(breach);
                broken.push(place, breach);
            }
        }
        self.good.push(good);
        self.unread.push(unread);
        self.bytes += record.raw.len();
    }

    /// Adds a record: `read` puts the value of each column to its place.
    fn push_row(
        &mut self,
        place: Place,
        broken: &mut Broken,
        read: impl FnOnce(&mut dyn FnMut(usize, std::result::Result<Exact<'_>, Fault>)),
    ) {
        self.places.push(place);
        let (mut good, mut unread) = (true, false);
        read(&mut |index, value| {
            let column = &mut self.columns[index];
            if let Some(breach) = column.push_value(value) {
                good = false;
                unread |= column.leaves_unread(breach);
                broken.push(place, breach);
            }
        });
        self.good.push(good);
        self.unread.push(unread);
        self.bytes += place.length();
    }

    fn is_full(&self) -> bool {
        self.good.len() >= ROWS_IN_A_CHUNK || self.bytes >= BYTES_IN_A_CHUNK
    }

    fn take(&mut self) -> Taken {
        self.bytes = 0;
        let (good, unread) = (std::mem::take(&mut self.good), std::mem::take(&mut self.unread));
        Taken { places: self.places.take(), good, unread }
    }
}

/// The cells of one column of a chunk, as they stand in the file.
struct CellColumn<'a> {
    definition: &'a Column,
    null_values: &'a [String],
    /// How many bytes the longest of them has.
    longest_null: usize,
    max_length: Option<usize>,
    /// Of the version: the latest that a row may have, and the check that a later one breaks.
    latest: Option<(DateTime<Utc>, Breach)>,
    /// Whether a content key is made of it.
    is_content: bool,
    checks: CellChecks,
    cells: Cells,
    sum: Option<Sum>,
}

impl<'a> CellColumn<'a> {
    fn new(definition: &'a Column, dataset: &'a Dataset, checks: CellChecks, is_content: bool) -> Self {
        let max_length = definition.max_length().map(|length| length as usize);
        let latest = dataset.latest_version.zip(checks.future);
        let (null_values, sum) = (&dataset.null_values, definition.kind.digits().map(Sum::of));
        let longest_null = null_values.iter().map(String::len).max().unwrap_or_default();
        Self {
            definition,
            null_values,
            longest_null,
            max_length,
            latest,
            is_content,
            checks,
            cells: Cells::default(),
            sum,
        }
    }

    /// Whether it is not known of which value a content key is to be made, since the cell breaks this.
    fn leaves_unread(&self, breach: Breach) -> bool {
        let mut of_values = self.checks.lengths.iter().map(|(_, breach)| breach).chain(&self.checks.required);
        self.is_content && of_values.all(|of_a_value| *of_a_value != breach)
    }

    /// Takes a cell, or `None` if its bytes are not text; returns what it breaks before it is read.
    fn push(&mut self, cell: Option<&str>) -> Option<Breach> {
        let Some(cell) = cell else {
            self.cells.push_null();
            if let Some(sum) = &mut self.sum {
                sum.add_unread();
            }
            return self.checks.unprintable;
        };
        if cell.len() <= self.longest_null && self.null_values.iter().any(|null| null == cell) {
            self.cells.push_null();
            return self.checks.required;
        }
        self.cells.push_text(cut_after(cell, self.max_length));
        None
    }

    /// Takes a value, or what is wrong with its cell; returns what it breaks before it is read.
    fn push_value(&mut self, value: std::result::Result<Exact<'_>, Fault>) -> Option<Breach> {
        match value {
            Ok(Exact::Null) => {
                self.cells.push_null();
                self.checks.required
            }
            Ok(Exact::Plain(text)) => {
                self.cells.push_text(cut_after(text, self.max_length));
                None
            }
            Ok(counted) => {
                self.cells.push(counted);
                None
            }
            Err(_) => {
                self.cells.push_null();
                if let Some(sum) = &mut self.sum {
                    sum.add_unread();
                }
                self.checks.form
            }
        }
    }

    /// Reads the cells; returns their values, and the rows whose cells may not be loaded, with what each breaks.
    fn take(&mut self) -> Result<(ArrayRef, Vec<(usize, Breach)>)> {
        let (mut values, others) = self.cells.take(&self.definition.kind, self.sum.as_mut());
        let mut bad: Vec<(usize, Breach)> = others.into_iter().map(|row| (row, self.checks.kind)).collect();
        if let Some((latest, breach)) = self.latest
            && let Some(later) = self.definition.kind.is_later(&values, latest)
        {
            bad.extend(
                later.iter().enumerate().filter(|(_, later)| *later == Some(true)).map(|(row, _)| (row, breach)),
            );
            values =
                nullif(&values, &later).map_err(|error| Error::system("take out versions that are too late", error))?;
        }
        for (lengths, breach) in &self.checks.lengths {
            bad.extend(texts_without(lengths, &values).map(|row| (row, *breach)));
        }
        Ok((values, bad))
    }

    fn total(&self) -> ColumnSum {
        self.sum.as_ref().map(Sum::total).unwrap_or_default()
    }
}

/// The rows whose text has another number of characters than these.
fn texts_without<'a>(lengths: &'a RangeInclusive<u32>, values: &'a ArrayRef) -> impl Iterator<Item = usize> + 'a {
    // Only the definition of a column of texts can limit how long they are.
    let texts = values.as_string_opt::<i32>().into_iter().flat_map(|texts| texts.iter().enumerate());
    texts.filter(|(_, text)| text.is_some_and(|text| !has_length(text, lengths))).map(|(row, _)| row)
}

fn has_length(text: &str, lengths: &RangeInclusive<u32>) -> bool {
    let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
    // A character has up to four bytes.
    let surely = lengths.contains(&bytes.div_ceil(4)) && lengths.contains(&bytes);
    surely || lengths.contains(&u32::try_from(text.chars().count()).unwrap_or(u32::MAX))
}

/// A cell that is too long stays too long when it is cut, and does not fill the staging database; the whole of it is
/// read from the record's own bytes.
fn cut_after(text: &str, max_length: Option<usize>) -> &str {
    let Some(length) = max_length.filter(|length| text.len() > *length) else { return text };
    text.char_indices().nth(length + 1).map_or(text, |(end, _)| &text[..end])
}

/// The text of a cell; none where a byte of it is none.
fn as_text(cell: &[u8]) -> Option<&str> {
    std::str::from_utf8(cell).ok().filter(|text| !text.contains('\0'))
}

/// A bad cell of a loaded column is a violation of that column; one of any other column is one of the record.
fn only_loaded_columns_are_bad(record: &Record<'_>, positions: &[usize]) -> bool {
    record.fields().enumerate().all(|(index, cell)| positions.contains(&index) || as_text(cell).is_some())
}

/// A number of cells, as the stage holds it.
pub(super) fn number_of(cells: usize) -> i64 {
    i64::try_from(cells).unwrap_or(i64::MAX)
}

/// Where a record stands: its number, its line, and its bytes in the file.
#[derive(Clone, Copy)]
pub(super) struct Place([i64; 4]);

impl Place {
    fn of(number: i64, record: &Record<'_>) -> Self {
        let length = i64::try_from(record.raw.len()).unwrap_or(i64::MAX);
        let offset = i64::try_from(record.offset).unwrap_or(i64::MAX);
        Self([number, record.line, offset, length])
    }

    /// Of a record of a declared source.
    pub(super) fn of_row(number: i64, row: &Row) -> Self {
        let length = i64::try_from(row.raw.len()).unwrap_or(i64::MAX);
        Self([number, row.line, i64::try_from(row.offset).unwrap_or(i64::MAX), length])
    }

    /// How many bytes the record has.
    pub(super) fn length(self) -> usize {
        usize::try_from(self.0[3]).unwrap_or(usize::MAX)
    }
}

#[derive(Default)]
struct Places([Int64Builder; 4]);

impl Places {
    fn push(&mut self, Place(numbers): Place) {
        self.0.iter_mut().zip(numbers).for_each(|(column, number)| column.append_value(number));
    }

    fn take(&mut self) -> [Int64Array; 4] {
        self.0.each_mut().map(Int64Builder::finish)
    }
}

fn place_at(places: &[Int64Array; 4], row: usize) -> Place {
    Place(places.each_ref().map(|place| place.value(row)))
}

fn named<'a>(places: [Int64Array; 4]) -> impl Iterator<Item = (&'a str, ArrayRef)> {
    let names = ["_record", "_line", "_offset", "_length"];
    names.into_iter().zip(places).map(|(name, place)| (name, Arc::new(place) as ArrayRef))
}

fn rows<'a>(columns: impl Iterator<Item = (&'a str, ArrayRef)>) -> Result<RecordBatch> {
    let columns = columns.map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| Error::system("build rows for the staging database", error))
}

/// What records break that is known before any rule is asked, and where they stand.
#[derive(Default)]
struct Broken {
    places: Places,
    numbers: Vec<i32>,
    details: Vec<Option<i64>>,
}

impl Broken {
    fn push(&mut self, place: Place, breach: Breach) {
        self.places.push(place);
        self.numbers.push(breach.number());
        self.details.push(breach.detail());
    }

    fn is_full(&self) -> bool {
        self.numbers.len() >= ROWS_IN_A_CHUNK
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let rest: [(&str, ArrayRef); 2] = [
            ("_check", Arc::new(Int32Array::from(std::mem::take(&mut self.numbers)))),
            ("_detail", Arc::new(Int64Array::from(std::mem::take(&mut self.details)))),
        ];
        rows(named(self.places.take()).chain(rest))
    }
}

/// Records that say which reject they are to mend.
#[derive(Default)]
struct Mending([Int64Builder; 4]);

impl Mending {
    /// A record that is silent, or says no two numbers, is like one of any other file.
    fn push(&mut self, number: i64, line: i64, load: Option<&str>, of_record: Option<&str>) {
        let number_in = |text: Option<&str>| text?.trim().parse::<i64>().ok();
        let Some((load, of_record)) = number_in(load).zip(number_in(of_record)) else { return };
        for (column, value) in self.0.iter_mut().zip([number, line, load, of_record]) {
            column.append_value(value);
        }
    }

    fn len(&self) -> usize {
        self.0[0].len()
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let columns = ["_record", "_line", "_of_load", "_of_record"].into_iter().zip(&mut self.0);
        rows(columns.map(|(name, column)| (name, Arc::new(column.finish()) as ArrayRef)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_length_is_one_in_characters(text in "[a-cäü日語🙂]{0,9}", least in 0_u32..9, more in 0_u32..9) {
            let (lengths, count) = (least..=least + more, text.chars().count());
            assert_eq!(has_length(&text, &lengths), lengths.contains(&u32::try_from(count).unwrap()));
        }
    }

    #[test]
    fn a_cut_cell_is_still_too_long() {
        assert_eq!(cut_after("äöüß", Some(2)), "äöü");
        assert_eq!((cut_after("äöü", Some(3)), cut_after("abc", None)), ("äöü", "abc"));
    }
}
