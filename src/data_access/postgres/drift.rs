//! `etl.schema_change`: how the columns of files differ from what their sources declare.

use serde_json::json;

use super::claim::Claim;
use super::{Database, query_error};
use crate::domain::source::drift::Drift;
use crate::error::Result;

impl Database {
    /// Records how the columns of a file differ from those that its source declares. Returns how many of these changes no file of
    /// the source had before; a trigger announces each of them.
    ///
    /// # Errors
    /// `Connection` or `System`. If another worker has taken over, nothing is recorded.
    pub async fn note_drift(&self, claim: &Claim, source: &str, drift: &[Drift]) -> Result<u64> {
        let changes: Vec<&str> = drift.iter().map(|drift| drift.change.name()).collect();
        let columns: Vec<&str> = drift.iter().map(|drift| drift.column.as_str()).collect();
        let statement = "with noted as ( \
                update etl.load set drift = $4 where id = $1 and lease_token = $2 and state = 'loading' returning id, dataset) \
            insert into etl.schema_change (dataset, source, change, \"column\", load_id) \
            select noted.dataset, $3, changed.change, changed.name, noted.id \
            from noted, unnest($5::text[], $6::text[]) changed (change, name) \
            on conflict do nothing";
        let noted = self
            .connection("note_drift")
            .await?
            .execute(statement, &[&claim.load_id.0, &claim.token.0, &source, &json!(drift), &changes, &columns])
            .await;
        noted.map_err(|error| query_error("note how the columns have changed", error))
    }
}
