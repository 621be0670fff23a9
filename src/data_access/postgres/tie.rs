//! Decides between two rows with the same key and the same time: the row whose load has the higher rank stays
//! (`docs/decisions/0004`).
//!
//! The lineage records which load a row of the table belongs to. It survives changes that a transaction number does not
//! survive, such as altering, dumping or moving the table. Only rows that tie are looked up, all those of a batch at
//! once, and only in what was committed after their load was claimed: earlier rows belong to loads with a lower rank.

use std::collections::HashSet;
use std::time::Duration;

use deadpool_postgres::Transaction;
use postgres_protocol::escape::escape_literal;
use tokio_postgres::{Error as PostgresError, Row};

use super::claim::{Claim, lease_lost};
use super::copy::{CopyRow, CopyRows};
use super::key::{Key, parameters};
use super::sql_file::filled;
use super::sql_names::table_name;
use super::undone::{given_back, undone};
use super::{Database, query_error};
use crate::domain::object::UNDO_BUCKET;
use crate::domain::{Dataset, LoadId};
use crate::error::Result;

/// How often a late load looks whether the batches that it waits for have ended.
const BATCH_POLL: Duration = Duration::from_millis(200);

/// Which part of the lineage is searched.
pub(super) struct Window<'a> {
    /// SQL. Everything with a lower tick was committed before the load was claimed, and is left out; 0 for no such
    /// bound.
    pub(super) since: &'a str,
    /// SQL for a load to leave out, because no key occurs twice in it.
    pub(super) but: Option<&'a str>,
}

/// SQL for the rank of a row of a load: that of the load or, if the row mends a reject and no column tells which of two rows is newer,
/// right above the load with which it came. `load` is SQL for the id, `rank` and `ranks_from` are those of the load, and `row` is
/// a condition on the resubmission `m` of the row.
pub(super) fn rank_of_row(dataset: &Dataset, load: &str, [rank, ranks_from]: [&str; 2], row: &str) -> String {
    if dataset.version.is_some() {
        return rank.to_owned();
    }
    format!(
        "case when {ranks_from} is null then {rank} else coalesce(( \
             select f.rank || {rank} from etl.resubmission m join etl.load f on f.id = m.ranks_with \
             where m.load_id = {load} and {row}), {rank}) end"
    )
}

/// SQL for the rank of the row that load `o` brought with this key. Which reject it mends, if any, the lineage says by its line.
pub(super) fn rank_of_key(dataset: &Dataset, key: &str) -> String {
    let line = format!(
        "m.line = ( \
             select i.lines[array_position(i.keys, {key})] from etl.lineage i \
             where i.load_id = o.id and left({key} collate \"C\", 200) between i.lowest_key and i.highest_key \
                 and {key} = any (i.keys) limit 1)"
    );
    rank_of_row(dataset, "o.id", ["o.rank", "o.ranks_from"], &line)
}

/// SQL `entry as (…), won as (…)`: selects from the rows of `tied`, which has `_key` and `_rank`, those that the table
/// must take (`won.sql`).
pub(super) fn won(dataset: &Dataset, Window { since, but }: &Window<'_>) -> String {
    filled(
        include_str!("won.sql"),
        &[
            ("dataset", &escape_literal(&dataset.name)),
            ("undo_bucket", &escape_literal(UNDO_BUCKET)),
            ("since", since),
            ("but", &but.map(|load| format!("and b.load_id <> {load}")).unwrap_or_default()),
            ("undone", &undone(&dataset.name)),
            ("given_back", &given_back(&dataset.name, "select _key from tied")),
            ("rank", &rank_of_row(dataset, "i.load_id", ["o.rank", "o.ranks_from"], "m.line = n.line")),
            ("parked_rank", &rank_of_row(dataset, "p.load_id", ["o.rank", "o.ranks_from"], "m.record = p.record")),
        ],
    )
}

/// SQL for the outcome of a row of `candidate c`, which may be in `written w`; null if it must be looked up again.
pub(super) fn outcome(key: &Key<'_>) -> String {
    format!(
        "case when w._inserted is not null then case when w._inserted then 'inserted' else 'updated' end \
             when c._plan = 'tied' then case when {} in (select _key from won) then null else 'stale' end \
             when c._plan in ('new', 'changed') then null else c._plan end",
        key.text("c.")
    )
}

/// Rows of the table that tied and were replaced: their keys, and the ranks and loads of the rows that replaced them.
#[derive(Default)]
pub(super) struct Overwritten {
    pub(super) keys: Vec<String>,
    pub(super) ranks: Vec<String>,
    pub(super) loads: Vec<i64>,
}

impl Overwritten {
    /// Adds the rows of which a statement says so, in the columns `overwritten`, `ranks` and `overwriting`.
    pub(super) fn add(&mut self, row: &Row) {
        self.keys.extend(row.get::<_, Option<Vec<String>>>("overwritten").unwrap_or_default());
        self.ranks.extend(row.get::<_, Option<Vec<String>>>("ranks").unwrap_or_default());
        self.loads.extend(row.get::<_, Option<Vec<i64>>>("overwriting").unwrap_or_default());
    }
}

/// Checks that no load with a higher rank has meanwhile found a replaced row unchanged. The rows that tied are written
/// by now, and so locked. Returns `false` if the transaction must be tried again.
pub(super) async fn still_won(
    transaction: &Transaction<'_>,
    dataset: &Dataset,
    Overwritten { keys, ranks, loads }: &Overwritten,
    since: i64,
) -> Result<bool, PostgresError> {
    if keys.is_empty() {
        return Ok(true);
    }
    let statement = format!(
        "with tied as materialized ( \
             select key as _key, rank as _rank, load_id as _load \
             from unnest($1::text[], $2::text[], $3::bigint[]) as k (key, rank, load_id)), {} \
         select count(*) from won",
        won(dataset, &Window { since: "$4", but: (since > 0).then_some("all (select _load from tied)") })
    );
    let statement = transaction.prepare_cached(&statement).await?;
    let row = transaction.query_one(&statement, &[keys, ranks, loads, &since]).await?;
    Ok(usize::try_from(row.get::<_, i64>(0)) == Ok(keys.len()))
}

/// Possible writers, with a lower rank, of rows that a batch finds unchanged but has not committed yet.
pub(super) struct Rivals {
    /// Whether there are loads that have not ended.
    unfinished: bool,
    /// Whether there are parked rows.
    waiting: bool,
}

impl Rivals {
    /// Asks before any row is looked at. Loads of a dataset are claimed one after the other, so that all with a lower number are
    /// known; one with a higher number and a lower rank, which is late, waits for the batches that are under way (`await_batches`).
    pub(super) async fn of(
        transaction: &Transaction<'_>,
        load: LoadId,
        dataset: &Dataset,
    ) -> Result<Self, PostgresError> {
        // The order keeps the planner from going through all rows that wait, which may be those of another dataset.
        let statement = "select exists (select from etl.load own join etl.load o on o.dataset = own.dataset \
                where own.id = $1 and o.finished_at is null and least(o.rank, o.ranks_from) < own.rank) as unfinished, \
            (select true from etl.parked where dataset = $2 and released_by is null order by dataset, key limit 1) is true as waiting";
        let statement = transaction.prepare_cached(statement).await?;
        let row = transaction.query_one(&statement, &[&load.0, &dataset.name]).await?;
        Ok(Self { unfinished: row.get("unfinished"), waiting: row.get("waiting") })
    }

    /// Locks the rows of the table that the rivals may write, so that they will see what this batch has found.
    pub(super) async fn keep_out(
        &self,
        transaction: &Transaction<'_>,
        dataset: &Dataset,
        rows: &CopyRows,
    ) -> Result<(), PostgresError> {
        let mut wanted: Vec<&CopyRow> = Vec::new();
        if self.unfinished {
            wanted.extend(rows.rows());
        } else if self.waiting {
            let keys: Vec<&str> = rows.rows().iter().map(|row| row.key.as_str()).collect();
            let statement =
                "select key from etl.parked where dataset = $1 and released_by is null and key = any ($2::text[])";
            let statement = transaction.prepare_cached(statement).await?;
            let waiting = transaction.query(&statement, &[&dataset.name, &keys]).await?;
            let waiting: HashSet<&str> = waiting.iter().map(|row| row.get(0)).collect();
            wanted.extend(rows.rows().iter().filter(|row| waiting.contains(row.key.as_str())));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let key = Key::of(dataset);
        let keys = key.values(rows, wanted.into_iter());
        let statement = transaction.prepare_cached(&key.lock_rows_of(&table_name(&dataset.table))).await?;
        transaction.query(&statement, &parameters(&keys)).await.map(|_| ())
    }
}

impl Database {
    /// Records that rows of a load mend rejects of these loads, and so rank with them. Returns the claim, which looks further back from now on.
    ///
    /// # Errors
    /// `LeaseLost` if another worker has taken over; `Connection` or `System`.
    pub async fn rank_with(&self, claim: &Claim, loads: &[LoadId]) -> Result<Claim> {
        let failed = |error| query_error("rank mended rows", error);
        let statement = "update etl.load l set ranks_from = ( \
                select min(least(o.rank, o.ranks_from)) from etl.load o \
                where o.id = any ($3) and o.dataset = l.dataset and o.bucket = l.bucket and o.id < l.id) \
            where id = $1 and lease_token = $2 and state = 'loading' returning ranks_from is not null as mends";
        let connection = self.connection("rank_with").await?;
        let loads: Vec<i64> = loads.iter().map(|load| load.0).collect();
        let row = connection.query_opt(statement, &[&claim.load_id.0, &claim.token.0, &loads]).await.map_err(failed)?;
        if !row.ok_or_else(|| lease_lost(claim))?.get::<_, bool>("mends") {
            return Ok(claim.clone());
        }
        let since = "select etl.since(l) from etl.load l where id = $1";
        let since = connection.query_one(since, &[&claim.load_id.0]).await.map_err(failed)?.get(0);
        Ok(Claim { late: true, since, ..claim.clone() })
    }

    /// Waits until the batches of a dataset that are under way have ended. They began before a late load was claimed, perhaps, and
    /// so do not know that they have to [keep it out](Rivals::keep_out); those that begin from now on do.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn await_batches(&self, dataset: &str) -> Result<()> {
        let failed = |error| query_error("wait for the batches of other loads", error);
        let statement = format!(
            "select virtualtransaction from pg_locks \
             where locktype = 'advisory' and granted and objsubid = 1 \
                 and database = (select oid from pg_database where datname = current_database()) \
                 and (classid::bigint << 32 | objid::bigint) = {} and ($1::text[] is null or virtualtransaction = any ($1))",
            batches_of(dataset)
        );
        let mut awaited: Option<Vec<String>> = None;
        loop {
            let rows = self.connection("await_batches").await?.query(&statement, &[&awaited]).await.map_err(failed)?;
            if rows.is_empty() {
                return Ok(());
            }
            awaited = Some(rows.iter().map(|row| row.get(0)).collect());
            tokio::time::sleep(BATCH_POLL).await;
        }
    }
}

/// The lock that every batch shares, so that a late load can see which are under way.
pub(super) fn batches_of(dataset: &str) -> String {
    format!("hashtextextended('etl.load_batch {dataset}', 0)")
}
