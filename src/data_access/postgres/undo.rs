//! Gives back what the table had before a load, from its history (`postgres/row_history.rs`), in one transaction.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use serde::Serialize;
use tokio_postgres::Error as PostgresError;

use super::claim::Claim;
use super::key::Key;
use super::ledger::{SeenFile, commit_step};
use super::row_history::keep;
use super::sql_names::{names, quoted, table_name};
use super::tie::batches_of;
use super::{Database, query_error, undo_ledger, undo_plan};
use crate::domain::object::{REKEY_BUCKET, UNDO_BUCKET};
use crate::domain::row_history::{VALID_FROM, WRITTEN_BY};
use crate::domain::{Dataset, LoadId};
use crate::error::{Error, ErrorKind, Result};

/// The most rows that are listed one by one.
const MOST_LISTED: i64 = 1000;

/// A load that is to be undone.
#[derive(Clone, Debug)]
pub struct LoadToUndo {
    /// The load.
    pub load_id: LoadId,
    /// Its dataset.
    pub dataset: String,
    /// The bucket of its file.
    pub bucket: String,
    /// The key of its file.
    pub key: String,
    /// The part of it.
    pub part: String,
    /// Whether it has ended.
    pub ended: bool,
    /// The load that has undone it.
    pub undone_by: Option<LoadId>,
    /// The load that has given the rows of the dataset new content keys since.
    pub rekeyed_by: Option<LoadId>,
    /// If other loads of the dataset from its time are pruned: those that ended before this.
    pub pruned_before: Option<DateTime<Utc>>,
}

/// What an undo does, or would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GivenBack {
    /// Rows that get back their earlier values.
    pub updated: i64,
    /// Rows that were not there before, and are deleted.
    pub removed: i64,
    /// Rows that the load had deleted, and that are back.
    pub inserted: i64,
    /// Rows of the load that wait for another row, and are not loaded any more.
    pub parked: i64,
    /// Rows of other loads that wait for another row again, because the load had ended that.
    pub waiting: i64,
    /// Other loads with rows that were stale since the load, perhaps because of it. They are not loaded by the undo.
    pub lost: Vec<LoadId>,
    /// Rows that stay as they are.
    pub kept: i64,
    /// The first of these.
    pub kept_rows: Vec<KeptRow>,
    /// Rows that the load wrote when the history did not exist. They stay as they are.
    pub unknown: i64,
}

/// A row that an undo cannot give back.
#[derive(Clone, Debug, Serialize)]
pub struct KeptRow {
    /// Its key.
    pub key: String,
    /// Why.
    pub reason: String,
}

impl Database {
    /// Returns a load that is to be undone.
    ///
    /// # Errors
    /// `Configuration` if there is no such load; `Connection` or `System`.
    pub async fn load_to_undo(&self, load: LoadId) -> Result<LoadToUndo> {
        let statement = "select l.dataset, l.bucket, l.key, l.part, l.finished_at is not null as ended, \
                (select u.id from etl.load u where u.bucket = $2 and u.key = l.id::text and u.state = 'loaded') as undone_by, \
                (select max(u.id) from etl.load u where u.bucket = $3 and u.key = l.dataset and u.id > l.id) as rekeyed_by, \
                (select r.pruned_before from etl.retention r where l.finished_at < r.pruned_before \
                    and exists (select from etl.pruned p where p.dataset = l.dataset)) as pruned_before \
            from etl.load l where l.id = $1";
        let row =
            self.connection("load_to_undo").await?.query_opt(statement, &[&load.0, &UNDO_BUCKET, &REKEY_BUCKET]).await;
        let row = row.map_err(|error| query_error("look for the load to undo", error))?;
        let Some(row) = row else { return Err(self.no_such_load(load).await) };
        Ok(LoadToUndo {
            load_id: load,
            dataset: row.get("dataset"),
            bucket: row.get("bucket"),
            key: row.get("key"),
            part: row.get("part"),
            ended: row.get("ended"),
            undone_by: row.get::<_, Option<i64>>("undone_by").map(LoadId),
            rekeyed_by: row.get::<_, Option<i64>>("rekeyed_by").map(LoadId),
            pruned_before: row.get("pruned_before"),
        })
    }

    /// Says what undoing a load of `dataset` would do. `referring` are the datasets that refer to it.
    ///
    /// # Errors
    /// `Configuration` if this role may not do it, or if nothing of the load is in the history; `Connection` or `System`.
    pub async fn plan_undo(&self, dataset: &Dataset, load: LoadId, referring: &[&Dataset]) -> Result<GivenBack> {
        self.may_undo(dataset).await?;
        let mut connection = self.connection("plan_undo").await?;
        let failed = |error| query_error("plan the undo", error);
        let transaction = connection.transaction().await.map_err(failed)?;
        plan(&transaction, dataset, load, referring).await?;
        let undone = planned(&transaction, dataset, load).await?;
        transaction.rollback().await.map_err(failed)?;
        Ok(undone)
    }

    /// Undoes a load under a claim of its own, unless that has happened. The rows, the history, the lineage and the batches of the claim
    /// commit together.
    ///
    /// # Errors
    /// `LeaseLost` if another process took over; `Configuration` as for [`plan_undo`](Self::plan_undo), and if another table keeps a row;
    /// `Connection` or `System`.
    pub async fn undo(
        &self,
        claim: &Claim,
        dataset: &Dataset,
        load: LoadId,
        referring: &[&Dataset],
    ) -> Result<GivenBack> {
        let mut connection = self.connection("undo").await?;
        let failed = |error| query_error("undo the load", error);
        let transaction = connection.transaction().await.map_err(failed)?;
        let alone = format!("select pg_advisory_xact_lock({})", batches_of(&dataset.name));
        transaction.batch_execute(&alone).await.map_err(failed)?;
        plan(&transaction, dataset, load, referring).await?;
        let undone = planned(&transaction, dataset, load).await?;
        if let Err(error) = apply(&transaction, claim, dataset, load).await {
            return Err(refused(dataset, error));
        }
        commit_step(&transaction, claim, SeenFile { read: records(&undone), ..SeenFile::default() }).await?;
        transaction.commit().await.map_err(|error| refused(dataset, error))?;
        Ok(undone)
    }

    /// Returns how many records the batches of a load have, if there are any.
    ///
    /// # Errors
    /// `Connection` or `System`.
    pub async fn records_written(&self, load: LoadId) -> Result<Option<i64>> {
        let statement = "select sum(last_record - first_record + 1)::bigint from etl.load_batch where load_id = $1";
        let row = self.connection("records_written").await?.query_one(statement, &[&load.0]).await;
        row.map(|row| row.get(0)).map_err(|error| query_error("read the batches of the load", error))
    }

    async fn may_undo(&self, dataset: &Dataset) -> Result<()> {
        let (table, history) = (table_name(&dataset.table), table_name(dataset.history.as_deref().unwrap_or_default()));
        let statement = "select quote_ident(current_user), \
            has_table_privilege($1, 'select') and has_table_privilege($1, 'insert') and has_table_privilege($1, 'update') \
                and has_table_privilege($1, 'delete') and has_table_privilege($2, 'select') and has_table_privilege($2, 'insert')";
        let row = self.connection("may_undo").await?.query_one(statement, &[&table, &history]).await;
        let row = row.map_err(|error| query_error("ask for rights", error))?;
        if row.get(1) {
            return Ok(());
        }
        let role: &str = row.get(0);
        Err(Error::configuration(format!(
            "role {role} may not undo loads of dataset {}: that takes the rights to select, insert, update and delete in {table}, and to \
             select and insert in {history}; run it as the owner of these tables",
            dataset.name
        )))
    }
}

/// How many records the load of an undo has.
fn records(undone: &GivenBack) -> i64 {
    undone.updated + undone.removed + undone.inserted + undone.kept
}

fn refused(dataset: &Dataset, error: PostgresError) -> Error {
    match error.as_db_error() {
        Some(server) if server.code().code().starts_with("23") => Error::configuration(format!(
            "table {} refuses the rows as they were before (SQLSTATE {}, table {}, constraint {}); nothing was changed. First undo the \
             loads that wrote the rows that conflict with them",
            dataset.table,
            server.code().code(),
            server.table().unwrap_or("unknown"),
            server.constraint().unwrap_or("unknown"),
        )),
        _ => query_error("undo the load", error),
    }
}

/// Fills the temporary tables of the plan (`undo_plan.rs`).
async fn plan(transaction: &Transaction<'_>, dataset: &Dataset, load: LoadId, referring: &[&Dataset]) -> Result<()> {
    let failed = |error| query_error("plan the undo", error);
    transaction.batch_execute("set local statement_timeout = 0").await.map_err(failed)?;
    // A load that has begun to replace scopes has left rows alone, because this one had replaced them.
    let unfinished = "select min(r.load_id) from etl.replacement r join etl.load l on l.id = r.load_id \
        where r.dataset = $1 and l.finished_at is null";
    let row = transaction.query_one(unfinished, &[&dataset.name]).await.map_err(failed)?;
    if let Some(other) = row.get::<_, Option<i64>>(0) {
        return Err(Error::configuration(format!(
            "load {load} cannot be undone now: load {other} is replacing rows of dataset {}, and has not ended; let it end first",
            dataset.name
        )));
    }
    transaction.batch_execute(&undo_plan::statements(dataset, load, referring)).await.map_err(failed)
}

/// Reads the plan.
async fn planned(transaction: &Transaction<'_>, dataset: &Dataset, load: LoadId) -> Result<GivenBack> {
    let failed = |error| query_error("read the plan of the undo", error);
    let statement = "select count(*) filter (where _outcome = 'updated') as updated, count(*) filter (where _outcome = 'removed') as removed, \
            count(*) filter (where _outcome = 'inserted') as inserted, count(*) filter (where _outcome = 'stale') as kept, \
            (select count(*) from etl.parked p where p.load_id = $1 and p.released_by is null) as parked, \
            (select count(*) from pg_temp.undo_waiting) as waiting, \
            (select coalesce(sum(b.inserted + b.updated + b.removed), 0)::bigint from etl.load_batch b where b.load_id = $1) \
                + (select count(*) from etl.parked p where p.load_id = $1 and p.outcome in ('inserted', 'updated')) - count(*) filter (where _own) as unknown \
        from pg_temp.undo_plan";
    let row = transaction.query_one(statement, &[&load.0]).await.map_err(failed)?;
    let shown = "select _key, _reason from pg_temp.undo_plan where _outcome = 'stale' order by _record limit $1";
    let kept = transaction.query(shown, &[&MOST_LISTED]).await.map_err(failed)?;
    let lost = transaction.query(&undo_ledger::lost(dataset, load), &[]).await.map_err(failed)?;
    let undone = GivenBack {
        updated: row.get("updated"),
        removed: row.get("removed"),
        inserted: row.get("inserted"),
        parked: row.get("parked"),
        kept: row.get("kept"),
        kept_rows: kept.iter().map(|row| KeptRow { key: row.get(0), reason: row.get(1) }).collect(),
        waiting: row.get("waiting"),
        lost: lost.iter().map(|row| LoadId(row.get(0))).collect(),
        unknown: row.get::<_, i64>("unknown").max(0),
    };
    if records(&undone) == 0 && undone.unknown > 0 {
        let (name, history) = (&dataset.name, dataset.history.as_deref().unwrap_or_default());
        return Err(Error::configuration(format!(
            "load {load} cannot be undone: table {history} knows none of the {} rows that it wrote; dataset {name} had no history then",
            undone.unknown
        )));
    }
    Ok(undone)
}

/// Does what `undo_plan` says.
async fn apply(
    transaction: &Transaction<'_>,
    claim: &Claim,
    dataset: &Dataset,
    load: LoadId,
) -> std::result::Result<(), PostgresError> {
    let key = Key::of(dataset);
    let (table, history) = (table_name(&dataset.table), table_name(dataset.history.as_deref().unwrap_or_default()));
    let replaced =
        format!("join pg_temp.undo_plan p on {} where p._outcome in ('updated', 'removed')", key.equal("p.", "t."));
    let settable = dataset.table_columns().iter().filter(|column| !dataset.key.contains(&column.name));
    let set = settable.map(|column| format!("{0} = h.{0}, ", quoted(&column.name))).collect::<Vec<_>>().concat();
    let is_before = undo_plan::is_given_back(dataset);
    let (name, list, kept) = (&dataset.name, names(dataset, ""), names(dataset, "h."));
    let mut steps = vec![
        keep(dataset, &claim.load_id.to_string(), "undone", &replaced).unwrap_or_default(),
        format!(
            "delete from {table} t using pg_temp.undo_plan p where p._outcome = 'removed' and {}",
            key.equal("p.", "t.")
        ),
        format!(
            "update {table} t set {set}{WRITTEN_BY} = h.{WRITTEN_BY}, {VALID_FROM} = greatest(now(), t.{VALID_FROM}) \
             from pg_temp.undo_plan b, {history} h where b._outcome = 'updated' and {} and {is_before}",
            key.equal("b.", "t.")
        ),
        format!(
            "insert into {table} ({list}, {WRITTEN_BY}, {VALID_FROM}) select {kept}, h.{WRITTEN_BY}, greatest(now(), b._until) \
             from pg_temp.undo_plan b join {history} h on {is_before} where b._outcome = 'inserted'"
        ),
    ];
    steps.extend(undo_ledger::statements(dataset, load, claim.load_id));
    let undo = claim.load_id;
    steps.extend([
        format!(
            "insert into etl.lineage (load_id, batch, dataset, lowest_key, highest_key, keys, lines, outcomes) \
             select {undo}, ((_record - 1) / {size})::integer, '{name}', left(min(_key collate \"C\"), 200), left(max(_key collate \"C\"), 200), \
                 array_agg(_key order by _record), array_agg(null::bigint), array_agg(_outcome::etl.row_outcome order by _record) \
             from pg_temp.undo_plan group by 2",
            size = claim.terms.batch_size
        ),
        format!(
            "insert into etl.load_batch (load_id, batch, first_record, last_record, inserted, updated, removed, unchanged, stale, parked, rejected, warnings) \
             select {undo}, ((_record - 1) / {size})::integer, min(_record), max(_record), count(*) filter (where _outcome = 'inserted'), \
                 count(*) filter (where _outcome = 'updated'), count(*) filter (where _outcome = 'removed'), 0, \
                 count(*) filter (where _outcome = 'stale'), 0, 0, 0 \
             from pg_temp.undo_plan group by 2",
            size = claim.terms.batch_size
        ),
    ]);
    for step in steps {
        transaction.batch_execute(&step).await?;
    }
    Ok(())
}

/// The error where a load cannot be undone because its dataset keeps no history.
#[must_use]
pub fn without_history(load: LoadId, dataset: &str) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!(
            "load {load} cannot be undone: dataset {dataset} keeps no history, so nobody knows what its rows were before; \
             docs/history.md says how to keep one from now on"
        ),
    )
}
