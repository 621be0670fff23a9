//! The places of rows that mend rejects, where rows are known by their places.

use std::pin::pin;

use futures::TryStreamExt;
use futures::stream::TryChunksError;

use super::claim::Claim;
use super::held::{loads_of_mended, mended_too_early};
use super::sql_file::filled;
use super::undone::undone;
use super::{Database, query_error};
use crate::domain::{LineNumber, LoadId, RecordNumber, Resubmission};
use crate::error::Result;

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
        let running = loads_of_mended("l.part = first.part and l.finished_at is null");
        let running = connection.query(&running, &[&claim.load_id.0, &of_loads, &of_records]).await.map_err(failed)?;
        if let Some(running) = running.first() {
            return Err(mended_too_early(running.get("id")));
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
