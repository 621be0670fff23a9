//! Staging: records are split, while another thread reads the cells of those before them as values of their types, and the staging database
//! inserts what was read before that.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use arrow::array::{ArrayBuilder as _, ArrayRef, Int64Builder};
use arrow::record_batch::RecordBatch;
use tracing::Span;

use super::checks::{Breach, CellChecks};
use super::content::ContentKeys;
use super::form::Form;
use super::header::Header;
use super::reading::split_error;
use super::staged_cells::{CellReader, Filled, Message, STAGED, VIOLATION};
use super::staged_places::{Broken, Place, Places, ROWS_IN_A_CHUNK, rows_of};
use crate::data_access::csv::{Record, Records};
use crate::data_access::duckdb::{Put, Stage};
use crate::domain::source::binding::{Binding, PlainRow};
use crate::domain::source::exact::Exact;
use crate::domain::source::fault::Fault;
use crate::domain::source::row::{Row, RowFault};
use crate::domain::types::{Cells, ColumnSum};
use crate::domain::{Column, Dataset};
use crate::error::{Error, ErrorKind, Result};

pub(super) const BYTES_IN_A_CHUNK: usize = 4 * 1024 * 1024;

/// How many chunks may wait for their reader.
const CHUNKS_AHEAD: usize = 1;

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
    stage.insert(|put| beside_reader(dataset, put, |rows| Splitter { header, stage, rows }.split(records, name)))
}

/// Calls `work` with rows to add to and to finish. Another thread reads their cells, and passes them to `put`. Also returns what was sent of each
/// column.
pub(super) fn beside_reader<T>(
    dataset: &Dataset,
    put: Put<'_>,
    work: impl FnOnce(StagedRows<'_>) -> Result<T>,
) -> Result<(T, Vec<ColumnSum>)> {
    let (checks, content) = (CellChecks::of(dataset), ContentKeys::of(dataset));
    let (checks, content) = (&checks[..], content.as_ref());
    std::thread::scope(|scope| {
        let (sender, messages) = sync_channel(CHUNKS_AHEAD);
        let span = Span::current();
        let reader =
            scope.spawn(move || span.in_scope(|| CellReader::new(dataset, checks, content, put).read(&messages)));
        let outcome = work(StagedRows::new(Chunk::new(dataset, checks, content), sender));
        let sums = reader.join().map_err(|_| Error::new(ErrorKind::System, "reading cells panicked"))?;
        // Without the reader, `work` ends too, and then knows only that.
        sums.and_then(|sums| Ok((outcome?, sums)))
    })
}

/// Sorts records into rows of the tables of the stage.
struct Splitter<'a> {
    header: &'a Header,
    stage: &'a Stage,
    rows: StagedRows<'a>,
}

/// Rows of the tables of the stage on their way there.
pub(super) struct StagedRows<'a> {
    reader: SyncSender<Message>,
    chunk: Chunk<'a>,
    broken: Broken,
    mending: Mending,
}

impl Splitter<'_> {
    fn split<R: Read>(mut self, mut records: Records<R>, name: &str) -> Result<i64> {
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
        self.rows.finish()?;
        Ok(read)
    }
}

impl<'a> StagedRows<'a> {
    /// Rows whose cells are gathered in `chunk` and passed on to `reader`.
    fn new(chunk: Chunk<'a>, reader: SyncSender<Message>) -> Self {
        Self { reader, chunk, broken: Broken::default(), mending: Mending::default() }
    }

    /// Adds a record of a declared source, whose number is this.
    pub(super) fn push_row(&mut self, place: Place, number: i64, row: &Row, binding: &mut Binding) -> Result<()> {
        self.chunk.push_row(place, &mut self.broken, BoundRow { binding, row, number });
        self.send_full()
    }

    /// Adds a record whose cells are in the plain form.
    pub(super) fn push_plain(&mut self, place: Place, plain: &PlainRow) -> Result<()> {
        self.chunk.push_row(place, &mut self.broken, plain);
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
            self.send_cells()?;
        }
        if self.broken.is_full() {
            self.send_broken()?;
        }
        if self.mending.len() >= ROWS_IN_A_CHUNK {
            self.send_mending()?;
        }
        Ok(())
    }

    /// Sends the rest.
    pub(super) fn finish(mut self) -> Result<()> {
        if !self.chunk.good.is_empty() {
            self.send_cells()?;
        }
        if !self.broken.is_empty() {
            self.send_broken()?;
        }
        if self.mending.len() > 0 {
            self.send_mending()?;
        }
        Ok(())
    }

    fn send_cells(&mut self) -> Result<()> {
        let filled = self.chunk.take();
        self.send(Message::Cells(Box::new(filled)))
    }

    fn send_broken(&mut self) -> Result<()> {
        let rows = self.broken.take()?;
        self.send(Message::Rows(VIOLATION, rows))
    }

    fn send_mending(&mut self) -> Result<()> {
        let rows = self.mending.take()?;
        self.send(Message::Rows(RESUBMISSION, rows))
    }

    fn send(&self, message: Message) -> Result<()> {
        self.reader.send(message).map_err(|_| Error::new(ErrorKind::System, "nobody reads the cells any more"))
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
    bytes: usize,
}

/// The values of a record.
trait Values {
    /// The value of the column at `index`, or what is wrong with its cell.
    fn value(&mut self, index: usize) -> std::result::Result<Exact<'_>, Fault>;
}

/// A record that its source reads.
struct BoundRow<'a> {
    binding: &'a mut Binding,
    row: &'a Row,
    number: i64,
}

impl Values for BoundRow<'_> {
    #[inline]
    fn value(&mut self, index: usize) -> std::result::Result<Exact<'_>, Fault> {
        self.binding.value(self.row, self.number, index)
    }
}

impl Values for &PlainRow {
    fn value(&mut self, index: usize) -> std::result::Result<Exact<'_>, Fault> {
        PlainRow::value(self, index).map(|value| value.map_or(Exact::Null, Exact::Plain))
    }
}

impl<'a> Chunk<'a> {
    fn new(dataset: &'a Dataset, checks: &'a [CellChecks], content: Option<&ContentKeys<'_>>) -> Self {
        let columns = dataset.file_columns().iter().zip(checks).enumerate();
        let columns = columns.map(|(place, (column, checks))| {
            let is_content = content.is_some_and(|content| content.covers(place));
            CellColumn::new(column, dataset, checks, is_content)
        });
        let (places, columns) = (Places::default(), columns.collect());
        Self { places, good: Vec::new(), unread: Vec::new(), columns, bytes: 0 }
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

    /// Adds a record with these values.
    fn push_row(&mut self, place: Place, broken: &mut Broken, mut values: impl Values) {
        self.places.push(place);
        let (mut good, mut unread) = (true, false);
        for (index, column) in self.columns.iter_mut().enumerate() {
            if let Some(breach) = column.push_value(values.value(index)) {
                good = false;
                unread |= column.leaves_unread(breach);
                broken.push(place, breach);
            }
        }
        self.good.push(good);
        self.unread.push(unread);
        self.bytes += place.length();
    }

    fn is_full(&self) -> bool {
        self.good.len() >= ROWS_IN_A_CHUNK || self.bytes >= BYTES_IN_A_CHUNK
    }

    fn take(&mut self) -> Filled {
        self.bytes = 0;
        let (good, unread) = (std::mem::take(&mut self.good), std::mem::take(&mut self.unread));
        let cells = self.columns.iter_mut().map(|column| column.cells.take()).collect();
        Filled { places: self.places.take(), good, unread, cells }
    }
}

/// The cells of one column of a chunk, as they stand in the file.
struct CellColumn<'a> {
    null_values: &'a [String],
    /// How many bytes the longest of them has.
    longest_null: usize,
    max_length: Option<usize>,
    /// Whether a content key is made of it.
    is_content: bool,
    checks: &'a CellChecks,
    cells: Cells,
}

impl<'a> CellColumn<'a> {
    fn new(definition: &'a Column, dataset: &'a Dataset, checks: &'a CellChecks, is_content: bool) -> Self {
        let (null_values, max_length) = (&dataset.null_values, definition.max_length().map(|length| length as usize));
        let longest_null = null_values.iter().map(String::len).max().unwrap_or_default();
        Self { null_values, longest_null, max_length, is_content, checks, cells: Cells::default() }
    }

    /// Whether it is not known of which value a content key is to be made, since the cell breaks this.
    fn leaves_unread(&self, breach: Breach) -> bool {
        self.is_content && self.checks.leaves_unread(breach)
    }

    /// Takes a cell, or `None` if its bytes are not text; returns what it breaks before it is read.
    fn push(&mut self, cell: Option<&str>) -> Option<Breach> {
        let Some(cell) = cell else {
            self.cells.push_unread();
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
    #[inline]
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
                self.cells.push_unread();
                self.checks.form
            }
        }
    }
}

/// A cell that is too long stays too long when it is cut, and does not fill the staging database; the whole of it is
/// read from the record's own bytes.
fn cut_after(text: &str, max_length: Option<usize>) -> &str {
    let Some(length) = max_length.filter(|length| text.len() > *length) else { return text };
    text.char_indices().nth(length + 1).map_or(text, |(end, _)| &text[..end])
}

/// The text of a cell; `None` if it is not UTF-8 or has a NUL.
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
        rows_of(columns.map(|(name, column)| (name, Arc::new(column.finish()) as ArrayRef)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_cell_is_still_too_long() {
        assert_eq!(cut_after("äöüß", Some(2)), "äöü");
        assert_eq!((cut_after("äöü", Some(3)), cut_after("abc", None)), ("äöü", "abc"));
    }
}
