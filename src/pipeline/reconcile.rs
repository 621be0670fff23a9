//! The nightly run: what lies in the buckets, what waits, what is kept and what the tables hold, against the ledger.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use futures::future::{LocalBoxFuture, ready};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncWriteExt, BufWriter};

use super::check::{Totals, check};
use super::{Context, Request};
use crate::data_access::postgres::{Database, NULL, RunEnd};
use crate::data_access::retry::retrying;
use crate::data_access::s3::ObjectStore;
use crate::domain::object::LOCAL_BUCKET;
use crate::domain::{Dataset, LoadReport, LoadStatus, ObjectVersion};
use crate::error::{Error, ErrorKind, Result};
use crate::services::reconcile::{
    FoundFile, Receiver, Reconciliation, Scope, check_calendar, check_sums, compare, release,
};
use crate::services::tidy::tidy;
use crate::services::{Deadline, Pipeline, reconciliation_page};

/// Rows of a table that are checked at once, so that a table of any size fits on the disk.
const ROWS_AT_ONCE: usize = 500_000;

/// What the nightly run needs besides what a load needs.
pub struct NightlyTerms {
    /// Lists buckets.
    pub store: Arc<ObjectStore>,
    /// The bucket where files come in; without it those that the ledger knows.
    pub source_bucket: Option<String>,
    /// Checks rows of tables, which are exported as CSV whatever they came as.
    pub tables: Pipeline,
    /// Rejects are deleted so many days after the end of their load.
    pub retention_days: Option<u32>,
}

/// Loads what was found in this process, where no queue takes it.
pub struct LoadHere<'a> {
    context: &'a Context,
    database: &'a Database,
    deadline: Deadline,
    /// Files that are loaded at once.
    pub jobs: usize,
    /// More failed files than this end the run; by default none do.
    pub tolerated: Option<u64>,
    /// Sees how each file ended.
    pub watch: &'a (dyn Fn(&LoadReport) + Send + Sync),
    failed: AtomicU64,
}

impl<'a> LoadHere<'a> {
    /// Loads one file after the other until the deadline.
    #[must_use]
    pub fn new(context: &'a Context, database: &'a Database, deadline: Deadline) -> Self {
        Self { context, database, deadline, jobs: 1, tolerated: None, watch: &|_| {}, failed: AtomicU64::new(0) }
    }

    /// Loads the versions of one key, one after the other. Returns of how many something is left.
    async fn load_key(&self, versions: &[FoundFile]) -> Result<u64> {
        let mut left = 0;
        for file in versions {
            left += u64::from(!self.load_one(file).await?);
        }
        Ok(left)
    }

    /// Returns whether nothing is left of the file.
    async fn load_one(&self, file: &FoundFile) -> Result<bool> {
        if !self.deadline.has_time_for(Duration::ZERO) {
            return Ok(false);
        }
        let request =
            Request { again: file.again, deadline: self.deadline.clone(), ..Request::new(file.location.clone()) };
        let report = match Box::pin(super::run(self.context, self.database, &request)).await {
            Ok(report) => report,
            // Without the database no other file fares better.
            Err(error) if error.kind() == ErrorKind::Connection => return Err(error),
            Err(error) => {
                tracing::warn!(file = file.file, error = %error.chain(), "not loaded");
                return self.count_failure().map(|()| false);
            }
        };
        (self.watch)(&report);
        if report.status == LoadStatus::Failed {
            self.count_failure()?;
        }
        Ok(!matches!(report.status, LoadStatus::Interrupted | LoadStatus::InProgress))
    }

    fn count_failure(&self) -> Result<()> {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        match self.tolerated {
            Some(most) if failed > most => {
                Err(Error::configuration(format!("{failed} files failed, more than the {most} that are tolerated")))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait(?Send)]
impl Receiver for LoadHere<'_> {
    async fn take(&self, files: &[FoundFile]) -> Result<u64> {
        let keys = files.chunk_by(|one, next| one.file == next.file);
        let loads: Vec<LocalBoxFuture<'_, Result<u64>>> =
            keys.map(|versions| self.load_key(versions).boxed_local()).collect();
        stream::iter(loads).buffered(self.jobs).try_fold(0, |sum, left| ready(Ok(sum + left))).await
    }
}

/// Compares what `scope` says with the ledger, and hands what is to be loaded to `receiver`. Without a prefix it also
/// releases parked rows, writes and deletes rejects files, and checks sums, tables and the calendar. It keeps a row in
/// `etl.reconciliation` and leaves a report beside the rejects files.
///
/// # Errors
/// `Connection`, `Configuration`, `System`: the run is then noted as failed, and what it did stays done.
pub async fn reconcile(
    context: &Context,
    database: &Database,
    scope: &Scope,
    receiver: &dyn Receiver,
    deadline: &Deadline,
) -> Result<Reconciliation> {
    let begun = || database.begin_reconciliation(scope.bucket.as_deref(), scope.prefix.as_deref());
    let (id, since) = retrying(begun).await?;
    let mut result = Reconciliation { id, ..Reconciliation::default() };
    let outcome = run(context, database, scope, since, receiver, deadline, &mut result).await;
    let state = match &outcome {
        Err(_) => "failed",
        Ok(_) if result.tidied.out_of_time => "interrupted",
        Ok(_) => "done",
    };
    let mut place = None;
    if let Ok(Some(bucket)) = &outcome {
        let page = reconciliation_page::page(&result, scope, state);
        match context.output.write_page(bucket, &format!("reconciliations/{id}.html"), &page).await {
            Ok(key) => place = Some((bucket.clone(), key)),
            Err(error) => tracing::warn!(error = %error.chain(), "the report of the run is not written"),
        }
    }
    result.report_key = place.as_ref().map(|(_, key)| key.clone());
    let report = serde_json::to_value(&result).map_err(|error| Error::system("write the report of the run", error))?;
    let error = outcome.as_ref().err().map(Error::chain);
    let ended = end(database, id, state, &result, &report, place.as_ref(), error.as_deref()).await;
    outcome?;
    ended?;
    if context.bus.is_some() {
        Box::pin(context.announce(database, deadline)).await;
        retrying(|| database.forget_events()).await?;
    }
    let Reconciliation { compared, sent, released, discrepancy_count, .. } = &result;
    let missing_files = result.missing_files.len();
    tracing::info!(id, state, compared, sent, released, discrepancy_count, missing_files, "reconciled");
    Ok(result)
}

async fn end(
    database: &Database,
    id: i64,
    state: &str,
    result: &Reconciliation,
    report: &Value,
    place: Option<&(String, String)>,
    error: Option<&str>,
) -> Result<()> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let end = RunEnd {
        state,
        compared: number(result.compared),
        sent: number(result.sent),
        released: result.released,
        discrepancies: result.discrepancy_count,
        missing_files: number(result.missing_files.len() as u64),
        report,
        place: place.map(|(bucket, key)| (bucket.as_str(), key.as_str())),
        error,
    };
    retrying(|| database.end_reconciliation(id, end)).await
}

/// Returns the bucket for the report, where there is one.
async fn run(
    context: &Context,
    database: &Database,
    scope: &Scope,
    since: Option<chrono::DateTime<Utc>>,
    receiver: &dyn Receiver,
    deadline: &Deadline,
    result: &mut Reconciliation,
) -> Result<Option<String>> {
    let (datasets, terms) = (&*context.datasets, &context.nightly);
    for dataset in datasets.all() {
        retrying(|| database.check_ready(dataset, datasets.version())).await?;
    }
    let buckets = match scope.bucket.as_ref().or(terms.source_bucket.as_ref()) {
        Some(bucket) => vec![bucket.clone()],
        None => retrying(|| database.buckets()).await?,
    };
    if let Some(prefix) = &scope.prefix {
        let known = datasets.prefixes();
        if !known.iter().any(|known| known.starts_with(prefix) || prefix.starts_with(known)) {
            let known = known.join(", ");
            return Err(Error::configuration(format!(
                "no dataset claims anything under {prefix:?}; they claim {known}"
            )));
        }
    }
    let prefixes = scope.prefix.as_deref().map_or_else(|| datasets.prefixes(), |prefix| vec![prefix]);
    let mut unreached = None;
    for (bucket, prefix) in buckets.iter().flat_map(|bucket| prefixes.iter().map(move |prefix| (bucket, *prefix))) {
        let parts = (&*terms.store, database);
        match compare(parts, datasets, (bucket, prefix), receiver, deadline, result).await {
            Ok(()) => {}
            // What S3 refuses a person must mend; the rest of the run can do without.
            Err(error) if error.kind() == ErrorKind::Configuration && scope.prefix.is_none() => {
                result.note(None, "listing", error.chain(), 1);
            }
            Err(error) => unreached = unreached.or(Some(error)),
        }
    }
    let report_bucket = buckets.first().and_then(|bucket| context.output.bucket(bucket, false)).map(String::from);
    if scope.prefix.is_none() {
        release(database, datasets, result).await?;
        check_sums(database, datasets, since, result).await?;
        check_calendar(database, datasets, (since, Utc::now()), result).await?;
        result.tidied = tidy(database, &context.output, terms.retention_days, deadline).await?;
        // Last, since it takes the longer the more there is.
        for dataset in datasets.all() {
            check_table(context, database, dataset, deadline, result).await?;
        }
    }
    result.tidied.out_of_time |= !deadline.has_time_for(Duration::ZERO);
    unreached.map_or(Ok(report_bucket), Err)
}

/// Checks every row of a dataset's table as if it came in a file.
async fn check_table(
    context: &Context,
    database: &Database,
    dataset: &Dataset,
    deadline: &Deadline,
    result: &mut Reconciliation,
) -> Result<()> {
    let latest_version = context.terms.latest_version(Utc::now());
    let mut dataset = dataset.without_encrypted().with_latest_version(latest_version);
    dataset.null_values = vec![NULL.into()];
    let mut rows = pin!(database.export(&dataset).await?.fuse());
    let Some(header) = rows.try_next().await? else { return Ok(()) };
    while deadline.has_time_for(Duration::ZERO) {
        let folder = context.stages.temp_folder();
        let file = NamedTempFile::with_prefix_in("small-etl-table-", folder)
            .map_err(|error| Error::system("make a copy of a table", error))?;
        let count = copy(file.path(), &header, rows.as_mut().take(ROWS_AT_ONCE)).await?;
        if count == 0 {
            break;
        }
        let object = ObjectVersion {
            bucket: LOCAL_BUCKET.into(),
            key: file.path().to_string_lossy().into_owned().into(),
            version: String::new(),
            version_id: None,
            size: None,
            sequencer: None,
            modified: None,
            local: true,
        };
        let checked =
            check(context, &context.nightly.tables, &object, &dataset, &Arc::default(), Totals::Ignored).await?;
        result.rows_checked += checked.extracted.read;
        let mut violations = pin!(checked.violations());
        while let Some(chunk) = violations.try_next().await? {
            for violation in chunk {
                let (key, column) = (violation.key.unwrap_or_default(), violation.column.unwrap_or_default());
                // Without its cell, since reports are kept longer than rejects.
                let (table, rule) = (&dataset.table, &violation.rule);
                let message = format!("table {table} row {key}: column {column} breaks rule {rule}");
                result.note(Some(&dataset.name), rule, message, 1);
            }
        }
    }
    Ok(())
}

/// Writes header and rows to a file and returns how many rows there were.
async fn copy(path: &Path, header: &Bytes, mut rows: impl Stream<Item = Result<Bytes>> + Unpin) -> Result<usize> {
    let failed = |error| Error::system("make a copy of a table", error);
    let file = tokio::fs::File::create(path).await.map_err(failed)?;
    let mut file = BufWriter::with_capacity(1024 * 1024, file);
    file.write_all(header).await.map_err(failed)?;
    let mut count = 0;
    while let Some(row) = rows.try_next().await? {
        file.write_all(&row).await.map_err(failed)?;
        count += 1;
    }
    file.flush().await.map_err(failed)?;
    Ok(count)
}
