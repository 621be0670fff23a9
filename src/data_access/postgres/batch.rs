//! One batch, one transaction: rows, rejects, parked rows and the checkpoint commit together or not at all.

use arrow::record_batch::RecordBatch;
use deadpool_postgres::Transaction;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use tokio_postgres::error::SqlState;

use super::copy::{CopyRow, CopyRows, Target};
use super::data_keys::sealed;
use super::ledger::{Claim, SeenFile, commit_step, counts};
use super::rejects::{Mending, copy_rejects};
use super::settle::{Settled, look_up};
use super::upsert::UpsertStatements;
use super::{Database, query_error};
use crate::domain::{BatchNumber, Counts, Dataset, LoadId, Resubmission, Violation};
use crate::error::{Error, ErrorKind, Result};

/// A row that another load wrote meanwhile is settled in the next round, or the one after it.
const MOST_ROUNDS: usize = 100;

/// What a batch brings. Its rows come in chunks, so that a batch of large records is never in memory as a whole.
pub struct BatchRows<'a> {
    /// Which batch.
    pub batch: BatchNumber,
    /// Its first and last record, both included.
    pub records: (i64, i64),
    /// What is known of the file.
    pub file: SeenFile<'a>,
    /// Accepted rows: the record number and its line, then the dataset's columns in their order.
    pub accepted: BoxStream<'a, Result<Vec<RecordBatch>>>,
    /// Every violation of its rejected records, in the order of the file.
    pub violations: BoxStream<'a, Result<Vec<Violation>>>,
    /// How many records those are.
    pub rejected: i64,
    /// Records, good or bad, that say which reject they are to mend.
    pub resubmissions: &'a [Resubmission],
    /// Violations of severity warning on its accepted rows.
    pub warnings: i64,
    /// Whether another load was in the way of an earlier attempt. Then SQL decides of every row, which waits for others.
    pub contended: bool,
}

impl Database {
    /// Writes one batch. A batch that is already committed is left alone.
    ///
    /// # Errors
    /// `LeaseLost` when another worker took over; `Connection` or `Conflict` when the batch may be tried again as a whole.
    pub async fn write_batch(&self, claim: &Claim, dataset: &Dataset, mut rows: BatchRows<'_>) -> Result<Counts> {
        let step = format!("write batch {}", rows.batch);
        let failed = |error| query_error(&step, error);
        let cipher = self.cipher_for(dataset).await?;
        let straight = !rows.contended && self.takes_copies(dataset, &claim.dataset_version);
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await.map_err(failed)?;
        // The commit before this attempt may have succeeded although its answer was lost. And a batch is small beside its
        // table, which the planner does not know of a table that is just being filled. Without a plan of the foreign key that
        // is kept, Postgres plans its check anew for each row.
        let looked = tokio::try_join!(
            transaction.batch_execute("set local enable_seqscan = off; set local plan_cache_mode = force_generic_plan"),
            checkpoint(&transaction, claim.load_id, rows.batch)
        );
        if let ((), Some(counts)) = looked.map_err(failed)? {
            return Ok(counts);
        }
        let statements = UpsertStatements::new(dataset, &claim.dataset_version);
        let (mut upserted, mut staged, mut mending) = (Counts::default(), false, Mending::of(rows.resubmissions));
        while let Some(chunk) = rows.accepted.try_next().await? {
            let chunk = CopyRows::encode(dataset, cipher.as_deref(), &chunk)?;
            mending.note(chunk.rows().iter().map(|row| (row.record, Some(row.key.as_str()))));
            let settled = if straight {
                look_up(&transaction, dataset, &chunk).await.map_err(|error| not_straight("look rows up", error))?
            } else {
                Settled { open: chunk.rows().iter().collect(), ..Settled::default() }
            };
            upserted = upserted + settled.counts();
            settled.note(&transaction, claim.load_id, rows.batch, dataset).await.map_err(failed)?;
            insert(&transaction, &statements, &chunk, settled.new).await?;
            if !settled.open.is_empty() {
                transaction.batch_execute(&statements.create_stage).await.map_err(failed)?;
                let copy = transaction.prepare_cached(&statements.copy).await.map_err(failed)?;
                chunk.write(&transaction, &copy, &settled.open, Target::Stage).await.map_err(failed)?;
                staged = true;
            }
        }
        if staged {
            transaction.batch_execute("set local plan_cache_mode = force_custom_plan").await.map_err(failed)?;
            upserted = upserted + upsert(&transaction, claim.load_id, rows.batch, &statements).await?;
        }
        let counts = Counts {
            read: rows.records.1 - rows.records.0 + 1,
            rejected: rows.rejected,
            warnings: rows.warnings + upserted.warnings,
            ..upserted
        };
        while let Some(violations) = rows.violations.try_next().await? {
            mending.note(violations.iter().map(|violation| (violation.record.0, violation.key.as_deref())));
            let violations = sealed(cipher.as_deref(), dataset, claim.load_id, violations)?;
            copy_rejects(&transaction, claim.load_id, &violations).await?;
        }
        mending.keep(&transaction, claim.load_id, dataset).await.map_err(failed)?;
        note_batch(&transaction, claim.load_id, rows.batch, rows.records, counts).await.map_err(failed)?;
        commit_step(&transaction, claim, rows.file).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(counts)
    }
}

/// Copies rows that the table has not straight to it. Where another load was faster, the batch is to be tried again.
async fn insert(
    transaction: &Transaction<'_>,
    statements: &UpsertStatements,
    chunk: &CopyRows,
    mut rows: Vec<&CopyRow>,
) -> Result<()> {
    let step = "copy rows to the table";
    if rows.is_empty() {
        return Ok(());
    }
    // In one order everywhere: loads that meet wait for each other, and never in a circle.
    rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    let failed = |error| not_straight(step, error);
    let copy = transaction.prepare_cached(&statements.insert).await.map_err(failed)?;
    let taken = chunk.write(transaction, &copy, &rows, Target::Table).await.map_err(failed)?;
    if usize::try_from(taken) != Ok(rows.len()) {
        let message = format!("{step}: it took {taken} of {}; is there a trigger that drops rows?", rows.len());
        return Err(Error::configuration(message));
    }
    Ok(())
}

/// What stands in the way of the short way, and SQL can do: another load wrote one of the rows, or the table was altered since this
/// process looked at it, so that a statement that is kept has other columns or a value another type.
fn not_straight(step: &str, error: tokio_postgres::Error) -> Error {
    let codes = [SqlState::UNIQUE_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED, SqlState::INVALID_BINARY_REPRESENTATION];
    match error.code() {
        Some(code) if codes.contains(code) => {
            let message = format!("{step}: a row or the table changed meanwhile (SQLSTATE {})", code.code());
            Error::new(ErrorKind::Conflict, message)
        }
        _ => query_error(step, error),
    }
}

/// The checkpoint: it commits with the rows that it counts.
async fn note_batch(
    transaction: &Transaction<'_>,
    load: LoadId,
    batch: BatchNumber,
    (first, last): (i64, i64),
    counts: Counts,
) -> Result<(), tokio_postgres::Error> {
    let statement = transaction
        .prepare_cached(
            "insert into etl.load_batch (load_id, batch, first_record, last_record, \
                 inserted, updated, unchanged, stale, parked, rejected, warnings) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .await?;
    let Counts { inserted, updated, unchanged, stale, parked, rejected, warnings, .. } = counts;
    transaction
        .execute(
            &statement,
            &[&load.0, &batch.0, &first, &last, &inserted, &updated, &unchanged, &stale, &parked, &rejected, &warnings],
        )
        .await?;
    Ok(())
}

/// Brings the staged rows to where they belong. A row that another load wrote since the look-up is locked by now, and is
/// looked at again.
async fn upsert(
    transaction: &Transaction<'_>,
    load: LoadId,
    batch: BatchNumber,
    statements: &UpsertStatements,
) -> Result<Counts> {
    let failed = |error| query_error("upsert rows", error);
    let upsert = transaction.prepare_cached(&statements.upsert).await.map_err(failed)?;
    let mut sum = Counts::default();
    for _ in 0..MOST_ROUNDS {
        let row = transaction.query_one(&upsert, &[&load.0, &batch.0]).await.map_err(failed)?;
        sum = sum
            + Counts {
                inserted: row.get("inserted"),
                updated: row.get("updated"),
                unchanged: row.get("unchanged"),
                stale: row.get("stale"),
                parked: row.get("parked"),
                warnings: row.get("disagreements"),
                ..Counts::default()
            };
        let unsettled: Option<Vec<i64>> = row.get("unsettled");
        let Some(unsettled) = unsettled else { return Ok(sum) };
        transaction.execute(&statements.keep, &[&unsettled]).await.map_err(failed)?;
    }
    let message = "upsert rows: the table does not take some of them; is there a trigger that drops rows?";
    Err(Error::configuration(message))
}

/// The counts of a batch that is committed.
async fn checkpoint(
    transaction: &Transaction<'_>,
    load: LoadId,
    batch: BatchNumber,
) -> Result<Option<Counts>, tokio_postgres::Error> {
    let statement = transaction
        .prepare_cached(
            "select last_record - first_record + 1 as read, inserted, updated, unchanged, stale, parked, rejected, \
                 0::bigint as withheld, warnings, 0::bigint as released \
             from etl.load_batch where load_id = $1 and batch = $2",
        )
        .await?;
    let row = transaction.query_opt(&statement, &[&load.0, &batch.0]).await?;
    Ok(row.as_ref().map(counts))
}
