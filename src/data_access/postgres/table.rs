//! Whether a table can hold what its dataset accepts, without rounding or cutting.

use std::sync::PoisonError;

use super::{Database, query_error};
use crate::domain::{Column, ColumnType, Dataset};
use crate::error::{Error, Result};

impl Database {
    /// Checks, once for each version of the definitions, that the schema is new enough for this program and that the
    /// dataset's table can hold its columns.
    ///
    /// # Errors
    /// `Configuration`, saying what is too old, or naming the column and what it must be.
    pub async fn check_ready(&self, dataset: &Dataset, dataset_version: &str) -> Result<()> {
        let checked = checked_as(dataset, dataset_version);
        // The map is only ever inserted into, so that a panic elsewhere leaves nothing half done in it.
        if self.tables_checked.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&checked) {
            return Ok(());
        }
        self.schema_checked.get_or_try_init(|| self.check_schema()).await?;
        let columns = self
            .connection()
            .await?
            .query(
                "select a.attname, a.atttypid::regtype::text as kind, a.attnotnull as required, a.atthasdef or a.attidentity <> '' as filled, format_type(a.atttypid, a.atttypmod) as shown, \
                     exists (select from pg_index i where i.indrelid = c.oid and i.indisunique and i.indisvalid \
                         and i.indpred is null and i.indkey::text = a.attnum::text) as is_unique, \
                     c.relkind = 'p' as is_partitioned, not c.relrowsecurity and not c.relhasrules as takes_copies, \
                     information_schema._pg_char_max_length(a.atttypid, a.atttypmod) as length, \
                     information_schema._pg_numeric_precision(a.atttypid, a.atttypmod) as precision, \
                     information_schema._pg_numeric_scale(a.atttypid, a.atttypmod) as scale \
                 from pg_attribute a join pg_class c on c.oid = a.attrelid \
                 where c.relnamespace = 'public'::regnamespace and c.relname = $1 and a.attnum > 0 and not a.attisdropped",
                &[&dataset.table],
            )
            .await
            .map_err(|error| query_error("look at the dataset's table", error))?;
        if columns.is_empty() {
            let message = format!("dataset {}: table {} is missing; run its migration", dataset.name, dataset.table);
            return Err(Error::configuration(message));
        }
        for column in &dataset.columns {
            let found = columns.iter().find(|row| row.get::<_, &str>("attname") == column.name);
            let holds = found.is_some_and(|row| {
                holds(column, row.get("kind"), row.get("length"), row.get("precision"), row.get("scale"))
            });
            if !holds {
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
        let named = |name: &str| columns.iter().find(|row| row.get::<_, &str>("attname") == name);
        let refuse = |message: String| {
            let Dataset { name, table, .. } = dataset;
            Err(Error::configuration(format!("dataset {name}: table {table}: {message}")))
        };
        if columns[0].get("is_partitioned") {
            return refuse("it is partitioned, and Postgres does not tell there whether a row was inserted or updated; make it a plain table".into());
        }
        if !named(&dataset.key).is_some_and(|row| row.get("is_unique")) {
            return refuse(format!("the key {} needs a unique index of its own", dataset.key));
        }
        for column in dataset.columns.iter().filter(|column| !column.required) {
            if named(&column.name).is_some_and(|row| row.get("required")) {
                return refuse(format!(
                    "column {} is not null, but optional in the dataset; make one like the other",
                    column.name
                ));
            }
        }
        let never_filled = columns.iter().find(|row| {
            let is_ours = dataset.column(row.get("attname")).is_some();
            row.get("required") && !row.get::<_, bool>("filled") && !is_ours
        });
        if let Some(row) = never_filled {
            let name: &str = row.get("attname");
            return refuse(format!("column {name} is not null and has no default, but the dataset has no such column"));
        }
        let same_type = |column: &Column| {
            let kind = named(&column.name).map(|row| row.get::<_, &str>("kind"));
            kind != Some("bigint") || column.kind == ColumnType::BigInt
        };
        let takes_copies = columns[0].get("takes_copies") && dataset.columns.iter().all(same_type);
        self.tables_checked.lock().unwrap_or_else(PoisonError::into_inner).insert(checked, takes_copies);
        Ok(())
    }

    /// Whether rows may be copied straight to the dataset's table, which casts none and shows them to no policy; false where
    /// nobody has looked.
    pub(super) fn takes_copies(&self, dataset: &Dataset, dataset_version: &str) -> bool {
        let tables = self.tables_checked.lock().unwrap_or_else(PoisonError::into_inner);
        tables.get(&checked_as(dataset, dataset_version)).copied().unwrap_or_default()
    }
}

fn checked_as(dataset: &Dataset, dataset_version: &str) -> String {
    format!("{dataset_version} {}", dataset.name)
}

fn holds(column: &Column, kind: &str, length: Option<i32>, precision: Option<i32>, scale: Option<i32>) -> bool {
    if column.encrypt {
        return kind == "bytea";
    }
    match column.kind {
        ColumnType::Text => match (kind, length) {
            ("text", _) | ("character varying", None) => true,
            ("character varying", Some(length)) => {
                column.max_length().is_some_and(|most| i64::from(most) <= i64::from(length))
            }
            _ => false,
        },
        ColumnType::Integer => matches!(kind, "integer" | "bigint"),
        ColumnType::BigInt => kind == "bigint",
        ColumnType::Decimal { precision: digits, scale: decimals } => match (kind, precision, scale) {
            ("numeric", Some(precision), Some(scale)) => {
                scale >= i32::from(decimals) && precision - scale >= i32::from(digits - decimals)
            }
            ("numeric", ..) => true,
            _ => false,
        },
        ColumnType::Timestamp => kind == "timestamp with time zone",
    }
}

fn needed(column: &Column) -> String {
    if column.encrypt {
        return "bytea, since it is encrypted".into();
    }
    match column.kind {
        ColumnType::Text => {
            column.max_length().map_or("text".into(), |length| format!("text or varchar({length}) or wider"))
        }
        ColumnType::Integer => "integer or bigint".into(),
        ColumnType::BigInt => "bigint".into(),
        ColumnType::Decimal { precision, scale } => format!("numeric({precision}, {scale}) or wider"),
        ColumnType::Timestamp => "timestamptz".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Severity;
    use crate::domain::column::Constraint;

    fn column(kind: ColumnType, constraints: Vec<Constraint>) -> Column {
        let constraints = constraints.into_iter().map(|constraint| (constraint, Severity::Error)).collect();
        Column { name: "c".into(), kind, required: true, constraints, encrypt: false }
    }

    #[test]
    fn a_column_that_would_round_or_cut_does_not_hold() {
        let money = column(ColumnType::Decimal { precision: 20, scale: 2 }, vec![]);
        assert!(holds(&money, "numeric", Some(20), Some(20), Some(2)) && holds(&money, "numeric", None, None, None));
        assert!(
            !holds(&money, "numeric", None, Some(20), Some(1)) && !holds(&money, "numeric", None, Some(20), Some(4))
        );
        assert!(!holds(&money, "double precision", None, Some(53), None));
        let text = column(ColumnType::Text, vec![Constraint::MaxLength(20)]);
        assert!(holds(&text, "character varying", Some(20), None, None) && holds(&text, "text", None, None, None));
        assert!(
            !holds(&text, "character varying", Some(19), None, None)
                && !holds(&text, "character", Some(20), None, None)
        );
        let secret = Column { encrypt: true, ..text };
        assert!(holds(&secret, "bytea", None, None, None) && !holds(&secret, "text", None, None, None));
        assert!(!holds(&column(ColumnType::BigInt, vec![]), "integer", None, None, None));
        assert!(!holds(&column(ColumnType::Timestamp, vec![]), "timestamp without time zone", None, None, None));
    }
}
