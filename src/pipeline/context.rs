//! Everything that outlives one file.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::data_access::duckdb::Stages;
use crate::data_access::event_bus::EventBus;
use crate::data_access::postgres::{ClaimTerms, Database};
use crate::data_access::s3::ObjectStore;
use crate::domain::expression::unknown;
use crate::domain::{Dataset, Datasets};
use crate::error::{Error, ErrorKind, Result};
use crate::services::rejects_file::Output;
use crate::services::{Deadline, Pipeline};

/// Everything that outlives one file: definitions, settings, parts, and the pool of connections.
pub struct Context {
    /// The datasets of this program.
    pub datasets: Arc<Datasets>,
    /// The terms that the first claim of a file fixes.
    pub terms: ClaimTerms,
    /// Opens staging databases.
    pub stages: Stages,
    /// The parts that the files of each dataset run through.
    pub pipelines: BTreeMap<String, Pipeline>,
    /// Writes rejects files.
    pub output: Output,
    /// The bus that is notified of what has happened.
    pub bus: Option<EventBus>,
    /// What the nightly run needs in addition.
    pub nightly: NightlyTerms,
    /// The datasets whose definitions have been tried.
    pub checked: Mutex<HashSet<String>>,
}

/// Adds the rules of the validators of their pipelines to the datasets.
///
/// # Errors
/// `Configuration` if a rule does not fit its dataset.
pub fn with_rules(datasets: Datasets, pipelines: &BTreeMap<String, Pipeline>) -> Result<Datasets> {
    let rules = |dataset: &Dataset| pipelines.get(&dataset.name).map(|found| found.rules(dataset)).unwrap_or_default();
    datasets.with_rules(rules).map_err(Error::configuration)
}

impl Context {
    /// Returns the parts that the files of a dataset run through.
    ///
    /// # Errors
    /// `Configuration` if this program has no such dataset.
    pub fn pipeline(&self, dataset: &str) -> Result<&Pipeline> {
        let names = || self.datasets.names();
        self.pipelines.get(dataset).ok_or_else(|| Error::configuration(unknown("dataset", dataset, &names())))
    }

    /// Sends the events in the outbox. Each was written there by the transaction that made it true
    /// (`migrations/V8__outbox.sql`). Best effort: what cannot be sent now is sent after the next load, or at night.
    pub(super) async fn announce(&self, database: &Database, deadline: &Deadline) {
        let Some(bus) = &self.bus else { return };
        let told = tokio::select! {
            told = database.send_events(async |events| bus.send(events).await) => told,
            () = deadline.passed() => Err(Error::new(ErrorKind::OutOfTime, "the time is over")),
        };
        if let Err(error) = told {
            tracing::warn!(error = %error.chain(), "events are not sent yet");
        }
    }
}

/// What the nightly run needs in addition to what a load needs.
pub struct NightlyTerms {
    /// Lists buckets.
    pub store: Arc<ObjectStore>,
    /// The bucket where files arrive; without it, the buckets that the ledger knows.
    pub source_bucket: Option<String>,
    /// Checks rows of tables. They are exported as CSV, whatever form they arrived in.
    pub tables: Pipeline,
    /// How many rows of a table are checked at once, so that a table of any size fits on the disk.
    pub rows_at_once: usize,
    /// A table with at most this many rows is checked every night, and of a larger one at least as many rows.
    pub rows_a_night: i64,
    /// Over how many nights the check of a larger table is spread.
    pub full_days: u32,
    /// How many days after the end of their load rejects are deleted.
    pub retention_days: Option<u32>,
    /// For how many days the ledger is kept; for ever if this is 0.
    pub ledger_days: u32,
    /// After how many days a parked row expires; never without it.
    pub parked_days: Option<u32>,
}
