//! Parquet: reads a file as CSV with those of its columns that a dataset has, and writes rows to a file. The format:
//! <https://parquet.apache.org/docs/file-format/>.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use ::parquet::basic::{Compression, LogicalType, Type as PhysicalType, ZstdLevel};
use ::parquet::file::metadata::{FileMetaData, ParquetStatisticsPolicy, RowGroupMetaData};
use ::parquet::file::properties::WriterProperties;
use arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampNanosecondType, TimestampSecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::csv::LONGEST_RECORD;
use super::parquet_pages::{Pages, check_footer};
use crate::domain::{Column, ColumnType};
use crate::error::{Error, Reason, Result};

const ROWS_AT_ONCE: usize = 64;
/// The size after which a batch of converted rows ends. A text that is stored once in the file may be the value of
/// every row.
const BYTES_AT_ONCE: usize = 64 * 1024;
/// The most rows and encoded bytes that the writer keeps in memory.
const ROWS_IN_A_GROUP: usize = 100_000;
const BYTES_IN_A_GROUP: usize = 64 * 1024 * 1024;

/// A Parquet file on this machine.
pub struct ParquetSource {
    file: File,
    metadata: ArrowReaderMetadata,
    name: String,
}

impl ParquetSource {
    /// Copies `source` into the unnamed file `copy` and reads the schema from there, because it is at the end. Messages
    /// call the file `name`.
    ///
    /// # Errors
    /// An [`Error`] inside if this is not a Parquet file, or not one that can be read; any other error if it cannot be
    /// copied.
    pub fn open(source: &mut dyn Read, mut copy: File, name: &str) -> io::Result<Self> {
        io::copy(source, &mut copy)?;
        Self::of(copy, name)
    }

    /// Reads the schema of a file, which messages call `name`.
    ///
    /// # Errors
    /// An [`Error`] inside if this is not a Parquet file, or not one that can be read.
    pub fn of(copy: File, name: &str) -> io::Result<Self> {
        check_footer(&copy)?.map_err(|what| malformed(name, &what))?;
        let metadata = ArrowReaderMetadata::load(&copy, options());
        let metadata =
            metadata.map_err(|error| unreadable(name, "its footer cannot be read; send it again", &error))?;
        Ok(Self { file: copy, metadata, name: name.to_owned() })
    }

    /// The names of the columns in the file.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.metadata.schema().fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// Reads the columns that the dataset has. The cell for null is `null`.
    ///
    /// # Errors
    /// An [`Error`] inside if a column cannot be read as values of its type without loss, or not with bounded memory.
    pub fn records(self, dataset: &[Column], null: &str) -> io::Result<ParquetRecords> {
        let columns = self.columns(dataset)?;
        let schema = Arc::clone(self.metadata.schema());
        let header = columns.iter().map(|column| Some(schema.field(column.root).name().as_str()));
        let out = Cursor::new(records(std::iter::once(header), null)?);
        Ok(ParquetRecords { chunks: self.chunks(columns)?, null: null.to_owned(), out })
    }

    /// Reads some columns, a chunk of rows at a time.
    pub(super) fn chunks(self, columns: Vec<FileColumn>) -> io::Result<Chunks> {
        let pages = self.pages(&columns)?;
        pages.check().map_err(|what| malformed(&self.name, &what))?;
        let rows_at_once = pages.rows_at_once(ROWS_AT_ONCE);
        let int96: Vec<usize> = columns.iter().filter(|column| column.is_int96).map(|column| column.root).collect();
        let rows = self.reader(&self.with_types(&columns)?, columns.iter().map(|column| column.root), rows_at_once)?;
        let nanoseconds = if int96.is_empty() {
            None
        } else {
            Some(self.reader(&self.metadata, int96.iter().copied(), rows_at_once)?)
        };
        let metadata = self.metadata.metadata();
        let left = metadata.row_groups().iter().map(RowGroupMetaData::num_rows).sum();
        let old_calendar = has_old_calendar(metadata.file_metadata());
        Ok(Chunks { rows, nanoseconds, columns, old_calendar, batch: None, read: 0, left, name: self.name })
    }

    /// Returns the columns that the dataset has, in the order of the file.
    fn columns(&self, dataset: &[Column]) -> io::Result<Vec<FileColumn>> {
        let mut columns = Vec::new();
        for (root, field) in self.metadata.schema().fields().iter().enumerate() {
            let Some(column) = dataset.iter().find(|column| column.name == *field.name()) else { continue };
            columns.push(self.column(root, &column.name, &column.kind)?);
        }
        Ok(columns)
    }

    /// Reads the column at this place as values of a type, without loss.
    pub(super) fn column(&self, root: usize, name: &str, kind: &ColumnType) -> io::Result<FileColumn> {
        let (has, basic) = (self.metadata.schema().field(root).data_type(), self.root(root));
        // Sixteen bytes that the file does not mark as a UUID may be in another byte order.
        let is_unnamed = matches!(has, DataType::FixedSizeBinary(_))
            && basic.get_basic_info().logical_type_ref() != Some(&LogicalType::Uuid);
        // Of nothing but nulls, nothing can be lost.
        if *has != DataType::Null && (is_unnamed || !kind.takes(has)) {
            let has = if has.is_nested() { "nested".to_owned() } else { has.to_string() };
            let (rule, taken) = (kind.rule(), kind.taken());
            let what =
                format!("column {name} is {has}, which cannot be read as {rule} without loss; write it as {taken}");
            return Err(malformed(&self.name, &what));
        }
        Ok(FileColumn { root, kind: kind.clone(), is_int96: self.is_int96(root) })
    }

    fn root(&self, root: usize) -> &::parquet::schema::types::Type {
        &self.metadata.parquet_schema().root_schema().get_fields()[root]
    }

    /// Whether the column at this place holds times of 96 bits.
    pub(super) fn is_int96(&self, root: usize) -> bool {
        let root = self.root(root);
        root.is_primitive() && root.get_physical_type() == PhysicalType::INT96
    }

    /// The columns of the file.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(self.metadata.schema())
    }

    /// Checks how large the pages of the columns are, and whether they can be unpacked.
    fn pages(&self, columns: &[FileColumn]) -> io::Result<Pages> {
        let (mut pages, schema) = (Pages::default(), self.metadata.parquet_schema());
        for leaf in 0..schema.num_columns() {
            let root = schema.get_column_root_idx(leaf);
            if !columns.iter().any(|column| column.root == root) {
                continue;
            }
            let name = self.metadata.schema().field(root).name();
            for group in self.metadata.metadata().row_groups() {
                let chunk = group.column(leaf);
                if let Some(codec) = unread_codec(chunk.compression()) {
                    let what = format!(
                        "column {name} is compressed with {codec}, which is not supported; write it with Snappy, Zstandard, gzip or LZ4"
                    );
                    return Err(malformed(&self.name, &what));
                }
                pages.add_chunk(&self.file, chunk)?.ok_or_else(|| {
                    malformed(&self.name, &format!("the pages of column {name} cannot be found; send the file again"))
                })?;
            }
            pages.end_column();
        }
        Ok(pages)
    }

    /// Returns the types in which rows are read. Texts become views, so that a text stored once in the file is kept
    /// once in memory. INT96 is read in seconds, because not all of its days fit into nanoseconds.
    fn with_types(&self, columns: &[FileColumn]) -> io::Result<ArrowReaderMetadata> {
        let read_as = |(root, field): (usize, &Arc<Field>)| {
            let column = columns.iter().find(|column| column.root == root);
            let kind = match (column, field.data_type()) {
                (Some(column), _) if column.is_int96 => DataType::Timestamp(TimeUnit::Second, None),
                (Some(_), DataType::Utf8) => DataType::Utf8View,
                _ => return Arc::clone(field),
            };
            Arc::new(field.as_ref().clone().with_data_type(kind))
        };
        let fields: Vec<_> = self.metadata.schema().fields().iter().enumerate().map(read_as).collect();
        let options = options().with_schema(Arc::new(Schema::new(fields)));
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(self.metadata.metadata()), options);
        metadata.map_err(|error| unreadable(&self.name, "its schema cannot be read", &error))
    }

    fn reader(
        &self,
        metadata: &ArrowReaderMetadata,
        roots: impl Iterator<Item = usize>,
        rows_at_once: usize,
    ) -> io::Result<ParquetRecordBatchReader> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.try_clone()?, metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let reader = builder.with_projection(mask).with_batch_size(rows_at_once).build();
        reader.map_err(|error| unreadable(&self.name, "its columns cannot be read; send the file again", &error))
    }
}

/// A column of the file that is read.
pub(super) struct FileColumn {
    /// The position of the column in the file, from 0.
    root: usize,
    kind: ColumnType,
    is_int96: bool,
}

fn options() -> ArrowReaderOptions {
    let skip = ParquetStatisticsPolicy::SkipAll;
    ArrowReaderOptions::new()
        // The schema that Arrow stores beside the one of Parquet would change how values are read.
        .with_skip_arrow_metadata(true)
        .with_column_stats_policy(skip.clone())
        .with_size_stats_policy(skip)
}

fn malformed(name: &str, what: &str) -> io::Error {
    io::Error::other(Error::file(Reason::Malformed, format!("{name}: {what}")))
}

/// The library's message may contain names of columns, so it is attached as cells.
fn unreadable(name: &str, what: &str, error: &dyn fmt::Display) -> io::Error {
    io::Error::other(Error::file(Reason::Malformed, format!("{name}: {what}")).with_cells(error.to_string()))
}

fn unread_codec(codec: Compression) -> Option<&'static str> {
    match codec {
        Compression::BROTLI(_) => Some("Brotli"),
        Compression::LZO => Some("LZO"),
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::LZ4
        | Compression::LZ4_RAW
        | Compression::ZSTD(_) => None,
    }
}

/// Whether the day of an INT96 time before 1900 is ambiguous. Before version 3.1, Spark counted such days in the
/// calendar of their time, and INT96 does not say which calendar it uses. See
/// <https://spark.apache.org/docs/latest/sql-data-sources-parquet.html>, `int96RebaseModeInRead`.
fn has_old_calendar(file: &FileMetaData) -> bool {
    let value = |key: &str| {
        let pair = file.key_value_metadata()?.iter().find(|pair| pair.key.strip_prefix(SPARK) == Some(key))?;
        Some(pair.value.as_deref().unwrap_or_default())
    };
    let mut version = value("version").unwrap_or_default().split('.').map_while(|part| part.parse::<u32>().ok());
    let version = (version.next().unwrap_or_default(), version.next().unwrap_or_default());
    version < (3, 1) || value("legacyINT96").is_some()
}

const SPARK: &str = "org.apache.spark.";
/// Microseconds from 1900 to 1970.
const SINCE_1900: i64 = 2_208_988_800_000_000;

/// Reads a Parquet file and returns CSV: a header, then a record for each row.
pub struct ParquetRecords {
    chunks: Chunks,
    null: String,
    out: Cursor<Vec<u8>>,
}

/// The rows of a Parquet file, a few at a time.
pub(super) struct Chunks {
    rows: ParquetRecordBatchReader,
    /// Reads the INT96 columns a second time, as nanoseconds, which may have overflowed; `rows` has their seconds.
    nanoseconds: Option<ParquetRecordBatchReader>,
    columns: Vec<FileColumn>,
    old_calendar: bool,
    batch: Option<Batch>,
    /// How many rows were read, and how many more the footer promises.
    read: usize,
    left: i64,
    name: String,
}

/// Rows that were read and not yet converted.
struct Batch {
    columns: Vec<ArrayRef>,
    /// The nanoseconds of the INT96 columns.
    nanoseconds: Vec<ArrayRef>,
    rows: usize,
}

impl Batch {
    /// Returns some of the rows.
    fn slice(&self, first: usize, rows: usize) -> Self {
        let of = |columns: &[ArrayRef]| columns.iter().map(|column| column.slice(first, rows)).collect();
        Self { columns: of(&self.columns), nanoseconds: of(&self.nanoseconds), rows }
    }

    /// The length in bytes of the texts of one row.
    fn length(&self, row: usize) -> usize {
        let texts = self.columns.iter().filter_map(|column| column.as_string_view_opt());
        texts.filter(|text| !text.is_null(row)).map(|text| text.value(row).len()).sum()
    }
}

impl Chunks {
    /// Reads some rows: the cells of each column. `None` at the end.
    pub(super) fn next_cells(&mut self) -> io::Result<Option<(usize, Vec<StringArray>)>> {
        let batch = self.batch.take().map_or_else(|| self.next_batch(), |batch| Ok(Some(batch)))?;
        let Some(batch) = batch else { return Ok(None) };
        let (mut rows, mut bytes) = (0, 0);
        while rows < batch.rows && bytes < BYTES_AT_ONCE {
            let length = batch.length(rows);
            rows += 1;
            if length > LONGEST_RECORD {
                return Err(malformed(&self.name, &format!("row {} is longer than 64 MiB", self.read + rows)));
            }
            bytes += length;
        }
        let cells = self.cells(&batch.slice(0, rows)).map_err(io::Error::other)?;
        self.read += rows;
        self.batch = (rows < batch.rows).then(|| batch.slice(rows, batch.rows - rows));
        Ok(Some((rows, cells)))
    }

    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        let damaged = |error: ArrowError| unreadable(&self.name, "a page cannot be read; send the file again", &error);
        let Some(rows) = self.rows.next().transpose().map_err(damaged)? else {
            let what = format!("{} rows are missing; send the file again", self.left);
            return if self.left == 0 { Ok(None) } else { Err(malformed(&self.name, &what)) };
        };
        let nanoseconds = self.nanoseconds.as_mut().and_then(Iterator::next).transpose().map_err(damaged)?;
        let nanoseconds = nanoseconds.map(|rows| rows.columns().to_vec()).unwrap_or_default();
        self.left -= i64::try_from(rows.num_rows()).unwrap_or(i64::MAX);
        Ok(Some(Batch { columns: rows.columns().to_vec(), nanoseconds, rows: rows.num_rows() }))
    }

    /// Returns the cells of each column.
    fn cells(&self, batch: &Batch) -> Result<Vec<StringArray>, ArrowError> {
        let mut nanoseconds = batch.nanoseconds.iter();
        let cells = self.columns.iter().zip(&batch.columns).map(|(has, column)| {
            let of_int96 = if has.is_int96 { nanoseconds.next() } else { None };
            match of_int96 {
                _ if *column.data_type() == DataType::Null => Ok(StringArray::new_null(column.len())),
                Some(nanoseconds) => int96(&has.kind, column, nanoseconds, self.old_calendar),
                None => has.kind.cells(column),
            }
        });
        cells.collect()
    }
}

/// Returns the cells of an INT96 column. What microseconds cannot represent is appended to the time, so that the cell
/// is not a valid time and gets rejected.
///
/// The nanoseconds since 1970 lose their upper bits if they overflow, but their difference from the seconds is exact.
fn int96(
    kind: &ColumnType,
    seconds: &ArrayRef,
    nanoseconds: &ArrayRef,
    old_calendar: bool,
) -> Result<StringArray, ArrowError> {
    let seconds = seconds.as_primitive::<TimestampSecondType>();
    let nanoseconds = nanoseconds.as_primitive::<TimestampNanosecondType>();
    let moment = |(seconds, nanoseconds): (Option<i64>, Option<i64>)| {
        let (seconds, nanoseconds) = seconds.zip(nanoseconds)?;
        let more = nanoseconds.wrapping_sub(seconds.wrapping_mul(1_000_000_000));
        let microseconds = seconds.checked_mul(1_000_000)?.checked_add(more / 1000)?;
        (0..1_000_000_000).contains(&more).then_some((microseconds, more % 1000))
    };
    let moments: Vec<Option<(i64, i64)>> = seconds.iter().zip(nanoseconds).map(moment).collect();
    let times: TimestampMicrosecondArray = moments.iter().map(|moment| moment.map(|(time, _)| time)).collect();
    let texts = kind.cells(&(Arc::new(times) as ArrayRef))?;
    let cell = |(row, moment): (usize, Option<(i64, i64)>)| match moment {
        _ if seconds.is_null(row) => None,
        None => Some("out of range".to_owned()),
        Some((_, nanoseconds)) if nanoseconds > 0 => Some(format!("{} + {nanoseconds} ns", texts.value(row))),
        Some((time, _)) if old_calendar && time < -SINCE_1900 => {
            Some(format!("{} of an old calendar", texts.value(row)))
        }
        Some(_) => Some(texts.value(row).to_owned()),
    };
    Ok(moments.into_iter().enumerate().map(cell).collect())
}

impl ParquetRecords {
    /// Converts some rows. Returns false at the end.
    fn convert(&mut self) -> io::Result<bool> {
        let Some((rows, cells)) = self.chunks.next_cells()? else { return Ok(false) };
        let cells = (0..rows).map(|row| cells.iter().map(move |column| cell(column, row)));
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

/// The cell of a row; `None` if it is null.
pub(super) fn cell(column: &StringArray, row: usize) -> Option<&str> {
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
    /// Creates a file with these columns.
    ///
    /// # Errors
    /// `System` if the file cannot be written.
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

    /// Writes rows. The columns are those of the file, in its order.
    ///
    /// # Errors
    /// `System` if the file cannot be written.
    pub fn write(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let columns = self.kinds.iter().zip(columns).map(|(kind, values)| kind.to_lake(values));
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect());
        let rows = rows.map_err(|error| Error::system("write a Parquet file", error))?;
        self.writer.write(&rows).map_err(unwritable)
    }

    /// Completes the file and returns it, positioned at its beginning.
    ///
    /// # Errors
    /// `System` if the file cannot be written.
    pub fn finish(self) -> Result<File> {
        let mut file = self.writer.into_inner().map_err(unwritable)?;
        file.rewind().map_err(|error| Error::system("read a Parquet file back", error))?;
        Ok(file)
    }
}

fn unwritable(error: ::parquet::errors::ParquetError) -> Error {
    Error::system("write a Parquet file", error)
}
