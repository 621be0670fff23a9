//! Finds the rows that need no further decision: those that the table does not have, and those that it has with the
//! same values. One indexed look-up separates them from the others. New rows are copied directly to the table,
//! unchanged rows are left alone, and SQL decides about the rest (`upsert.rs`).

use std::collections::{HashMap, HashSet};

use deadpool_postgres::Transaction;
use tokio_postgres::{Error as PostgresError, Row};

use super::copy::{CopyRow, CopyRows, Raw};
use super::key::{Key, joined, parameters};
use super::sql_names::{names, quoted, table_name};
use super::tombstone::deleted_keys;
use crate::domain::{BatchNumber, Counts, Dataset, LoadId, Reference};

/// Rows, grouped by what the look-up found.
#[derive(Default)]
pub(super) struct Settled<'a> {
    /// The table has no row with their key, and the rows that they refer to exist.
    pub(super) new: Vec<&'a CopyRow>,
    /// The table has them with exactly the same values.
    pub(super) unchanged: Vec<&'a CopyRow>,
    /// A later file has replaced what they belong to.
    pub(super) stale: Vec<&'a CopyRow>,
    /// All others.
    pub(super) open: Vec<&'a CopyRow>,
}

/// Looks the rows up, unless it is known that the table has none of their keys (`are_new`). Rows whose reference gives a warning stay open, and so do rows whose values are equal but not the
/// same bytes: SQL can tell more about those.
pub(super) async fn look_up<'a>(
    transaction: &Transaction<'_>,
    dataset: &Dataset,
    rows: &'a CopyRows,
    are_new: bool,
) -> Result<Settled<'a>, PostgresError> {
    let key = Key::of(dataset);
    let places: Vec<usize> = dataset.key.iter().filter_map(|name| position(dataset, name)).collect();
    let mut found = HashMap::new();
    if !are_new {
        let query = key.rows_of(&names(dataset, ""), &table_name(&dataset.table));
        let keys = key.values(rows, rows.rows().iter());
        found = by_key(transaction, &query, &keys, &places).await?;
    }
    let referred = match &dataset.reference {
        Some(reference) => Some(Referred::look_up(transaction, dataset, reference, rows).await?),
        None => None,
    };
    let deleted = deleted_keys(transaction, dataset, rows).await?;
    let mut settled = Settled::default();
    for row in rows.rows() {
        let is_good = referred.as_ref().is_none_or(|referred| referred.agree(rows, row));
        let present = key.bytes(rows, row).and_then(|key| found.get(&key));
        let place = match present {
            _ if !is_good => &mut settled.open,
            None if deleted.contains(&row.key) => &mut settled.open,
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

fn value_of(row: &Row, at: usize) -> Option<&[u8]> {
    row.get::<_, Option<Raw<'_>>>(at).map(|value| value.0)
}

/// The rows that a query finds for keys, by the key whose values stand in these columns.
async fn by_key(
    transaction: &Transaction<'_>,
    query: &str,
    keys: &[Vec<Raw<'_>>],
    places: &[usize],
) -> Result<HashMap<Vec<u8>, Row>, PostgresError> {
    let query = transaction.prepare_cached(query).await?;
    let rows = transaction.query(&query, &parameters(keys)).await?;
    let key = |row: &Row| joined(places.iter().map(|place| value_of(row, *place))).unwrap_or_default();
    Ok(rows.into_iter().map(|row| (key(&row), row)).collect())
}

/// The rows that a chunk refers to.
struct Referred<'a> {
    key: Key<'a>,
    /// The columns that must agree with it.
    agreeing_at: Vec<usize>,
    found: HashMap<Vec<u8>, Row>,
}

impl<'a> Referred<'a> {
    async fn look_up(
        transaction: &Transaction<'_>,
        dataset: &Dataset,
        reference: &'a Reference,
        rows: &CopyRows,
    ) -> Result<Self, PostgresError> {
        let key = Key::referred(dataset, reference);
        let agreeing_at =
            reference.agreements.iter().filter_map(|agreement| position(dataset, &agreement.column)).collect();
        let mut referring: Vec<(Vec<u8>, &CopyRow)> =
            rows.rows().iter().filter_map(|row| Some((key.bytes(rows, row)?, row))).collect();
        referring.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        referring.dedup_by(|(one, _), (other, _)| one == other);
        let keys = key.values(rows, referring.iter().map(|(_, row)| *row));
        let there = reference.agreements.iter().map(|agreement| format!(", {}", quoted(&agreement.equals)));
        let columns = key.list("") + &there.collect::<String>();
        let query = key.rows_of(&columns, &table_name(&reference.table));
        let places: Vec<usize> = (0..key.len()).collect();
        let found = by_key(transaction, &query, &keys, &places).await?;
        Ok(Self { key, agreeing_at, found })
    }

    /// Whether the row that this row refers to exists and agrees with it.
    fn agree(&self, rows: &CopyRows, row: &CopyRow) -> bool {
        let value = |at: usize| rows.values(row).nth(at).flatten();
        let Some(found) = self.key.bytes(rows, row).and_then(|key| self.found.get(&key)) else { return false };
        let there = self.key.len();
        self.agreeing_at.iter().enumerate().all(|(nth, at)| value_of(found, nth + there) == value(*at))
    }
}

impl Settled<'_> {
    /// Leaves rows alone that a later file has overtaken.
    pub(super) fn leave(&mut self, overtaken: &HashSet<i64>) {
        if overtaken.is_empty() {
            return;
        }
        for rows in [&mut self.new, &mut self.unchanged, &mut self.open] {
            self.stale.extend(rows.extract_if(.., |row| overtaken.contains(&row.record)));
        }
    }

    /// Returns the outcomes of the settled rows.
    pub(super) fn counts(&self) -> Counts {
        let count = |rows: &[&CopyRow]| i64::try_from(rows.len()).unwrap_or(i64::MAX);
        Counts {
            inserted: count(&self.new),
            unchanged: count(&self.unchanged),
            stale: count(&self.stale),
            ..Counts::default()
        }
    }

    /// Records the outcomes in `etl.lineage`.
    pub(super) async fn note(
        &self,
        transaction: &Transaction<'_>,
        load: LoadId,
        batch: BatchNumber,
        dataset: &Dataset,
    ) -> Result<(), PostgresError> {
        let mut rows: Vec<(&CopyRow, &str)> = self.new.iter().map(|row| (*row, "inserted")).collect();
        rows.extend(self.unchanged.iter().map(|row| (*row, "unchanged")));
        rows.extend(self.stale.iter().map(|row| (*row, "stale")));
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
