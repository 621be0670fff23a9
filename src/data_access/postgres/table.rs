//! Checks whether a table can hold what its dataset accepts, without rounding or cutting.

use std::sync::{Arc, PoisonError};

use tokio_postgres::Row;

use super::Database;
use super::checked_table::Table;
use crate::domain::types::{Fit, TableColumn};
use crate::domain::{Column, Dataset};
use crate::error::{Error, Result};

impl Database {
    /// Checks that the schema is new enough for this program, that the table can hold the columns of the dataset, and
    /// that nothing else in the catalog makes loads fail. The check is made once for each version of the definitions.
    ///
    /// # Errors
    /// `Configuration`, saying what is too old, or naming the column, the constraint or the right, and what it must be.
    pub async fn check_ready(&self, dataset: &Dataset, dataset_version: &str) -> Result<()> {
        self.checked_table(dataset, dataset_version).await.map(|_| ())
    }

    /// Checks, once, that the schema is new enough for this program.
    ///
    /// # Errors
    /// `Configuration`, saying what is too old; `Connection` or `System`.
    pub async fn check_ledger(&self) -> Result<()> {
        self.schema_checked.get_or_try_init(|| self.check_schema()).await?;
        Ok(())
    }

    /// Returns what is known about the table of a dataset, after checking it.
    pub(super) async fn checked_table(&self, dataset: &Dataset, dataset_version: &str) -> Result<Arc<Table>> {
        let checked = checked_as(dataset, dataset_version);
        // The map holds complete values only, so a panic elsewhere cannot leave one half changed.
        if let Some(table) = self.tables_checked.lock().unwrap_or_else(PoisonError::into_inner).get(&checked) {
            return Ok(Arc::clone(table));
        }
        self.check_ledger().await?;
        let table = Arc::new(self.fitting_table(dataset).await?);
        self.check_content(dataset).await?;
        self.tables_checked.lock().unwrap_or_else(PoisonError::into_inner).insert(checked, Arc::clone(&table));
        Ok(table)
    }

    /// Checks the table of a dataset, whichever columns its content keys cover.
    pub(super) async fn fitting_table(&self, dataset: &Dataset) -> Result<Table> {
        let columns = self.table_columns(dataset).await?;
        if columns.is_empty() {
            let message = format!("dataset {}: table {} is missing; run its migration", dataset.name, dataset.table);
            return Err(Error::configuration(message));
        }
        for column in dataset.table_columns() {
            let found = columns.iter().find(|row| row.get::<_, &str>("attname") == column.name);
            if found.is_none_or(|row| fit(column, row) == Fit::No) {
                return Err(Error::configuration(format!(
                    "dataset {}: column {} of table {} must be {}; it {}",
                    dataset.name,
                    column.name,
                    dataset.table,
                    needed(column),
                    found.map_or("is missing".into(), |row| format!("is {}", row.get::<_, &str>("shown"))),
                )));
            }
        }
        self.check_history(dataset).await?;
        let (mut table, faults) = self.fit(dataset).await?;
        let named = |name: &str| columns.iter().find(|row| row.get::<_, &str>("attname") == name);
        let refuse = |message: String| {
            let Dataset { name, table, .. } = dataset;
            Err(Error::configuration(format!("dataset {name}: table {table}: {message}")))
        };
        if !faults.is_empty() {
            return refuse(faults.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; "));
        }
        for column in dataset.table_columns().iter().filter(|column| !column.required) {
            if named(&column.name).is_some_and(|row| row.get("required")) {
                return refuse(format!(
                    "column {} is not null, but optional in the dataset; make one like the other",
                    column.name
                ));
            }
        }
        let never_filled = columns.iter().find(|row| {
            let is_ours = dataset.table_columns().iter().any(|column| column.name == row.get::<_, &str>("attname"));
            row.get("required") && !row.get::<_, bool>("filled") && !is_ours
        });
        if let Some(row) = never_filled {
            let name: &str = row.get("attname");
            return refuse(format!("column {name} is not null and has no default, but the dataset has no such column"));
        }
        let same_type = |column: &Column| named(&column.name).is_some_and(|row| fit(column, row) == Fit::Same);
        table.takes_copies &= dataset.table_columns().iter().all(same_type);
        Ok(table)
    }

    /// Forgets the check, because the table may have changed.
    pub(super) fn forget_table(&self, dataset: &Dataset, dataset_version: &str) {
        let mut tables = self.tables_checked.lock().unwrap_or_else(PoisonError::into_inner);
        tables.remove(&checked_as(dataset, dataset_version));
    }
}

fn checked_as(dataset: &Dataset, dataset_version: &str) -> String {
    format!("{dataset_version} {}", dataset.name)
}

/// Whether a column of the table, as the catalog describes it, can hold the values of a column of the dataset.
pub(super) fn fit(column: &Column, row: &Row) -> Fit {
    holds(column, &table_column(row))
}

/// A column of the table, as the catalog describes it.
pub(super) fn table_column(row: &Row) -> TableColumn<'_> {
    let (length, precision) = (row.get("length"), row.get("precision"));
    let (scale, fraction) = (row.get("scale"), row.get("fraction"));
    TableColumn { kind: row.get("kind"), length, precision, scale, fraction }
}

fn holds(column: &Column, found: &TableColumn<'_>) -> Fit {
    match (column.encrypt, found.kind) {
        (false, _) => column.kind.fit(found, column.max_length()),
        (true, "bytea") => Fit::Same,
        (true, _) => Fit::No,
    }
}

/// Describes, for people, the columns of tables that can hold a column of a dataset.
pub(super) fn needed(column: &Column) -> String {
    if column.encrypt {
        return "bytea, since it is encrypted".into();
    }
    column.kind.needed(column.max_length())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::types::text;

    #[test]
    fn an_encrypted_column_is_held_by_bytes_alone() {
        let secret = Column { name: "c".into(), kind: text(), required: true, constraints: Vec::new(), encrypt: true };
        let found = |kind| TableColumn { kind, ..TableColumn::default() };
        assert_eq!((holds(&secret, &found("bytea")), holds(&secret, &found("text"))), (Fit::Same, Fit::No));
        let plain = Column { encrypt: false, ..secret };
        assert_eq!((holds(&plain, &found("bytea")), holds(&plain, &found("text"))), (Fit::No, Fit::Same));
    }
}
