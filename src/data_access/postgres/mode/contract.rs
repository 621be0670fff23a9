//! What a mode may do in the database besides writing batches.

use std::collections::HashSet;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use deadpool_postgres::Transaction;
use tokio_postgres::Error as PostgresError;

use super::super::claim::Claim;
use crate::domain::{Dataset, LoadId};
use crate::error::Result;

/// The steps of a mode. By default it has none: its batches are all that it does.
#[async_trait]
pub(in super::super) trait Steps: Sync {
    /// Whether the table has no row of this load from before, and no other load writes one. Then nothing is looked up.
    fn is_alone(&self, _claim: &Claim) -> bool {
        false
    }

    /// Returns the records of rows (record, line, and the columns of the dataset) that a later file has overtaken. They are stale, whatever
    /// the table has.
    async fn overtaken(
        &self,
        _transaction: &Transaction<'_>,
        _load: LoadId,
        _dataset: &Dataset,
        _rows: &[RecordBatch],
    ) -> Result<HashSet<i64>> {
        Ok(HashSet::new())
    }

    /// Takes out of the table what the file, which has `read` records, does not have. Runs in the transaction that closes
    /// the load. Returns the number of rows.
    async fn end(
        &self,
        _transaction: &Transaction<'_>,
        _claim: &Claim,
        _dataset: &Dataset,
        _read: i64,
    ) -> Result<i64, PostgresError> {
        Ok(0)
    }
}
