//! Names of tables and columns as they stand in SQL.

use super::encode::postgres_type;
use crate::domain::{Column, Dataset};

/// Quotes a name for SQL, so that it may be a keyword.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// A table with its schema, as it stands in SQL.
pub(super) fn table_name(table: &str) -> String {
    let (schema, table) = schema_and_table(table);
    format!("{}.{}", quoted(schema), quoted(table))
}

/// A table's schema, which is `public` where a definition names none, and its name.
pub(super) fn schema_and_table(table: &str) -> (&str, &str) {
    table.split_once('.').unwrap_or(("public", table))
}

pub(super) fn list(columns: &[Column], map: impl Fn(&Column) -> String) -> String {
    columns.iter().map(map).collect::<Vec<_>>().join(", ")
}

/// Lists the columns of the table of a dataset, each with `prefix` before it.
pub(super) fn names(dataset: &Dataset, prefix: &str) -> String {
    list(dataset.table_columns(), |column| format!("{prefix}{}", quoted(&column.name)))
}

/// The version column.
pub(super) fn version(dataset: &Dataset) -> Option<&Column> {
    dataset.version.as_ref().and_then(|version| dataset.column(version))
}

/// The version column, if it holds times, as `etl.parked.row_version` does.
pub(super) fn moment(dataset: &Dataset) -> Option<&Column> {
    version(dataset).filter(|column| ["timestamptz", "timestamp", "date"].contains(&postgres_type(column)))
}
