//! The SQL that would make a table fit the definition of its dataset. Nothing here alters a table.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio_postgres::Row;

use super::fit::{NO_KEY_INDEX, NOT_A_TABLE, OF_REFERENCE, OF_ROLE};
use super::row_history::origin_columns;
use super::sql_names::{schema_and_table, table_name};
use super::table::{fit, needed, table_column};
use super::{Database, query_error};
use crate::domain::row_history::OF_TABLE;
use crate::domain::table_sql::{self, column_type};
use crate::domain::types::Fit;
use crate::domain::{Column, Dataset, Datasets};
use crate::error::{Error, ErrorKind, Result};

/// What would make the table of a dataset fit its definition.
#[derive(Debug, Serialize)]
pub struct TablePlan {
    /// The dataset.
    pub dataset: String,
    /// Its table.
    pub table: String,
    /// Statements of SQL, in order. No value of a row is changed by them.
    pub statements: Vec<String>,
    /// What only a person can decide, a sentence each.
    pub refused: Vec<String>,
}

impl Database {
    /// Compares the table of each dataset with its definition.
    ///
    /// # Errors
    /// `Configuration` if the program's own migrations are not applied yet, because they create tables too; `Connection` or `System`.
    pub async fn plan(&self, datasets: &Datasets) -> Result<Vec<TablePlan>> {
        let statement = "select to_regclass('public.refinery_schema_history') is not null";
        let ledger = self.connection("plan").await?.query_one(statement, &[]).await;
        if !ledger.map_err(|error| query_error("look for the ledger", error))?.get::<_, bool>(0) {
            return Err(Error::configuration("the database has no ledger yet; run `small-etl migrate`, and then plan"));
        }
        self.check_ledger().await?;
        let mut plans: Vec<TablePlan> = Vec::new();
        for dataset in datasets.all() {
            let mut planner = self.planner(dataset).await?;
            let first = plans.iter().find(|plan| planner.columns.is_empty() && plan.table == dataset.table);
            if let Some(first) = first {
                let note = format!(
                    "-- dataset {} writes to the same table as {}; plan again once it is there",
                    dataset.name, first.dataset
                );
                planner.statements.push(note);
            } else if planner.columns.is_empty() {
                planner.create();
            } else {
                planner.alter();
                planner.complete(self).await?;
                planner.keep_rows(self).await?;
            }
            let Planner { statements, refused, .. } = planner;
            plans.push(TablePlan { dataset: dataset.name.clone(), table: dataset.table.clone(), statements, refused });
        }
        Ok(plans)
    }

    async fn planner<'d>(&self, dataset: &'d Dataset) -> Result<Planner<'d>> {
        let failed = |error| query_error("look at the dataset's table", error);
        let columns = self.table_columns(dataset).await?;
        let client = self.connection("planner").await?;
        let (schema, table) = schema_and_table(&dataset.table);
        let names = dataset.columns.iter().map(|column| column.name.as_str());
        let history = dataset.history.iter().flat_map(|history| <[&str; 2]>::from(schema_and_table(history)));
        let names: Vec<&str> =
            names.chain(columns.iter().map(|row| row.get("attname"))).chain([schema, table]).chain(history).collect();
        let quoted =
            client.query("select name, quote_ident(name) from unnest($1::text[]) as n (name)", &[&names]).await;
        let quoted = quoted.map_err(failed)?.iter().map(|row| (row.get(0), row.get(1))).collect();
        let has_rows = if columns.is_empty() {
            false
        } else {
            let statement = format!("select exists (select from {})", table_name(&dataset.table));
            client.query_one(&statement, &[]).await.map_err(failed)?.get(0)
        };
        Ok(Planner { dataset, columns, quoted, has_rows, statements: Vec::new(), refused: Vec::new() })
    }
}

/// A plan while it is being made.
struct Planner<'d> {
    dataset: &'d Dataset,
    /// The columns that the table has; none if it does not exist.
    columns: Vec<Row>,
    /// Names as they stand in SQL.
    quoted: BTreeMap<String, String>,
    has_rows: bool,
    statements: Vec<String>,
    refused: Vec<String>,
}

impl Planner<'_> {
    fn name<'n>(&'n self, name: &'n str) -> &'n str {
        self.quoted.get(name).map_or(name, String::as_str)
    }

    fn table(&self) -> String {
        let (schema, table) = schema_and_table(&self.dataset.table);
        format!("{}.{}", self.name(schema), self.name(table))
    }

    fn key(&self) -> String {
        self.dataset.key.iter().map(|name| self.name(name)).collect::<Vec<_>>().join(", ")
    }

    fn found(&self, column: &str) -> Option<&Row> {
        self.columns.iter().find(|row| row.get::<_, &str>("attname") == column)
    }

    fn create(&mut self) {
        let dataset = self.dataset;
        let quoted = |name| self.quoted.get(name).map_or(name, String::as_str);
        self.statements.extend(table_sql::create(dataset, quoted));
        self.statements.extend(table_sql::create_history(dataset, quoted));
    }

    /// Adds and widens columns, and lets them be null where the definition does.
    fn alter(&mut self) {
        for column in self.dataset.table_columns() {
            let (is_wrong, is_bound) = match self.found(&column.name) {
                None => {
                    self.add(column);
                    continue;
                }
                Some(row) => (fit(column, row) == Fit::No, row.get::<_, bool>("required") && !column.required),
            };
            if is_wrong {
                self.widen(column);
            }
            if is_bound {
                self.free(&column.name, "optional in the definition");
            }
        }
        let is_ours = |row: &&Row| {
            let name: &str = row.get("attname");
            self.dataset.table_columns().iter().any(|column| column.name == name)
                || origin_columns(self.dataset).any(|own| own == name)
        };
        let never_filled = |row: &&Row| row.get("required") && !row.get::<_, bool>("filled") && !is_ours(row);
        let names: Vec<String> = self.columns.iter().filter(never_filled).map(|row| row.get("attname")).collect();
        for name in names {
            self.free(&name, "without a default, and the definition does not have it");
        }
    }

    fn add(&mut self, column: &Column) {
        let is_key = self.dataset.key.contains(&column.name);
        if is_key && self.has_rows {
            let message = format!(
                "column {} is part of the key, and the rows that are there have no value for it; add and fill it yourself",
                column.name
            );
            self.refused.push(message);
            return;
        }
        // Rows that are there have no value.
        let required = if column.required && !self.has_rows { " not null" } else { "" };
        let (name, kind) = (self.name(&column.name), column_type(column));
        let statement = format!("alter table {} add column {name} {kind}{required}", self.table());
        self.statements.push(statement);
    }

    fn widen(&mut self, column: &Column) {
        let Some(row) = self.found(&column.name) else { return };
        let (shown, name) = (row.get::<_, String>("shown"), self.name(&column.name));
        let widened =
            column.kind.widened(&table_column(row)).filter(|_| !column.encrypt && !row.get::<_, bool>("is_domain"));
        let is_sealed =
            self.has_rows && self.dataset.key.contains(&column.name) && self.dataset.encrypted().next().is_some();
        let has_same_text = column.kind.digits().is_none_or(|digits| {
            shown.ends_with(&format!(",{})", digits.scale)) || digits.scale == 0 && !shown.contains(',')
        });
        if widened.is_some() && is_sealed && !has_same_text {
            self.refused.push(format!(
                "column {} is {shown} and part of the key, with which the encrypted values of its rows were encrypted: with other decimals they \
                 could not be decrypted; empty the table first, and load its files with --again",
                column.name
            ));
            return;
        }
        if let Some(kind) = widened {
            let statement = format!("alter table {} alter column {name} type {kind}", self.table());
            self.statements.push(statement);
            return;
        }
        self.refused.push(format!(
            "column {} is {shown} and must be {}; that would change or lose values, so correct the definition, or change the column yourself",
            column.name,
            needed(column)
        ));
    }

    /// Lets a column be null.
    fn free(&mut self, column: &str, why: &str) {
        let Some(row) = self.found(column) else { return };
        if row.get("is_primary") || row.get("is_domain") {
            let of = if row.get("is_primary") { "part of the primary key" } else { "of a domain" };
            self.refused.push(format!("column {column} is not null and {of}, {why}; make one like the other"));
            return;
        }
        let statement = format!("alter table {} alter column {} drop not null", self.table(), self.name(column));
        self.statements.push(statement);
    }

    /// Adds what a history needs in the table, and the history itself.
    async fn keep_rows(&mut self, database: &Database) -> Result<()> {
        let dataset = self.dataset;
        let Some(history) = &dataset.history else { return Ok(()) };
        let mut is_whole = true;
        for (name, kind) in OF_TABLE {
            if self.found(name).is_none() {
                self.statements.push(format!("alter table {} add column {name} {kind}", self.table()));
                is_whole = false;
            }
        }
        let statement = "select to_regclass($1) is not null";
        let exists = database.connection("keep_rows").await?.query_one(statement, &[&table_name(history)]).await;
        if !exists.map_err(|error| query_error("look for the history", error))?.get::<_, bool>(0) {
            let quoted = |name| self.quoted.get(name).map_or(name, String::as_str);
            self.statements.extend(table_sql::create_history(dataset, quoted));
        } else if is_whole {
            match database.check_history(dataset).await {
                Err(error) if error.kind() == ErrorKind::Configuration => self.refused.push(error.to_string()),
                checked => checked?,
            }
        }
        Ok(())
    }

    /// Adds the index of the key, and refuses what no statement here mends.
    async fn complete(&mut self, database: &Database) -> Result<()> {
        let has_key = self.dataset.key.iter().all(|name| self.found(name).is_some());
        let (_, faults) = database.fit(self.dataset).await?;
        let is_ours =
            |place: i32| place < OF_ROLE && !OF_REFERENCE.contains(&place) && (has_key || place != NO_KEY_INDEX);
        let mut lacks_index = !has_key && !self.has_rows;
        for (place, fault) in faults.into_iter().filter(|(place, _)| is_ours(*place)) {
            if place == NO_KEY_INDEX {
                lacks_index = true;
            } else {
                self.refused.push(fault);
            }
            if place == NOT_A_TABLE {
                self.statements.clear();
                return Ok(());
            }
        }
        if lacks_index && !self.dataset.key.is_empty() {
            let statement = format!("create unique index on {} ({})", self.table(), self.key());
            self.statements.push(statement);
        }
        Ok(())
    }
}
