//! `etl.delivery`: which further loaders have finished a load.

use std::collections::HashSet;

use super::ledger::{SeenFile, commit_step};
use super::{Claim, Database, query_error};
use crate::domain::LoadId;
use crate::error::Result;

impl Database {
    /// Returns the names of the loaders that have finished a load.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn deliveries(&self, load: LoadId) -> Result<HashSet<String>> {
        let statement = "select loader from etl.delivery where load_id = $1";
        let rows = self.connection("deliveries").await?.query(statement, &[&load.0]).await;
        let rows = rows.map_err(|error| query_error("read what was delivered", error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Records that a loader has finished a load, and with how many rows. Repeating it does no harm.
    ///
    /// # Errors
    /// `LeaseLost` if another worker has taken over, `Connection`, `System`.
    pub async fn note_delivery(&self, claim: &Claim, loader: &str, rows: i64) -> Result<()> {
        let mut connection = self.connection("note_delivery").await?;
        let failed = |error| query_error("note what was delivered", error);
        let transaction = connection.transaction().await.map_err(failed)?;
        let statement = "insert into etl.delivery (load_id, loader, rows) values ($1, $2, $3) on conflict do nothing";
        transaction.execute(statement, &[&claim.load_id.0, &loader, &rows]).await.map_err(failed)?;
        commit_step(&transaction, claim, SeenFile::default()).await?;
        transaction.commit().await.map_err(failed)
    }
}
