//! The rows of a Parquet file, of which a source reads the columns that it names: values with a type exactly, texts as texts.

use std::io;

use arrow::array::StringArray;
use arrow::datatypes::DataType;
use encoding_rs::UTF_8;

use super::Rows;
use super::file_format::{About, Asked, FileFormat, Input, Take};
use super::kept::kept_row;
use crate::data_access::csv::SplitError;
use crate::data_access::parquet::{Chunks, FileColumn, ParquetSource, cell};
use crate::domain::source::binding::header_name;
use crate::domain::source::cell_form::{CellKind, Value};
use crate::domain::source::layout::Format;
use crate::domain::source::model::{Origin, Source, SourceColumn};
use crate::domain::source::row::Row;
use crate::domain::types::{Options, registration, text};
use crate::domain::{Column, ColumnType};

/// Parquet.
pub struct ParquetFormat;

impl FileFormat for ParquetFormat {
    fn is_of(&self, declared: &Format) -> bool {
        matches!(declared, Format::Parquet)
    }

    fn needs_file(&self) -> bool {
        true
    }

    fn is_text(&self) -> bool {
        false
    }

    fn read(&self, file: Input<'_>, asked: &Asked<'_>, take: Take<'_>) -> io::Result<()> {
        let file = ParquetSource::of(file.file()?, asked.name)?;
        let mut rows = ParquetRows::new(file, asked.source, asked.columns)?;
        take(&mut rows, About { encoding: UTF_8, sheet: "" })
    }

    fn cut(&self, _: &Source, row: &mut Row) {
        kept_row(row);
    }
}

/// The rows of a Parquet file. The first one has the names of the columns.
pub struct ParquetRows {
    chunks: Chunks,
    names: Vec<String>,
    kinds: Vec<CellKind>,
    others: Vec<String>,
    is_begun: bool,
    chunk: Vec<StringArray>,
    /// How many rows the chunk has, and which is the next one.
    rows: usize,
    next: usize,
    line: i64,
}

impl ParquetRows {
    /// Begins to read the columns of `file` that a source reads, for a dataset with these columns.
    ///
    /// # Errors
    /// An [`Error`](crate::error::Error) inside if a column cannot be read without loss.
    pub fn new(file: ParquetSource, source: &Source, dataset: &[Column]) -> io::Result<Self> {
        let (schema, members) = (file.schema(), source.members());
        let (mut columns, mut names, mut kinds, mut others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (root, field) in schema.fields().iter().enumerate() {
            let name = header_name(field.name());
            if !members.iter().any(|member| member.names.iter().any(|known| *known == name)) {
                others.push(field.name().clone());
                continue;
            }
            let (column, kind) = read_as(&file, root, field.data_type(), (&name, source, dataset))?;
            columns.push(column);
            kinds.push(kind);
            names.push(name.into_owned());
        }
        let (chunk, rows, next, line) = (Vec::new(), 0, 0, 0);
        Ok(Self { chunks: file.chunks(columns)?, names, kinds, others, is_begun: false, chunk, rows, next, line })
    }
}

/// How a column of the file is read, and what its cells are.
fn read_as(
    file: &ParquetSource,
    root: usize,
    has: &DataType,
    (name, source, dataset): (&str, &Source, &[Column]),
) -> io::Result<(FileColumn, CellKind)> {
    let is_read = |column: &SourceColumn| match &column.origin {
        Origin::Header { header, .. } => header.names.iter().any(|known| header_name(known) == name),
        _ => false,
    };
    // The columns that read it, with those of the dataset.
    let readers: Vec<(&SourceColumn, &Column)> = source
        .columns
        .iter()
        .filter(|column| is_read(column))
        .filter_map(|reader| Some((reader, dataset.iter().find(|column| column.name == reader.name)?)))
        .collect();
    let is_time = |(reader, _): &(&SourceColumn, &Column)| matches!(reader.form.value, Value::Time(_));
    let local = matches!(has, DataType::Timestamp(_, None)) && !file.is_int96(root);
    let kind = match has {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => CellKind::Text,
        DataType::Timestamp(..) if local && readers.iter().any(is_time) => CellKind::Moment,
        DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => CellKind::Typed,
        _ => CellKind::Literal,
    };
    // Numbers may count time, and what is mapped, joined or computed from is printed as it is. Anything else has to be a value already.
    let needs_value = |(reader, _): &&(&SourceColumn, &Column)| match reader.form.value {
        Value::Plain | Value::Json | Value::Number(_) => true,
        Value::Time(_) | Value::Epoch(_) => kind == CellKind::Typed,
        _ => false,
    };
    let takes = |(_, own): &&(&SourceColumn, &Column)| own.kind.takes(has);
    let refused = readers.iter().find(|reader| needs_value(reader) && !takes(reader));
    let read = match (kind, refused.or_else(|| readers.iter().find(takes))) {
        (CellKind::Text, _) => text(),
        (CellKind::Moment, _) => of_type("local_timestamp"),
        (_, Some((_, own))) => own.kind.clone(),
        (_, None) => natural(has, local).unwrap_or_else(text),
    };
    Ok((file.column(root, name, &read)?, kind))
}

/// The type that holds what a column has.
fn natural(has: &DataType, is_local: bool) -> Option<ColumnType> {
    Some(match has {
        DataType::Date32 => of_type("date"),
        DataType::Time32(_) | DataType::Time64(_) => of_type("time"),
        DataType::Timestamp(..) if is_local => of_type("local_timestamp"),
        DataType::Timestamp(..) => of_type("timestamp"),
        DataType::Boolean => of_type("boolean"),
        DataType::Float32 | DataType::Float64 => of_type("double"),
        has if text().takes(has) => text(),
        _ => return None,
    })
}

/// A type without options.
fn of_type(name: &str) -> ColumnType {
    registration(name).and_then(|registered| registered.kind(&Options::default())).unwrap_or_else(|_| text())
}

impl Rows for ParquetRows {
    fn read(&mut self, row: &mut Row) -> Result<bool, SplitError> {
        if !std::mem::replace(&mut self.is_begun, true) {
            row.begin(1, 0);
            self.names.iter().for_each(|name| row.push_cell(name, CellKind::Text));
            return Ok(true);
        }
        while self.next == self.rows {
            let Some((rows, chunk)) = self.chunks.next_cells()? else { return Ok(false) };
            (self.rows, self.chunk, self.next) = (rows, chunk, 0);
        }
        self.line += 1;
        row.begin(self.line, 0);
        for (column, kind) in self.chunk.iter().zip(&self.kinds) {
            match cell(column, self.next) {
                Some(text) => row.push_cell(text, *kind),
                None => row.push_cell("", CellKind::Null),
            }
        }
        self.next += 1;
        Ok(true)
    }

    fn others(&self) -> Vec<String> {
        self.others.clone()
    }
}
