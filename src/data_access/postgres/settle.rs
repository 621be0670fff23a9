//! Finds the rows that need no further decision: those that the table does not have, and those that it has with the
//! same values. One indexed look-up separates them from the others. New rows are copied directly to the table,
//! unchanged rows are left alone, and SQL decides about the rest (`upsert.rs`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    references: &FoundReferences,
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
        Some(reference) => Some(references.agree(transaction, dataset, reference, rows).await?),
        None => None,
    };
    let deleted = deleted_keys(transaction, dataset, rows).await?;
    let mut settled = Settled::default();
    for (at, row) in rows.rows().iter().enumerate() {
        let is_good = referred.as_ref().is_none_or(|agree| agree[at]);
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

/// Rows that the batches of a load have found in the table that they refer to. What refers to them a little later is not looked up again: it is
/// as if it had been written then.
#[derive(Default)]
pub struct FoundReferences(Mutex<Found>);

#[derive(Default)]
struct Found {
    since: Option<Instant>,
    rows: HashMap<Vec<u8>, Arc<Agreeing>>,
}

/// The values of a row with which those that refer to it must agree.
type Agreeing = Vec<Option<Vec<u8>>>;

/// What was found is believed for so long.
const BELIEVED: Duration = Duration::from_secs(5);
/// And is forgotten when it is more than this.
const MOST_FOUND: usize = 50_000;

impl FoundReferences {
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For each row, whether the row that it refers to exists and agrees with it.
    async fn agree(
        &self,
        transaction: &Transaction<'_>,
        dataset: &Dataset,
        reference: &Reference,
        rows: &CopyRows,
    ) -> Result<Vec<bool>, PostgresError> {
        let key = Key::referred(dataset, reference);
        let agreeing_at: Vec<usize> =
            reference.agreements.iter().filter_map(|agreement| position(dataset, &agreement.column)).collect();
        let referring: Vec<Option<Vec<u8>>> = rows.rows().iter().map(|row| key.bytes(rows, row)).collect();
        let known = self.lock().known(&referring);
        let (mut asked, mut unknown) = (HashSet::new(), Vec::new());
        for (row, (key, known)) in rows.rows().iter().zip(referring.iter().zip(&known)) {
            if known.is_none() && key.as_ref().is_some_and(|key| asked.insert(key)) {
                unknown.push(row);
            }
        }
        let mut found = HashMap::new();
        if !unknown.is_empty() {
            let there = reference.agreements.iter().map(|agreement| format!(", {}", quoted(&agreement.equals)));
            let columns = key.list("") + &there.collect::<String>();
            let query = key.rows_of(&columns, &table_name(&reference.table));
            let places: Vec<usize> = (0..key.len()).collect();
            let keys = key.values(rows, unknown.into_iter());
            let behind = key.len()..key.len() + agreeing_at.len();
            for (key, row) in by_key(transaction, &query, &keys, &places).await? {
                let agreeing = behind.clone().map(|at| value_of(&row, at).map(<[u8]>::to_vec)).collect();
                found.insert(key, Arc::new(agreeing));
            }
            self.lock().add(&found);
        }
        let agrees = |(at, row): (usize, &CopyRow)| {
            let there = known[at].as_ref().or_else(|| found.get(referring[at].as_ref()?));
            let value = |at: usize| rows.values(row).nth(at).flatten();
            there
                .is_some_and(|there| agreeing_at.iter().zip(&**there).all(|(at, there)| value(*at) == there.as_deref()))
        };
        Ok(rows.rows().iter().enumerate().map(agrees).collect())
    }
}

impl Found {
    /// What was found lately for each key.
    fn known(&mut self, keys: &[Option<Vec<u8>>]) -> Vec<Option<Arc<Agreeing>>> {
        if self.rows.len() > MOST_FOUND || self.since.is_some_and(|since| since.elapsed() > BELIEVED) {
            *self = Self::default();
        }
        keys.iter().map(|key| self.rows.get(key.as_ref()?).cloned()).collect()
    }

    fn add(&mut self, rows: &HashMap<Vec<u8>, Arc<Agreeing>>) {
        self.since.get_or_insert_with(Instant::now);
        self.rows.extend(rows.iter().map(|(key, agreeing)| (key.clone(), Arc::clone(agreeing))));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_believed_for_a_while() {
        let key = |number: usize| Some(number.to_be_bytes().to_vec());
        let rows = |numbers: std::ops::Range<usize>| {
            numbers.map(|number| (number.to_be_bytes().to_vec(), Arc::new(vec![Some(vec![7])]))).collect()
        };
        let mut found = Found::default();
        found.add(&rows(0..3));
        let known =
            |found: &mut Found| found.known(&[key(2), None, key(3)]).iter().map(Option::is_some).collect::<Vec<_>>();
        assert_eq!(known(&mut found), [true, false, false]);
        found.since = found.since.and_then(|since| since.checked_sub(BELIEVED));
        assert_eq!(known(&mut found), [false; 3]);
        found.add(&rows(0..3));
        assert_eq!(known(&mut found), [true, false, false]);
        found.add(&rows(3..MOST_FOUND + 1));
        assert_eq!(known(&mut found), [false; 3]);
    }
}
