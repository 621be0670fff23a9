//! Load: batches of accepted rows, several at once, each with its rejects and its checkpoint.

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};

use super::rejects::{self, Slices};
use super::validate::quoted_name;
use super::{LoadWork, Loader};
use crate::data_access::duckdb::blocking;
use crate::data_access::postgres::{BatchRows, Database};
use crate::domain::{BatchNumber, Counts, Dataset};
use crate::error::{Error, Result};

/// The part `postgresql`.
pub struct PostgresLoader;

/// Repeats a step that failed on its connection: three times, each after a longer and slightly random pause.
///
/// # Errors
/// The last error of `step`.
pub async fn retrying<T, F: Future<Output = Result<T>>>(step: impl FnMut() -> F) -> Result<T> {
    let pauses =
        ExponentialBuilder::default().with_min_delay(Duration::from_millis(200)).with_max_times(3).with_jitter();
    step.retry(pauses)
        .when(Error::is_retryable)
        .notify(|error, pause| tracing::warn!(error = %error.chain(), ?pause, "trying again"))
        .await
}

#[async_trait]
impl Loader for PostgresLoader {
    async fn load(&self, database: &Database, work: &LoadWork) -> Result<()> {
        let dataset = work.datasets.get(&work.dataset).map_err(Error::configuration)?;
        let (read, size) = (work.extracted.read, work.claim.terms.batch_size);
        let done = retrying(|| database.committed_batches(work.claim.load_id)).await?;
        let (committed, open): (Vec<_>, Vec<_>) = BatchNumber::all(read, size).partition(|batch| done.contains(batch));
        for batch in &committed {
            work.count_committed(*batch);
        }
        let writes = open.into_iter().map(|batch| write_batch(database, work, dataset, batch));
        let mut writes = stream::iter(writes).buffer_unordered(database.connections());
        let mut parked = !committed.is_empty();
        while let Some(counts) = writes.try_next().await? {
            parked |= counts.parked > 0;
        }
        release(database, work, dataset, parked).await
    }
}

fn write_batch<'a>(
    database: &'a Database,
    work: &'a LoadWork,
    dataset: &'a Dataset,
    batch: BatchNumber,
) -> BoxFuture<'a, Result<Counts>> {
    let write = async move {
        let (first, last) = batch.records(work.extracted.read, work.claim.terms.batch_size);
        let accepted = Slices::of_accepted(&work.stage, first, last).await?;
        let rejected = Slices::of_rejected(&work.stage, first, last).await?;
        let counts = retrying(|| {
            let rows = BatchRows {
                batch,
                records: (first, last),
                accepted: accepted_rows(work, dataset, accepted.ranges.clone()).boxed(),
                violations: rejects::violations(dataset, &work.stage, &work.extracted, rejected.ranges.clone()).boxed(),
                rejected: rejected.records,
                warnings: accepted.warnings,
            };
            database.write_batch(&work.claim, dataset, rows)
        })
        .await?;
        work.count_committed(batch);
        Ok(counts)
    };
    write.boxed()
}

impl LoadWork {
    fn count_committed(&self, batch: BatchNumber) {
        let (first, last) = batch.records(self.extracted.read, self.claim.terms.batch_size);
        self.stage.progress().add_committed(last - first + 1);
    }
}

/// The accepted rows of the records in `ranges`, as they stand in the table `checked`, which keeps the file's order.
fn accepted_rows(
    work: &LoadWork,
    dataset: &Dataset,
    ranges: Vec<(i64, i64)>,
) -> impl Stream<Item = Result<Vec<RecordBatch>>> + use<> {
    let columns: Vec<String> = dataset.columns.iter().map(|column| quoted_name(&column.name)).collect();
    let select = format!("select _record, {} from checked where _ok and _record between", columns.join(", "));
    let stage = Arc::clone(&work.stage);
    stream::iter(ranges).then(move |(first, last)| {
        let (stage, sql) = (Arc::clone(&stage), format!("{select} {first} and {last}"));
        blocking(move || stage.query(&sql))
    })
}

/// Frees what waits for the rows of this file, and what this file parked whose reference came meanwhile. Freed rows may
/// in turn be what others wait for.
async fn release(database: &Database, work: &LoadWork, dataset: &Dataset, parked: bool) -> Result<()> {
    if parked {
        while retrying(|| database.release_parked(&work.claim, dataset, Some(work.claim.load_id))).await? > 0 {}
    }
    let mut arrived = vec![dataset.name.as_str()];
    while let Some(name) = arrived.pop() {
        for waiting in work.datasets.referring_to(name) {
            let mut released = 0;
            loop {
                let more = retrying(|| database.release_parked(&work.claim, waiting, None)).await?;
                released += more;
                if more == 0 {
                    break;
                }
            }
            if released > 0 && waiting.name != name {
                arrived.push(&waiting.name);
            }
        }
    }
    Ok(())
}
