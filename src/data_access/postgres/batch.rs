//! One batch, one transaction: rows, rejects, parked rows and the checkpoint commit together or not at all.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use deadpool_postgres::Transaction;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use tokio_postgres::Error as PostgresError;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::checked_table::Table;
use super::claim::Claim;
use super::copy::{CopyRow, CopyRows, Origin, Target};
use super::data_keys::sealed;
use super::ledger::{SeenFile, commit_step, counts};
use super::mending::{Mending, copy_rejects};
use super::mode::steps;
use super::row_history::origin;
use super::settle::{FoundReferences, Settled, look_up};
use super::tie::{Overwritten, Rivals, batches_of, still_won};
use super::tombstone::TombstoneStatements;
use super::upsert::UpsertStatements;
use super::{Database, query_error};
use crate::data_access::cipher::Cipher;
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
    /// What other batches of the load have found.
    pub references: &'a FoundReferences,
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
        let cipher = self.cipher_for(dataset).await?;
        let removed = CopyRows::encode(&dataset.as_tombstones(), None, rows.removed)?;
        let is_alone = rows.resubmissions.is_empty() && steps(dataset).is_alone(claim);
        let mut connection = self.connection("write_batch_to").await?;
        let transaction = connection.transaction().await.map_err(failed)?;
        let begun = begin(&transaction, claim.load_id, rows.batch, dataset, &removed).await;
        let (committed, rivals) = begun.map_err(failed)?;
        if let Some(counts) = committed {
            return Ok(counts);
        }
        let mut batch = OpenBatch {
            origin: origin(&transaction, claim.load_id, dataset).await.map_err(failed)?,
            transaction,
            table,
            claim,
            dataset,
            number: rows.batch,
            step: &step,
            cipher,
            statements: UpsertStatements::new(dataset, &claim.dataset_version, table.storage),
            rivals: (!is_alone).then_some(rivals),
            way: Way::of(dataset, table.takes_copies && !rows.contended, is_alone),
            mending: Mending::of(rows.resubmissions),
            references: rows.references,
            counts: Counts::default(),
            is_staged: false,
        };
        while let Some(chunk) = rows.accepted.try_next().await? {
            batch.write(&chunk).await?;
        }
        batch.decide().await?;
        batch.remove(&removed).await?;
        while let Some(violations) = rows.violations.try_next().await? {
            batch.reject(violations).await?;
        }
        let counts = Counts {
            read: rows.records.1 - rows.records.0 + 1,
            rejected: rows.rejected,
            warnings: rows.warnings + batch.counts.warnings,
            ..batch.counts
        };
        batch.commit(rows.records, counts, rows.file).await?;
        Ok(counts)
    }
}

/// Begins a batch. Returns its counts, if the commit before this attempt succeeded although its answer was lost, and the rivals of its load.
async fn begin(
    transaction: &Transaction<'_>,
    load: LoadId,
    batch: BatchNumber,
    dataset: &Dataset,
    removed: &CopyRows,
) -> Result<(Option<Counts>, Rivals), PostgresError> {
    // No row that is to be deleted may be inserted meanwhile (`postgres/tombstone.rs`).
    let sharing = if removed.rows().is_empty() { "_shared" } else { "" };
    // The settings are for the planner: it does not know that a batch is small compared with a table that is just being
    // filled, and unless it keeps a plan for checking the foreign key, it makes a new one for each row.
    let statements = format!(
        "set local enable_seqscan = off; set local plan_cache_mode = force_generic_plan; select pg_advisory_xact_lock{sharing}({})",
        batches_of(&dataset.name)
    );
    let (begun, committed, rivals) = tokio::join!(
        transaction.batch_execute(&statements),
        checkpoint(transaction, load, batch),
        Rivals::of(transaction, load, dataset)
    );
    let begun = both(both(begun, committed), rivals);
    begun.map(|(((), committed), rivals)| (committed, rivals))
}

/// The outcome of two statements that were sent together. If both fail, one of them may only say that the other has aborted the transaction.
fn both<A, B>(one: Result<A, PostgresError>, other: Result<B, PostgresError>) -> Result<(A, B), PostgresError> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(aborted), Err(cause)) if aborted.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => Err(cause),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// How the accepted rows of a batch get to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// All are copied: the table has none of them, and they refer to nothing.
    Copy,
    /// They are looked up first, and SQL decides about those that the look-up leaves open.
    LookUp {
        /// Whether the table has none of them.
        are_new: bool,
    },
    /// SQL decides about all, and waits for other loads.
    Decide,
}

impl Way {
    fn of(dataset: &Dataset, may_copy: bool, is_alone: bool) -> Self {
        match dataset.reference {
            _ if !may_copy => Self::Decide,
            None if is_alone => Self::Copy,
            _ => Self::LookUp { are_new: is_alone },
        }
    }
}

/// A batch that is being written.
struct OpenBatch<'a> {
    transaction: Transaction<'a>,
    table: &'a Table,
    claim: &'a Claim,
    dataset: &'a Dataset,
    number: BatchNumber,
    /// What fails, for messages.
    step: &'a str,
    cipher: Option<Arc<Cipher>>,
    statements: UpsertStatements,
    origin: Origin,
    /// `None` if no other load writes rows with the keys of this one.
    rivals: Option<Rivals>,
    way: Way,
    mending: Mending<'a>,
    references: &'a FoundReferences,
    /// The outcomes of the accepted rows and tombstones so far.
    counts: Counts,
    /// Whether rows wait in the stage for a decision.
    is_staged: bool,
}

impl OpenBatch<'_> {
    /// Copies what the table can take as it is, and stages what SQL must decide about.
    async fn write(&mut self, chunk: &[RecordBatch]) -> Result<()> {
        let (load, dataset) = (self.claim.load_id, self.dataset);
        let rows = CopyRows::encode(dataset, self.cipher.as_deref(), chunk)?;
        self.mending.note(keyed(&rows));
        // Which reject a row mends may decide whether it wins.
        self.keep_mending().await?;
        let overtaken = steps(dataset).overtaken(&self.transaction, load, dataset, chunk).await?;
        let mut settled = self.look_up(&rows).await.map_err(|error| self.not_straight(error))?;
        settled.leave(&overtaken);
        self.counts = self.counts + settled.counts();
        let noted = settled.note(&self.transaction, load, self.number, dataset).await;
        noted.map_err(|error| self.failed(error))?;
        if !settled.new.is_empty() {
            let taken = self.insert(&rows, settled.new).await;
            if !taken.map_err(|error| self.not_straight(error))? {
                return Err(self.table.drops_rows(dataset));
            }
        }
        if !settled.open.is_empty() {
            self.stage(&rows, &settled.open).await.map_err(|error| self.refused(error))?;
            self.is_staged = true;
        }
        Ok(())
    }

    async fn look_up<'r>(&self, rows: &'r CopyRows) -> Result<Settled<'r>, PostgresError> {
        if let Some(rivals) = &self.rivals {
            rivals.keep_out(&self.transaction, self.dataset, rows).await?;
        }
        match self.way {
            Way::Copy => Ok(Settled { new: rows.rows().iter().collect(), ..Settled::default() }),
            Way::LookUp { are_new } => look_up(&self.transaction, self.dataset, rows, are_new, self.references).await,
            Way::Decide => Ok(Settled { open: rows.rows().iter().collect(), ..Settled::default() }),
        }
    }

    /// Copies new rows directly to the table. Returns whether it took all of them.
    async fn insert(&self, chunk: &CopyRows, mut rows: Vec<&CopyRow>) -> Result<bool, PostgresError> {
        // The same order everywhere: loads that meet wait for each other and never deadlock.
        rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        let copy = self.transaction.prepare_cached(&self.statements.insert).await?;
        let taken = chunk.write(&self.transaction, &copy, &rows, Target::Table(&self.origin)).await?;
        Ok(usize::try_from(taken) == Ok(rows.len()))
    }

    async fn stage(&self, chunk: &CopyRows, rows: &[&CopyRow]) -> Result<(), PostgresError> {
        self.transaction.batch_execute(&self.statements.create_stage).await?;
        let copy = self.transaction.prepare_cached(&self.statements.copy).await?;
        chunk.write(&self.transaction, &copy, rows, Target::Stage).await.map(|_| ())
    }

    /// Lets SQL decide about the rows in the stage.
    async fn decide(&mut self) -> Result<()> {
        if !self.is_staged {
            return Ok(());
        }
        let settled = self.settle(&self.statements.upsert, &self.statements.keep).await;
        let settled = settled.map_err(|error| self.refused(error))?;
        let (counts, overwritten) = settled.ok_or_else(|| self.table.drops_rows(self.dataset))?;
        let stays = still_won(&self.transaction, self.dataset, &overwritten, self.claim.since).await;
        if !stays.map_err(|error| self.failed(error))? {
            return Err(Error::new(ErrorKind::Conflict, format!("{}: a later load was in the way", self.step)));
        }
        self.counts = self.counts + counts;
        Ok(())
    }

    /// Deletes the rows that tombstones name.
    async fn remove(&mut self, removed: &CopyRows) -> Result<()> {
        if removed.rows().is_empty() {
            return Ok(());
        }
        self.mending.note(keyed(removed));
        self.keep_mending().await?;
        let statements = TombstoneStatements::new(self.dataset, &self.claim.dataset_version);
        let settled = async {
            self.transaction.batch_execute(&statements.create_stage).await?;
            let copy = self.transaction.prepare_cached(&statements.copy).await?;
            let rows: Vec<&CopyRow> = removed.rows().iter().collect();
            removed.write(&self.transaction, &copy, &rows, Target::Stage).await?;
            self.settle(&statements.remove, &statements.keep).await
        };
        let settled = settled.await.map_err(|error| self.refused(error))?;
        let (counts, _) = settled.ok_or_else(|| self.table.drops_rows(self.dataset))?;
        self.counts = self.counts + counts;
        Ok(())
    }

    /// Moves what is staged to where it belongs. A row that another load wrote since it was looked up is locked by now
    /// and is looked up again. Also returns the rows that tied. Returns `None` if the table still does not take
    /// some of the rows after all rounds.
    async fn settle(&self, write: &str, keep: &str) -> Result<Option<(Counts, Overwritten)>, PostgresError> {
        self.transaction.batch_execute("set local plan_cache_mode = force_custom_plan").await?;
        let write = self.transaction.prepare_cached(write).await?;
        let (mut sum, mut overwritten) = (Counts::default(), Overwritten::default());
        for _ in 0..MOST_ROUNDS {
            let parameters: [&(dyn ToSql + Sync); 3] = [&self.claim.load_id.0, &self.number.0, &self.claim.since];
            let row = self.transaction.query_one(&write, &parameters).await?;
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
            self.transaction.execute(keep, &[&unsettled]).await?;
        }
        Ok(None)
    }

    /// Keeps violations of rejected records.
    async fn reject(&mut self, violations: Vec<Violation>) -> Result<()> {
        self.mending.note(violations.iter().map(|violation| (violation.record.0, violation.key.as_deref())));
        let violations = sealed(self.cipher.as_deref(), self.dataset, self.claim.load_id, violations)?;
        copy_rejects(&self.transaction, self.claim.load_id, &violations).await
    }

    async fn keep_mending(&mut self) -> Result<()> {
        let kept = self.mending.keep(&self.transaction, self.claim.load_id, self.dataset).await;
        kept.map_err(|error| self.failed(error))
    }

    async fn commit(mut self, records: (i64, i64), counts: Counts, file: SeenFile<'_>) -> Result<()> {
        self.keep_mending().await?;
        let noted = note_batch(&self.transaction, self.claim.load_id, self.number, records, counts).await;
        noted.map_err(|error| self.failed(error))?;
        commit_step(&self.transaction, self.claim, file).await?;
        // Deferred constraints are checked only now.
        let committed = self.transaction.commit().await;
        committed.map_err(|error| self.table.refusal(self.dataset, self.step, error))
    }

    fn failed(&self, error: PostgresError) -> Error {
        query_error(self.step, error)
    }

    fn refused(&self, error: PostgresError) -> Error {
        self.table.refusal(self.dataset, self.step, error)
    }

    /// Converts an error of the direct copy into a conflict if SQL may succeed instead. It may if another load wrote one of
    /// the rows, or if the table was altered since this process examined it, so that a cached statement has other columns
    /// or types. A refused row also becomes a conflict: SQL writes all rows of a batch at once, while here a row may come
    /// before the one that it depends on.
    fn not_straight(&self, error: PostgresError) -> Error {
        match error.code() {
            Some(code) if [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INVALID_BINARY_REPRESENTATION].contains(code) => {
                let message = format!("{}: the table changed meanwhile (SQLSTATE {})", self.step, code.code());
                Error::new(ErrorKind::Conflict, message)
            }
            _ => {
                let error = self.refused(error);
                match error.kind() {
                    ErrorKind::File(_) => {
                        Error::with_source(ErrorKind::Conflict, format!("{}: a copy", self.step), error)
                    }
                    _ => error,
                }
            }
        }
    }
}

/// The records of rows, with their keys.
fn keyed(rows: &CopyRows) -> impl Iterator<Item = (i64, Option<&str>)> {
    rows.rows().iter().map(|row| (row.record, Some(row.key.as_str())))
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

#[cfg(test)]
mod tests {
    use super::Way;
    use crate::domain::Datasets;

    #[test]
    fn a_row_is_looked_up_unless_that_can_tell_nothing() {
        let definitions = [
            ("asset.toml", include_str!("../../../datasets/asset.toml")),
            ("trade.toml", include_str!("../../../datasets/trade.toml")),
        ];
        let datasets = Datasets::parse(definitions).unwrap();
        let (asset, trade) = (datasets.get("asset").unwrap(), datasets.get("trade").unwrap());
        assert!(asset.reference.is_none() && trade.reference.is_some());
        for (dataset, may_copy, is_alone, way) in [
            (asset, true, true, Way::Copy),
            (asset, true, false, Way::LookUp { are_new: false }),
            (trade, true, true, Way::LookUp { are_new: true }),
            (trade, true, false, Way::LookUp { are_new: false }),
            (asset, false, true, Way::Decide),
            (trade, false, false, Way::Decide),
        ] {
            assert_eq!(Way::of(dataset, may_copy, is_alone), way, "{} {may_copy} {is_alone}", dataset.name);
        }
    }
}
