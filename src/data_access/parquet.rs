//! Parquet: a file is read as CSV of those of its columns that a dataset has, and rows are written to one.
//! The format: <https://parquet.apache.org/docs/file-format/>.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::basic::{Compression, Type as PhysicalType, ZstdLevel};
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use chrono::{DateTime, Utc};

use crate::domain::{Column, ColumnType};
use crate::error::{Error, Reason, Result};

/// Few, since a text that is written once may be the value of each.
const ROWS_AT_ONCE: usize = 64;
/// What the writer keeps in memory at the most, encoded.
const ROWS_IN_A_GROUP: usize = 100_000;
const BYTES_IN_A_GROUP: usize = 64 * 1024 * 1024;
const UTC: &str = "UTC";

/// A Parquet file, read as CSV: a header, then a record for each row.
pub struct ParquetRecords {
    rows: ParquetRecordBatchReader,
    /// Rows that the footer promises and that were not read.
    left: i64,
    null: String,
    name: String,
    out: Cursor<Vec<u8>>,
}

impl ParquetRecords {
    /// Reads `source`, which is kept in the unnamed file `copy` first, since the schema stands at the end. In messages it is called
    /// `name`; `null` is the cell that means null. Returns also the names of columns that no column of the dataset has.
    ///
    /// # Errors
    /// An [`Error`] inside where a column cannot be read as values of its type without loss; any other error where the bytes are no
    /// Parquet, or cannot be kept.
    pub fn new(
        source: &mut dyn Read,
        mut copy: File,
        name: &str,
        dataset: &[Column],
        null: &str,
    ) -> io::Result<(Self, Vec<String>)> {
        io::copy(source, &mut copy)?;
        copy.rewind()?;
        let malformed = |error: ::parquet::errors::ParquetError| {
            let message = format!("{name}: this is no Parquet file, or it is cut off ({error}); send it again");
            io::Error::other(Error::file(Reason::Malformed, message))
        };
        // What Arrow writes beside the schema of Parquet would change how values are read.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(copy, options).map_err(malformed)?;
        let schema = Arc::clone(builder.schema());
        let roots = builder.parquet_schema().root_schema().get_fields();
        // Its days and nanoseconds do not fit into the type that Arrow reads them as.
        let is_int96 =
            |index: usize| roots[index].is_primitive() && roots[index].get_physical_type() == PhysicalType::INT96;
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for (index, field) in schema.fields().iter().enumerate() {
            match dataset.iter().find(|column| column.name == *field.name()) {
                None => others.push(field.name().clone()),
                Some(column) if !is_int96(index) && holds(field.data_type(), column.kind) => known.push(index),
                Some(column) => {
                    let (kind, has) = (column.kind.rule(), field.data_type());
                    let message = format!(
                        "{name}: column {} is {has}, which is no {kind} without loss; write it as {}",
                        column.name,
                        advice(column.kind)
                    );
                    return Err(io::Error::other(Error::file(Reason::Malformed, message)));
                }
            }
        }
        let left = builder.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).sum();
        let mask = ProjectionMask::roots(builder.parquet_schema(), known.iter().copied());
        let rows = builder.with_projection(mask).with_batch_size(ROWS_AT_ONCE).build().map_err(malformed)?;
        let header = known.iter().map(|index| Some(schema.field(*index).name()));
        let out = Cursor::new(records(std::iter::once(header), null)?);
        Ok((Self { rows, left, null: null.to_owned(), name: name.to_owned(), out }, others))
    }

    /// Converts some rows; false at the end.
    fn convert(&mut self) -> io::Result<bool> {
        let malformed = |what: String| {
            let message = format!("{}: {what}; send the file again", self.name);
            io::Error::other(Error::file(Reason::Malformed, message))
        };
        let Some(rows) = self.rows.next() else {
            return if self.left == 0 { Ok(false) } else { Err(malformed(format!("{} rows are missing", self.left))) };
        };
        let rows = rows.map_err(|error| malformed(format!("a page cannot be read ({error})")))?;
        self.left -= i64::try_from(rows.num_rows()).unwrap_or(i64::MAX);
        let columns = rows.columns().iter().map(texts).collect::<io::Result<Vec<_>>>()?;
        let cells = (0..rows.num_rows()).map(|row| columns.iter().map(move |column| column[row].as_ref()));
        self.out = Cursor::new(records(cells, &self.null)?);
        Ok(true)
    }
}

impl Read for ParquetRecords {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.out.read(buffer)?;
            if length > 0 || buffer.is_empty() || !self.convert()? {
                return Ok(length);
            }
        }
    }
}

fn records<'a, R: Iterator<Item = Option<&'a String>>>(
    rows: impl Iterator<Item = R>,
    null: &'a str,
) -> io::Result<Vec<u8>> {
    let mut out = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for cells in rows {
        out.write_record(cells.map(|cell| cell.map_or(null, String::as_str)))?;
    }
    out.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

/// Whether every value of a type can be told as one of a column's type, or be refused by itself, without loss.
fn holds(has: &DataType, wanted: ColumnType) -> bool {
    match has {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => holds(values, wanted),
        DataType::Timestamp(..) => wanted == ColumnType::Timestamp,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            matches!(wanted, ColumnType::Decimal { .. } | ColumnType::Text)
        }
        kind if kind.is_integer() => wanted != ColumnType::Timestamp,
        _ => false,
    }
}

fn advice(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text => "a string",
        ColumnType::Integer | ColumnType::BigInt => "an integer",
        ColumnType::Decimal { .. } => "DECIMAL, an integer or a string",
        ColumnType::Timestamp => "TIMESTAMP or a string",
    }
}

/// The cells of a column; times in UTC with as many decimals as they need.
fn texts(column: &ArrayRef) -> io::Result<Vec<Option<String>>> {
    let time = |row: usize| -> Option<DateTime<Utc>> {
        match column.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => {
                DateTime::from_timestamp_secs(column.as_primitive::<TimestampSecondType>().value(row))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                DateTime::from_timestamp_millis(column.as_primitive::<TimestampMillisecondType>().value(row))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                DateTime::from_timestamp_micros(column.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            _ => {
                let value = column.as_primitive::<TimestampNanosecondType>().value(row);
                Some(DateTime::from_timestamp_nanos(value))
            }
        }
    };
    let cell = |row: usize| match column.data_type() {
        _ if column.is_null(row) => Ok(None),
        // A year of five digits is a text that no rule takes for a time.
        DataType::Timestamp(..) => {
            let text = time(row).map(|time| time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string());
            Ok(Some(text.unwrap_or_else(|| "out of range".to_owned())))
        }
        _ => array_value_to_string(column, row).map(Some).map_err(io::Error::other),
    };
    (0..column.len()).map(cell).collect()
}

/// Writes rows of a dataset to a Parquet file, with their types.
pub struct ParquetFile {
    writer: ArrowWriter<File>,
    schema: SchemaRef,
}

impl ParquetFile {
    /// Begins a file of these columns. Times are instants: they are marked as UTC.
    ///
    /// # Errors
    /// `System`.
    pub fn create<'a>(file: File, columns: impl Iterator<Item = &'a Column>) -> Result<Self> {
        let fields = columns.map(|column| {
            let kind = match column.kind {
                ColumnType::Text => DataType::Utf8,
                ColumnType::Integer => DataType::Int32,
                ColumnType::BigInt => DataType::Int64,
                ColumnType::Decimal { precision, scale } => DataType::Decimal128(precision, scale.cast_signed()),
                ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            };
            Field::new(&column.name, kind, true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROWS_IN_A_GROUP))
            .set_max_row_group_bytes(Some(BYTES_IN_A_GROUP))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties));
        Ok(Self { writer: writer.map_err(unwritable)?, schema })
    }

    /// Writes rows, whose columns are those of the file, in its order.
    ///
    /// # Errors
    /// `System`.
    pub fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let columns = columns.into_iter().map(|column| match column.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => Arc::new(TimestampMicrosecondArray::with_timezone(times.clone(), UTC)) as ArrayRef,
            None => column,
        });
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect());
        let rows = rows.map_err(|error| Error::system("write a Parquet file", error))?;
        self.writer.write(&rows).map_err(unwritable)
    }

    /// Ends the file, and returns it to be read from its beginning.
    ///
    /// # Errors
    /// `System`.
    pub fn finish(self) -> Result<File> {
        let mut file = self.writer.into_inner().map_err(unwritable)?;
        file.rewind().map_err(|error| Error::system("read a Parquet file back", error))?;
        Ok(file)
    }
}

fn unwritable(error: ::parquet::errors::ParquetError) -> Error {
    Error::system("write a Parquet file", error)
}
