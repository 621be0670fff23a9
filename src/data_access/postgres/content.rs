//! Content keys: which copy of its content a row is.

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Error as PostgresError;
use tokio_postgres::types::ToSql;

use super::claim::Claim;
use super::held::{loads_of_mended, mended_too_early, take_from_the_dead};
use super::sql_file::filled;
use super::undone::undone;
use super::{Database, query_error};
use crate::domain::Resubmission;
use crate::error::Result;

/// The number of a copy that a row of the object has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenCopy {
    /// The hash of its content.
    pub hash: String,
    /// The number.
    pub copy: i64,
    /// The line of the row that has it, if it is one of the load.
    pub line: Option<i64>,
    /// Its record instead, if its line is not known any more.
    pub record: Option<i64>,
    /// Whether the load itself has written that row, and not only an earlier run of it.
    pub is_written: bool,
}

impl Database {
    /// The keys of rows that say which reject they mend, for those that do: each is the next copy of its content after those of the object
    /// in which it was bad first. The same row gets the same number whenever it comes again.
    ///
    /// # Errors
    /// `Connection`, also while another worker loads that object: it has given its rows numbers that are not in the ledger yet. `System`.
    pub async fn copies_of_mended(&self, claim: &Claim, rows: &[(Resubmission, String)]) -> Result<Vec<(i64, String)>> {
        let failed = |error| query_error("number mended rows", error);
        let mut connection = self.connection("copies_of_mended").await?;
        let transaction = alone(&mut connection, claim).await.map_err(failed)?;
        let number = |of: fn(&Resubmission) -> i64| rows.iter().map(|(row, _)| of(row)).collect::<Vec<i64>>();
        let (records, of_loads) = (number(|row| row.record.0), number(|row| row.of_load.0));
        let of_records = number(|row| row.of_record.0);
        let keys: Vec<&str> = rows.iter().map(|(_, key)| key.as_str()).collect();
        let running = loads_of_mended("l.state = 'loading'");
        let running = transaction.query(&running, &[&claim.load_id.0, &of_loads, &of_records]).await.map_err(failed)?;
        let running: Vec<i64> = running.iter().map(|row| row.get(0)).collect();
        if let Some(held) = take_from_the_dead(&transaction, &running).await.map_err(failed)? {
            return Err(mended_too_early(held.get("id")));
        }
        let statement = filled(include_str!("content_copy.sql"), &[("given", GIVEN)]);
        let parameters: [&(dyn ToSql + Sync); 5] = [&claim.load_id.0, &records, &of_loads, &of_records, &keys];
        let numbered = transaction.query(&statement, &parameters).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(numbered.iter().map(|row| (row.get("record"), row.get("key"))).collect())
    }

    /// Which copies of these contents (hashes) other rows of the same object have, and which these very rows have already.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn copies_taken(&self, claim: &Claim, hashes: &[String]) -> Result<Vec<TakenCopy>> {
        let failed = |error| query_error("look for the copies of rows in the same object", error);
        let mut connection = self.connection("copies_taken").await?;
        // Waits for mended rows that are being numbered. None are from now on, until this load has ended.
        let transaction = alone(&mut connection, claim).await.map_err(failed)?;
        let holes = [("given", GIVEN), ("undone", &undone(&claim.dataset))];
        let statement = filled(include_str!("content_taken.sql"), &holes);
        let rows = transaction.query(&statement, &[&claim.load_id.0, &hashes]).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        let taken = rows.iter().map(|row| TakenCopy {
            hash: row.get("hash"),
            copy: row.get("copy"),
            line: row.get("line"),
            record: row.get("record"),
            is_written: row.get("is_written"),
        });
        Ok(taken.collect())
    }
}

/// SQL `given as (…)`.
const GIVEN: &str = include_str!("content_given.sql");

/// Begins a transaction that alone numbers rows of the dataset.
async fn alone<'c>(connection: &'c mut Object, claim: &Claim) -> Result<Transaction<'c>, PostgresError> {
    let transaction = connection.transaction().await?;
    let alone = "select pg_advisory_xact_lock(hashtextextended('etl.content_copy ' || $1, 0))";
    transaction.execute(alone, &[&claim.dataset]).await?;
    Ok(transaction)
}
