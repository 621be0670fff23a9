//! One verb each: extract, validate, load, analyse, reconcile, tidy, report.
//!
//! The first three are reached through traits and chosen by name ([`parts`]), so that more sources, rules and sinks can come,
//! also from outside.

pub mod analyse;
mod content;
pub mod deadline;
pub mod extract;
pub mod guess;
mod header;
pub mod lake;
pub mod landing;
pub mod load;
mod local;
pub mod manifest;
pub mod object_parts;
pub mod parts;
mod reading;
pub mod reconcile;
pub mod reconciliation_page;
pub mod rejects;
pub mod rejects_file;
pub mod rejects_writer;
pub mod report;
mod sent;
mod sent_again;
mod sent_expressions;
mod sent_form;
mod sent_record;
mod sent_rejects;
mod staged;
mod staging;
pub mod stream;
pub mod tidy;
pub mod totals;
pub mod validate;
pub mod web;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use deadline::Deadline;
pub use extract::Form;
pub use manifest::Manifests;
pub use object_parts::ObjectCopy;
pub use parts::{Parts, Pipeline};
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
/// A source that is not S3, and may answer otherwise or not at all when it is asked again, is landed there first: then a load that
/// was interrupted, a row that is explained and a rule that is replayed find the same bytes.
#[async_trait]
pub trait Extractor: Send + Sync {
    /// The keys that it reads where the settings name no files: those that begin so, or else all.
    fn prefix(&self) -> Option<&str> {
        None
    }

    /// Says when the program starts whether it can read files of this dataset.
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    fn check(&self, _dataset: &Dataset) -> Result<()> {
        Ok(())
    }

    /// Whether it lands this.
    fn takes(&self, _arrival: &Arrival) -> bool {
        false
    }

    /// Puts what it [takes](Extractor::takes) into S3, unless it lies there, and says where.
    ///
    /// # Errors
    /// `Connection` where a retry may help, `Configuration`, `File(NotFound)`, `System`.
    async fn land(&self, _arrival: &Arrival, _dataset: &Dataset) -> Result<Vec<Location>> {
        Ok(Vec::new())
    }

    /// Says which version of the file is meant, without reading its content into the stage.
    ///
    /// # Errors
    /// `File(NotFound)` or `File(Forbidden)`, `Connection`.
    async fn identify(&self, location: &Location) -> Result<ObjectVersion>;

    /// When this version of the file was written, if its place says so: where the order of arrival decides between rows, it is asked
    /// before the file is claimed.
    ///
    /// # Errors
    /// `Connection`, `Configuration`, `System`.
    async fn written_at(&self, object: &ObjectVersion) -> Result<Option<DateTime<Utc>>> {
        Ok(object.modified)
    }

    /// The manifests that may be that of this version of the file, which is loaded for the `run`th time after its first one. What is
    /// longer than a megabyte is cut.
    ///
    /// # Errors
    /// `Connection`, `Configuration`, `System`.
    async fn manifests(&self, object: &ObjectVersion, run: i32) -> Result<Manifests>;

    /// Reads exactly that version into the stage, every declared column as values of its type, notes as violations which
    /// cells are none, and keeps [`Stage::progress`] current.
    ///
    /// # Errors
    /// `File` when the file as a whole is unusable, `Connection`, `System`.
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

/// What is known of a file once it lies in the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Records after the header, good or bad.
    pub read: i64,
    /// What the file consists of.
    pub form: Form,
    /// The header's own bytes, without its line end.
    pub header: Vec<u8>,
    /// How many columns the header names.
    pub width: usize,
    /// Where each column of the dataset stands in a record, from 0.
    pub positions: Vec<usize>,
    /// Columns that the dataset does not declare, in the order of the file.
    pub extra_columns: Vec<String>,
    /// Whether records may say which reject they are to mend, as those of a rejects file do.
    pub mends: bool,
    /// What was sent of each column of the dataset; of columns that hold no numbers it says nothing.
    pub sums: Vec<ColumnSum>,
    /// When the file was written, where its place says so.
    pub modified: Option<DateTime<Utc>>,
    /// The SHA-256 of the file as it lies there, packed or not, in hexadecimal digits.
    pub sha256: String,
    /// What its source says of it, where it is not in the plain form.
    pub sent: Option<Arc<SentFile>>,
}

impl Extracted {
    /// What the ledger keeps of it.
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

/// Finds rows that must not be loaded. The validators of a pipeline run one after the other, each on the rows that are still
/// good; which of two good rows with one key wins is decided after the last.
///
/// A file may be validated again, by the worker that goes on with an interrupted load: the same rows must get the same answer.
#[async_trait]
pub trait Validator: Send + Sync {
    /// The rules that it checks besides those of the definition: what it finds is reported under their ids. An id that the
    /// definition has as well is refused.
    fn rules(&self, _dataset: &Dataset) -> Vec<RowRule> {
        Vec::new()
    }

    /// Says before anything is claimed whether the rules of a dataset can be checked; `stage` is empty.
    ///
    /// # Errors
    /// `Configuration`, saying what is wrong with the definition.
    async fn check_definition(&self, _dataset: &Dataset, _stage: &Arc<Stage>) -> Result<()> {
        Ok(())
    }

    /// Looks at the good rows ([`good_rows`]) and takes the bad ones out ([`reject`]); bad rows are data, not errors.
    ///
    /// # Errors
    /// `System` when the staging database fails; `Connection` where what is asked for advice does not answer, and the file
    /// then comes again.
    async fn validate(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<()>;
}

/// How the rows of a file fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validated {
    /// Rows without a violation of severity error.
    pub accepted: i64,
    /// Records with at least one.
    pub rejected: i64,
    /// Violations of severity warning on accepted rows.
    pub warnings: i64,
}

/// Writes the accepted rows of a validated file.
///
/// The first loader of a pipeline is the one that keeps the ledger. The others follow when its last batch is committed, and the
/// ledger notes each that is done. A worker that is killed between two of them is followed by one that goes on with the first
/// that is not noted: a loader must write the same load twice as it writes it once.
#[async_trait]
pub trait Loader: Send + Sync {
    /// Says when the program starts whether it can work beside these datasets.
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    fn check(&self, _datasets: &Datasets) -> Result<()> {
        Ok(())
    }

    /// Says before a file is claimed whether it can take it.
    ///
    /// # Errors
    /// `Configuration`, saying what to change.
    fn check_file(&self, _object: &ObjectVersion) -> Result<()> {
        Ok(())
    }

    /// Writes the rows ([`LoadWork::accepted`]). Where the deadline leaves no time for one more step it stops.
    ///
    /// # Errors
    /// `LeaseLost`, `Connection` and `Conflict` after all retries, `Configuration`, `System`: the file then comes again.
    async fn load(&self, database: &Database, work: &LoadWork) -> Result<Loading>;

    /// Frees the parked rows that can go now, for a load that ends before [`Loader::load`] came to it. Only the loader that
    /// keeps the ledger has any.
    ///
    /// # Errors
    /// Those of [`Loader::load`].
    async fn release(&self, _database: &Database, _claim: &Claim, _datasets: &Datasets) -> Result<()> {
        Ok(())
    }
}

/// How far a loader came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// Every batch is committed and every row released.
    Done,
    /// The time is over; the next worker goes on with what is not committed.
    OutOfTime,
}

/// Everything that a loader needs of one file.
#[derive(Clone)]
pub struct LoadWork {
    /// The claim under which it writes.
    pub claim: Claim,
    /// The datasets in force for this load.
    pub datasets: Arc<Datasets>,
    /// The file's staging database, validated.
    pub stage: Arc<Stage>,
    /// What the extractor said of the file.
    pub extracted: Extracted,
    /// The file.
    pub object: ObjectVersion,
    /// What the validator said of its rows.
    pub validated: Validated,
    /// When to leave the rest to the next worker.
    pub deadline: Deadline,
}
