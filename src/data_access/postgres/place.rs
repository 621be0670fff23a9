//! The places of rows that mend rejects, where rows are known by their places.

use super::claim::Claim;
use super::{Database, query_error};
use crate::domain::{LoadId, RecordNumber, Resubmission};
use crate::error::Result;

impl Database {
    /// Returns the records that mend a reject, and the place of the bad row: the load that brought it first, and its
    /// record there. It is the same however often a row is mended.
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
            .query(include_str!("place.sql"), &[&claim.load_id.0, &records, &of_loads, &of_records])
            .await
            .map_err(failed)?;
        let place = |row: &tokio_postgres::Row| {
            (RecordNumber(row.get("record")), LoadId(row.get("of_load")), RecordNumber(row.get("of_record")))
        };
        Ok(found.iter().map(place).collect())
    }
}
