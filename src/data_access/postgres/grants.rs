//! The rights of the role of ingest: in schema `etl` those of `grants.sql`, and on the table of a dataset those that
//! its rows need.

use tokio_postgres::{Client, Row, Transaction};

use super::query_error;
use super::row_history::origin_columns;
use super::sql_names::{quoted, schema_and_table, table_name};
use crate::domain::{Dataset, Datasets};
use crate::error::{Error, Result};

/// The system columns that a load, its checks and the nightly run read, besides the columns of the dataset.
const SYSTEM_COLUMNS: &str = "ctid, xmin, xmax";

/// Grants the role of ingest what it needs. Revokes everything else that it has on the ledger and on the tables of the
/// datasets. A table that does not exist yet is granted by a later run.
///
/// # Errors
/// `Configuration` if a table belongs to another role that has not granted what is needed; `Connection`, `System`.
pub(super) async fn grant(client: &mut Client, datasets: &Datasets) -> Result<()> {
    let failed = |error| query_error("grant small_etl_ingest what it needs", error);
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(include_str!("grants.sql")).await.map_err(failed)?;
    let mut sets = in_force(&transaction).await.map_err(failed)?;
    sets.push(datasets.clone());
    let (mut revoked, mut granted) = (Vec::new(), Vec::new());
    for dataset in sets.iter().flat_map(Datasets::all) {
        let mut found = Vec::new();
        if let Some(table) = look_at(&transaction, dataset).await.map_err(failed)? {
            found.push((&dataset.table, needed(dataset, &table), table));
        }
        if let Some(history) = &dataset.history
            && let Some(table) = look_at_history(&transaction, history).await.map_err(failed)?
        {
            found.push((history, needed_to_keep(history), table));
        }
        for (name, needed, table) in found {
            if table.get("owned") {
                revoked.push(format!("revoke all on {} from small_etl_ingest", table_name(name)));
                granted.push(needed);
            } else if table.get("lacks") {
                return Err(Error::configuration(format!(
                    "dataset {}: table {name} belongs to another role; let its owner run: {needed}",
                    dataset.name
                )));
            }
        }
    }
    // Two datasets may write to the same table.
    transaction.batch_execute(&[revoked, granted].concat().join(";\n")).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Returns the definitions of the loads that have not ended. Definitions that this program cannot read are left out: it
/// cannot continue their loads either.
async fn in_force(transaction: &Transaction<'_>) -> Result<Vec<Datasets>, tokio_postgres::Error> {
    let statement = "select array_agg(name order by name) as names, array_agg(definition order by name) as definitions \
        from etl.dataset d where exists ( \
            select from etl.load l where l.dataset_version = d.version and l.state in ('loading', 'interrupted')) \
        group by version";
    let rows = transaction.query(statement, &[]).await?;
    let sets = rows.iter().filter_map(|row| {
        let (names, definitions): (Vec<&str>, Vec<&str>) = (row.get("names"), row.get("definitions"));
        Datasets::parse(names.into_iter().zip(definitions)).ok()
    });
    Ok(sets.collect())
}

/// Describes the dataset's table: whether this role may grant rights on it, which columns of the dataset it has,
/// whether the role of ingest lacks a right to one of them, and which sequences fill its other columns.
async fn look_at(transaction: &Transaction<'_>, dataset: &Dataset) -> Result<Option<Row>, tokio_postgres::Error> {
    let statement = "select pg_has_role(c.relowner, 'usage') as owned, a.*, array( \
            select distinct s.oid::regclass::text from pg_attrdef f \
                join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = f.oid and d.refclassid = 'pg_class'::regclass \
                join pg_class s on s.oid = d.refobjid and s.relkind = 'S' \
            where f.adrelid = c.oid) as sequences \
        from pg_class c cross join lateral ( \
            select array_agg(attname::text order by attnum) as columns, \
                not bool_and(has_column_privilege('small_etl_ingest', c.oid, attnum, 'select') \
                    and has_column_privilege('small_etl_ingest', c.oid, attnum, 'insert') \
                    and (attname = any ($3) or has_column_privilege('small_etl_ingest', c.oid, attnum, 'update'))) \
                    or $4 and not has_table_privilege('small_etl_ingest', c.oid, 'delete') as lacks \
            from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped and attname = any($2)) a \
        where c.oid = to_regclass($1) and c.relkind in ('r', 'p') and a.columns is not null";
    let columns: Vec<&str> =
        dataset.table_columns().iter().map(|column| column.name.as_str()).chain(origin_columns(dataset)).collect();
    transaction.query_opt(statement, &[&table_name(&dataset.table), &columns, &dataset.key, &dataset.deletes()]).await
}

/// Describes the history of a dataset likewise.
async fn look_at_history(transaction: &Transaction<'_>, history: &str) -> Result<Option<Row>, tokio_postgres::Error> {
    let statement = "select pg_has_role(c.relowner, 'usage') as owned, \
            not has_table_privilege('small_etl_ingest', c.oid, 'insert') as lacks \
        from pg_class c where c.oid = to_regclass($1) and c.relkind in ('r', 'p')";
    transaction.query_opt(statement, &[&table_name(history)]).await
}

/// The right to add rows to a history. What was kept is never changed, and only its owner reads it.
fn needed_to_keep(history: &str) -> String {
    let (schema, _) = schema_and_table(history);
    let mut rights = vec![format!("insert on {}", table_name(history))];
    if schema != "public" {
        rights.push(format!("usage on schema {}", quoted(schema)));
    }
    rights.iter().map(|right| format!("grant {right} to small_etl_ingest")).collect::<Vec<_>>().join("; ")
}

/// The rights to look up, add and change rows. Keys are never changed, and rows are deleted only if the mode or tombstones do that.
fn needed(dataset: &Dataset, table: &Row) -> String {
    let (columns, sequences): (Vec<&str>, Vec<&str>) = (table.get("columns"), table.get("sequences"));
    let list = |columns: &[&str]| columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let all = list(&columns);
    let settable: Vec<&str> = columns.into_iter().filter(|name| !dataset.key.iter().any(|key| key == name)).collect();
    let update = if settable.is_empty() { String::new() } else { format!(", update ({})", list(&settable)) };
    let delete = if dataset.deletes() { ", delete" } else { "" };
    let (schema, _) = schema_and_table(&dataset.table);
    let table = table_name(&dataset.table);
    let mut rights = vec![format!("select ({all}, {SYSTEM_COLUMNS}), insert ({all}){update}{delete} on {table}")];
    if schema != "public" {
        rights.push(format!("usage on schema {}", quoted(schema)));
    }
    rights.extend(sequences.into_iter().map(|sequence| format!("usage on sequence {sequence}")));
    rights.iter().map(|right| format!("grant {right} to small_etl_ingest")).collect::<Vec<_>>().join("; ")
}
