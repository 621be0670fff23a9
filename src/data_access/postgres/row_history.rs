//! Rows as they were before a load overwrote or deleted them: who wrote each, who replaced it, and from when to when it held.
//!
//! The table itself says which load wrote a row and since when it holds, so that nothing has to be looked up when the row is replaced.

use deadpool_postgres::Transaction;
use tokio_postgres::{Error as PostgresError, Row};

use super::copy::{Origin, Raw};
use super::sql_names::{names, quoted, table_name};
use super::{Database, query_error};
use crate::domain::row_history::{ENDED_AS, OF_HISTORY, OF_TABLE, REPLACED_BY, VALID_FROM, VALID_TO, WRITTEN_BY};
use crate::domain::{Dataset, LoadId};
use crate::error::{Error, Result};

/// The load and the time of the transaction, if the dataset has a history.
pub(super) async fn origin(
    transaction: &Transaction<'_>,
    load: LoadId,
    dataset: &Dataset,
) -> std::result::Result<Origin, PostgresError> {
    if dataset.history.is_none() {
        return Ok(Origin::default());
    }
    let statement = transaction.prepare_cached("select $1::bigint, now()").await?;
    let row = transaction.query_one(&statement, &[&load.0]).await?;
    let mut origin = Origin::default();
    for place in 0..OF_TABLE.len() {
        let Raw(value) = row.get(place);
        origin.fields += 1;
        origin.bytes.extend_from_slice(&i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes());
        origin.bytes.extend_from_slice(value);
    }
    Ok(origin)
}

/// The columns of the table that the program fills.
pub(super) fn origin_columns(dataset: &Dataset) -> impl Iterator<Item = &str> {
    OF_TABLE.iter().filter(|_| dataset.history.is_some()).map(|(name, _)| *name)
}

/// The same in a list that follows the columns of the dataset.
pub(super) fn origin_names(dataset: &Dataset) -> String {
    origin_columns(dataset).map(|name| format!(", {}", quoted(name))).collect::<Vec<_>>().concat()
}

/// SQL for their values in a row that `load` writes.
pub(super) fn origin_values(dataset: &Dataset, load: &str) -> String {
    if dataset.history.is_none() { String::new() } else { format!(", {load}, now()") }
}

/// SQL that sets them where a row of `t` is overwritten. A transaction that waited for another one began before the row held.
pub(super) fn origin_set(dataset: &Dataset) -> String {
    if dataset.history.is_none() {
        return String::new();
    }
    format!(", {WRITTEN_BY} = excluded.{WRITTEN_BY}, {VALID_FROM} = greatest(excluded.{VALID_FROM}, t.{VALID_FROM})")
}

/// SQL that says in an update of `t` that `load` has written the row.
pub(super) fn origin_of(dataset: &Dataset, load: &str) -> String {
    if dataset.history.is_none() {
        return String::new();
    }
    format!(", {WRITTEN_BY} = {load}, {VALID_FROM} = greatest(now(), t.{VALID_FROM})")
}

/// SQL that keeps the rows of the table, which is called `t`, that `from` selects: `join …` or `where …`. `load` is the load that ends
/// them. It must be a part of the statement that overwrites or deletes them, or come before. `None` without a history.
pub(super) fn keep(dataset: &Dataset, load: &str, ended_as: &str, from: &str) -> Option<String> {
    let history = dataset.history.as_ref()?;
    Some(format!(
        "insert into {} ({}, {WRITTEN_BY}, {VALID_FROM}, {REPLACED_BY}, {VALID_TO}, {ENDED_AS}) \
         select {}, t.{WRITTEN_BY}, t.{VALID_FROM}, {load}, greatest(now(), t.{VALID_FROM}), '{ended_as}' \
         from {} t {from}",
        table_name(history),
        names(dataset, ""),
        names(dataset, "t."),
        table_name(&dataset.table),
    ))
}

impl Database {
    /// Checks that the history of a dataset can take every row of its table.
    ///
    /// # Errors
    /// `Configuration`, with the statement that makes what is missing.
    pub(super) async fn check_history(&self, dataset: &Dataset) -> Result<()> {
        let Some(history) = &dataset.history else { return Ok(()) };
        let statement = "select coalesce(a.attrelid = to_regclass($2), false) as kept, a.attname::text as name, format_type(a.atttypid, a.atttypmod) || case when a.attgenerated <> '' then ' generated' else '' end as kind, \
                a.attnotnull as required, a.atthasdef or a.attidentity <> '' as filled, \
                has_column_privilege(a.attrelid, a.attnum, 'insert') as may, quote_ident(current_user) as role \
            from pg_attribute a where a.attrelid in (to_regclass($1), to_regclass($2)) and a.attnum > 0 and not a.attisdropped \
            order by a.attnum";
        let (table, kept) = (table_name(&dataset.table), table_name(history));
        let rows = self.connection("check_history").await?.query(statement, &[&table, &kept]).await;
        let rows = rows.map_err(|error| query_error("look at the history of the dataset", error))?;
        match Found::of(dataset, &rows).fault(&table, &kept) {
            None => Ok(()),
            Some(fault) => Err(Error::configuration(format!("dataset {}: {fault}", dataset.name))),
        }
    }
}

/// A column of the table or of its history.
struct FoundColumn<'a> {
    name: &'a str,
    kind: &'a str,
    required: bool,
    /// Whether it has a default.
    filled: bool,
    may: bool,
}

/// What the catalog has of both.
struct Found<'a> {
    dataset: &'a Dataset,
    role: &'a str,
    table: Vec<FoundColumn<'a>>,
    history: Vec<FoundColumn<'a>>,
}

impl<'a> Found<'a> {
    fn of(dataset: &'a Dataset, rows: &'a [Row]) -> Self {
        let columns = |kept: bool| {
            let found = rows.iter().filter(move |row| row.get::<_, bool>("kept") == kept);
            found.map(|row| FoundColumn {
                name: row.get("name"),
                kind: row.get("kind"),
                required: row.get("required"),
                filled: row.get("filled"),
                may: row.get("may"),
            })
        };
        let role = rows.first().map_or("", |row| row.get("role"));
        Self { dataset, role, table: columns(false).collect(), history: columns(true).collect() }
    }

    /// What the history must have, with the types that the table has.
    fn wanted(&self) -> Vec<(&'a str, &'a str)> {
        let own = self.dataset.table_columns().iter().filter_map(|column| find(&self.table, &column.name));
        own.map(|found| (found.name, found.kind)).chain(OF_TABLE).chain(OF_HISTORY).collect()
    }

    fn fault(&self, table: &str, history: &str) -> Option<String> {
        let lacking: Vec<String> = OF_TABLE
            .iter()
            .filter(|(name, _)| find(&self.table, name).is_none())
            .map(|(name, kind)| format!("add column {name} {kind}"))
            .collect();
        if !lacking.is_empty() {
            let lacking = lacking.join(", ");
            return Some(format!(
                "table {table} must say who wrote a row and since when it holds; run: alter table {table} {lacking}"
            ));
        }
        for (name, kind) in OF_TABLE {
            if let Some(found) = find(&self.table, name).filter(|found| found.kind != kind || found.required) {
                return Some(format!(
                    "column {name} of table {table} must be {kind} and may be null; it is {}",
                    shown(found)
                ));
            }
        }
        let wanted = self.wanted();
        if self.history.is_empty() {
            return Some(format!("table {history} is missing; run its migration: {}", self.creation(history)));
        }
        let lacking: Vec<String> = wanted
            .iter()
            .filter(|(name, _)| find(&self.history, name).is_none())
            .map(|(name, kind)| format!("add column {name} {kind}"))
            .collect();
        if !lacking.is_empty() {
            return Some(format!("table {history} lacks columns; run: alter table {history} {}", lacking.join(", ")));
        }
        for (name, kind) in wanted {
            let found = find(&self.history, name)?;
            if found.kind != kind {
                return Some(format!(
                    "column {name} of table {history} must be {kind}, as in table {table}; it is {}",
                    shown(found)
                ));
            }
            let may_be_null = find(&self.table, name).is_some_and(|own| !own.required);
            if found.required && may_be_null {
                return Some(format!(
                    "column {name} of table {history} is not null, but may be null in table {table}; run: alter table {history} alter {name} drop not null"
                ));
            }
            if !found.may {
                let (role, list) = (self.role, self.list());
                return Some(format!(
                    "role {role} may not add rows to table {history}; run: grant insert ({list}) on {history} to {role}"
                ));
            }
        }
        let strange = self.history.iter().find(|column| {
            column.required && !column.filled && !self.wanted().iter().any(|(name, _)| *name == column.name)
        })?;
        Some(format!("column {} of table {history} is not null and has no default, and nothing fills it", strange.name))
    }

    fn list(&self) -> String {
        self.wanted().iter().map(|(name, _)| quoted(name)).collect::<Vec<_>>().join(", ")
    }

    /// The statements that create the history.
    fn creation(&self, history: &str) -> String {
        let columns = self.wanted().into_iter().map(|(name, kind)| {
            let is_always_known = [REPLACED_BY, VALID_TO, ENDED_AS].contains(&name);
            format!("{} {kind}{}", quoted(name), if is_always_known { " not null" } else { "" })
        });
        let key: Vec<String> = self.dataset.key.iter().map(|name| quoted(name)).collect();
        format!(
            "create table {history} ({}); create index on {history} ({}, {VALID_TO}); create index on {history} ({REPLACED_BY})",
            columns.collect::<Vec<_>>().join(", "),
            key.join(", ")
        )
    }
}

fn find<'f, 'a>(columns: &'f [FoundColumn<'a>], name: &str) -> Option<&'f FoundColumn<'a>> {
    columns.iter().find(|column| column.name == name)
}

fn shown(found: &FoundColumn<'_>) -> String {
    format!("{}{}", found.kind, if found.required { " not null" } else { "" })
}
