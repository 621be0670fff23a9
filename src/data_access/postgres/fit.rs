//! Whether the catalog has something that makes loads into a table fail although its columns fit (`fit.sql`).

use tokio_postgres::Row;

use super::checked_table::Storage;
use super::checked_table::Table;
use super::row_history::origin_columns;
use super::sql_names::table_name;
use super::{Database, query_error};
use crate::domain::Dataset;
use crate::error::Result;

/// The place of the reason that it is a view or something else that is no table (`fit.sql`).
pub(super) const NOT_A_TABLE: i32 = 1;
/// The place of the reason that the key has no unique index.
pub(super) const NO_KEY_INDEX: i32 = 6;
/// The places of reasons about tables that the table refers to.
pub(super) const OF_REFERENCE: [i32; 2] = [10, 11];
/// The first place of the reasons about the rights of the role that asks.
pub(super) const OF_ROLE: i32 = 12;

impl Database {
    /// Describes the columns of a dataset's table, a row each. There are none if the table does not exist.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub(super) async fn table_columns(&self, dataset: &Dataset) -> Result<Vec<Row>> {
        let table = table_name(&dataset.table);
        let rows = self.connection("table_columns").await?.query(include_str!("columns.sql"), &[&table]).await;
        rows.map_err(|error| query_error("look at the dataset's table", error))
    }

    /// Returns the table of a dataset, and each reason why rows cannot be written to it: its place and a sentence. The table must
    /// exist and have the columns of the dataset.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub(super) async fn fit(&self, dataset: &Dataset) -> Result<(Table, Vec<(i32, String)>)> {
        let names: Vec<&str> =
            dataset.table_columns().iter().map(|column| column.name.as_str()).chain(origin_columns(dataset)).collect();
        let reference = dataset.reference.as_ref();
        let read: Option<Vec<&str>> = reference.map(|reference| {
            let agreeing = reference.agreements.iter().map(|agreement| agreement.equals.as_str());
            reference.key.iter().map(String::as_str).chain(agreeing).collect()
        });
        let row = self
            .connection("fit")
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
            storage: if row.get("is_partitioned") { Storage::Partitioned } else { Storage::Plain },
            contended: row.get("contended"),
            triggers: row.get("triggers"),
            policies: row.get("policies"),
        };
        let (places, faults): (Vec<i32>, Vec<String>) = (row.get("places"), row.get("faults"));
        Ok((table, places.into_iter().zip(faults).collect()))
    }
}
