//! Deletes the rows that tombstones name, and keeps their versions in `etl.tombstone`, so that an older row that comes later is stale.
//!
//! The index of the table makes two loads wait for each other that write one row. A row that does not exist has no place
//! in an index. So a batch with tombstones runs while no other batch of its dataset does (`postgres/batch.rs`).

use std::collections::HashSet;

use deadpool_postgres::Transaction;
use postgres_protocol::escape::escape_literal;
use serde::Serialize;
use tokio_postgres::Error as PostgresError;

use super::copy::CopyRows;
use super::encode::postgres_type;
use super::key::Key;
use super::lineage::noted;
use super::row_history::keep;
use super::sql_file::filled;
use super::sql_names::{quoted, table_name, version};
use super::tie::{Window, rank_of_key, rank_of_row, won};
use super::{Database, query_error};
use crate::domain::{Dataset, LoadId};
use crate::error::Result;

/// A key whose row was deleted, or was never there.
#[derive(Clone, Debug, Serialize)]
pub struct KeptTombstone {
    /// The load that brought the tombstone.
    pub load_id: LoadId,
    /// The version of the tombstone; `None` if the order of arrival decides.
    pub version: Option<String>,
}

impl Database {
    /// Returns the tombstone of a key, if one is kept.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn tombstone(&self, dataset: &Dataset, key: &str) -> Result<Option<KeptTombstone>> {
        let statement = "select load_id, version from etl.tombstone where dataset = $1 and key = $2";
        let row = self.connection("tombstone").await?.query_opt(statement, &[&dataset.name, &key]).await;
        let row = row.map_err(|error| query_error("look for a tombstone in the ledger", error))?;
        Ok(row.map(|row| KeptTombstone { load_id: LoadId(row.get("load_id")), version: row.get("version") }))
    }
}

/// The statements for the tombstones of one batch. They are like those for its rows (`postgres/upsert.rs`).
pub(super) struct TombstoneStatements {
    pub(super) create_stage: String,
    pub(super) copy: String,
    /// Deletes rows, and records versions and outcomes (`tombstone.sql`).
    pub(super) remove: String,
    pub(super) keep: String,
}

impl TombstoneStatements {
    /// Generates the statements for tombstones of `dataset` under one version of the definitions.
    pub(super) fn new(dataset: &Dataset, dataset_version: &str) -> Self {
        let name = quoted(&format!("tombstones_{}_{dataset_version}", dataset.name));
        let (stage, columns) = (format!("pg_temp.{name}"), dataset.as_tombstones().columns);
        let list = |map: &dyn Fn(&str, &str) -> String| {
            columns
                .iter()
                .map(|column| map(&quoted(&column.name), postgres_type(column)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        Self {
            create_stage: format!(
                "set local client_min_messages = warning; \
                 create temporary table if not exists {name} (_record bigint, _line bigint, {}) on commit delete rows",
                list(&|name, kind| format!("{name} {kind}"))
            ),
            copy: format!("copy {stage} (_record, _line, {}) from stdin binary", list(&|name, _| name.to_owned())),
            remove: remove(dataset, &stage),
            keep: format!("delete from {stage} where _record <> all ($1)"),
        }
    }
}

/// The version of a row of `prefix` as `etl.tombstone` keeps it: a text that no setting of the session changes.
pub(super) fn kept_version(dataset: &Dataset, prefix: &str) -> String {
    version(dataset).map_or_else(
        || "null::text".to_owned(),
        |column| format!("to_jsonb({prefix}{}) #>> '{{}}'", quoted(&column.name)),
    )
}

/// SQL conditions: the row of `s` is older than the tombstone `d`, and it is newer. Neither holds without a version.
fn older_and_newer(dataset: &Dataset) -> (String, String) {
    let compared = |operator: &str| {
        version(dataset).map_or_else(
            || "false".to_owned(),
            |column| format!("s.{} {operator} d.version::{}", quoted(&column.name), postgres_type(column)),
        )
    };
    (compared("<"), compared(">"))
}

/// SQL condition: the tombstone `d` has a lower rank than `rank`. One of a load that the ledger no longer knows has, unless a load of the dataset
/// was pruned that has a higher one.
fn outranks(dataset: &Dataset, rank: &str) -> String {
    format!(
        "coalesce((select {kept} < {rank} from etl.load o where o.id = d.load_id), \
             ({rank} > (select p.rank from etl.pruned p where p.dataset = '{name}')) is not false)",
        kept = rank_of_key(dataset, "d.key"),
        name = dataset.name
    )
}

/// SQL that joins the tombstones of the rows of `s`, if there may be any.
pub(super) fn graves(dataset: &Dataset) -> String {
    if dataset.tombstone.is_none() {
        return String::new();
    }
    format!(" left join etl.tombstone d on d.dataset = '{}' and d.key = {}", dataset.name, Key::of(dataset).text("s."))
}

/// SQL for what to do with a row that the table does not have: `'new'`, or `'stale'` if a tombstone is newer, or is as new and has a
/// higher rank.
pub(super) fn absent(dataset: &Dataset, rank: &str) -> String {
    if dataset.tombstone.is_none() {
        return "'new'".to_owned();
    }
    let (older, newer) = older_and_newer(dataset);
    format!(
        "case when d.key is null or {newer} then 'new' when {older} then 'stale' when {} then 'new' else 'stale' end",
        outranks(dataset, rank)
    )
}

/// Takes the rows that SQL must decide about, because their key was deleted, out of those that the table does not have.
pub(super) async fn deleted_keys(
    transaction: &Transaction<'_>,
    dataset: &Dataset,
    rows: &CopyRows,
) -> std::result::Result<HashSet<String>, PostgresError> {
    if dataset.tombstone.is_none() {
        return Ok(HashSet::new());
    }
    let keys: Vec<&str> = rows.rows().iter().map(|row| row.key.as_str()).collect();
    let statement = "select key from etl.tombstone where dataset = $1 and key = any ($2::text[])";
    let statement = transaction.prepare_cached(statement).await?;
    let found = transaction.query(&statement, &[&dataset.name, &keys]).await?;
    Ok(found.iter().map(|row| row.get(0)).collect())
}

/// SQL for the other tombstones with a key where a new one comes into force, and for noting a new one that does not. They are needed if the load
/// of the one in force is undone.
fn others(dataset: &Dataset) -> (&'static str, String) {
    if dataset.history.is_none() {
        return ("k.before", String::new());
    }
    let known = format!(
        ", known as ( \
             update etl.tombstone k set before = jsonb_build_array(jsonb_build_object( \
                 'version', c._version, 'load_id', $1::bigint, 'at', clock_timestamp())) || k.before \
             from candidate c where c._plan = 'known' and k.dataset = '{}' and k.key = c._key)",
        dataset.name
    );
    ("k.before || (to_jsonb(k) - '{dataset,key,before}'::text[])", known)
}

fn remove(dataset: &Dataset, stage: &str) -> String {
    let key = Key::of(dataset);
    let present = version(dataset).map_or_else(
        || "'tied'".to_owned(),
        |column| {
            format!(
                "case when t.{0} > s.{0} then 'stale' when t.{0} < s.{0} or t.{0} is null then 'changed' else 'tied' end",
                quoted(&column.name)
            )
        },
    );
    let (is_older, is_newer) = older_and_newer(dataset);
    let rank = rank_of_row(dataset, "$1", ["own.rank", "own.ranks_from"], "m.record = s._record");
    let is_candidate = key.equal("t.", "c.");
    let removed = format!("join candidate c on {is_candidate} where c._record in (select _record from removed)");
    let history = keep(dataset, "$1", "removed", &removed);
    let (before, known) = others(dataset);
    filled(
        include_str!("tombstone.sql"),
        &[
            ("stage", stage),
            ("dataset", &escape_literal(&dataset.name)),
            ("table", &table_name(&dataset.table)),
            ("key_of_s", &key.list("s.")),
            ("key_text", &key.text("s.")),
            ("first_of_t", &key.first("t.")),
            ("is_same", &key.equal("t.", "s.")),
            ("is_candidate", &is_candidate),
            ("graves", &graves(dataset)),
            ("version", &kept_version(dataset, "s.")),
            ("present", &present),
            ("is_older", &is_older),
            ("is_newer", &is_newer),
            ("outranks", &outranks(dataset, &rank)),
            ("rank", &rank),
            ("won", &won(dataset, &Window { since: "$3", but: Some("$1") })),
            ("history", &history.map(|history| format!(", history as ({history})")).unwrap_or_default()),
            ("before", before),
            ("known", &known),
            ("noted", &noted(dataset)),
        ],
    )
}
