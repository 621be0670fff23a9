//! The places of rows that mend rejects, where rows are known by their places.

use super::claim::Claim;
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
    /// `Connection` or `System`.
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
    /// Returns the lines of a file that other files have mended since an earlier run of it, in order; the records of these lines by which the
    /// mended rows have their places; and the loads of the mended rows.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn lines_mended_before(&self, claim: &Claim) -> Result<Vec<(LineNumber, RecordNumber, LoadId)>> {
        let failed = |error| query_error("look for rows of the file that were mended", error);
        let statement = filled(include_str!("placed.sql"), &[("undone", &undone(&claim.dataset))]);
        let connection = self.connection("lines_mended_before").await?;
        let found = connection.query(&statement, &[&claim.load_id.0, &claim.origin.0]).await.map_err(failed)?;
        let line = |row: &tokio_postgres::Row| {
            (LineNumber(row.get("line")), RecordNumber(row.get("record")), LoadId(row.get("load_id")))
        };
        Ok(found.iter().map(line).collect())
    }
}
