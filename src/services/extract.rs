//! Extract: CSV, JSON lines or Parquet from S3 or from this machine, packed or not, into the stage.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use chrono::DateTime;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::reading::{HashWriter, Stoppable, printable, read_error, split_error};
use super::sent::Sent;
use super::staging::{create_tables, stage_records};
use super::{Extracted, Extractor};
use crate::data_access::archive::{Tee, unpacked};
use crate::data_access::csv::{Record, Records};
use crate::data_access::duckdb::{Stage, blocking};
use crate::data_access::json_lines::{JsonLines, Others};
use crate::data_access::parquet::ParquetRecords;
use crate::data_access::s3::ObjectStore;
use crate::domain::expression::nearest;
use crate::domain::manifest::manifest_key;
use crate::domain::object::LOCAL_BUCKET;
use crate::domain::{Dataset, Location, ObjectVersion};
use crate::error::{Error, ErrorKind, Reason, Result};

/// The columns of a rejects file by which a record is known again. Names that begin with `_` are ours.
const LOAD_COLUMN: &str = "_load_id";
const RECORD_COLUMN: &str = "_record";

/// A longer manifest is cut, and then cannot be read.
const LONGEST_MANIFEST: u64 = 1024 * 1024;

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

    async fn manifest(&self, object: &ObjectVersion) -> Result<Option<Vec<u8>>> {
        let Some(key) = manifest_key(object) else { return Ok(None) };
        if !object.local {
            return self.store.small_object(&object.bucket, &key, LONGEST_MANIFEST).await;
        }
        let path = PathBuf::from(key.as_str());
        blocking(move || match File::open(&path).and_then(|file| read_at_most(file, LONGEST_MANIFEST)) {
            Ok(bytes) => Ok(Some(bytes)),
            // A name may leave no room for the suffix of a manifest.
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidFilename) =>
            {
                Ok(None)
            }
            Err(error) => Err(file_error(&path, error)),
        })
        .await
    }

    async fn extract(&self, object: &ObjectVersion, dataset: &Dataset, stage: &Arc<Stage>) -> Result<Extracted> {
        let (name, dataset, stage) = (object.display_name(), dataset.clone(), Arc::clone(stage));
        let form = (self.form, self.convert);
        let key = object.key.to_string();
        let local = object.local;
        let staged = move |body: &mut (dyn Read + Send)| match dataset.source_for(&key, local) {
            Some(source) => {
                let part = "";
                Sent { name: &name, key: &key, part, dataset: &dataset, source, stage: &stage }.stage_file(body)
            }
            None => stage_file(body, form, &name, &dataset, &stage),
        };
        let name = object.display_name();
        if object.local {
            let (path, version) = (PathBuf::from(object.key.as_str()), object.version.clone());
            return blocking(move || {
                let mut file = File::open(&path).map_err(|error| file_error(&path, error))?;
                let extracted = staged(&mut file)?;
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
            let extracted = staged(&mut body)?;
            Ok(Extracted { modified: body.modified(), ..extracted })
        })
        .await
    }
}

fn read_at_most(file: File, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn identify_file(path: &Path) -> Result<ObjectVersion> {
    let failed = |error| file_error(path, error);
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

fn file_error(path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::File(Reason::NotFound),
        std::io::ErrorKind::PermissionDenied => ErrorKind::File(Reason::Forbidden),
        _ => ErrorKind::System,
    };
    Error::with_source(kind, format!("{}: cannot be read", path.display()), error)
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
        let Some(mut plain) = unpacked(&mut source).map_err(|error| read_error(name, error))? else {
            return Err(empty());
        };
        if let Some(convert) = convert {
            plain = convert(plain, dataset).map_err(|error| read_error(name, error))?;
        }
        let (mut others, null) = (Others::default(), dataset.null_values.first().map_or("", String::as_str));
        if form != Form::Csv && dataset.null_values.is_empty() {
            let name = &dataset.name;
            return Err(Error::configuration(format!(
                "dataset {name}: its files have nulls; give null_values one text, which no cell is then"
            )));
        }
        if form == Form::Parquet {
            let copy = stage.unnamed_file()?;
            let rows = ParquetRecords::new(&mut Stoppable(plain, stage), copy, name, &dataset.columns, null);
            let (rows, unknown) = rows.map_err(|error| read_error(name, error))?;
            others = Others::new(unknown.into_iter().collect::<BTreeSet<_>>().into());
            plain = Box::new(rows);
        } else if form == Form::JsonLines {
            let columns = dataset.columns.iter().map(|column| column.name.clone()).collect();
            let lines = JsonLines::new(plain, name, columns, null).map_err(|error| read_error(name, error))?;
            others = lines.others();
            plain = Box::new(lines);
        }
        let mut records = Records::new(Tee::new(plain, &mut spool)).map_err(|error| read_error(name, error))?;
        let Some(header) = records.next_record().map_err(|error| split_error(name, error))? else {
            return Err(empty());
        };
        let header = Header { form, ..Header::read(name, &header, dataset)? };
        create_tables(dataset, stage)?;
        let (read, sums) = stage_records(records, &header, dataset, name, stage)?;
        let others = others.lock().unwrap_or_else(PoisonError::into_inner);
        let others =
            others.iter().filter(|name| !dataset.ignored.contains(name)).map(|name| printable(name.as_bytes()));
        Extracted {
            read,
            form,
            header: header.raw,
            width: header.width,
            positions: header.positions,
            extra_columns: header.extra.into_iter().chain(others).collect(),
            mends: header.mends.is_some(),
            sums,
            modified: None,
            sha256: String::new(),
            sent: None,
        }
    };
    // What lies behind the end of an archive is a part of the object, too.
    std::io::copy(&mut source, &mut std::io::sink()).map_err(|error| read_error(name, error))?;
    let extracted = Extracted { sha256: hex::encode(hash.0.finalize()), ..extracted };
    spool.flush().map_err(|error| Error::system("keep a copy of the file", error))?;
    Ok(extracted)
}

/// Where each column of the dataset stands in the file.
pub(super) struct Header {
    raw: Vec<u8>,
    pub(super) width: usize,
    pub(super) positions: Vec<usize>,
    extra: Vec<String>,
    /// Where `_load_id` and `_record` stand, which say what a record is to mend.
    pub(super) mends: Option<(usize, usize)>,
    pub(super) form: Form,
}

impl Header {
    fn read(file: &str, record: &Record<'_>, dataset: &Dataset) -> Result<Self> {
        let place = format!("{file} line {}", record.line);
        let mut names: Vec<&str> = Vec::new();
        let mut seen = HashSet::new();
        for field in record.fields() {
            let name = std::str::from_utf8(field).ok().filter(|name| !name.contains('\0')).ok_or_else(|| {
                let message =
                    format!("{place}: the header has a NUL or bytes that are not UTF-8; save the file as UTF-8");
                Error::file(Reason::Malformed, message)
            })?;
            // Spreadsheets leave columns without a name behind the last one; they are as good as absent. Ours come twice
            // where a rejects file was rejected.
            if !name.is_empty() && !name.starts_with('_') && !seen.insert(name) {
                return Err(Error::file(
                    Reason::DuplicateColumn,
                    format!("{place}: the header names column {name} twice; remove or rename one"),
                ));
            }
            names.push(name);
        }
        let mut positions = Vec::new();
        let mut missing = Vec::new();
        for column in &dataset.columns {
            match names.iter().position(|name| *name == column.name) {
                Some(position) => positions.push(position),
                None => missing.push(column.name.as_str()),
            }
        }
        if positions.is_empty() {
            let columns: Vec<&str> = dataset.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(Error::file(
                Reason::MissingColumn,
                format!(
                    "{place}: none of the columns of dataset {} is named; is the header missing? it needs {}",
                    dataset.name,
                    columns.join(", ")
                ),
            ));
        }
        if !missing.is_empty() {
            let likely: Vec<String> = missing
                .iter()
                .map(|column| match nearest(column, &names) {
                    Some(near) if dataset.column(near).is_none() => format!("{column} (is it {near:?}?)"),
                    _ => (*column).to_owned(),
                })
                .collect();
            return Err(Error::file(
                Reason::MissingColumn,
                format!("{place}: the header lacks column {}; add it", likely.join(", ")),
            ));
        }
        let extra = names
            .iter()
            .filter(|name| {
                !name.is_empty()
                    && dataset.column(name).is_none()
                    && !dataset.ignored.iter().any(|column| column == *name)
                    && !name.starts_with('_')
            })
            .map(|name| (*name).to_owned())
            .collect();
        let ours = |name: &str| names.iter().position(|known| *known == name);
        let mends = ours(LOAD_COLUMN).zip(ours(RECORD_COLUMN));
        Ok(Self { raw: record.raw.to_vec(), width: names.len(), positions, extra, mends, form: Form::Csv })
    }
}
