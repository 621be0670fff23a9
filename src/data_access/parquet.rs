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
use arrow::array::{Array as _, ArrayRef, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::domain::{Column, ColumnType};
use crate::error::{Error, Reason, Result};

/// Few, since a text that is written once may be the value of each.
const ROWS_AT_ONCE: usize = 64;
/// What the writer keeps in memory at the most, encoded.
const ROWS_IN_A_GROUP: usize = 100_000;
const BYTES_IN_A_GROUP: usize = 64 * 1024 * 1024;

/// A Parquet file, read as CSV: a header, then a record for each row.
pub struct ParquetRecords {
    rows: ParquetRecordBatchReader,
    /// Of the columns that are read.
    kinds: Vec<ColumnType>,
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
        let (mut known, mut kinds, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (index, field) in schema.fields().iter().enumerate() {
            match dataset.iter().find(|column| column.name == *field.name()) {
                None => others.push(field.name().clone()),
                Some(column) if !is_int96(index) && column.kind.takes(field.data_type()) => {
                    known.push(index);
                    kinds.push(column.kind.clone());
                }
                Some(column) => {
                    let (kind, has) = (column.kind.rule(), field.data_type());
                    let message = format!(
                        "{name}: column {} is {has}, which is no {kind} without loss; write it as {}",
                        column.name,
                        column.kind.taken()
                    );
                    return Err(io::Error::other(Error::file(Reason::Malformed, message)));
                }
            }
        }
        let left = builder.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).sum();
        let mask = ProjectionMask::roots(builder.parquet_schema(), known.iter().copied());
        let rows = builder.with_projection(mask).with_batch_size(ROWS_AT_ONCE).build().map_err(malformed)?;
        let header = known.iter().map(|index| Some(schema.field(*index).name().as_str()));
        let out = Cursor::new(records(std::iter::once(header), null)?);
        Ok((Self { rows, kinds, left, null: null.to_owned(), name: name.to_owned(), out }, others))
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
        let columns = self.kinds.iter().zip(rows.columns()).map(|(kind, column)| kind.cells(column));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let cells = (0..rows.num_rows()).map(|row| columns.iter().map(move |column| cell(column, row)));
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

fn cell(column: &StringArray, row: usize) -> Option<&str> {
    (!column.is_null(row)).then(|| column.value(row))
}

fn records<'a, R: Iterator<Item = Option<&'a str>>>(
    rows: impl Iterator<Item = R>,
    null: &'a str,
) -> io::Result<Vec<u8>> {
    let mut out = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for cells in rows {
        out.write_record(cells.map(|cell| cell.unwrap_or(null)))?;
    }
    out.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

/// Writes rows of a dataset to a Parquet file, with their types.
pub struct ParquetFile {
    writer: ArrowWriter<File>,
    schema: SchemaRef,
    kinds: Vec<ColumnType>,
}

impl ParquetFile {
    /// Begins a file of these columns.
    ///
    /// # Errors
    /// `System`.
    pub fn create<'a>(file: File, columns: impl Iterator<Item = &'a Column>) -> Result<Self> {
        let (fields, kinds): (Vec<Field>, Vec<ColumnType>) = columns
            .map(|column| (Field::new(&column.name, column.kind.lake_type(), true), column.kind.clone()))
            .unzip();
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROWS_IN_A_GROUP))
            .set_max_row_group_bytes(Some(BYTES_IN_A_GROUP))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties));
        Ok(Self { writer: writer.map_err(unwritable)?, schema, kinds })
    }

    /// Writes rows, whose columns are those of the file, in its order.
    ///
    /// # Errors
    /// `System`.
    pub fn write(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let columns = self.kinds.iter().zip(columns).map(|(kind, values)| kind.to_lake(values));
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
