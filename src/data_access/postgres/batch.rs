//! One batch, one transaction: rows, rejects, parked rows and the checkpoint commit together or not at all.

use std::pin::pin;

use arrow::record_batch::RecordBatch;
use deadpool_postgres::Transaction;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use super::data_keys::sealed;
use super::encode::{Cell, Cells, postgres_type};
use super::ledger::{Claim, commit_step, counts};
use super::rejects::{copy_rejects, keep_resubmissions};
use super::upsert::UpsertStatements;
use super::{Database, query_error};
use crate::data_access::cipher::{Cipher, Place};
use crate::domain::{BatchNumber, Counts, Dataset, LoadId, Resubmission, Violation};
use crate::error::Result;

/// What a batch brings. Its rows come in chunks, so that a batch of large records is never in memory as a whole.
pub struct BatchRows<'a> {
    /// Which batch.
    pub batch: BatchNumber,
    /// Its first and last record, both included.
    pub records: (i64, i64),
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
        let mut connection = self.connection().await?;
        let statements = UpsertStatements::new(dataset, &claim.dataset_version);
        // Made outside of the transaction, once a connection: a temporary table in each would swell the catalogue.
        connection.batch_execute(&statements.create_stage).await.map_err(failed)?;
        let transaction = connection.transaction().await.map_err(failed)?;
        // The commit before this attempt may have succeeded although its answer was lost.
        if let Some(counts) = checkpoint(&transaction, claim.load_id, rows.batch).await.map_err(failed)? {
            return Ok(counts);
        }
        copy_rows(&transaction, dataset, cipher.as_deref(), &statements.copy, rows.accepted).await?;
        let upserted = upsert(&transaction, claim.load_id, rows.batch, &statements).await.map_err(failed)?;
        let counts = Counts {
            read: rows.records.1 - rows.records.0 + 1,
            rejected: rows.rejected,
            warnings: rows.warnings + upserted.warnings,
            ..upserted
        };
        keep_resubmissions(&transaction, claim.load_id, rows.resubmissions).await.map_err(failed)?;
        while let Some(violations) = rows.violations.try_next().await? {
            let violations = sealed(cipher.as_deref(), dataset, claim.load_id, violations)?;
            copy_rejects(&transaction, claim.load_id, &violations).await?;
        }
        transaction
            .execute(
                "insert into etl.load_batch (load_id, batch, first_record, last_record, \
                     inserted, updated, unchanged, stale, parked, rejected, warnings) \
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                &[
                    &claim.load_id.0,
                    &rows.batch.0,
                    &rows.records.0,
                    &rows.records.1,
                    &counts.inserted,
                    &counts.updated,
                    &counts.unchanged,
                    &counts.stale,
                    &counts.parked,
                    &counts.rejected,
                    &counts.warnings,
                ],
            )
            .await
            .map_err(failed)?;
        commit_step(&transaction, claim).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(counts)
    }
}

/// Brings the staged rows to where they belong. A row that another load wrote since the look-up is locked by now, and is
/// looked at again.
async fn upsert(
    transaction: &Transaction<'_>,
    load: LoadId,
    batch: BatchNumber,
    statements: &UpsertStatements,
) -> Result<Counts, tokio_postgres::Error> {
    let upsert = transaction.prepare_cached(&statements.upsert).await?;
    let mut sum = Counts::default();
    loop {
        let row = transaction.query_one(&upsert, &[&load.0, &batch.0]).await?;
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
        transaction.execute(&statements.keep, &[&unsettled]).await?;
    }
}

/// The counts of a batch that is committed.
async fn checkpoint(
    transaction: &Transaction<'_>,
    load: LoadId,
    batch: BatchNumber,
) -> Result<Option<Counts>, tokio_postgres::Error> {
    let row = transaction
        .query_opt(
            "select last_record - first_record + 1 as read, inserted, updated, unchanged, stale, parked, rejected, \
                 0::bigint as withheld, warnings, 0::bigint as released \
             from etl.load_batch where load_id = $1 and batch = $2",
            &[&load.0, &batch.0],
        )
        .await?;
    Ok(row.as_ref().map(counts))
}

/// Columns of a row that is copied before those of its dataset: the record and its line.
const BESIDE: usize = 2;

/// Puts encrypted cells in the place of those that the dataset wants encrypted.
fn encrypt(cipher: &Cipher, dataset: &Dataset, cells: &mut [Cell<'_>]) -> Result<()> {
    let at = dataset.columns.iter().position(|column| column.name == dataset.key);
    let key = at.and_then(|at| dataset.key_kind().canonical(&cells[at].text()?)).unwrap_or_default();
    for (column, cell) in dataset.columns.iter().zip(cells).filter(|(column, _)| column.encrypt) {
        let place = Place { dataset: &dataset.name, column: &column.name, key: &key };
        if let Some(value) = cell.text() {
            *cell = Cell::Encrypted(cipher.encrypt(place, value.as_bytes())?);
        }
    }
    Ok(())
}

async fn copy_rows(
    transaction: &Transaction<'_>,
    dataset: &Dataset,
    cipher: Option<&Cipher>,
    copy: &str,
    mut accepted: BoxStream<'_, Result<Vec<RecordBatch>>>,
) -> Result<()> {
    let failed = |error| query_error("copy rows to Postgres", error);
    let mut types = vec![Type::INT8, Type::INT8];
    types.extend(dataset.columns.iter().map(postgres_type));
    let sink = transaction.copy_in(copy).await.map_err(failed)?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    while let Some(chunk) = accepted.try_next().await? {
        for rows in &chunk {
            let columns = Cells::columns(rows)?;
            for row in 0..rows.num_rows() {
                let mut cells: Vec<Cell<'_>> = columns.iter().map(|column| column.cell(row)).collect::<Result<_>>()?;
                if let Some(cipher) = cipher {
                    encrypt(cipher, dataset, &mut cells[BESIDE..])?;
                }
                let cells: Vec<&(dyn ToSql + Sync)> = cells.iter().map(|cell| cell as _).collect();
                writer.as_mut().write(&cells).await.map_err(failed)?;
            }
        }
    }
    writer.finish().await.map(|_| ()).map_err(failed)
}
