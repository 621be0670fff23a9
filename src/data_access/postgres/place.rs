//! The places of rows that mend rejects, where rows are known by their places.

use std::pin::pin;

use futures::TryStreamExt;
use futures::stream::TryChunksError;

use super::claim::Claim;
use super::sql_file::filled;
use super::undone::undone;
use super::{Database, query_error};
use crate::domain::{LineNumber, LoadId, RecordNumber, Resubmission};
use crate::error::{Error, ErrorKind, Result};

/// A load of a file that has not ended, and of which rows mend rejects. Parameters: 1 their load, 2 and 3 the loads and records that they mend.
const RUNNING_AGAIN: &str = "select l.id from etl.load own join etl.load old on old.bucket = own.bucket and old.dataset = own.dataset \
        join lateral (select distinct first_load_id from etl.reject where load_id = old.id and record = any ($3)) r on true \
        join etl.load first on first.id = r.first_load_id \
        join etl.load l on l.bucket = first.bucket and l.key = first.key and l.version = first.version and l.part = first.part and l.dataset = first.dataset \
    where own.id = $1 and old.id = any ($2) and l.id <> own.id and l.finished_at is null limit 1";

impl Database {
    /// Returns the records that mend a reject, and the place of the bad row: the load that brought it first, and its
    /// record in the last run of that file. It is the same however often a row is mended.
    ///
    /// # Errors
    /// `Connection`, also while that file is loaded again and its last run has not ended; `System`.
    pub async fn places_of_mended(
        &self,
        claim: &Claim,
        rows: &[Resubmission],
    ) -> Result<Vec<(RecordNumber, LoadId, RecordNumber)>> {
        let failed = |error| query_error("look for the places of mended rows", error);
        let number = |of: fn(&Resubmission) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
        let (records, of_loads) = (number(|row| row.record.0), number(|row| row.of_load.0));
        let of_records = number(|row| row.of_record.0);
        let connection = self.connection("places_of_mended").await?;
        let running =
            connection.query_opt(RUNNING_AGAIN, &[&claim.load_id.0, &of_loads, &of_records]).await.map_err(failed)?;
        if let Some(running) = running {
            let load = LoadId(running.get("id"));
            let message =
                format!("rows mend rejects of a file that load {load} is loading; send them again when it has ended");
            return Err(Error::new(ErrorKind::Connection, message));
        }
        let found = connection
            .query(
                &filled(include_str!("place.sql"), &[("undone", &undone(&claim.dataset))]),
                &[&claim.load_id.0, &records, &of_loads, &of_records],
            )
            .await
            .map_err(failed)?;
        let place = |row: &tokio_postgres::Row| {
            (RecordNumber(row.get("record")), LoadId(row.get("of_load")), RecordNumber(row.get("of_record")))
        };
        Ok(found.iter().map(place).collect())
    }
    /// Hands over the lines of a file whose rows are known by their places since earlier runs, each with its record, so many at a time that they
    /// fit into memory.
    ///
    /// # Errors
    /// `Connection`, `System`, and those of `each`.
    pub async fn places_before(
        &self,
        claim: &Claim,
        mut each: impl AsyncFnMut(Vec<(LineNumber, RecordNumber)>) -> Result<()>,
    ) -> Result<()> {
        let failed = |error| query_error("look for the places of rows of the file", error);
        let statement = filled(include_str!("placed.sql"), &[("undone", &undone(&claim.dataset))]);
        let connection = self.connection("places_before").await?;
        let rows = connection.query_raw(&statement, [claim.load_id.0, claim.origin.0]).await.map_err(failed)?;
        let mut some = pin!(rows.try_chunks(PLACES_AT_ONCE));
        while let Some(rows) = some.try_next().await.map_err(|TryChunksError(_, error)| failed(error))? {
            each(rows.iter().map(|row| (LineNumber(row.get("line")), RecordNumber(row.get("record")))).collect())
                .await?;
        }
        Ok(())
    }
}

const PLACES_AT_ONCE: usize = 100_000;
