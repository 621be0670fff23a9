//! The nightly run: compares buckets, waiting rows, rejects and tables with the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures::future::{LocalBoxFuture, ready};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncWriteExt, BufWriter};
use tracing::Instrument as _;

use super::check::{Reading, Totals, check};
use super::{Context, NightlyTerms, Request};
use crate::data_access::postgres::{Database, NULL, Pass, RunEnd};
use crate::data_access::retry::retrying;
use crate::data_access::traces;
use crate::domain::object::{LOCAL_BUCKET, place};
use crate::domain::{Dataset, Datasets, LoadReport, LoadStatus, ObjectKey, ObjectVersion};
use crate::error::{Error, ErrorKind, Result};
use crate::services::reconciliation::{
    FoundFile, Receiver, Reconciliation, Scope, check_balance, check_calendar, check_references, check_rows, compare,
    release,
};
use crate::services::retention::{expire, forget_gone, prune};
use crate::services::tidy::{delete_expired, write_missing};
use crate::services::{Deadline, reconciliation_page};

/// A pass over a prefix is not continued if it began longer ago than this.
const LONGEST_PASS_OF_A_PREFIX: Duration = Duration::from_hours(24);

/// Loads the files that were found in this process, if there is no queue to send them to.
pub struct LoadHere<'a> {
    context: &'a Context,
    database: &'a Database,
    deadline: Deadline,
    /// How many files to load at once.
    pub jobs: usize,
    /// If more files than this fail, the run ends; by default there is no limit.
    pub tolerated: Option<u64>,
    /// Is called with the report of each file.
    pub watch: &'a (dyn Fn(&LoadReport) + Send + Sync),
    failed: AtomicU64,
}

impl<'a> LoadHere<'a> {
    /// Loads one file after another until the deadline.
    #[must_use]
    pub fn new(context: &'a Context, database: &'a Database, deadline: Deadline) -> Self {
        Self { context, database, deadline, jobs: 1, tolerated: None, watch: &|_| {}, failed: AtomicU64::new(0) }
    }

    /// Loads the versions of one key, one after another. Returns how many of them are not finished.
    async fn load_key(&self, versions: &[FoundFile]) -> Result<u64> {
        let mut left = 0;
        for file in versions {
            left += u64::from(!self.load_one(file).await?);
        }
        Ok(left)
    }

    /// Returns whether the file is finished.
    async fn load_one(&self, file: &FoundFile) -> Result<bool> {
        if !self.deadline.has_time_for(Duration::ZERO) {
            return Ok(false);
        }
        let request = Request {
            again: file.again,
            parts: file.parts.clone(),
            deadline: self.deadline.clone(),
            ..Request::new(file.location.clone())
        };
        let reports = match Box::pin(super::run(self.context, self.database, &request)).await {
            Ok(reports) => reports,
            // Without the database, no other file can be loaded either.
            Err(error) if error.kind() == ErrorKind::Connection => return Err(error),
            Err(error) => {
                tracing::warn!(file = file.file, error = %error.chain(), "not loaded");
                return self.count_failure().map(|()| false);
            }
        };
        for report in &reports {
            (self.watch)(report);
            if report.status == LoadStatus::Failed {
                self.count_failure()?;
            }
        }
        Ok(!reports.iter().any(|report| matches!(report.status, LoadStatus::Interrupted | LoadStatus::InProgress)))
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

/// Compares what `scope` says with the ledger, and hands the files to load to `receiver`. Without a prefix it also
/// releases parked rows, writes and deletes rejects files, and checks sums, tables and the calendar. Each step
/// continues where the last run was cut off, and if one fails, the others are done all the same. The run has a row in `etl.reconciliation`
/// and leaves a report beside the rejects files.
///
/// # Errors
/// `Connection`, `Configuration`, `System`: the first of the steps that failed. The run is then recorded as failed, and everything that it did
/// stays done.
pub async fn reconcile(
    context: &Context,
    database: &Database,
    scope: &Scope,
    receiver: &dyn Receiver,
    deadline: &Deadline,
) -> Result<Reconciliation> {
    let begun = || database.begin_reconciliation(scope.bucket.as_deref(), scope.prefix.as_deref());
    let id = retrying(begun).await?;
    let mut result = Reconciliation { id, ..Reconciliation::default() };
    let outcome = async {
        let fit = fit_datasets(context, database, &mut result).await?;
        Run { context, database, scope, receiver, deadline, fit }.run(&mut result).await
    };
    let outcome = Box::pin(outcome).instrument(traces::step("reconcile")).await;
    let state = match &outcome {
        Err(_) => "failed",
        Ok(_) if !result.failed.is_empty() => "failed",
        Ok(_) if result.out_of_time => "interrupted",
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
    let failure = match scope.prefix {
        Some(_) => result.failed.first().map(|only| Error::new(only.kind, only.error.clone())),
        None => result.failure(),
    };
    let error = outcome.as_ref().err().or(failure.as_ref()).map(Error::chain);
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
    failure.map_or(Ok(result), Err)
}

/// Returns the datasets whose tables can take their rows. The others are left out until a person corrects their tables.
async fn fit_datasets(context: &Context, database: &Database, result: &mut Reconciliation) -> Result<Datasets> {
    retrying(|| database.check_ledger()).await?;
    let mut unfit = Vec::new();
    for dataset in context.datasets.all() {
        match retrying(|| database.check_ready(dataset, context.datasets.version())).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Configuration => {
                result.note(Some(&dataset.name), "unfit", error.chain(), 1);
                unfit.push(dataset.name.as_str());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(context.datasets.without(&unfit))
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

/// How a part of a step ended.
enum Ended {
    /// It is done, and the next pass begins at the start.
    Whole,
    /// There was not enough time.
    CutOff,
    /// What is to be done in one night is done; the next run continues there.
    Enough,
    /// Something prevents it from continuing; the next run continues there.
    Stuck,
    /// It was not its turn, or some of it must be done again: the next pass looks at what this one should have done.
    Void,
}

impl Ended {
    fn in_time(whole: bool) -> Self {
        if whole { Self::Whole } else { Self::CutOff }
    }
}

/// How a step ended whose failure is noted and keeps nothing else from being done.
fn alone(check: &str, done: Result<bool>, result: &mut Reconciliation) -> Ended {
    done.map_or_else(
        |error| {
            result.note(None, check, error.chain(), 1);
            Ended::Stuck
        },
        Ended::in_time,
    )
}

/// A run and what it needs.
struct Run<'a> {
    context: &'a Context,
    database: &'a Database,
    scope: &'a Scope,
    receiver: &'a dyn Receiver,
    deadline: &'a Deadline,
    fit: Datasets,
}

/// The only part of a step that has none.
const ALL: &str = "";
/// The step that takes all the time that is left.
const LAST: &str = "table";

impl Run<'_> {
    /// Returns the bucket for the report, if there is one.
    async fn run(&self, result: &mut Reconciliation) -> Result<Option<String>> {
        let buckets = match self.scope.bucket.as_ref().or(self.context.nightly.source_bucket.as_ref()) {
            Some(bucket) => vec![bucket.clone()],
            None => retrying(|| self.database.buckets()).await?,
        };
        if self.scope.prefix.is_some() {
            self.compare(&buckets, result).await?;
        } else {
            // What frees room comes first, and what reads buckets and tables to their end comes last. The calendar has to know what was
            // found in the buckets.
            self.delete_expired(result).await;
            self.retain(result).await;
            self.write_missing(result).await;
            self.release(result).await;
            if let Err(error) = self.compare(&buckets, result).await {
                result.fail("compare".into(), &error);
            }
            self.check_calendar(result).await;
            self.check_balance(result).await;
            self.check_rows(result).await;
            self.check_tables(result).await;
        }
        let output = &self.context.output;
        Ok(buckets.first().and_then(|bucket| output.bucket(bucket, false)).map(String::from))
    }

    /// Does the parts of a step, in at most half of the time that is left if others come after it. Each part continues where its last pass
    /// was cut off, and fails alone.
    async fn step<P: AsRef<str>>(
        &self,
        step: &'static str,
        parts: &[P],
        result: &mut Reconciliation,
        mut work: impl AsyncFnMut((&Pass, &Deadline), &mut Reconciliation) -> Result<Ended>,
    ) {
        let is_last = step == LAST || self.scope.prefix.is_some();
        let deadline = if is_last { self.deadline.clone() } else { self.deadline.half() };
        let parts: Vec<String> = parts.iter().map(|part| part.as_ref().to_owned()).collect();
        let parts = match retrying(|| self.database.parts_in_order(step, &parts)).await {
            Ok(parts) => parts,
            Err(error) => return result.fail(step.into(), &error),
        };
        for part in parts {
            let name = format!("{step} {part}").trim_end().to_owned();
            if !deadline.has_time_for(Duration::ZERO) {
                result.leave(name);
                continue;
            }
            let done = Box::pin(self.part((step, &part), &deadline, result, &mut work)).instrument(traces::step(step));
            if let Err(error) = done.await {
                result.fail(name, &error);
                // Without the database, no other part can be done either.
                if error.kind() == ErrorKind::Connection {
                    return;
                }
            }
        }
    }

    async fn part(
        &self,
        (step, part): (&'static str, &str),
        deadline: &Deadline,
        result: &mut Reconciliation,
        work: &mut impl AsyncFnMut((&Pass, &Deadline), &mut Reconciliation) -> Result<Ended>,
    ) -> Result<()> {
        // A person who asks for a prefix wants to know its present state.
        let longest = self.scope.prefix.as_ref().map(|_| LONGEST_PASS_OF_A_PREFIX);
        let version = self.context.datasets.version();
        let pass = retrying(|| self.database.begin_pass(step, part, version, longest)).await?;
        match work((&pass, deadline), result).await? {
            Ended::Whole => retrying(|| self.database.end_pass(&pass)).await?,
            Ended::Void => retrying(|| self.database.drop_pass(&pass)).await?,
            Ended::CutOff => result.leave(pass.name()),
            Ended::Enough | Ended::Stuck => {}
        }
        Ok(())
    }

    /// Deletes rejects whose retention time is over.
    async fn delete_expired(&self, result: &mut Reconciliation) {
        let Some(days) = self.context.nightly.retention_days else { return };
        let output = &self.context.output;
        // Under another number of days, all loads are looked at once.
        self.step("retention", &[format!("{days} days")], result, async |until, result| {
            let failed = result.tidied.rejects_not_deleted.len();
            let whole = delete_expired(self.database, output, days, until, &mut result.tidied).await?;
            Ok(if whole && result.tidied.rejects_not_deleted.len() > failed {
                Ended::Void
            } else {
                Ended::in_time(whole)
            })
        })
        .await;
    }

    /// Writes rejects files that are missing.
    async fn write_missing(&self, result: &mut Reconciliation) {
        let output = &self.context.output;
        // With a bucket of their own, files of this machine have rejects files, too.
        let part = if output.has_own_bucket() { "all" } else { ALL };
        self.step("rejects files", &[part], result, async |until, result| {
            let failed = result.tidied.rejects_files_missing.len();
            let whole = write_missing(self.database, output, until, &mut result.tidied).await?;
            Ok(if whole && result.tidied.rejects_files_missing.len() > failed {
                Ended::Void
            } else {
                Ended::in_time(whole)
            })
        })
        .await;
    }

    /// Releases parked rows whose reference has arrived.
    async fn release(&self, result: &mut Reconciliation) {
        let mut datasets: Vec<&Dataset> = self.fit.all().filter(|dataset| dataset.reference.is_some()).collect();
        let mut all = BTreeMap::new();
        while !datasets.is_empty() {
            let names: Vec<&str> = datasets.iter().map(|dataset| dataset.name.as_str()).collect();
            let mut moved = BTreeSet::new();
            self.step("release", &names, result, async |(pass, deadline), result| {
                let dataset = self.fit.get(pass.part()).map_err(Error::configuration)?;
                let released = release(self.database, dataset, (pass, deadline)).await?;
                result.released += released.rows;
                if released.rows > 0 {
                    moved.insert(dataset.name.clone());
                }
                let ended = Ended::in_time(released.whole);
                all.insert(dataset.name.clone(), released);
                Ok(ended)
            })
            .await;
            // Other rows may wait for the released ones.
            datasets.retain(|dataset| dataset.reference.as_ref().is_some_and(|of| moved.contains(&of.dataset)));
        }
        for (dataset, released) in &all {
            released.note(dataset, result);
        }
        match retrying(|| self.database.oldest_parked()).await {
            Ok(oldest) => result.oldest_parked_seconds = oldest,
            Err(error) => result.fail("release".into(), &error),
        }
    }

    /// Checks the sums of the loads that ended since the last run.
    async fn check_balance(&self, result: &mut Reconciliation) {
        self.step("balance", &[ALL], result, async |until, result| {
            check_balance(self.database, until, result).await.map(Ended::in_time)
        })
        .await;
    }

    /// Compares the buckets with the ledger. A bucket that cannot be reached does not keep the others from being
    /// compared.
    async fn compare(&self, buckets: &[String], result: &mut Reconciliation) -> Result<()> {
        let datasets = &*self.context.datasets;
        let known = datasets.prefixes();
        let (step, prefixes) = match self.scope.prefix.as_deref() {
            None => ("compare", known),
            Some(prefix) if known.iter().any(|known| known.starts_with(prefix) || prefix.starts_with(known)) => {
                ("backfill", vec![prefix])
            }
            Some(prefix) => {
                let known = known.join(", ");
                return Err(Error::configuration(format!(
                    "no dataset claims anything under {prefix:?}; they claim {known}"
                )));
            }
        };
        let places = buckets.iter().flat_map(|bucket| prefixes.iter().map(move |prefix| (bucket.as_str(), *prefix)));
        let places: BTreeMap<String, (&str, &str)> =
            places.map(|(bucket, prefix)| (place(bucket, prefix), (bucket, prefix))).collect();
        let parts: Vec<&String> = places.keys().collect();
        self.step(step, &parts, result, async |until, result| {
            let (parts, place) = ((&*self.context.nightly.store, self.database), places[until.0.part()]);
            match compare(parts, (datasets, &self.fit), place, self.receiver, until, result).await {
                // If S3 refuses, a person must act.
                Err(error) if error.kind() == ErrorKind::Configuration && self.scope.prefix.is_none() => {
                    result.note(None, "listing", error.chain(), 1);
                    Ok(Ended::Stuck)
                }
                whole => whole.map(Ended::in_time),
            }
        })
        .await;
        Ok(())
    }

    /// Checks which files were due.
    async fn check_calendar(&self, result: &mut Reconciliation) {
        self.step("calendar", &[ALL], result, async |(pass, _), result| {
            check_calendar(self.database, &self.context.datasets, (pass.since, Utc::now()), result).await?;
            Ok(Ended::Whole)
        })
        .await;
    }

    /// Compares the number of rows in the tables with the ledger. That reads all of a table and all its loads: small ones every night, the
    /// others in turns, so that each is counted once in `reconcile.full_days` nights.
    async fn check_rows(&self, result: &mut Reconciliation) {
        let mut sizes = BTreeMap::new();
        for dataset in self.fit.all() {
            match retrying(|| self.database.estimated_rows(dataset)).await {
                Ok((rows, batches)) => sizes.insert(dataset.name.clone(), rows.saturating_add(batches)),
                Err(error) => return result.fail("rows".into(), &error),
            };
        }
        let (most, days) = (self.rows_a_night(), self.context.nightly.full_days);
        let large = |size: &&i64| **size > most;
        let tonight = sizes.values().filter(large).sum::<i64>() / i64::from(days);
        let turn = TimeDelta::days(days.into()) - TimeDelta::hours(12);
        let mut counted = 0;
        self.step("rows", &self.fit.names(), result, async |(pass, _), result| {
            let dataset = self.fit.get(pass.part()).map_err(Error::configuration)?;
            if let Some(size) = sizes.get(pass.part()).filter(large) {
                let is_due = pass.since.is_none_or(|since| Utc::now() - since > turn);
                if !is_due || counted > 0 && counted + size > tonight {
                    return Ok(Ended::Void);
                }
                counted += size;
            }
            check_rows(self.database, dataset, result).await?;
            Ok(Ended::Whole)
        })
        .await;
    }

    /// Prunes what the ledger has kept long enough. If that fails, the rest of the run continues.
    async fn retain(&self, result: &mut Reconciliation) {
        let NightlyTerms { store, ledger_days, parked_days, .. } = &self.context.nightly;
        let database = self.database;
        if let Some(days) = *parked_days {
            self.step("parked", &[ALL], result, async |(_, deadline), result| {
                let done = expire(database, &self.fit, days, deadline, result).await;
                Ok(alone("parked", done, result))
            })
            .await;
        }
        if *ledger_days > 0 {
            self.step("prune", &[ALL], result, async |until, result| {
                let done = prune(database, *ledger_days, until, result).await;
                Ok(alone("retention", done, result))
            })
            .await;
        }
        self.step("settled", &[ALL], result, async |until, result| {
            let done = forget_gone((store, database), until, result).await;
            // What is left for the next run keeps the ledger right.
            Ok(match done {
                Ok(false) => Ended::Stuck,
                done => alone("retention", done, result),
            })
        })
        .await;
    }

    /// Up to how many rows a table is small.
    fn rows_a_night(&self) -> i64 {
        if self.context.nightly.full_days == 1 { i64::MAX } else { self.context.nightly.rows_a_night }
    }

    /// Checks rows of the tables as if they came in a file: every row of a small table, and of a large one as many as let all of them have their
    /// turn in `reconcile.full_days` nights.
    async fn check_tables(&self, result: &mut Reconciliation) {
        self.step(LAST, &self.fit.names(), result, async |(pass, deadline), result| {
            let dataset = self.context.datasets.get(pass.part()).map_err(Error::configuration)?;
            let latest_version = self.context.terms.latest_version(Utc::now());
            let mut plain =
                dataset.as_in_table().without_encrypted().with_latest_version(latest_version).with_given_keys();
            plain.null_values = vec![NULL.into()];
            let (rows, _) = retrying(|| self.database.estimated_rows(dataset)).await?;
            let tonight = self.rows_a_night().max(rows / i64::from(self.context.nightly.full_days) + 1);
            let (mut after, before) = (pass.cursor.clone(), result.rows_checked);
            while deadline.has_time_for(Duration::ZERO) {
                if result.rows_checked - before >= tonight {
                    return Ok(Ended::Enough);
                }
                let Some(last) = self.check_part((dataset, &plain), after.as_deref(), result).await? else {
                    return Ok(Ended::Whole);
                };
                retrying(|| self.database.advance_pass(pass, &last)).await?;
                after = Some(last);
            }
            Ok(Ended::CutOff)
        })
        .await;
    }

    /// Checks the rows of a table after that key, as many as fit on the disk. Returns the key of the last one; `None`
    /// at the end of the table.
    async fn check_part(
        &self,
        (own, dataset): (&Dataset, &Dataset),
        after: Option<&str>,
        result: &mut Reconciliation,
    ) -> Result<Option<String>> {
        let (context, failed) = (self.context, |error| Error::system("make a copy of a table", error));
        let file = NamedTempFile::with_prefix_in("small-etl-table-", context.stages.temp_folder()).map_err(failed)?;
        let copy = tokio::fs::File::create(file.path()).await.map_err(failed)?;
        let mut copy = BufWriter::with_capacity(1024 * 1024, copy);
        let write = async |line: Bytes| copy.write_all(&line).await.map_err(failed);
        let rows = self.database.export(dataset, after, context.nightly.rows_at_once, write).await?;
        copy.flush().await.map_err(failed)?;
        if rows.count == 0 {
            return Ok(rows.last);
        }
        check_references(self.database, own, (after, rows.last.as_deref()), result).await?;
        let object = ObjectVersion {
            bucket: LOCAL_BUCKET.into(),
            key: ObjectKey::of_path(file.path()),
            version: String::new(),
            version_id: None,
            size: None,
            sequencer: None,
            modified: None,
            local: true,
        };
        // A table is exported in the plain form, whatever the form of its files.
        let (plain, tables, reading) = (dataset.in_plain_form(), &context.nightly.tables, Reading::default());
        let checked = check(context, tables, &object, &plain, reading, &Arc::default(), Totals::Ignored).await?;
        result.rows_checked += checked.extracted.read;
        let mut violations = pin!(checked.violations());
        while let Some(chunk) = violations.try_next().await? {
            for violation in chunk {
                let (key, column) = (violation.key.unwrap_or_default(), violation.column.unwrap_or_default());
                // Without the cell, because reports are kept longer than rejects.
                let (table, rule) = (&dataset.table, &violation.rule);
                let message = format!("table {table} row {key}: column {column} breaks rule {rule}");
                result.note(Some(&dataset.name), rule, message, 1);
            }
        }
        Ok(rows.last)
    }
}
