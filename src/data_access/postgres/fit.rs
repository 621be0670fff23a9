//! Whether the catalog has something that makes loads into a table fail although its columns fit (`fit.sql`).

use super::row_history::origin_columns;
use super::table::Table;
use super::upsert::table_name;
use super::{Database, query_error};
use crate::domain::Dataset;
use crate::error::Result;

impl Database {
    /// Returns the table of a dataset, and each reason why rows cannot be written to it, as a sentence. The table must
    /// exist and have the columns of the dataset.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub(super) async fn fit(&self, dataset: &Dataset) -> Result<(Table, Vec<String>)> {
        let names: Vec<&str> =
            dataset.table_columns().iter().map(|column| column.name.as_str()).chain(origin_columns(dataset)).collect();
        let reference = dataset.reference.as_ref();
        let read: Option<Vec<&str>> = reference.map(|reference| {
            let agreeing = reference.agreements.iter().map(|agreement| agreement.equals.as_str());
            reference.key.iter().map(String::as_str).chain(agreeing).collect()
        });
        let row = self
            .connection()
            .await?
            .query_one(
                include_str!("fit.sql"),
                &[
                    &table_name(&dataset.table),
                    &dataset.key,
                    &names,
                    &reference.map(|reference| table_name(&reference.table)),
                    &reference.map(|reference| &reference.key),
                    &reference.map(|reference| &reference.columns),
                    &read,
                    &dataset.deletes(),
                ],
            )
            .await
            .map_err(|error| query_error("look at the dataset's table", error))?;
        let table = Table {
            takes_copies: row.get("takes_copies"),
            contended: row.get("contended"),
            triggers: row.get("triggers"),
            policies: row.get("policies"),
        };
        Ok((table, row.get("faults")))
    }
}
