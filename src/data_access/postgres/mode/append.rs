//! `append`: rows have the place of their record as key, so that the first run of a file has keys that no other load has. A
//! later run finds the rows of the earlier ones by their places and brings them up to date.

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use tokio_postgres::Error as PostgresError;

use super::super::claim::Claim;
use super::super::row_history::keep;
use super::super::sql_names::{quoted, table_name};
use super::contract::Steps;
use crate::domain::Dataset;
use crate::domain::mode::Filled;

pub(super) struct Append;

#[async_trait]
impl Steps for Append {
    fn is_alone(&self, claim: &Claim) -> bool {
        claim.origin == claim.load_id
    }

    async fn end(
        &self,
        transaction: &Transaction<'_>,
        claim: &Claim,
        dataset: &Dataset,
        read: i64,
    ) -> Result<i64, PostgresError> {
        if self.is_alone(claim) {
            return Ok(0);
        }
        let (load, record) = (quoted(Filled::LoadId.name()), quoted(Filled::Record.name()));
        let ended = format!("where t.{load} = {} and t.{record} > {read}", claim.origin.0);
        if let Some(keep) = keep(dataset, &claim.load_id.0.to_string(), "deleted", &ended) {
            transaction.execute(&keep, &[]).await?;
        }
        // Every other record of an earlier run is one of this run, and has an outcome.
        let statement = format!("delete from {} where {load} = $1 and {record} > $2", table_name(&dataset.table));
        let deleted = transaction.execute(&statement, &[&claim.origin.0, &read]).await?;
        Ok(i64::try_from(deleted).unwrap_or(i64::MAX))
    }
}
