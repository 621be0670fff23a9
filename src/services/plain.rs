//! Files in the plain form, of any format: each becomes CSV, which is then split and staged. Each format is one implementation of
//! [`PlainFormat`] and one line in [`Form::format`].

use std::io::{self, Read};
use std::sync::{Arc, PoisonError};

use super::form::Form;
use super::header::Columns;
use super::reading::{Stoppable, read_error, shown};
use crate::data_access::duckdb::Stage;
use crate::data_access::json_lines::{JsonLines, Others};
use crate::data_access::parquet::ParquetSource;
use crate::domain::Dataset;
use crate::error::{Error, Result};

/// Makes CSV of the plain bytes of the file with a key: a header with the names of columns, then records. It may keep the bytes of a
/// record or two, not of the file. An [`Error`] inside of an I/O error stays what it is; any other says that the file is broken.
pub type Convert =
    dyn for<'a> Fn(Box<dyn Read + Send + 'a>, &str, &Dataset) -> io::Result<Box<dyn Read + Send + 'a>> + Send + Sync;

impl Form {
    fn format(self) -> &'static dyn PlainFormat {
        match self {
            Self::Csv => &Csv,
            Self::JsonLines => &JsonLinesFile,
            Self::Parquet => &ParquetFile,
        }
    }

    /// What keys end with.
    #[must_use]
    pub fn extension(self) -> &'static str {
        self.format().extension()
    }

    /// What S3 calls it.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        self.format().media_type()
    }
}

/// A file in the plain form: what messages call it, and where it goes.
#[derive(Clone, Copy)]
pub(super) struct PlainFile<'a> {
    pub(super) name: &'a str,
    pub(super) key: &'a str,
    pub(super) dataset: &'a Dataset,
    pub(super) stage: &'a Stage,
}

/// A file as CSV.
pub(super) struct AsCsv<'a> {
    pub(super) plain: Box<dyn Read + Send + 'a>,
    /// Columns that its header does not name, since the dataset does not declare them.
    extra: Vec<String>,
    /// The same, where they are known only once everything is read.
    others: Option<Others>,
}

impl<'a> AsCsv<'a> {
    fn of(plain: Box<dyn Read + Send + 'a>) -> Self {
        Self { plain, extra: Vec::new(), others: None }
    }
}

/// The columns of a file that its header does not name, once everything is read.
pub(super) struct Unnamed(Vec<String>, Option<Others>);

impl Unnamed {
    pub(super) fn names(self, dataset: &Dataset) -> Vec<String> {
        let Self(mut names, others) = self;
        if let Some(others) = others {
            let others = others.lock().unwrap_or_else(PoisonError::into_inner);
            let unread = others.names.iter().filter(|name| !dataset.ignored.contains(name)).map(|name| shown(name));
            names.extend(unread.chain(others.more.then(|| "and more".to_owned())));
        }
        names
    }
}

impl<'a> AsCsv<'a> {
    /// The CSV, and what its header does not say.
    pub(super) fn parts(self) -> (Box<dyn Read + Send + 'a>, Unnamed) {
        (self.plain, Unnamed(self.extra, self.others))
    }
}

/// How files are read.
#[derive(Clone)]
pub(super) enum Reader {
    /// As a format of ours.
    Ours(Form),
    /// As somebody's function says, which makes CSV of them.
    Converted(Arc<Convert>),
}

impl Reader {
    /// What violations call the places of records.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Ours(form) => *form,
            Self::Converted(_) => Form::Csv,
        }
    }

    /// Whether the bytes of a file are those of the CSV.
    pub(super) fn reads_csv(&self) -> bool {
        matches!(self, Self::Ours(Form::Csv))
    }

    /// Whether a file may be an archive that nobody unpacks.
    pub(super) fn reads_archives(&self) -> bool {
        matches!(self, Self::Converted(_))
    }

    /// Makes CSV of a file.
    pub(super) fn as_csv<'a>(&self, plain: Box<dyn Read + Send + 'a>, file: PlainFile<'a>) -> Result<AsCsv<'a>> {
        match self {
            Self::Ours(form) => form.format().as_csv(plain, file),
            Self::Converted(convert) => {
                Ok(AsCsv::of(convert(plain, file.key, file.dataset).map_err(|error| read_error(file.name, error))?))
            }
        }
    }
}

/// A format of files in the plain form.
trait PlainFormat: Sync {
    /// What keys end with.
    fn extension(&self) -> &'static str;

    /// What S3 calls it.
    fn media_type(&self) -> &'static str;

    /// Makes CSV of a file.
    fn as_csv<'a>(&self, plain: Box<dyn Read + Send + 'a>, file: PlainFile<'a>) -> Result<AsCsv<'a>>;
}

struct Csv;

impl PlainFormat for Csv {
    fn extension(&self) -> &'static str {
        "csv"
    }

    fn media_type(&self) -> &'static str {
        "text/csv; charset=utf-8"
    }

    fn as_csv<'a>(&self, plain: Box<dyn Read + Send + 'a>, _: PlainFile<'a>) -> Result<AsCsv<'a>> {
        Ok(AsCsv::of(plain))
    }
}

struct JsonLinesFile;

impl PlainFormat for JsonLinesFile {
    fn extension(&self) -> &'static str {
        "jsonl"
    }

    fn media_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn as_csv<'a>(&self, plain: Box<dyn Read + Send + 'a>, file: PlainFile<'a>) -> Result<AsCsv<'a>> {
        let PlainFile { name, dataset, .. } = file;
        let lines = JsonLines::new(plain, name, dataset.file_columns(), null_cell(dataset)?);
        let lines = lines.map_err(|error| read_error(name, error))?;
        let others = Some(lines.others());
        Ok(AsCsv { others, ..AsCsv::of(Box::new(lines)) })
    }
}

struct ParquetFile;

impl PlainFormat for ParquetFile {
    fn extension(&self) -> &'static str {
        "parquet"
    }

    fn media_type(&self) -> &'static str {
        "application/vnd.apache.parquet"
    }

    fn as_csv<'a>(&self, plain: Box<dyn Read + Send + 'a>, file: PlainFile<'a>) -> Result<AsCsv<'a>> {
        let PlainFile { name, dataset, stage, .. } = file;
        let (null, unreadable) = (null_cell(dataset)?, |error| read_error(name, error));
        let copy = stage.unnamed_file()?;
        let file = ParquetSource::open(&mut Stoppable(plain, stage), copy, name).map_err(unreadable)?;
        let Columns { extra, .. } = Columns::find(name, &file.names(), dataset, Form::Parquet)?;
        let rows = file.records(dataset.file_columns(), null).map_err(unreadable)?;
        Ok(AsCsv { extra, ..AsCsv::of(Box::new(rows)) })
    }
}

/// The cell that stands for null.
fn null_cell(dataset: &Dataset) -> Result<&str> {
    dataset.null_values.first().map(String::as_str).ok_or_else(|| {
        let name = &dataset.name;
        Error::configuration(format!(
            "dataset {name}: its files have nulls; give null_values one text, which no cell is then"
        ))
    })
}
