//! Load: batches of accepted rows, several at once, each with its rejects and its checkpoint.

use std::collections::HashSet;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};

use super::bad_records;
use super::checks::quoted_name;
use super::places::fill;
use super::replace;
use super::resubmissions::resubmissions;
use super::slices::{Found, RECORDS_AT_ONCE, Slices};
use super::tombstones::{is_row, is_tombstone};
use super::{Deadline, LoadWork, Loader, Loading, waiting};
use crate::data_access::duckdb::blocking;
use crate::data_access::postgres::{BatchRows, Claim, Database, FoundReferences, Release};
use crate::data_access::retry::retrying;
use crate::domain::{BatchNumber, Column, Counts, Dataset, Datasets, LoadId, Violation};
use crate::error::{Error, ErrorKind, Result};

/// The part `postgresql`.
pub struct PostgresLoader;

#[async_trait]
impl Loader for PostgresLoader {
    async fn load(&self, database: &Database, work: &LoadWork) -> Result<Loading> {
        let dataset = work.datasets.get(&work.claim.dataset).map_err(Error::configuration)?;
        let (read, size) = (work.extracted.read, work.claim.terms.batch_size);
        let done = match work.claim.attempt {
            1 => HashSet::new(),
            _ => retrying(|| database.committed_batches(work.claim.load_id)).await?,
        };
        if done.is_empty() {
            waiting::check(database, work, dataset).await?;
        }
        replace::begin(database, work, dataset).await?;
        let (committed, open): (Vec<_>, Vec<_>) = BatchNumber::all(read, size).partition(|batch| done.contains(batch));
        for batch in &committed {
            work.count_committed(*batch);
        }
        work.stage.progress().note_resumed();
        let mut left = open.len();
        let (pace, references) = (Pace::default(), FoundReferences::default());
        let mut writes = stream::iter(open)
            .take_while(|_: &BatchNumber| ready(pace.leaves_time(&work.deadline)))
            .map(|batch| pace.measure(write_batch(database, work, dataset, batch, &references)))
            .buffer_unordered(database.connections());
        while writes.try_next().await?.is_some() {
            left -= 1;
        }
        if left > 0 {
            return Ok(Loading::OutOfTime);
        }
        let LoadWork { claim, datasets, deadline, .. } = work;
        Freeing { database, claim, datasets, pace: &pace, deadline }.all().await
    }

    async fn release(&self, database: &Database, claim: &Claim, datasets: &Datasets) -> Result<()> {
        let (pace, deadline) = (&Pace::default(), &Deadline::default());
        Freeing { database, claim, datasets, pace, deadline }.all().await.map(|_| ())
    }
}

/// How long the slowest step has taken, in milliseconds.
#[derive(Default)]
struct Pace(AtomicU64);

impl Pace {
    async fn measure<T>(&self, step: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let outcome = step.await;
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_max(elapsed, Ordering::Relaxed);
        outcome
    }

    /// Whether one more step as slow as the slowest ends in time.
    fn leaves_time(&self, deadline: &Deadline) -> bool {
        deadline.has_time_for(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }
}

fn write_batch<'a>(
    database: &'a Database,
    work: &'a LoadWork,
    dataset: &'a Dataset,
    batch: BatchNumber,
    references: &'a FoundReferences,
) -> BoxFuture<'a, Result<Counts>> {
    let write = async move {
        let started = Instant::now();
        let records = batch.records(work.extracted.read, work.claim.terms.batch_size);
        let accepted = Slices::of_accepted(&work.stage, work.validated, records).await?;
        let rejected = if work.validated.rejected > 0 {
            Slices::of_violations(&work.stage, Found::Error, records).await?
        } else {
            Slices::default()
        };
        let mends = work.extracted.mends;
        let resubmissions = if mends { resubmissions(&work.stage, records).await? } else { Vec::new() };
        let removed = tombstones(work, dataset, records).await?;
        let contended = AtomicBool::new(false);
        let counts = retrying(async || {
            let rows = BatchRows {
                batch,
                records,
                file: work.extracted.seen(),
                accepted: rows_of_table(work, dataset, accepted.ranges.clone()).boxed(),
                removed: &removed,
                violations: rejected_rows(work, dataset, rejected.ranges.clone()).boxed(),
                rejected: rejected.records,
                resubmissions: &resubmissions,
                warnings: accepted.warnings,
                contended: contended.load(Ordering::Relaxed),
                references,
            };
            let written = database.write_batch(&work.claim, dataset, rows).await;
            if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict) {
                contended.store(true, Ordering::Relaxed);
            }
            written
        })
        .await?;
        work.count_committed(batch);
        work.stage.progress().note_batch(started.elapsed());
        Ok(counts)
    };
    write.boxed()
}

impl LoadWork {
    /// The accepted records in the order of the file, in chunks of bounded size: `_record`, `_line`, then every column of the
    /// dataset, as values of their types. Tombstones are among them, and of theirs only the key, the version and the column that
    /// tells them are known to be values.
    ///
    /// # Errors
    /// `Configuration` where the datasets do not know that of the claim; in the stream `System`.
    pub fn accepted(&self) -> Result<impl Stream<Item = Result<Vec<RecordBatch>>> + use<>> {
        let dataset = self.datasets.get(&self.claim.dataset).map_err(Error::configuration)?.clone();
        let (work, read) = (self.clone(), self.extracted.read);
        let chunks = stream::iter(BatchNumber::all(read, RECORDS_AT_ONCE)).then(move |batch| {
            let records = batch.records(read, RECORDS_AT_ONCE);
            let (work, dataset) = (work.clone(), dataset.clone());
            async move {
                let slices = Slices::of_accepted(&work.stage, work.validated, records).await?;
                Ok::<_, Error>(accepted_rows(&work, &dataset, slices.ranges))
            }
        });
        Ok(chunks.try_flatten())
    }

    fn count_committed(&self, batch: BatchNumber) {
        let (first, last) = batch.records(self.extracted.read, self.claim.terms.batch_size);
        self.stage.progress().add_committed(last - first + 1);
    }
}

/// All accepted records in `ranges`, as they stand in the table `staged`, which keeps the file's order.
fn accepted_rows(
    work: &LoadWork,
    dataset: &Dataset,
    ranges: Vec<(i64, i64)>,
) -> impl Stream<Item = Result<Vec<RecordBatch>>> + use<> {
    staged_rows(work, dataset, select(dataset.staged_columns(), "_ok"), ranges)
}

/// Those of them that bring a row, with the columns that the table has.
fn rows_of_table(
    work: &LoadWork,
    dataset: &Dataset,
    ranges: Vec<(i64, i64)>,
) -> impl Stream<Item = Result<Vec<RecordBatch>>> + use<> {
    let wanted = match &dataset.tombstone {
        None => "_ok".to_owned(),
        Some(_) => format!("_ok and {}", is_row(dataset)),
    };
    let in_table = dataset.table_columns();
    let columns = dataset.staged_columns().filter(|staged| in_table.iter().any(|column| column.name == staged.name));
    staged_rows(work, dataset, select(columns, &wanted), ranges)
}

/// The accepted tombstones among the records `first` to `last`, with their keys and versions.
async fn tombstones(work: &LoadWork, dataset: &Dataset, records: (i64, i64)) -> Result<Vec<RecordBatch>> {
    let Some(is_tombstone) = is_tombstone(dataset) else { return Ok(Vec::new()) };
    let select = select(dataset.as_tombstones().columns.iter(), &format!("_ok and {is_tombstone}"));
    let stage = Arc::clone(&work.stage);
    blocking(move || stage.query_between(&format!("{select} order by _record"), records)).await
}

/// SQL that selects columns of wanted records. Its parameters are the first and the last record.
fn select<'c>(columns: impl Iterator<Item = &'c Column>, wanted: &str) -> String {
    let columns: Vec<String> = columns.map(|column| quoted_name(&column.name)).collect();
    format!("select _record, _line, {} from staged where {wanted} and _record between ? and ?", columns.join(", "))
}

fn staged_rows(
    work: &LoadWork,
    dataset: &Dataset,
    select: String,
    ranges: Vec<(i64, i64)>,
) -> impl Stream<Item = Result<Vec<RecordBatch>>> + use<> {
    let (stage, places, dataset) = (Arc::clone(&work.stage), work.places.clone(), Arc::new(dataset.clone()));
    stream::iter(ranges).then(move |records| {
        let (stage, sql) = (Arc::clone(&stage), select.clone());
        let (places, dataset) = (places.clone(), Arc::clone(&dataset));
        blocking(move || {
            let rows = stage.query_between(&sql, records)?;
            if dataset.filled.is_empty() {
                return Ok(rows);
            }
            rows.iter().map(|rows| fill(&dataset, places.as_deref(), rows)).collect()
        })
    })
}

/// The violations of the rejected records in `ranges`.
fn rejected_rows(
    work: &LoadWork,
    dataset: &Dataset,
    ranges: Vec<(i64, i64)>,
) -> impl Stream<Item = Result<Vec<Violation>>> + use<> {
    let places = work.places.clone();
    bad_records::violations(dataset, &work.stage, &work.extracted, Found::Error, ranges).map_ok(
        move |mut violations| {
            if let Some(places) = &places {
                places.key(&mut violations);
            }
            violations
        },
    )
}

/// How often another load may be in the way of a release, one time after the other.
const MOST_BLOCKED: usize = 100;

/// Frees parked rows on behalf of a load.
struct Freeing<'a> {
    database: &'a Database,
    claim: &'a Claim,
    datasets: &'a Datasets,
    pace: &'a Pace,
    deadline: &'a Deadline,
}

impl Freeing<'_> {
    /// Frees what this load parked whose reference came meanwhile, and what waits for its rows. Freed rows may in turn be what
    /// others wait for, also those that an earlier worker freed.
    async fn all(&self) -> Result<Loading> {
        let dataset = self.datasets.get(&self.claim.dataset).map_err(Error::configuration)?;
        let mut steps: Vec<(&Dataset, Option<LoadId>)> =
            self.datasets.referring_to(&dataset.name).into_iter().map(|waiting| (waiting, None)).collect();
        // The last is the first: what waits for its rows comes after them.
        steps.push((dataset, Some(self.claim.load_id)));
        let mut visited = HashSet::new();
        while let Some((waiting, of)) = steps.pop() {
            let Some(released) = self.rows_of(waiting, of).await? else { return Ok(Loading::OutOfTime) };
            if of.is_none() && (visited.insert(&waiting.name) || released) {
                let next = self.datasets.referring_to(&waiting.name);
                let next = next.into_iter().filter(|next| next.name != waiting.name);
                steps.extend(next.map(|next| (next, None)));
            }
        }
        Ok(Loading::Done)
    }

    /// Frees rows of one dataset, those of one load or all that wait for its rows. Returns whether there were any, and `None` if the time is over.
    async fn rows_of(&self, waiting: &Dataset, of: Option<LoadId>) -> Result<Option<bool>> {
        let (mut released, mut blocked) = (false, 0);
        while self.pace.leaves_time(self.deadline) {
            let release = retrying(|| self.database.release_parked(self.claim, waiting, of));
            match self.pace.measure(release).await? {
                Release::Done => return Ok(Some(released)),
                Release::Rows(0) if blocked == MOST_BLOCKED => {
                    tracing::error!(dataset = waiting.name, "parked rows are left to the nightly run: nothing moves");
                    return Ok(Some(released));
                }
                Release::Rows(0) => blocked += 1,
                Release::Rows(_) => (released, blocked) = (true, 0),
                // This file loads nevertheless, and the nightly run reports the rows.
                Release::Refused(error) => {
                    tracing::error!(error = %error.chain(), "parked rows cannot be released");
                    return Ok(Some(released));
                }
            }
        }
        Ok(None)
    }
}
