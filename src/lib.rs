//! Small ETL turns a file in S3 into rows in Postgres. Every row is checked, none is lost, none comes twice, and each
//! bad one is explained.
//!
//! Most people use the programs: the command line `small-etl`, and the functions `ingest` and `migrate`. This library is for programs that add
//! *parts* of their own: readers ([`Extractor`]), checks ([`Validator`]) and targets ([`Loader`]), which settings then name like those
//! that are here ([`Parts`]). `docs/own-parts.md` says what each has to promise; `examples/own_parts/` is such a program.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use small_etl::{Dataset, Parts, Result, Stage, Validator, async_trait};
//!
//! struct Weekdays;
//!
//! #[async_trait]
//! impl Validator for Weekdays {
//!     async fn validate(&self, dataset: &Dataset, stage: &Arc<Stage>) -> Result<()> {
//!         // Look at `good_rows`, and `reject` those that break a rule.
//!         Ok(())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::process::ExitCode {
//!     small_etl::main(Parts::default().with_validator("weekdays", |_| Ok(Arc::new(Weekdays)))).await
//! }
//! ```
//!
//! What is not on this page is the inside of the programs and may change with every version. The layers, from the outside in; each imports only
//! from those to its right:
//!
//! ```text
//! bin -> lambda | cli -> (config, start, event) -> pipeline -> services -> data_access -> domain
//! ```
//!
//! `error` is a leaf that every layer may use. What must always hold:
//!
//! - nothing is written before the whole file is validated;
//! - rows, rejects and checkpoint of a batch commit in one transaction, or not at all;
//! - no transaction of a load commits without the load's fencing token;
//! - every record read has exactly one outcome, and a constraint of the ledger proves the sum;
//! - no cell's value and no secret is logged.
//!
//! What is absent: `unsafe`, mocks, and vendor names outside `data_access`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod data_access;
#[doc(hidden)]
pub mod domain;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod event;
#[doc(hidden)]
pub mod lambda;
#[doc(hidden)]
pub mod pipeline;
#[doc(hidden)]
pub mod sample;
#[doc(hidden)]
pub mod services;
#[doc(hidden)]
pub mod start;

use std::process::ExitCode;

/// The version that readers and loaders are written with.
pub use ::arrow;
/// The version that the traits are written with.
pub use ::async_trait::async_trait;

// Parts, and what they are made from.
#[doc(inline)]
pub use data_access::s3::ObjectStore;
#[doc(inline)]
pub use services::parts::{PartChoice, PartSettings, Parts, Pipeline, PipelineChoice, Surroundings};

// What is loaded.
#[doc(inline)]
pub use domain::source::model::Source as DeclaredSource;
#[doc(inline)]
pub use domain::{
    Arrival, Column, Dataset, Datasets, LoadId, Location, ObjectKey, ObjectVersion, RecordNumber, RowRule, Sequencer,
    Severity,
};

// Reading.
#[doc(inline)]
pub use data_access::duckdb::{Stage, StageOptions, Stages};
#[doc(inline)]
pub use services::extract::{Convert, FileExtractor, Form};
#[doc(inline)]
pub use services::landing::{Landing, Place, Source};
#[doc(inline)]
pub use services::{Extracted, Extractor, Lander, ObjectCopy};

// Checking.
#[doc(inline)]
pub use services::{Validated, Validator, good_rows, reject};

// Writing.
#[doc(inline)]
pub use data_access::postgres::{Claim, Database};
#[doc(inline)]
pub use services::{Deadline, LoadWork, Loader, Loading};

// What goes wrong.
#[doc(inline)]
pub use error::{Error, ErrorKind, Reason, Result};

/// Runs this program with these parts: as the function `ingest` if Lambda has started it, and otherwise as the command line `small-etl`.
pub async fn main(parts: Parts) -> ExitCode {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return cli::main(parts).await;
    }
    if lambda::ingest::main(&parts).await.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
