//! Extract: CSV, JSON lines or Parquet from S3 or from this machine, packed or not, into the stage.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::header::{Columns, Header, shown, too_long};
use super::local::unreadable;
use super::staging::{create_tables, stage_records};
use super::{Extracted, Extractor, Manifests, manifest};
use crate::data_access::archive::{Tee, unpacked};
use crate::data_access::csv::{LONGEST_HEADER, Records, SplitError};
use crate::data_access::duckdb::{Stage, blocking};
use crate::data_access::json_lines::{JsonLines, Others};
use crate::data_access::parquet::ParquetSource;
use crate::data_access::s3::{ObjectStore, into_error};
use crate::domain::object::LOCAL_BUCKET;
use crate::domain::{Dataset, Location, ObjectVersion};
use crate::error::{Error, ErrorKind, Reason, Result};

/// The parts `s3_csv`, `s3_json_lines` and `s3_parquet`.
pub struct FileExtractor {
    store: Arc<ObjectStore>,
    form: Form,
    convert: Option<Convert>,
}

/// Makes CSV of the plain bytes of a file: a header with the names of columns, then records. It may keep the bytes of a record or
/// two, not of the file. An [`Error`] inside of an I/O error stays what it is; any other says that the file is broken.
pub type Convert = for<'a> fn(Box<dyn Read + Send + 'a>, &Dataset) -> std::io::Result<Box<dyn Read + Send + 'a>>;

/// What a file consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A header and records.
    #[default]
    Csv,
    /// An object in each line.
    JsonLines,
    /// Columns, written in pages. Settings choose it by the part that reads or writes it.
    #[serde(skip)]
    Parquet,
}

impl Form {
    /// What keys end with.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Parquet => "parquet",
        }
    }

    /// What S3 calls it.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::JsonLines => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

impl FileExtractor {
    /// Reads objects of one form from `store`.
    #[must_use]
    pub fn new(store: Arc<ObjectStore>, form: Form) -> Self {
        Self { store, form, convert: None }
    }

    /// Reads objects of another form from `store`. Violations then say the line of the CSV that `convert` makes.
    #[must_use]
    pub fn converting(store: Arc<ObjectStore>, convert: Convert) -> Self {
        Self { store, form: Form::Csv, convert: Some(convert) }
    }
}

#[async_trait]
impl Extractor for FileExtractor {
    async fn identify(&self, location: &Location) -> Result<ObjectVersion> {
        match location {
            Location::File(path) => {
                let path = path.clone();
                blocking(move || identify_file(&path)).await
            }
            Location::S3 { bucket, key, version_id, etag, size, sequencer, modified } => {
                // S3 calls a version "null", whatever its content, that came while the bucket kept none.
                let own = version_id.clone().filter(|id| id != "null");
                let Some(version) = own.or_else(|| etag.clone()) else {
                    let found = self.store.head(bucket, key, version_id.as_deref()).await?;
                    return Ok(ObjectVersion { sequencer: sequencer.clone(), ..found });
                };
                let (bucket, key, version_id) = (bucket.clone(), key.clone(), version_id.clone());
                let (sequencer, size, modified) = (sequencer.clone(), *size, *modified);
                Ok(ObjectVersion { bucket, key, version, version_id, size, sequencer, modified, local: false })
            }
        }
    }

    async fn written_at(&self, object: &ObjectVersion) -> Result<Option<DateTime<Utc>>> {
        if object.local || object.modified.is_some() || object.version.is_empty() {
            return Ok(object.modified);
        }
        match self.store.head(&object.bucket, &object.key, object.version_id.as_deref()).await {
            // What has replaced it was written later.
            Ok(found) => Ok(found.modified.filter(|_| found.version == object.version)),
            // Reading it ends in the same way, and says so in the ledger.
            Err(error) if matches!(error.kind(), ErrorKind::File(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn manifests(&self, object: &ObjectVersion, run: i32) -> Result<Manifests> {
        manifest::beside(&self.store, object, run).await
    }

    async fn extract(&self, object: &ObjectVersion, dataset: &Dataset, stage: &Arc<Stage>) -> Result<Extracted> {
        let (name, dataset, stage) = (object.display_name(), dataset.clone(), Arc::clone(stage));
        let form = (self.form, self.convert);
        if object.local {
            let (path, version) = (PathBuf::from(object.key.as_str()), object.version.clone());
            return blocking(move || {
                let file = File::open(&path).map_err(|error| unreadable(&path, error))?;
                let extracted = stage_file(file, form, &name, &dataset, &stage)?;
                if extracted.sha256 != version && !version.is_empty() {
                    let message = format!("{name}: the file was changed while it was read; load it again");
                    return Err(Error::file(Reason::Superseded, message));
                }
                Ok(extracted)
            })
            .await;
        }
        let mut body = self.store.body(object).await;
        blocking(move || {
            let extracted = stage_file(&mut body, form, &name, &dataset, &stage)?;
            Ok(Extracted { modified: body.modified(), ..extracted })
        })
        .await
    }
}

fn identify_file(path: &Path) -> Result<ObjectVersion> {
    let failed = |error| unreadable(path, error);
    let absolute = path.canonicalize().map_err(failed)?;
    let mut file = File::open(&absolute).map_err(failed)?;
    let modified = file.metadata().and_then(|file| file.modified()).ok().map(DateTime::from);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1024 * 1024];
    let mut size = 0;
    loop {
        let length = file.read(&mut buffer).map_err(failed)?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
        size += length as u64;
    }
    let version = hex::encode(hash.finalize());
    Ok(ObjectVersion {
        bucket: LOCAL_BUCKET.into(),
        key: absolute.to_string_lossy().into_owned().into(),
        version,
        version_id: None,
        size: Some(size),
        sequencer: None,
        modified,
        local: true,
    })
}

/// Streams `source` into the stage; `name` is the file's, for messages.
fn stage_file(
    source: impl Read + Send,
    (form, convert): (Form, Option<Convert>),
    name: &str,
    dataset: &Dataset,
    stage: &Stage,
) -> Result<Extracted> {
    let spool = File::create(stage.spool()).map_err(|error| Error::system("keep a copy of the file", error))?;
    let mut spool = BufWriter::with_capacity(1024 * 1024, spool);
    let mut hash = HashWriter(Sha256::new());
    let mut source = Tee::new(source, &mut hash);
    let empty = || Error::file(Reason::Empty, format!("{name}: the file is empty; not even a header is there"));
    let extracted = {
        let Some(content) = unpacked(&mut source, name).map_err(|error| read_error(name, error))? else {
            return Err(empty());
        };
        if let (Some(archive), None) = (content.unread, convert) {
            let message = format!(
                "{name}: this is {archive}, which is not unpacked; pack the file with gzip or zstd, or not at all"
            );
            return Err(Error::file(Reason::Malformed, message));
        }
        let AsCsv { plain, extra, others } = as_csv(content.plain, (form, convert), name, dataset, stage)?;
        let plain = Tee::new(Stoppable(plain, stage), &mut spool);
        let mut records = Records::new(plain).map_err(|error| read_error(name, error))?;
        let Some(header) = records.header().map_err(|error| split_error(name, error))? else {
            return Err(empty());
        };
        let header = Header { form, ..Header::read(name, &header, dataset)? };
        create_tables(dataset, stage)?;
        let (read, sums) = stage_records(records, &header, dataset, name, stage)?;
        Extracted {
            read,
            form,
            header: header.raw,
            width: header.width,
            positions: header.positions,
            extra_columns: [header.extra, extra, others.map_or_else(Vec::new, |others| names(&others, dataset))]
                .concat(),
            mends: header.mends.is_some(),
            sums,
            modified: None,
            sha256: String::new(),
        }
    };
    // What follows the end of an archive is a part of the object, too.
    std::io::copy(&mut source, &mut std::io::sink()).map_err(|error| read_error(name, error))?;
    let extracted = Extracted { sha256: hex::encode(hash.0.finalize()), ..extracted };
    spool.flush().map_err(|error| Error::system("keep a copy of the file", error))?;
    Ok(extracted)
}

/// A file as CSV.
struct AsCsv<'a> {
    plain: Box<dyn Read + Send + 'a>,
    /// Columns that its header does not name, since the dataset does not declare them.
    extra: Vec<String>,
    /// The same, where they are known only once everything is read.
    others: Option<Others>,
}

fn as_csv<'a>(
    plain: Box<dyn Read + Send + 'a>,
    (form, convert): (Form, Option<Convert>),
    name: &str,
    dataset: &Dataset,
    stage: &'a Stage,
) -> Result<AsCsv<'a>> {
    let unreadable = |error| read_error(name, error);
    let plain = match convert {
        Some(convert) => convert(plain, dataset).map_err(unreadable)?,
        None => plain,
    };
    if form == Form::Csv {
        return Ok(AsCsv { plain, extra: Vec::new(), others: None });
    }
    let Some(null) = dataset.null_values.first() else {
        let name = &dataset.name;
        return Err(Error::configuration(format!(
            "dataset {name}: its files have nulls; give null_values one text, which no cell is then"
        )));
    };
    if form == Form::JsonLines {
        let lines = JsonLines::new(plain, name, dataset.file_columns(), null).map_err(unreadable)?;
        let others = Some(lines.others());
        return Ok(AsCsv { plain: Box::new(lines), extra: Vec::new(), others });
    }
    let copy = stage.unnamed_file()?;
    let file = ParquetSource::open(&mut Stoppable(plain, stage), copy, name).map_err(unreadable)?;
    let Columns { extra, .. } = Columns::find(name, &file.names(), dataset, form)?;
    let rows = file.records(dataset.file_columns(), null).map_err(unreadable)?;
    Ok(AsCsv { plain: Box::new(rows), extra, others: None })
}

/// Names of members that no column has, as they may be shown.
fn names(others: &Others, dataset: &Dataset) -> Vec<String> {
    let others = others.lock().unwrap_or_else(PoisonError::into_inner);
    let names = others.names.iter().filter(|name| !dataset.ignored.contains(name)).map(|name| shown(name));
    names.chain(others.more.then(|| "and more".to_owned())).collect()
}

/// Ends when nobody wants the file any more.
struct Stoppable<'a, R>(R, &'a Stage);

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.1.is_cancelled() {
            return Err(std::io::Error::other(Error::new(ErrorKind::LeaseLost, "staging was cancelled")));
        }
        self.0.read(buffer)
    }
}

struct HashWriter(Sha256);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The text of a cell; bytes that are not UTF-8 and NULs are escaped so that a person can read them.
pub(super) fn printable(cell: &[u8]) -> String {
    let mut text = String::with_capacity(cell.len());
    for chunk in cell.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\0', "\\x00"));
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// An I/O error is either the transport's, and then an [`Error`] lies inside, or the archive is broken.
fn read_error(file: &str, error: std::io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return Error::system(format!("{file}: read it, or write the copy in the temporary folder"), error);
    }
    let text = error.to_string();
    into_error(error).unwrap_or_else(|| {
        let message = format!("{file}: the archive is broken or cut off ({text}); send it again");
        Error::file(Reason::Malformed, message)
    })
}

pub(super) fn split_error(file: &str, error: SplitError) -> Error {
    let malformed = |message: String| Error::file(Reason::Malformed, message);
    match error {
        SplitError::Read(error) => read_error(file, error),
        SplitError::OpenQuote(line) => malformed(format!(
            "{file} line {line}: a quote is opened here and never closed; close it, or double it if it is content"
        )),
        SplitError::TooLong(line, LONGEST_HEADER) => too_long(file, line),
        SplitError::TooLong(line, _) => malformed(format!(
            "{file} line {line}: the record that begins here is longer than 64 MiB; a quote was probably never closed"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(printable(b"a\xff\xfe\xc3\xa9"), "a\\xff\\xfeé");
        assert_eq!(printable(b"a\0b"), "a\\x00b");
    }
}
