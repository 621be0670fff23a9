//! One verb each: extract, validate, load, analyse, reconcile, tidy, report.
//!
//! The first three are traits whose implementations are chosen by name ([`parts`]), so that more sources, rules and
//! sinks can be added, also from outside.

pub mod analyse;
pub mod bad_records;
pub(crate) mod checks;
pub(crate) mod content;
pub mod contract;
pub mod deadline;
pub mod extract;
mod form;
pub mod guess;
mod header;
pub mod http_source;
pub mod kafka_source;
pub mod lake;
pub mod landing;
pub mod load;
mod local;
pub mod manifests;
pub mod migrations;
pub mod object_parts;
mod part_settings;
pub mod parts;
pub mod places;
mod plain;
mod reading;
pub mod reconciliation;
pub mod reconciliation_page;
pub mod rejects_file;
pub mod rejects_writer;
mod replace;
pub mod report;
pub(crate) mod resubmissions;
pub mod retention;
mod sent;
mod sent_again;
mod sent_expressions;
mod sent_form;
mod sent_record;
mod sent_rejects;
mod sent_sheet;
mod slices;
mod staged;
mod staged_cells;
mod staged_places;
mod staging;
pub mod tidy;
mod tombstones;
pub mod totals;
pub mod validate;
mod waiting;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use deadline::Deadline;
pub use form::Form;
pub use object_parts::ObjectCopy;
pub use parts::{Parts, Pipeline};
pub use places::Places;
pub use sent::{SentFile, Total};
pub use staged::{good_rows, reject};

use crate::data_access::duckdb::Stage;
use crate::data_access::postgres::{Claim, Database, SeenFile};
use crate::domain::source::model::Source;
use crate::domain::types::ColumnSum;
use crate::domain::{Arrival, Dataset, Datasets, Location, ObjectVersion, RowRule};
use crate::error::{Error, Result};

/// Reads a file into the stage.
///
/// A source other than S3 may answer differently, or not at all, when it is asked again. So its files are first landed
/// in S3: an interrupted load, an explanation of a row and a replay of a rule then find the same bytes.
#[async_trait]
pub trait Extractor: Send + Sync {
    /// The prefix of the keys that this extractor reads if the settings name no files; `None` means all keys.
    fn prefix(&self) -> Option<&str> {
        None
    }

    /// Checks at the start of the program whether this extractor can read files of the dataset.
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    fn check(&self, _dataset: &Dataset) -> Result<()> {
        Ok(())
    }

    /// What lands data that is not in S3, for this extractor to read; `None` if it reads only what is there.
    fn lander(&self) -> Option<&dyn Lander> {
        None
    }

    /// Returns which version of the file is meant, without reading its content into the stage.
    ///
    /// # Errors
    /// `File(NotFound)` or `File(Forbidden)`, `Connection`.
    async fn identify(&self, location: &Location) -> Result<ObjectVersion>;

    /// Returns the same for a check that keeps nothing. The version is empty if only reading the whole file could tell it.
    ///
    /// # Errors
    /// Those of [`Extractor::identify`].
    async fn find(&self, location: &Location) -> Result<ObjectVersion> {
        self.identify(location).await
    }

    /// When this version of the file was written, if its place says so: where the order of arrival decides between rows, it is asked
    /// before the file is claimed.
    ///
    /// # Errors
    /// `Connection`, `Configuration`, `System`.
    async fn written_at(&self, object: &ObjectVersion) -> Result<Option<DateTime<Utc>>> {
        Ok(object.modified)
    }

    /// Returns the manifests of which one has to agree with this version of the file. `run` counts how often the version has been
    /// loaded again. A manifest longer than one megabyte is cut.
    ///
    /// # Errors
    /// `Connection`, `Configuration`, `System`.
    async fn manifests(&self, object: &ObjectVersion, run: i32) -> Result<Vec<Vec<u8>>>;

    /// Reads exactly that version into the stage, every declared column as values of its type. Records a violation for
    /// each cell that is not a value of its type, and keeps [`Stage::progress`] current.
    ///
    /// # Errors
    /// `File` if the file as a whole is unusable, `Connection`, `System`.
    async fn extract(&self, object: &ObjectVersion, dataset: &Dataset, stage: &Arc<Stage>) -> Result<Extracted>;

    /// Keeps a copy of exactly that version in `folder`, so that several parts of it can be read. It ends early when the stage is cancelled.
    ///
    /// # Errors
    /// Those of [`Extractor::extract`]; `Configuration` where it reads no parts.
    async fn keep(&self, object: &ObjectVersion, _folder: &Path, _stage: &Arc<Stage>) -> Result<ObjectCopy> {
        Err(Error::configuration(format!("{}: its extractor reads no parts of a file", object.key)))
    }

    /// The same of a file that is not in the plain form: reads the `part` of it (a member, a sheet, a section; empty for the whole) that
    /// `source` describes.
    ///
    /// # Errors
    /// Those of [`Extractor::extract`]; `Configuration` where it reads the plain form alone.
    async fn extract_sent(
        &self,
        _object: &ObjectVersion,
        dataset: &Dataset,
        source: &Source,
        _part: &str,
        _stage: &Arc<Stage>,
    ) -> Result<Extracted> {
        let (dataset, source) = (&dataset.name, &source.name);
        Err(Error::configuration(format!(
            "pipeline.{dataset}.extractor does not read declared sources such as {source:?}; take the one or the other out"
        )))
    }
}

/// Lands data that is not in S3 among the incoming files of a dataset.
#[async_trait]
pub trait Lander: Send + Sync {
    /// Whether it lands this arrival.
    fn takes(&self, arrival: &Arrival) -> bool;

    /// Puts what it [takes](Lander::takes) into S3, unless it is already there, and returns where.
    ///
    /// # Errors
    /// `Connection` if a retry may help, `Configuration`, `File(NotFound)`, `System`.
    async fn land(&self, arrival: &Arrival, dataset: &Dataset) -> Result<Vec<Location>>;
}

/// What is known of a file once it is in the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Records after the header, good or bad.
    pub read: i64,
    /// The format of the file.
    pub form: Form,
    /// The bytes of the header, without its line end.
    pub header: Vec<u8>,
    /// How many columns the header names.
    pub width: usize,
    /// The position of each column of the dataset in a record, from 0.
    pub positions: Vec<usize>,
    /// Columns that the dataset does not declare, in the order of the file.
    pub extra_columns: Vec<String>,
    /// Whether records may name the reject that they mend, as the records of a rejects file do.
    pub mends: bool,
    /// What was read in each column of the dataset; empty sums for columns that do not hold numbers.
    pub sums: Vec<ColumnSum>,
    /// When the file was written, if that is known.
    pub modified: Option<DateTime<Utc>>,
    /// The SHA-256 of the file as it was read, before unpacking, in hexadecimal digits.
    pub sha256: String,
    /// What its source says of it, where it is not in the plain form.
    pub sent: Option<Arc<SentFile>>,
}

impl Extracted {
    /// What the ledger keeps of the file.
    #[must_use]
    pub fn seen(&self) -> SeenFile<'_> {
        let sent = self.sent.as_deref();
        SeenFile {
            read: self.read,
            header: Some(&self.header),
            modified: self.modified,
            source: sent.map(|sent| sent.source.name.as_str()),
            around: sent.map(|sent| &sent.told),
            dropped: sent.map(|sent| &sent.dropped),
        }
    }
}

/// Finds rows that must not be loaded. The validators of a pipeline run one after another, each on the rows that are
/// still good. After the last one, one of several good rows with the same key is chosen.
///
/// A worker that continues an interrupted load may validate the file again. The same rows must then get the same
/// answer.
#[async_trait]
pub trait Validator: Send + Sync {
    /// The rules that this validator checks in addition to those of the definition. Its findings are reported under
    /// their ids. An id that the definition already has is refused.
    fn rules(&self, _dataset: &Dataset) -> Vec<RowRule> {
        Vec::new()
    }

    /// Checks, before anything is claimed, whether the rules of a dataset can be evaluated; `stage` is empty.
    ///
    /// # Errors
    /// `Configuration`, saying what is wrong with the definition.
    async fn check_definition(&self, _dataset: &Dataset, _stage: &Arc<Stage>) -> Result<()> {
        Ok(())
    }

    /// Looks at the good rows ([`good_rows`]) and takes out the bad ones ([`reject`]). Bad rows are data, not errors.
    ///
    /// # Errors
    /// `System` if the staging database fails. `Connection` if something that the validator asks does not answer; the
    /// file is then delivered again.
    async fn validate(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<()>;
}

/// The result of validating the rows of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validated {
    /// Rows without a violation of severity error.
    pub accepted: i64,
    /// Records with at least one violation of severity error.
    pub rejected: i64,
    /// Violations of severity warning on accepted rows.
    pub warnings: i64,
    /// How many bytes the longest record has whose row is accepted.
    pub longest: i64,
}

/// Writes the accepted rows of a validated file.
///
/// The first loader of a pipeline keeps the ledger. The others run after its last batch is committed, and the ledger
/// records each that is done. If a worker is killed between two of them, the next one continues with the first that is
/// not recorded. So writing the same load twice must have the same effect as writing it once.
#[async_trait]
pub trait Loader: Send + Sync {
    /// Checks at the start of the program whether this loader can work with these datasets.
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    fn check(&self, _datasets: &Datasets) -> Result<()> {
        Ok(())
    }

    /// Checks, before a file is claimed, whether this loader can take it.
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    fn check_file(&self, _object: &ObjectVersion) -> Result<()> {
        Ok(())
    }

    /// Writes the rows ([`LoadWork::accepted`]). Stops if the deadline leaves no time for another step.
    ///
    /// # Errors
    /// `LeaseLost`, `Connection` and `Conflict` after all retries, `Configuration`, `System`. The file is then
    /// delivered again.
    async fn load(&self, database: &Database, work: &LoadWork) -> Result<Loading>;

    /// Releases the parked rows that are ready, for a load that ends before [`Loader::load`] was reached. Only the
    /// loader that keeps the ledger has parked rows.
    ///
    /// # Errors
    /// The same as those of [`Loader::load`].
    async fn release(&self, _database: &Database, _claim: &Claim, _datasets: &Datasets) -> Result<()> {
        Ok(())
    }
}

/// How far a loader got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// Every batch is committed and every row released.
    Done,
    /// The time is over; the next worker continues with what is not committed.
    OutOfTime,
}

/// Everything that a loader needs for one file.
#[derive(Clone)]
pub struct LoadWork {
    /// The claim under which it writes.
    pub claim: Claim,
    /// The datasets in force for this load.
    pub datasets: Arc<Datasets>,
    /// The file's staging database, validated.
    pub stage: Arc<Stage>,
    /// What the extractor reported about the file.
    pub extracted: Extracted,
    /// The file.
    pub object: ObjectVersion,
    /// What the validators reported about its rows.
    pub validated: Validated,
    /// The places of its rows, where rows have no key.
    pub places: Option<Arc<Places>>,
    /// When to leave the rest to the next worker.
    pub deadline: Deadline,
}
