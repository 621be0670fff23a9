//! The SQL that creates the table of a dataset.

use super::column::Column;
use super::dataset::Dataset;
use super::row_history::{OF_HISTORY, OF_TABLE};

/// Statements that create the table of a dataset, and its schema where that is not `public`; `name` writes a name as SQL needs it.
#[must_use]
pub fn create<'n>(dataset: &'n Dataset, name: impl Fn(&'n str) -> &'n str) -> Vec<String> {
    let required = |column: &Column| column.required;
    let mut lines = columns(dataset, required, &name);
    if !dataset.key.is_empty() {
        let key: Vec<&str> = dataset.key.iter().map(|column| name(column)).collect();
        lines.push(format!("primary key ({})", key.join(", ")));
    }
    table(&dataset.table, &lines, &name)
}

/// Statements that create the table with its rows as they were, if the dataset keeps them.
#[must_use]
pub fn create_history<'n>(dataset: &'n Dataset, name: impl Fn(&'n str) -> &'n str) -> Vec<String> {
    let Some(history) = &dataset.history else { return Vec::new() };
    let key: Vec<&str> = dataset.key.iter().map(|column| name(column)).collect();
    let mut lines = columns(dataset, |column| dataset.key.contains(&column.name), &name);
    lines.extend(OF_HISTORY.iter().map(|(column, kind)| format!("{column} {kind} not null")));
    let mut statements = table(history, &lines, &name);
    let (schema, table) = schema_and_table(history);
    for indexed in [format!("{}, valid_to", key.join(", ")), "replaced_by".to_owned(), "written_by".to_owned()] {
        statements.push(format!("create index on {}.{} ({indexed})", name(schema), name(table)));
    }
    statements
}

/// The lines of the columns that rows have, and of those that say which load wrote them.
fn columns<'n>(
    dataset: &'n Dataset,
    required: impl Fn(&Column) -> bool,
    name: &impl Fn(&'n str) -> &'n str,
) -> Vec<String> {
    let line = |column: &'n Column| {
        let null = if required(column) { " not null" } else { "" };
        format!("{} {}{null}", name(&column.name), column_type(column))
    };
    let origin = OF_TABLE.iter().filter(|_| dataset.history.is_some()).map(|(column, kind)| format!("{column} {kind}"));
    dataset.table_columns().iter().map(line).chain(origin).collect()
}

fn table<'n>(table: &'n str, lines: &[String], name: &impl Fn(&'n str) -> &'n str) -> Vec<String> {
    let (schema, table) = schema_and_table(table);
    let schema_too = (schema != "public").then(|| format!("create schema if not exists {}", name(schema)));
    let create = format!("create table {}.{} (\n    {}\n)", name(schema), name(table), lines.join(",\n    "));
    schema_too.into_iter().chain([create]).collect()
}

fn schema_and_table(table: &str) -> (&str, &str) {
    table.split_once('.').unwrap_or(("public", table))
}

/// The SQL type of a new column.
#[must_use]
pub fn column_type(column: &Column) -> String {
    if column.encrypt { "bytea".to_owned() } else { column.kind.column_type() }
}
