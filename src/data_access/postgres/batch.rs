//! One batch, one transaction: rows, rejects, parked rows and the checkpoint commit together or not at all.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use deadpool_postgres::Transaction;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use tokio_postgres::Error as PostgresError;
use tokio_postgres::error::SqlState;

use super::checked_table::Table;
use super::claim::Claim;
use super::copy::{CopyRow, CopyRows, Origin, Target};
use super::data_keys::sealed;
use super::ledger::{SeenFile, commit_step, counts};
use super::mending::{Mending, copy_rejects};
use super::mode::steps;
use super::row_history::origin;
use super::settle::{Settled, look_up};
use super::tie::{Overwritten, Rivals, batches_of, still_won};
use super::tombstone::TombstoneStatements;
use super::upsert::UpsertStatements;
use super::{Database, query_error};
use crate::domain::{BatchNumber, Counts, Dataset, LoadId, Resubmission, Violation};
use crate::error::{Error, ErrorKind, Result};

/// The most rounds. A row that another load wrote in the meantime is settled in the next round or the one after.
const MOST_ROUNDS: usize = 100;

/// What one batch writes. Its rows come in chunks, so that a batch of large records is never in memory as a whole.
pub struct BatchRows<'a> {
    /// The number of the batch.
    pub batch: BatchNumber,
    /// The first and the last record of the batch, both included.
    pub records: (i64, i64),
    /// What is known of the file.
    pub file: SeenFile<'a>,
    /// Accepted rows: the number of the record and its line, then the columns of the table in the order of the dataset.
    pub accepted: BoxStream<'a, Result<Vec<RecordBatch>>>,
    /// Accepted tombstones: the number of the record and its line, then the columns of the key and of the version in the order
    /// of the dataset.
    pub removed: &'a [RecordBatch],
    /// Every violation of the rejected records, in the order of the file.
    pub violations: BoxStream<'a, Result<Vec<Violation>>>,
    /// The number of rejected records.
    pub rejected: i64,
    /// Records, good or bad, that name the reject that they mend.
    pub resubmissions: &'a [Resubmission],
    /// Violations of severity warning on accepted rows.
    pub warnings: i64,
    /// Whether another load interfered with an earlier attempt. If so, every row is decided in SQL, which waits for
    /// other loads.
    pub contended: bool,
}

impl Database {
    /// Writes one batch. A batch that is already committed is left alone.
    ///
    /// # Errors
    /// `LeaseLost` if another worker took over; `Connection` or `Conflict` if the whole batch may be tried again;
    /// `File` if the table refuses one of its rows, `System` if the table cannot be written to as it is.
    pub async fn write_batch(&self, claim: &Claim, dataset: &Dataset, rows: BatchRows<'_>) -> Result<Counts> {
        let (table, batch) = (self.table_of_claim(claim, dataset).await?, rows.batch);
        let error = match self.write_batch_to(&table, claim, dataset, rows).await {
            Ok(counts) => return Ok(counts),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::File(_) | ErrorKind::System) {
            self.forget_table(dataset, &claim.dataset_version);
        }
        // Before a file fails for good, the table is checked again: its constraints and triggers may have changed
        // meanwhile.
        if matches!(error.kind(), ErrorKind::File(_)) && self.table_of_claim(claim, dataset).await? != table {
            let step = format!("write batch {batch}: the table changed meanwhile");
            return Err(Error::with_source(ErrorKind::Conflict, step, error));
        }
        Err(error)
    }

    pub(super) async fn table_of_claim(&self, claim: &Claim, dataset: &Dataset) -> Result<Arc<Table>> {
        // The definitions may be those of an earlier claim. If the table no longer fits them, this load cannot make
        // progress.
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
        let removed = CopyRows::encode(&dataset.as_tombstones(), None, rows.removed)?;
        // No row that is to be deleted may be inserted meanwhile (`postgres/tombstone.rs`).
        let sharing = if removed.rows().is_empty() { "_shared" } else { "" };
        let straight = !rows.contended && table.takes_copies;
        let is_alone = rows.resubmissions.is_empty() && steps(dataset).is_alone(claim);
        let mut connection = self.connection("write_batch_to").await?;
        let transaction = connection.transaction().await.map_err(failed)?;
        // The commit before this attempt may have succeeded although its answer was lost. The settings are for the
        // planner: it does not know that a batch is small compared with a table that is just being filled, and unless
        // it keeps a plan for checking the foreign key, it makes a new one for each row.
        let begin = format!(
            "set local enable_seqscan = off; set local plan_cache_mode = force_generic_plan; select pg_advisory_xact_lock{sharing}({})",
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
        let statements = UpsertStatements::new(dataset, &claim.dataset_version, table.storage);
        let origin = origin(&transaction, claim.load_id, dataset).await.map_err(failed)?;
        let (mut upserted, mut staged, mut mending) = (Counts::default(), false, Mending::of(rows.resubmissions));
        while let Some(chunk) = rows.accepted.try_next().await? {
            let staged_rows = chunk;
            let chunk = CopyRows::encode(dataset, cipher.as_deref(), &staged_rows)?;
            mending.note(chunk.rows().iter().map(|row| (row.record, Some(row.key.as_str()))));
            // Which reject a row mends may decide whether it wins.
            mending.keep(&transaction, claim.load_id, dataset).await.map_err(failed)?;
            let overtaken = steps(dataset).overtaken(&transaction, claim.load_id, dataset, &staged_rows).await?;
            if !is_alone {
                let kept_out = rivals.keep_out(&transaction, dataset, &chunk).await;
                kept_out.map_err(|error| not_straight(table, dataset, &step, error))?;
            }
            let mut settled = if straight && is_alone && dataset.reference.is_none() {
                Settled { new: chunk.rows().iter().collect(), ..Settled::default() }
            } else if straight {
                look_up(&transaction, dataset, &chunk, is_alone)
                    .await
                    .map_err(|error| not_straight(table, dataset, &step, error))?
            } else {
                Settled { open: chunk.rows().iter().collect(), ..Settled::default() }
            };
            settled.leave(&overtaken);
            upserted = upserted + settled.counts();
            settled.note(&transaction, claim.load_id, rows.batch, dataset).await.map_err(failed)?;
            if !settled.new.is_empty() {
                let taken = insert(&transaction, &statements, &chunk, settled.new, &origin).await;
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
            let settled = settle(&transaction, claim, rows.batch, (&statements.upsert, &statements.keep)).await;
            let settled = settled.map_err(refused)?;
            let (counts, overwritten) = settled.ok_or_else(|| table.drops_rows(dataset))?;
            if !still_won(&transaction, dataset, &overwritten, claim.since).await.map_err(failed)? {
                return Err(Error::new(ErrorKind::Conflict, format!("{step}: a later load was in the way")));
            }
            upserted = upserted + counts;
        }
        if !removed.rows().is_empty() {
            mending.note(removed.rows().iter().map(|row| (row.record, Some(row.key.as_str()))));
            mending.keep(&transaction, claim.load_id, dataset).await.map_err(failed)?;
            let settled = remove(&transaction, claim, rows.batch, dataset, &removed).await.map_err(refused)?;
            upserted = upserted + settled.ok_or_else(|| table.drops_rows(dataset))?;
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
        // Deferred constraints are checked only now.
        transaction.commit().await.map_err(refused)?;
        Ok(counts)
    }
}

/// Copies new rows directly to the table. Returns whether it took all of them.
async fn insert(
    transaction: &Transaction<'_>,
    statements: &UpsertStatements,
    chunk: &CopyRows,
    mut rows: Vec<&CopyRow>,
    origin: &Origin,
) -> Result<bool, PostgresError> {
    // The same order everywhere: loads that meet wait for each other and never deadlock.
    rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    let copy = transaction.prepare_cached(&statements.insert).await?;
    let taken = chunk.write(transaction, &copy, &rows, Target::Table(origin)).await?;
    Ok(usize::try_from(taken) == Ok(rows.len()))
}

/// Converts an error of the direct copy into a conflict if SQL may succeed instead. It may if another load wrote one of
/// the rows, or if the table was altered since this process examined it, so that a cached statement has other columns
/// or types. A refused row also becomes a conflict: SQL writes all rows of a batch at once, while here a row may come
/// before the one that it depends on.
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

/// Writes the checkpoint. It commits with the rows that it counts.
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
                 inserted, updated, removed, unchanged, stale, parked, rejected, warnings) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .await?;
    let Counts { inserted, updated, removed, unchanged, stale, parked, rejected, warnings, .. } = counts;
    transaction
        .execute(
            &statement,
            &[
                &load.0, &batch.0, &first, &last, &inserted, &updated, &removed, &unchanged, &stale, &parked,
                &rejected, &warnings,
            ],
        )
        .await?;
    Ok(())
}

/// Moves the staged rows to where they belong. A row that another load wrote since it was looked up is locked by now
/// and is looked up again. Also returns the rows that tied. Returns `None` if the table still does not take
/// some of the rows after all rounds.
async fn settle(
    transaction: &Transaction<'_>,
    claim: &Claim,
    batch: BatchNumber,
    (write, keep): (&str, &str),
) -> Result<Option<(Counts, Overwritten)>, PostgresError> {
    let write = transaction.prepare_cached(write).await?;
    let (mut sum, mut overwritten) = (Counts::default(), Overwritten::default());
    for _ in 0..MOST_ROUNDS {
        let row = transaction.query_one(&write, &[&claim.load_id.0, &batch.0, &claim.since]).await?;
        sum = sum
            + Counts {
                inserted: row.get("inserted"),
                updated: row.get("updated"),
                removed: row.get("removed"),
                unchanged: row.get("unchanged"),
                stale: row.get("stale"),
                parked: row.get("parked"),
                warnings: row.get("disagreements"),
                ..Counts::default()
            };
        overwritten.add(&row);
        let unsettled: Option<Vec<i64>> = row.get("unsettled");
        let Some(unsettled) = unsettled else { return Ok(Some((sum, overwritten))) };
        transaction.execute(keep, &[&unsettled]).await?;
    }
    Ok(None)
}

/// Deletes the rows that tombstones name. Returns `None` if the table keeps some of them.
async fn remove(
    transaction: &Transaction<'_>,
    claim: &Claim,
    batch: BatchNumber,
    dataset: &Dataset,
    removed: &CopyRows,
) -> Result<Option<Counts>, PostgresError> {
    let statements = TombstoneStatements::new(dataset, &claim.dataset_version);
    transaction.batch_execute(&statements.create_stage).await?;
    let copy = transaction.prepare_cached(&statements.copy).await?;
    removed.write(transaction, &copy, &removed.rows().iter().collect::<Vec<_>>(), Target::Stage).await?;
    transaction.batch_execute("set local plan_cache_mode = force_custom_plan").await?;
    let settled = settle(transaction, claim, batch, (&statements.remove, &statements.keep)).await?;
    Ok(settled.map(|(counts, _)| counts))
}

/// Returns the counts of a batch if it is committed.
async fn checkpoint(
    transaction: &Transaction<'_>,
    load: LoadId,
    batch: BatchNumber,
) -> Result<Option<Counts>, PostgresError> {
    let statement = transaction
        .prepare_cached(
            "select last_record - first_record + 1 as read, inserted, updated, removed, unchanged, stale, parked, rejected, \
                 0::bigint as withheld, warnings, 0::bigint as released, 0::bigint as deleted \
             from etl.load_batch where load_id = $1 and batch = $2",
        )
        .await?;
    let row = transaction.query_opt(&statement, &[&load.0, &batch.0]).await?;
    Ok(row.as_ref().map(counts))
}
