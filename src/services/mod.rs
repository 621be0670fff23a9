//! One verb each: extract, validate, load, analyse, reconcile, tidy, report.
//!
//! The first three are reached through traits and chosen by name, so that more sources, rules and sinks can come.

pub mod analyse;
pub mod deadline;
pub mod extract;
pub mod load;
pub mod manifest;
pub mod reconcile;
pub mod reconciliation_page;
pub mod rejects;
pub mod rejects_file;
pub mod report;
mod staging;
pub mod tidy;
pub mod validate;

use std::sync::Arc;

use async_trait::async_trait;

pub use deadline::Deadline;
pub use staging::ColumnSum;

use crate::data_access::duckdb::Stage;
use crate::data_access::postgres::{Claim, Database};
use crate::data_access::s3::ObjectStore;
use crate::domain::expression::unknown;
use crate::domain::{Dataset, Datasets, Location, ObjectVersion};
use crate::error::{Error, Result};

/// Reads a file into the stage.
#[async_trait]
pub trait Extractor: Send + Sync {
    /// Says which version of the file is meant, without reading its content into the stage.
    ///
    /// # Errors
    /// `File(NotFound)` or `File(Forbidden)`, `Connection`.
    async fn identify(&self, location: &Location) -> Result<ObjectVersion>;

    /// The manifest that lies beside the file, if one does. What is longer than a megabyte is cut.
    ///
    /// # Errors
    /// `Connection`, `System`.
    async fn manifest(&self, object: &ObjectVersion) -> Result<Option<Vec<u8>>>;

    /// Reads exactly that version into the stage, every declared column as values of its type, notes as violations which
    /// cells are none, and keeps [`Stage::progress`] current.
    ///
    /// # Errors
    /// `File` when the file as a whole is unusable, `Connection`, `System`.
    async fn extract(&self, object: &ObjectVersion, dataset: &Dataset, stage: &Arc<Stage>) -> Result<Extracted>;
}

/// What is known of a file once it lies in the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Records after the header, good or bad.
    pub read: i64,
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
    /// The SHA-256 of the file as it lies there, packed or not, in hexadecimal digits.
    pub sha256: String,
}

/// Checks the staged rows and decides which are accepted.
#[async_trait]
pub trait Validator: Send + Sync {
    /// Tries the rules of a dataset on an empty stage of their own.
    ///
    /// # Errors
    /// `Configuration`, saying what is wrong with the definition.
    async fn check_definition(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<()>;

    /// Marks in table `staged` which rows are good, and fills `violation`; bad rows are data, not errors.
    ///
    /// # Errors
    /// `System` when the staging database fails.
    async fn validate(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<Validated>;
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

/// Writes the accepted rows of a validated file, and its rejects, in batches that commit with their checkpoints.
#[async_trait]
pub trait Loader: Send + Sync {
    /// Writes the batches that are not committed yet, then frees the parked rows that can go. Between two steps it stops
    /// where the deadline leaves no time for one more.
    ///
    /// # Errors
    /// `LeaseLost`, `Connection` and `Conflict` after all retries, `System`.
    async fn load(&self, database: &Database, work: &LoadWork) -> Result<Loading>;

    /// Frees the parked rows that can go now, as [`Loader::load`] does at its end; for a load that ends before that.
    ///
    /// # Errors
    /// Those of [`Loader::load`].
    async fn release(&self, database: &Database, claim: &Claim, datasets: &Datasets) -> Result<()>;
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
    /// What the validator said of its rows.
    pub validated: Validated,
    /// When to leave the rest to the next worker.
    pub deadline: Deadline,
}

/// The extractor of that name.
///
/// # Errors
/// `Configuration` with the nearest known name.
pub fn extractor(name: &str, store: &Arc<ObjectStore>) -> Result<Arc<dyn Extractor>> {
    match name {
        "s3_csv" => Ok(Arc::new(extract::CsvExtractor::new(Arc::clone(store)))),
        _ => Err(Error::configuration(format!("pipeline.extractor: {}", unknown("extractor", name, &["s3_csv"])))),
    }
}

/// The validator of that name.
///
/// # Errors
/// `Configuration` with the nearest known name.
pub fn validator(name: &str) -> Result<Arc<dyn Validator>> {
    match name {
        "duckdb" => Ok(Arc::new(validate::DuckDbValidator)),
        _ => Err(Error::configuration(format!("pipeline.validator: {}", unknown("validator", name, &["duckdb"])))),
    }
}

/// The loader of that name.
///
/// # Errors
/// `Configuration` with the nearest known name.
pub fn loader(name: &str) -> Result<Arc<dyn Loader>> {
    match name {
        "postgresql" => Ok(Arc::new(load::PostgresLoader)),
        _ => Err(Error::configuration(format!("pipeline.loader: {}", unknown("loader", name, &["postgresql"])))),
    }
}
