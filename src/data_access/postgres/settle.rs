//! What needs no second look: rows that the table has not, and rows that it has just so. One indexed look-up tells them
//! from the others; the new ones are copied straight to the table, the unchanged are left alone, and SQL decides of the rest
//! (`upsert.rs`).

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use tokio_postgres::{Error as PostgresError, Row};

use super::copy::{CopyRow, CopyRows, Raw};
use super::encode::postgres_type;
use super::upsert::{names, quoted};
use crate::domain::{BatchNumber, Counts, Dataset, LoadId, Reference};

/// Rows by what is known of them.
#[derive(Default)]
pub(super) struct Settled<'a> {
    /// The table has none with their key, and what they refer to is there.
    pub(super) new: Vec<&'a CopyRow>,
    /// The table has them, value by value.
    pub(super) unchanged: Vec<&'a CopyRow>,
    /// All others.
    pub(super) open: Vec<&'a CopyRow>,
}

/// Looks the rows up. A row that warns of its reference stays open, and so does one whose values are equal but not the
/// same bytes: SQL tells more of them.
pub(super) async fn look_up<'a>(
    transaction: &Transaction<'_>,
    dataset: &Dataset,
    rows: &'a CopyRows,
) -> Result<Settled<'a>, PostgresError> {
    let Some(key_at) = position(dataset, &dataset.key) else { return Ok(Settled::default()) };
    let keys: Vec<Raw<'_>> = rows.rows().iter().filter_map(|row| rows.values(row).nth(key_at)?.map(Raw)).collect();
    let found = by_key(transaction, &table_query(dataset), &keys, key_at).await?;
    let referred = match &dataset.reference {
        Some(reference) => Some(Referred::look_up(transaction, dataset, reference, rows).await?),
        None => None,
    };
    let mut settled = Settled::default();
    for row in rows.rows() {
        let is_good = referred.as_ref().is_none_or(|referred| referred.agree(rows, row));
        let present = rows.values(row).nth(key_at).flatten().and_then(|key| found.get(key));
        let place = match present {
            _ if !is_good => &mut settled.open,
            None => &mut settled.new,
            Some(present) if rows.values(row).enumerate().all(|(at, value)| value_of(present, at) == value) => {
                &mut settled.unchanged
            }
            Some(_) => &mut settled.open,
        };
        place.push(row);
    }
    Ok(settled)
}

fn position(dataset: &Dataset, name: &str) -> Option<usize> {
    dataset.columns.iter().position(|column| column.name == name)
}

fn table_query(dataset: &Dataset) -> String {
    let key = dataset.columns.iter().find(|column| column.name == dataset.key);
    format!(
        "select {} from public.{} where {} = any($1::{}[])",
        names(dataset, ""),
        quoted(&dataset.table),
        quoted(&dataset.key),
        key.map_or("text", postgres_type),
    )
}

fn value_of(row: &Row, at: usize) -> Option<&[u8]> {
    row.get::<_, Option<Raw<'_>>>(at).map(|value| value.0)
}

/// The rows that a query finds for keys, by the key that stands in column `key_at`.
async fn by_key(
    transaction: &Transaction<'_>,
    query: &str,
    keys: &[Raw<'_>],
    key_at: usize,
) -> Result<HashMap<Vec<u8>, Row>, PostgresError> {
    let query = transaction.prepare_cached(query).await?;
    let rows = transaction.query(&query, &[&keys]).await?;
    Ok(rows.into_iter().map(|row| (value_of(&row, key_at).unwrap_or_default().to_vec(), row)).collect())
}

/// The rows that a chunk refers to.
struct Referred {
    /// Where the reference stands in a row of the dataset, and the columns that must agree with it.
    at: usize,
    agreeing_at: Vec<usize>,
    found: HashMap<Vec<u8>, Row>,
}

impl Referred {
    async fn look_up(
        transaction: &Transaction<'_>,
        dataset: &Dataset,
        reference: &Reference,
        rows: &CopyRows,
    ) -> Result<Self, PostgresError> {
        let at = position(dataset, &reference.column).unwrap_or_default();
        let agreeing_at =
            reference.agreements.iter().filter_map(|agreement| position(dataset, &agreement.column)).collect();
        let mut keys: Vec<&[u8]> = rows.rows().iter().filter_map(|row| rows.values(row).nth(at)?).collect();
        keys.sort_unstable();
        keys.dedup();
        let keys: Vec<Raw<'_>> = keys.into_iter().map(Raw).collect();
        let there = reference.agreements.iter().map(|agreement| format!(", {}", quoted(&agreement.equals)));
        let query = format!(
            "select {key}{} from public.{} where {key} = any($1::{}[])",
            there.collect::<String>(),
            quoted(&reference.table),
            reference.key_kind.table_type(),
            key = quoted(&reference.key),
        );
        Ok(Self { at, agreeing_at, found: by_key(transaction, &query, &keys, 0).await? })
    }

    /// Whether what a row refers to is there, and agrees with it.
    fn agree(&self, rows: &CopyRows, row: &CopyRow) -> bool {
        let value = |at: usize| rows.values(row).nth(at).flatten();
        let Some(found) = value(self.at).and_then(|key| self.found.get(key)) else { return false };
        self.agreeing_at.iter().enumerate().all(|(nth, at)| value_of(found, nth + 1) == value(*at))
    }
}

impl Settled<'_> {
    /// What became of the rows that are settled.
    pub(super) fn counts(&self) -> Counts {
        let count = |rows: &[&CopyRow]| i64::try_from(rows.len()).unwrap_or(i64::MAX);
        Counts { inserted: count(&self.new), unchanged: count(&self.unchanged), ..Counts::default() }
    }

    /// Notes in `etl.lineage` what became of them.
    pub(super) async fn note(
        &self,
        transaction: &Transaction<'_>,
        load: LoadId,
        batch: BatchNumber,
        dataset: &Dataset,
    ) -> Result<(), PostgresError> {
        let mut rows: Vec<(&CopyRow, &str)> = self.new.iter().map(|row| (*row, "inserted")).collect();
        rows.extend(self.unchanged.iter().map(|row| (*row, "unchanged")));
        rows.sort_unstable_by_key(|(row, _)| row.record);
        let keys: Vec<&str> = rows.iter().map(|(row, _)| row.key.as_str()).collect();
        let (Some(lowest), Some(highest)) = (keys.iter().min(), keys.iter().max()) else { return Ok(()) };
        let lines: Vec<i64> = rows.iter().map(|(row, _)| row.line).collect();
        let outcomes: Vec<&str> = rows.iter().map(|(_, outcome)| *outcome).collect();
        let statement = transaction
            .prepare_cached(
                "insert into etl.lineage as i (load_id, batch, dataset, lowest_key, highest_key, keys, lines, outcomes) \
                 values ($1, $2, $3, left($4, 200), left($5, 200), $6, $7, $8::text[]::etl.row_outcome[]) \
                 on conflict (load_id, batch) do update set \
                     lowest_key = least(i.lowest_key, excluded.lowest_key), \
                     highest_key = greatest(i.highest_key, excluded.highest_key), keys = i.keys || excluded.keys, \
                     lines = i.lines || excluded.lines, outcomes = i.outcomes || excluded.outcomes",
            )
            .await?;
        transaction
            .execute(&statement, &[&load.0, &batch.0, &dataset.name, lowest, highest, &keys, &lines, &outcomes])
            .await?;
        Ok(())
    }
}
