//! Extract: CSV, JSON lines or Parquet from S3 or from this machine, packed or not, into the stage.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::header::Header;
use super::local::unreadable;
use super::object_parts::ObjectCopy;
use super::plain::{PlainFile, Reader};
use super::reading::{HashWriter, Stoppable, empty, malformed, read_error, split_error, unread};
use super::sent::{Sent, reads_file};
use super::sent_again::{Beginning, Rejects};
use super::sent_sheet::RejectsSheet;
use super::staging::{create_tables, stage_records};
use super::{Extracted, Extractor, manifests};
use crate::data_access::ahead::read_ahead;
use crate::data_access::archive::{Tee, Unpacked, unpacked};
use crate::data_access::csv::Records;
use crate::data_access::duckdb::{Stage, blocking};
use crate::data_access::kept::Original;
use crate::data_access::s3::ObjectStore;
use crate::data_access::sent::file_format::Input;
use crate::domain::object::LOCAL_BUCKET;
use crate::domain::source::layout::Format;
use crate::domain::source::model::Source;
use crate::domain::{Dataset, Location, ObjectKey, ObjectVersion};
use crate::error::{Error, ErrorKind, Reason, Result};

pub use super::form::Form;
pub use super::plain::Convert;

/// The parts `s3_csv`, `s3_json_lines` and `s3_parquet`.
pub struct FileExtractor {
    store: Arc<ObjectStore>,
    reader: Reader,
}

impl FileExtractor {
    /// Reads objects of one form from `store`.
    #[must_use]
    pub fn new(store: Arc<ObjectStore>, form: Form) -> Self {
        Self { store, reader: Reader::Ours(form) }
    }

    /// Reads objects of another form from `store`: `convert` gets the uncompressed bytes of a file, its key, and its dataset, and returns CSV.
    /// Violations then say the line of that CSV. A part can be tried on a file, without any server:
    ///
    /// ```
    /// use std::io::{Cursor, Read};
    /// use std::sync::Arc;
    ///
    /// use small_etl::{Datasets, Error, FileExtractor, Location, Parts, PipelineChoice, StageOptions, Stages, Surroundings};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> small_etl::Result<()> {
    /// // Files whose columns are separated by bars, and which lack a header.
    /// let parts = Parts::default().with_extractor("bars", |settings| {
    ///     settings.no_options()?;
    ///     Ok(Arc::new(FileExtractor::converting(settings.store(), |mut file, _key, dataset| {
    ///         let names: Vec<&str> = dataset.columns.iter().map(|column| column.name.as_str()).collect();
    ///         let mut text = names.join(",") + "\n";
    ///         file.read_to_string(&mut text)?; // A real one converts as it reads: files may be large.
    ///         Ok(Box::new(Cursor::new(text.replace('|', ","))))
    ///     })))
    /// });
    /// let datasets = Datasets::parse([("price.toml", r#"
    ///     name = "price"
    ///     table = "price"
    ///     key = "code"
    ///     version = "seen_at"
    ///     files = ["prices/*"]
    ///     column = [
    ///         { name = "code", type = "text", required = true },
    ///         { name = "seen_at", type = "timestamp", required = true },
    ///     ]
    /// "#)]).map_err(Error::configuration)?;
    /// let settings = r#"{"extractor": [{"type": "bars"}]}"#;
    /// let choice: PipelineChoice = serde_json::from_str(settings).expect("valid settings");
    /// let pipeline = parts.pipeline("price", &choice, &Surroundings::default())?;
    ///
    /// let file = std::env::temp_dir().join(format!("{}.txt", std::process::id()));
    /// std::fs::write(&file, "600000|2026-01-02T03:04:05\n600001|yesterday\n").expect("write a file");
    /// let place = Location::File(file);
    /// let extractor = pipeline.extractor_at(&place)?;
    /// let object = extractor.identify(&place).await?;
    /// let options = StageOptions { memory_limit_mb: 200, threads: 1, temp_folder: None };
    /// let stage = Arc::new(Stages::new(options).open(Arc::default())?);
    /// let dataset = datasets.get("price").map_err(Error::configuration)?;
    /// assert_eq!(extractor.extract(&object, dataset, &stage).await?.read, 2);
    /// let validated = pipeline.validate(dataset, &stage).await?;
    /// assert_eq!((validated.accepted, validated.rejected), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn converting<C>(store: Arc<ObjectStore>, convert: C) -> Self
    where
        C: for<'a> Fn(Box<dyn Read + Send + 'a>, &str, &Dataset) -> io::Result<Box<dyn Read + Send + 'a>>
            + Send
            + Sync
            + 'static,
    {
        Self { store, reader: Reader::Converted(Arc::new(convert)) }
    }
}

#[async_trait]
impl Extractor for FileExtractor {
    async fn identify(&self, location: &Location) -> Result<ObjectVersion> {
        match location {
            Location::File(path) => {
                let path = path.clone();
                blocking(move || {
                    let found = find_file(&path)?;
                    Ok(ObjectVersion { version: hash_file(&path)?, ..found })
                })
                .await
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

    async fn find(&self, location: &Location) -> Result<ObjectVersion> {
        match location {
            Location::File(path) => {
                let path = path.clone();
                blocking(move || find_file(&path)).await
            }
            Location::S3 { .. } => self.identify(location).await,
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

    async fn manifests(&self, object: &ObjectVersion, run: i32) -> Result<Vec<Vec<u8>>> {
        manifests::beside(&self.store, object, run).await
    }

    async fn extract(&self, object: &ObjectVersion, dataset: &Dataset, stage: &Arc<Stage>) -> Result<Extracted> {
        self.read(object, dataset, None, "", stage).await
    }

    async fn extract_sent(
        &self,
        object: &ObjectVersion,
        dataset: &Dataset,
        source: &Source,
        part: &str,
        stage: &Arc<Stage>,
    ) -> Result<Extracted> {
        self.read(object, dataset, Some(source), part, stage).await
    }

    async fn keep(&self, object: &ObjectVersion, folder: &Path, stage: &Arc<Stage>) -> Result<ObjectCopy> {
        let (name, folder, stage) = (object.display_name(), folder.to_owned(), Arc::clone(stage));
        if object.local {
            let (path, version) = (PathBuf::from(object.key.as_str()), object.version.clone());
            return blocking(move || {
                let mut file = File::open(&path).map_err(|error| unreadable(&path, error))?;
                let copy = ObjectCopy::of(&mut file, &name, &folder, &stage)?;
                if version.is_empty() || copy.sha256() == version { Ok(copy) } else { Err(changed(&name)) }
            })
            .await;
        }
        let mut body = self.store.body(object).await;
        blocking(move || {
            let copy = ObjectCopy::of(&mut body, &name, &folder, &stage)?;
            Ok(copy.written(body.modified()))
        })
        .await
    }
}

fn changed(name: &str) -> Error {
    Error::file(Reason::Superseded, format!("{name}: the file was changed while it was read; load it again"))
}

impl FileExtractor {
    /// Reads a part of a file as `source` describes it, or a file in the plain form.
    async fn read(
        &self,
        object: &ObjectVersion,
        dataset: &Dataset,
        source: Option<&Source>,
        part: &str,
        stage: &Arc<Stage>,
    ) -> Result<Extracted> {
        let (name, key, part) = (object.display_name(), object.key.to_string(), part.to_owned());
        let (dataset, source, stage) = (dataset.clone(), source.cloned(), Arc::clone(stage));
        let reader = self.reader.clone();
        let staged = move |body: &mut (dyn Read + Send), original: Option<&Original>| {
            let (dataset, stage) = (&dataset, &*stage);
            let file = Sent { name: &name, key: &key, part: &part, dataset, stage, original };
            stage_file(body, &reader, &file, source.as_ref())
        };
        if object.local {
            let (name, path, version) =
                (object.display_name(), PathBuf::from(object.key.as_str()), object.version.clone());
            return blocking(move || {
                let unreadable = |error| unreadable(&path, error);
                let mut file = File::open(&path).map_err(unreadable)?;
                if version.is_empty() {
                    let original = Original::of(&path, &file).map_err(unreadable)?;
                    let extracted = staged(&mut file, Some(&original))?;
                    return original.check(&file).map(|()| extracted);
                }
                let extracted = staged(&mut file, None)?;
                if extracted.sha256 == version { Ok(extracted) } else { Err(changed(&name)) }
            })
            .await;
        }
        let mut body = self.store.body(object).await;
        blocking(move || {
            let extracted = staged(&mut body, None)?;
            Ok(Extracted { modified: body.modified(), ..extracted })
        })
        .await
    }
}

/// What is known of a file without reading it.
fn find_file(path: &Path) -> Result<ObjectVersion> {
    let failed = |error| unreadable(path, error);
    let absolute = path.canonicalize().map_err(failed)?;
    let about = File::open(&absolute).and_then(|file| file.metadata()).map_err(failed)?;
    Ok(ObjectVersion {
        bucket: LOCAL_BUCKET.into(),
        key: ObjectKey::of_path(&absolute),
        version: String::new(),
        version_id: None,
        size: Some(about.len()),
        sequencer: None,
        modified: about.modified().ok().map(DateTime::from),
        local: true,
    })
}

/// The SHA-256 of a file, in hexadecimal digits.
fn hash_file(path: &Path) -> Result<String> {
    let mut hash = HashWriter(Sha256::new());
    File::open(path).and_then(|mut file| io::copy(&mut file, &mut hash)).map_err(|error| unreadable(path, error))?;
    Ok(hex::encode(hash.0.finalize()))
}

/// Streams a file into the stage, as `source` describes it, or in the plain form.
fn stage_file(body: impl Read + Send, reader: &Reader, file: &Sent<'_>, source: Option<&Source>) -> Result<Extracted> {
    let (name, dataset) = (file.name, file.dataset);
    let mut hash = HashWriter(Sha256::new());
    let mut body = Tee::new(body, &mut hash);
    let extracted = {
        let Some(content) = unpacked(&mut body, name).map_err(|error| read_error(name, error))? else {
            return Err(empty(name));
        };
        let file = Sent { original: file.original.filter(|_| !content.packed), ..*file };
        if dataset.sources.is_empty() {
            stage_plain(content, reader, &file)?
        } else {
            stage_declared(content, reader, &file, source)?
        }
    };
    // What follows the end of an archive is a part of the object, too.
    io::copy(&mut body, &mut io::sink()).map_err(|error| read_error(name, error))?;
    Ok(Extracted { sha256: hex::encode(hash.0.finalize()), ..extracted })
}

/// Streams a file of a dataset with sources into the stage.
fn stage_declared(
    content: Unpacked<'_>,
    reader: &Reader,
    file: &Sent<'_>,
    source: Option<&Source>,
) -> Result<Extracted> {
    let (name, dataset) = (file.name, file.dataset);
    let Unpacked { plain, packed, unread: archive } = content;
    let (beginning, mut plain) = Beginning::of(plain).map_err(|error| read_error(name, error))?;
    if beginning.is_zip() && dataset.sources.iter().any(|source| matches!(source.format, Format::Workbook(_))) {
        let mut kept = file.copy(plain)?;
        if let Some(sheet) = RejectsSheet::of(&kept) {
            let rejects = sheet.rejects(dataset).map_err(|message| malformed(name, &message))?;
            return file.stage_again(Input::File(kept), &rejects);
        }
        kept.rewind().map_err(|error| Error::system("read a copy of the file", error))?;
        if let Some(source) = source.filter(|source| reads_file(source)) {
            return file.stage_kept(kept, source);
        }
        plain = Box::new(kept);
    }
    let content = Unpacked { plain, packed, unread: archive };
    match (beginning.rejects(dataset).map_err(|message| malformed(name, &message))?, source) {
        (Some(Rejects::Sent(rejects)), _) => file.stage_again(Input::Stream(content.plain), &rejects),
        (None, Some(source)) => file.stage(content, source),
        (None, None) if !dataset.has_plain_files() => {
            let names: Vec<&str> = dataset.sources.iter().map(|source| source.name.as_str()).collect();
            let message = format!(
                "{name}: no source of dataset {} claims this path; name one with --source: {}",
                dataset.name,
                names.join(", ")
            );
            Err(Error::configuration(message))
        }
        (Some(Rejects::Plain), _) | (None, None) => stage_plain(content, reader, file),
    }
}

fn stage_plain(content: Unpacked<'_>, reader: &Reader, file: &Sent<'_>) -> Result<Extracted> {
    let Sent { name, key, dataset, stage, .. } = *file;
    if let Some(archive) = content.unread.filter(|_| !reader.reads_archives()) {
        return Err(unread(name, archive));
    }
    let form = reader.form();
    let mut copy = file.kept(reader.reads_csv())?;
    let (plain, unnamed) = reader.as_csv(content.plain, PlainFile { name, key, dataset, stage })?.parts();
    let (header, (read, sums)) = read_ahead(Tee::new(Stoppable(plain, stage), &mut copy), |plain| {
        let mut records = Records::new(plain).map_err(|error| read_error(name, error))?;
        let Some(header) = records.header().map_err(|error| split_error(name, error))? else {
            return Err(empty(name));
        };
        let header = Header { form, ..Header::read(name, &header, dataset)? };
        create_tables(dataset, stage)?;
        let staged = stage_records(records, &header, dataset, name, stage)?;
        Ok((header, staged))
    })?;
    let extracted = Extracted {
        read,
        form,
        header: header.raw,
        width: header.width,
        positions: header.positions,
        extra_columns: [header.extra, unnamed.names(dataset)].concat(),
        mends: header.mends.is_some(),
        sums,
        modified: None,
        sha256: String::new(),
        sent: None,
    };
    copy.flush().map_err(|error| Error::system("keep a copy of the file", error))?;
    Ok(extracted)
}
