//! Parked rows: waiting for their reference, and loaded once it has come.

use super::ledger::{Claim, commit_step};
use super::upsert::{any_ready, release};
use super::{Database, query_error};
use crate::domain::{Dataset, LoadId};
use crate::error::Result;

impl Database {
    /// Loads the next rows of `dataset` whose reference has come, a batch at the most, in one transaction.
    ///
    /// With `of` only the rows that this load parked. Returns whether there may be more.
    ///
    /// # Errors
    /// `LeaseLost`; `Connection` or `Conflict` when the batch may be tried again.
    pub async fn release_parked(&self, claim: &Claim, dataset: &Dataset, of: Option<LoadId>) -> Result<bool> {
        let Some(reference) = &dataset.reference else { return Ok(false) };
        let failed = |error| query_error("release parked rows", error);
        let mut connection = self.connection().await?;
        // Most of the time nothing waits, and then its table need not even be there yet.
        let statement =
            "select 1 from etl.parked where dataset = $1 and reference_dataset = $2 and released_by is null limit 1";
        let statement = connection.prepare_cached(statement).await.map_err(failed)?;
        let waiting = connection.query_opt(&statement, &[&dataset.name, &reference.dataset]).await.map_err(failed)?;
        if waiting.is_none() {
            return Ok(false);
        }
        let of = of.map(|load| load.0);
        let statement = connection.prepare_cached(&any_ready(dataset, reference)).await.map_err(failed)?;
        if !connection.query_one(&statement, &[&of]).await.map_err(failed)?.get::<_, bool>(0) {
            return Ok(false);
        }
        let transaction = connection.transaction().await.map_err(failed)?;
        let statement = transaction.prepare_cached(&release(dataset, reference)).await.map_err(failed)?;
        let limit = i64::from(claim.terms.batch_size);
        let row = transaction.query_one(&statement, &[&of, &claim.load_id.0, &limit]).await.map_err(failed)?;
        if row.get::<_, i64>("released") > 0 {
            commit_step(&transaction, claim, 0, None).await?;
            transaction.commit().await.map_err(failed)?;
        }
        Ok(true)
    }
}
