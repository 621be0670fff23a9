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
        // An undo of this run lets them wait again.
        if dataset.history.is_some() {
            transaction.batch_execute("set local small_etl.keep_content = 'on'").await?;
        }
        // A row of an earlier run that still waits is one of this run, or none any more.
        let waiting = "update etl.parked p set released_by = $1, released_at = clock_timestamp(), released_xid = pg_current_xact_id()::xid, \
                tick = nextval('etl.clock'), outcome = 'stale' \
            from etl.load l where l.id = p.load_id and coalesce(l.origin, l.id) = $2 and l.id <> $1 and p.released_by is null";
        transaction.execute(waiting, &[&claim.load_id.0, &claim.origin.0]).await?;
        // Every other record of an earlier run is one of this run, and has an outcome.
        let statement = format!("delete from {} where {load} = $1 and {record} > $2", table_name(&dataset.table));
        let deleted = transaction.execute(&statement, &[&claim.origin.0, &read]).await?;
        Ok(i64::try_from(deleted).unwrap_or(i64::MAX))
    }
}
