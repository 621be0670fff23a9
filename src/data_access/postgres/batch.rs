//! One batch, one transaction: rows, rejects, parked rows and the checkpoint commit together or not at all.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use deadpool_postgres::Transaction;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use tokio_postgres::Error as PostgresError;
use tokio_postgres::error::SqlState;

use super::claim::Claim;
use super::copy::{CopyRow, CopyRows, Target};
use super::data_keys::sealed;
use super::ledger::{SeenFile, commit_step, counts};
use super::rejects::{Mending, copy_rejects};
use super::settle::{Settled, look_up};
use super::table::Table;
use super::tie::{Rivals, batches_of, still_won};
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
    /// `LeaseLost` when another worker took over; `Connection` or `Conflict` when the batch may be tried again as a whole;
    /// `File` where the table refuses one of its rows, `System` where it cannot be written as it is.
    pub async fn write_batch(&self, claim: &Claim, dataset: &Dataset, rows: BatchRows<'_>) -> Result<Counts> {
        let (table, batch) = (self.table_of_claim(claim, dataset).await?, rows.batch);
        let error = match self.write_batch_to(&table, claim, dataset, rows).await {
            Ok(counts) => return Ok(counts),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::File(_) | ErrorKind::System) {
            self.forget_table(dataset, &claim.dataset_version);
        }
        // What a file is failed for must be so by the table as it is now: it may have other constraints and triggers by now.
        if matches!(error.kind(), ErrorKind::File(_)) && self.table_of_claim(claim, dataset).await? != table {
            let step = format!("write batch {batch}: the table changed meanwhile");
            return Err(Error::with_source(ErrorKind::Conflict, step, error));
        }
        Err(error)
    }

    async fn table_of_claim(&self, claim: &Claim, dataset: &Dataset) -> Result<Arc<Table>> {
        // The definitions may be those of an earlier claim: while the table has moved on, this load gets nowhere.
        self.checked_table(dataset, &claim.dataset_version).await.map_err(|error| match error.kind() {
            ErrorKind::Configuration => Error::system("write rows by the definitions of the first claim", error),
            _ => error,
        })
    }

    async fn write_batch_to(
        &self,
        table: &Table,
        claim: &Claim,
        dataset: &Dataset,
        mut rows: BatchRows<'_>,
    ) -> Result<Counts> {
        let step = format!("write batch {}", rows.batch);
        let failed = |error| query_error(&step, error);
        let refused = |error| table.refusal(dataset, &step, error);
        let cipher = self.cipher_for(dataset).await?;
        let straight = !rows.contended && table.takes_copies;
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await.map_err(failed)?;
        // The commit before this attempt may have succeeded although its answer was lost. And a batch is small beside its
        // table, which the planner does not know of a table that is just being filled. Without a plan of the foreign key that
        // is kept, Postgres plans its check anew for each row.
        let begin = format!(
            "set local enable_seqscan = off; set local plan_cache_mode = force_generic_plan; select pg_advisory_xact_lock_shared({})",
            batches_of(&dataset.name)
        );
        let looked = tokio::try_join!(
            transaction.batch_execute(&begin),
            checkpoint(&transaction, claim.load_id, rows.batch),
            Rivals::of(&transaction, claim.load_id, dataset)
        );
        let ((), committed, rivals) = looked.map_err(failed)?;
        if let Some(counts) = committed {
            return Ok(counts);
        }
        let statements = UpsertStatements::new(dataset, &claim.dataset_version);
        let (mut upserted, mut staged, mut mending) = (Counts::default(), false, Mending::of(rows.resubmissions));
        while let Some(chunk) = rows.accepted.try_next().await? {
            let chunk = CopyRows::encode(dataset, cipher.as_deref(), &chunk)?;
            mending.note(chunk.rows().iter().map(|row| (row.record, Some(row.key.as_str()))));
            let kept_out = rivals.keep_out(&transaction, dataset, &chunk).await;
            kept_out.map_err(|error| not_straight(table, dataset, &step, error))?;
            let settled = if straight {
                look_up(&transaction, dataset, &chunk)
                    .await
                    .map_err(|error| not_straight(table, dataset, &step, error))?
            } else {
                Settled { open: chunk.rows().iter().collect(), ..Settled::default() }
            };
            upserted = upserted + settled.counts();
            settled.note(&transaction, claim.load_id, rows.batch, dataset).await.map_err(failed)?;
            if !settled.new.is_empty() {
                let taken = insert(&transaction, &statements, &chunk, settled.new).await;
                if !taken.map_err(|error| not_straight(table, dataset, &step, error))? {
                    return Err(table.drops_rows(dataset));
                }
            }
            if !settled.open.is_empty() {
                transaction.batch_execute(&statements.create_stage).await.map_err(refused)?;
                let copy = transaction.prepare_cached(&statements.copy).await.map_err(refused)?;
                chunk.write(&transaction, &copy, &settled.open, Target::Stage).await.map_err(refused)?;
                staged = true;
            }
        }
        if staged {
            transaction.batch_execute("set local plan_cache_mode = force_custom_plan").await.map_err(failed)?;
            let settled = upsert(&transaction, claim, rows.batch, &statements).await.map_err(refused)?;
            let (counts, overwritten) = settled.ok_or_else(|| table.drops_rows(dataset))?;
            let loads = vec![claim.load_id.0; overwritten.len()];
            if !still_won(&transaction, dataset, &overwritten, &loads, claim.since).await.map_err(failed)? {
                return Err(Error::new(ErrorKind::Conflict, format!("{step}: a later load was in the way")));
            }
            upserted = upserted + counts;
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
        // What is deferred is checked only now.
        transaction.commit().await.map_err(refused)?;
        Ok(counts)
    }
}

/// Copies rows that the table has not straight to it. Returns whether it took all of them.
async fn insert(
    transaction: &Transaction<'_>,
    statements: &UpsertStatements,
    chunk: &CopyRows,
    mut rows: Vec<&CopyRow>,
) -> Result<bool, PostgresError> {
    // In one order everywhere: loads that meet wait for each other, and never in a circle.
    rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    let copy = transaction.prepare_cached(&statements.insert).await?;
    let taken = chunk.write(transaction, &copy, &rows, Target::Table).await?;
    Ok(usize::try_from(taken) == Ok(rows.len()))
}

/// The error of the short way. SQL can go on where another load wrote one of the rows, or where the table was altered since
/// this process looked at it, so that a statement that is kept has other columns or a value another type. And since SQL writes
/// all rows of a batch at once, only there a row that is refused is: here what it depends on may not be written yet.
fn not_straight(table: &Table, dataset: &Dataset, step: &str, error: PostgresError) -> Error {
    match error.code() {
        Some(code) if [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INVALID_BINARY_REPRESENTATION].contains(code) => {
            let message = format!("{step}: the table changed meanwhile (SQLSTATE {})", code.code());
            Error::new(ErrorKind::Conflict, message)
        }
        _ => {
            let error = table.refusal(dataset, step, error);
            match error.kind() {
                ErrorKind::File(_) => Error::with_source(ErrorKind::Conflict, format!("{step}: a copy"), error),
                _ => error,
            }
        }
    }
}

/// The checkpoint: it commits with the rows that it counts.
async fn note_batch(
    transaction: &Transaction<'_>,
    load: LoadId,
    batch: BatchNumber,
    (first, last): (i64, i64),
    counts: Counts,
) -> Result<(), PostgresError> {
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
/// looked at again. Returns the keys of the rows that tied, too. `None` where the table does not take some of them however often that is done.
async fn upsert(
    transaction: &Transaction<'_>,
    claim: &Claim,
    batch: BatchNumber,
    statements: &UpsertStatements,
) -> Result<Option<(Counts, Vec<String>)>, PostgresError> {
    let upsert = transaction.prepare_cached(&statements.upsert).await?;
    let (mut sum, mut overwritten) = (Counts::default(), Vec::new());
    for _ in 0..MOST_ROUNDS {
        let row = transaction.query_one(&upsert, &[&claim.load_id.0, &batch.0, &claim.since]).await?;
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
        overwritten.extend(row.get::<_, Option<Vec<String>>>("overwritten").unwrap_or_default());
        let unsettled: Option<Vec<i64>> = row.get("unsettled");
        let Some(unsettled) = unsettled else { return Ok(Some((sum, overwritten))) };
        transaction.execute(&statements.keep, &[&unsettled]).await?;
    }
    Ok(None)
}

/// The counts of a batch that is committed.
async fn checkpoint(
    transaction: &Transaction<'_>,
    load: LoadId,
    batch: BatchNumber,
) -> Result<Option<Counts>, PostgresError> {
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
