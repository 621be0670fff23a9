//! Staging: records are split and their cells read as values of their types, while what was read before is appended to the
//! staging database.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow::array::{
    ArrayBuilder as _, ArrayRef, BooleanBuilder, Decimal128Builder, Int32Array, Int32Builder, Int64Array, Int64Builder,
    PrimitiveBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType as _};
use arrow::record_batch::RecordBatch;

use super::extract::{Form, Header, split_error};
use super::validate::{CellChecks, UNREADABLE};
use crate::data_access::csv::{Record, Records};
use crate::data_access::duckdb::{Stage, StageWriter};
use crate::domain::{Column, ColumnType, Dataset, cell};
use crate::error::{Error, ErrorKind, Result};

/// `_check` in table `violation` for a record with too many or too few fields; `_detail` says how many.
pub(super) const FIELD_COUNT: i32 = -1;
/// `_check` for a record in which a field goes on behind its closing quote.
pub(super) const QUOTING: i32 = -3;

const ROWS_IN_A_CHUNK: usize = 8 * 1024;
const BYTES_IN_A_CHUNK: usize = 4 * 1024 * 1024;
/// How many chunks may wait for the staging database.
const CHUNKS_AHEAD: usize = 2;

/// As many digits as a column may have.
const MOST_DIGITS: u8 = 28;
/// Decimals that are summed although a column has fewer.
const MORE_DECIMALS: u8 = 10;

const TABLES: [&str; 3] = ["staged", "violation", "resubmission"];

/// The type in which the stage holds a column.
pub(super) fn stage_type(kind: ColumnType) -> String {
    match kind {
        ColumnType::Text => "varchar".into(),
        ColumnType::Integer => "integer".into(),
        ColumnType::BigInt => "bigint".into(),
        ColumnType::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
        ColumnType::Timestamp => "timestamp".into(),
    }
}

/// `staged` holds the records that have the header's width: their place, their cells, null where one is no value, and
/// whether they are good so far; `violation` every broken rule; `resubmission` the records that say what they are to mend.
pub(super) fn create_tables(dataset: &Dataset, stage: &Stage) -> Result<()> {
    let columns = dataset.columns.iter().map(|column| format!("\"{}\" {}", column.name, stage_type(column.kind)));
    let place = "_record bigint, _line bigint, _offset bigint, _length bigint";
    let columns = columns.collect::<Vec<_>>().join(", ");
    stage.create_table("staged", &format!("({place}, _ok boolean, _warnings bigint, {columns})"))?;
    stage.create_table("violation", &format!("({place}, _check integer, _detail bigint)"))?;
    stage.create_table("resubmission", "(_record bigint, _line bigint, _of_load bigint, _of_record bigint)")
}

/// What was sent of a column of numbers, whether its rows are good or bad.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnSum {
    /// The exact sum, without zeros at the end.
    pub sum: String,
    /// Cells that are there and no numbers.
    pub unread: i64,
}

/// Splits all records into the stage; returns how many there were, and the sum of each column of the dataset.
pub(super) fn stage_records<R: Read + Send>(
    records: Records<R>,
    header: &Header,
    dataset: &Dataset,
    name: &str,
    stage: &Stage,
) -> Result<(i64, Vec<ColumnSum>)> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
        let splitting = scope.spawn(move || {
            let (chunk, broken, mending) = (Chunk::new(dataset), Broken::default(), Mending::default());
            Splitter { header, stage, sender, chunk, broken, mending }.split(records, name)
        });
        let appended = append(stage, receiver);
        let split = splitting.join().map_err(|_| Error::new(ErrorKind::System, "splitting panicked"))?;
        // Without its receiver the splitter ends too, and then knows only that.
        appended.and(split)
    })
}

fn append(stage: &Stage, receiver: Receiver<(usize, RecordBatch)>) -> Result<()> {
    stage.append(TABLES, |mut tables| {
        for (table, rows) in receiver {
            tables[table].write(rows)?;
            if stage.is_cancelled() {
                return Err(Error::new(ErrorKind::LeaseLost, "staging was cancelled"));
            }
        }
        tables.into_iter().try_for_each(StageWriter::finish)
    })
}

/// Sorts records into rows of the tables of the stage.
struct Splitter<'a> {
    header: &'a Header,
    stage: &'a Stage,
    sender: SyncSender<(usize, RecordBatch)>,
    chunk: Chunk<'a>,
    broken: Broken,
    mending: Mending,
}

impl Splitter<'_> {
    fn split<R: Read>(mut self, mut records: Records<R>, name: &str) -> Result<(i64, Vec<ColumnSum>)> {
        let mut read = 0;
        while let Some(mut record) = records.next_record().map_err(|error| split_error(name, error))? {
            read += 1;
            if self.header.form != Form::Csv {
                record.line = read;
            }
            self.stage.progress().set_staged(read);
            if let Some(positions) = self.header.mends {
                self.mending.push(read, &record, positions);
            }
            if !record.well_quoted {
                self.broken.push(read, &record, QUOTING, Some(record.len()));
            } else if record.len() != self.header.width {
                self.broken.push(read, &record, FIELD_COUNT, Some(record.len()));
            } else {
                self.chunk.push(read, &record, &self.header.positions, &mut self.broken);
            }
            if self.chunk.is_full() {
                self.send_rows()?;
            }
            if self.broken.checks.len() >= ROWS_IN_A_CHUNK {
                self.send_broken()?;
            }
            if self.mending.len() == ROWS_IN_A_CHUNK {
                self.send_mending()?;
            }
        }
        self.send_rows()?;
        self.send_broken()?;
        self.send_mending()?;
        Ok((read, self.chunk.columns.iter().map(|column| column.sum.total()).collect()))
    }

    fn send_rows(&mut self) -> Result<()> {
        let rows = self.chunk.take()?;
        self.send(0, rows)
    }

    fn send_broken(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.broken).into_rows()?;
        self.send(1, rows)
    }

    fn send_mending(&mut self) -> Result<()> {
        let rows = self.mending.take()?;
        self.send(2, rows)
    }

    fn send(&self, table: usize, rows: RecordBatch) -> Result<()> {
        let ended = |_| Error::new(ErrorKind::System, "the staging database takes no more rows");
        self.sender.send((table, rows)).map_err(ended)
    }
}

/// Rows on their way into `staged`.
struct Chunk<'a> {
    places: [Int64Builder; 4],
    good: BooleanBuilder,
    columns: Vec<CellColumn<'a>>,
    rows: usize,
    bytes: usize,
}

impl<'a> Chunk<'a> {
    fn new(dataset: &'a Dataset) -> Self {
        let checks = CellChecks::of(dataset);
        let columns = dataset.columns.iter().zip(checks);
        let columns = columns.map(|(column, checks)| CellColumn::new(column, dataset, checks)).collect();
        Self { places: Default::default(), good: BooleanBuilder::new(), columns, rows: 0, bytes: 0 }
    }

    fn push(&mut self, number: i64, record: &Record<'_>, positions: &[usize], broken: &mut Broken) {
        push_place(&mut self.places, number, record);
        let text = record.text();
        let mut good = text.is_some() || only_loaded_columns_are_bad(record, positions);
        if !good {
            broken.push(number, record, UNREADABLE, None);
        }
        for (column, position) in self.columns.iter_mut().zip(positions) {
            let cell = match text {
                Some(text) => Some(record.cell(text, *position)),
                None => as_text(record.field(*position)),
            };
            if let Some(check) = column.push(cell) {
                good = false;
                broken.push(number, record, check, None);
            }
        }
        self.good.append_value(good);
        self.rows += 1;
        self.bytes += record.raw.len();
    }

    fn is_full(&self) -> bool {
        self.rows >= ROWS_IN_A_CHUNK || self.bytes >= BYTES_IN_A_CHUNK
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let warnings: ArrayRef = Arc::new(Int64Array::from_value(0, self.rows));
        (self.rows, self.bytes) = (0, 0);
        let flags = [("_ok", Arc::new(self.good.finish()) as ArrayRef), ("_warnings", warnings)];
        let columns = self.columns.iter_mut().map(|column| (column.definition.name.as_str(), column.cells.finish()));
        rows(places(&mut self.places).chain(flags).chain(columns))
    }
}

/// The cells of one column, as values of its type.
struct CellColumn<'a> {
    definition: &'a Column,
    null_values: &'a [String],
    max_length: Option<usize>,
    /// The latest version that a row may have, in microseconds since 1970.
    latest: Option<i64>,
    checks: CellChecks,
    cells: Cells,
    sum: Sum,
}

enum Cells {
    Text(StringBuilder),
    Integer(Int32Builder),
    BigInt(Int64Builder),
    Decimal(Decimal128Builder, u8, u8),
    Timestamp(TimestampMicrosecondBuilder),
}

impl<'a> CellColumn<'a> {
    fn new(definition: &'a Column, dataset: &'a Dataset, checks: CellChecks) -> Self {
        let cells = match definition.kind {
            ColumnType::Text => Cells::Text(StringBuilder::new()),
            ColumnType::Integer => Cells::Integer(Int32Builder::new()),
            ColumnType::BigInt => Cells::BigInt(Int64Builder::new()),
            ColumnType::Decimal { precision, scale } => {
                let kind = DataType::Decimal128(precision, scale.cast_signed());
                Cells::Decimal(Decimal128Builder::new().with_data_type(kind), precision - scale, scale)
            }
            ColumnType::Timestamp => Cells::Timestamp(TimestampMicrosecondBuilder::new()),
        };
        let max_length = definition.max_length().map(|length| length as usize);
        let latest = dataset.latest_version.map(|latest| latest.timestamp_micros());
        let (null_values, sum) = (&dataset.null_values, Sum::of(definition.kind));
        Self { definition, null_values, max_length, latest, checks, cells, sum }
    }

    /// Takes a cell, or none where its bytes are no text; returns the check that it breaks.
    fn push(&mut self, cell: Option<&str>) -> Option<i32> {
        let Some(cell) = cell else {
            self.cells.append_null();
            self.sum.add(None, "");
            return self.checks.unprintable;
        };
        if self.null_values.iter().any(|null| null == cell) {
            self.cells.append_null();
            return self.checks.required;
        }
        let is_value = match &mut self.cells {
            Cells::Text(cells) => {
                cells.append_value(cut_behind(cell, self.max_length));
                true
            }
            Cells::Integer(cells) => {
                let number = cell::integer(cell);
                self.sum.add(number.map(i128::from), cell);
                append_value(cells, number.and_then(|number| number.try_into().ok()))
            }
            Cells::BigInt(cells) => {
                let number = cell::integer(cell);
                self.sum.add(number.map(i128::from), cell);
                append_value(cells, number)
            }
            Cells::Decimal(cells, whole, scale) => {
                let number = cell::decimal(cell, *whole, *scale);
                self.sum.add(number, cell);
                append_value(cells, number)
            }
            Cells::Timestamp(cells) => {
                let time = cell::timestamp(cell);
                if let (Some(_), Some(latest), Some(time)) = (self.checks.future, self.latest, time)
                    && time > latest
                {
                    cells.append_null();
                    return self.checks.future;
                }
                append_value(cells, time)
            }
        };
        if is_value { None } else { self.checks.kind }
    }
}

fn append_value<T: ArrowPrimitiveType>(cells: &mut PrimitiveBuilder<T>, value: Option<T::Native>) -> bool {
    cells.append_option(value);
    value.is_some()
}

impl Cells {
    fn append_null(&mut self) {
        match self {
            Self::Text(cells) => cells.append_null(),
            Self::Integer(cells) => cells.append_null(),
            Self::BigInt(cells) => cells.append_null(),
            Self::Decimal(cells, ..) => cells.append_null(),
            Self::Timestamp(cells) => cells.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(cells) => Arc::new(cells.finish()),
            Self::Integer(cells) => Arc::new(cells.finish()),
            Self::BigInt(cells) => Arc::new(cells.finish()),
            Self::Decimal(cells, ..) => Arc::new(cells.finish()),
            Self::Timestamp(cells) => Arc::new(cells.finish()),
        }
    }
}

/// The exact sum of a column. Cells with more decimals than the column has are rejected, but were sent, and count.
struct Sum {
    /// Digits that a cell may have before the point, and decimals of the values of the column and of the sum.
    whole: u8,
    scale: u8,
    wide: u8,
    /// Of the values of the column, and of the other numbers.
    values: i128,
    others: i128,
    unread: i64,
}

impl Sum {
    /// An empty sum of cells of this type; for texts and times nobody asks.
    fn of(kind: ColumnType) -> Self {
        // Ten digits are left for the sum of as many rows as there may be: it does not overflow.
        let (whole, scale, wide) = match kind {
            ColumnType::Decimal { precision, scale } => {
                let whole = precision - scale;
                (whole, scale, scale.max(MORE_DECIMALS.min(MOST_DIGITS - whole)))
            }
            _ => (MOST_DIGITS, 0, 0),
        };
        Self { whole, scale, wide, values: 0, others: 0, unread: 0 }
    }

    fn add(&mut self, value: Option<i128>, cell: &str) {
        if let Some(value) = value {
            self.values += value;
        } else if let Some(other) = cell::decimal(cell, self.whole, self.wide) {
            self.others += other;
        } else {
            self.unread += 1;
        }
    }

    fn total(&self) -> ColumnSum {
        let total = self.values * 10_i128.pow((self.wide - self.scale).into()) + self.others;
        let text = Decimal128Type::format_decimal(total, DECIMAL128_MAX_PRECISION, self.wide.cast_signed());
        let sum = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        ColumnSum { sum: sum.to_owned(), unread: self.unread }
    }
}

/// A cell that is too long stays too long when it is cut, and does not fill the staging database; the whole of it is
/// read from the record's own bytes.
fn cut_behind(text: &str, max_length: Option<usize>) -> &str {
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

fn push_place(places: &mut [Int64Builder; 4], number: i64, record: &Record<'_>) {
    let length = i64::try_from(record.raw.len()).unwrap_or(i64::MAX);
    let offset = i64::try_from(record.offset).unwrap_or(i64::MAX);
    for (place, value) in places.iter_mut().zip([number, record.line, offset, length]) {
        place.append_value(value);
    }
}

fn places(places: &mut [Int64Builder; 4]) -> impl Iterator<Item = (&str, ArrayRef)> {
    let names = ["_record", "_line", "_offset", "_length"];
    names.into_iter().zip(places).map(|(name, place)| (name, Arc::new(place.finish()) as ArrayRef))
}

fn rows<'a>(columns: impl Iterator<Item = (&'a str, ArrayRef)>) -> Result<RecordBatch> {
    let columns = columns.map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| Error::system("build rows for the staging database", error))
}

/// What records break that is known before any rule is asked: which check, where, and how many fields there were where that
/// is what is wrong.
#[derive(Default)]
struct Broken {
    places: [Int64Builder; 4],
    checks: Vec<i32>,
    details: Vec<Option<i64>>,
}

impl Broken {
    fn push(&mut self, number: i64, record: &Record<'_>, check: i32, fields: Option<usize>) {
        push_place(&mut self.places, number, record);
        self.checks.push(check);
        self.details.push(fields.map(|fields| i64::try_from(fields).unwrap_or(i64::MAX)));
    }

    fn into_rows(mut self) -> Result<RecordBatch> {
        let rest: [(&str, ArrayRef); 2] = [
            ("_check", Arc::new(Int32Array::from(self.checks))),
            ("_detail", Arc::new(Int64Array::from(self.details))),
        ];
        rows(places(&mut self.places).chain(rest))
    }
}

/// Records that say which reject they are to mend.
#[derive(Default)]
struct Mending([Int64Builder; 4]);

impl Mending {
    /// A record that is silent, or says no two numbers, is like one of any other file.
    fn push(&mut self, number: i64, record: &Record<'_>, (load, of_record): (usize, usize)) {
        let number_in = |position: usize| {
            let text = (position < record.len()).then(|| std::str::from_utf8(record.field(position)))?;
            text.ok()?.trim().parse::<i64>().ok()
        };
        let Some((load, of_record)) = number_in(load).zip(number_in(of_record)) else { return };
        for (column, value) in self.0.iter_mut().zip([number, record.line, load, of_record]) {
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

    #[test]
    fn a_cut_cell_is_still_too_long() {
        assert_eq!(cut_behind("äöüß", Some(2)), "äöü");
        assert_eq!((cut_behind("äöü", Some(3)), cut_behind("abc", None)), ("äöü", "abc"));
    }

    #[test]
    fn a_sum_counts_what_was_sent() {
        let mut money = Sum::of(ColumnType::Decimal { precision: 20, scale: 2 });
        for cell in ["15.5", "0.125", "-1", "x"] {
            money.add(cell::decimal(cell, 18, 2), cell);
        }
        assert_eq!(money.total(), ColumnSum { sum: "14.625".into(), unread: 1 });
        let mut whole = Sum::of(ColumnType::Integer);
        for cell in ["7", "8.0", "99999999999999999999", "1.5"] {
            whole.add(cell::integer(cell).map(i128::from), cell);
        }
        assert_eq!(whole.total(), ColumnSum { sum: "100000000000000000014".into(), unread: 1 });
    }
}
