//! When a load ends, its rejects are linked with earlier ones, and the rejects that its rows have mended are resolved (`docs/decisions/0006`).
//! Its rows are read a part at a time, so that no statement takes longer the more rows it has.

use deadpool_postgres::Transaction;
use tokio_postgres::Error as PostgresError;

use super::claim::Claim;
use super::sql_file::filled;
use super::undone::undone;
use crate::domain::LoadId;
use crate::domain::object::BUCKETS_WITHOUT_FILES;

/// About how many rows one statement reads.
const ROWS_AT_ONCE: i64 = 500_000;

/// Links the rejects of a load that has just ended with the earlier ones that they were to mend, and resolves the
/// rejects that its rows have mended. The rows of an undo are older ones, which mend nothing.
pub(super) async fn link_and_resolve(transaction: &Transaction<'_>, claim: &Claim) -> Result<(), PostgresError> {
    let load = claim.load_id;
    if !concerns_rejects(transaction, load).await? {
        return Ok(());
    }
    let holes = [("load", &*load.to_string()), ("undone", &undone(&claim.dataset))];
    transaction.batch_execute(&filled(include_str!("link.sql"), &holes)).await?;
    resolve(transaction, load).await
}

/// Resolves the rejects that are mended by parked rows that were released on behalf of a load that had ended.
pub(super) async fn resolve_released(transaction: &Transaction<'_>, load: LoadId) -> Result<(), PostgresError> {
    if !concerns_rejects(transaction, load).await? {
        return Ok(());
    }
    transaction.batch_execute(&of_load(include_str!("resolve_begin.sql"), load, false)).await?;
    transaction.batch_execute(&of_load(include_str!("resolve.sql"), load, false)).await
}

/// Resolves the rejects that parked rows of an ended load have become, as far as later loads have mended them.
pub(super) async fn resolve_expired(transaction: &Transaction<'_>, load: LoadId) -> Result<(), PostgresError> {
    if !concerns_rejects(transaction, load).await? {
        return Ok(());
    }
    resolve(transaction, load).await
}

async fn resolve(transaction: &Transaction<'_>, load: LoadId) -> Result<(), PostgresError> {
    transaction.batch_execute(&of_load(include_str!("resolve_begin.sql"), load, true)).await?;
    note_rows(transaction, load).await?;
    transaction.batch_execute(&of_load(include_str!("resolve.sql"), load, true)).await
}

fn of_load(file: &str, load: LoadId, closing: bool) -> String {
    /// Rejects of a failed load wait until the whole file is loaded, unless they are lines of a rejects file themselves: the rest of such
    /// a file is recorded in other rejects.
    const CLOSABLE: &str = "(l.state <> 'failed' or exists ( \
            select from etl.load w where w.bucket = l.bucket and w.key = l.key and w.part = l.part and w.dataset = l.dataset \
                and w.id > l.id and w.state = 'loaded') \
        or exists (select from etl.resubmission s where s.load_id = o.load_id and s.record = o.record))";
    /// Parked rows `p` that a later run of their file has discarded.
    const DISCARDED: &str = "p.outcome = 'stale' and p.released_by <> p.load_id and exists ( \
            select from etl.load waited join etl.load run on coalesce(run.origin, run.id) = coalesce(waited.origin, waited.id) \
            where waited.id = p.load_id and run.id = p.released_by)";
    let (load, closing) = (load.to_string(), closing.to_string());
    filled(file, &[("load", &load), ("closing", &closing), ("closable", CLOSABLE), ("discarded", DISCARDED)])
}

/// Notes the rows of the load that may mend a reject and, if it has rejects itself, those of later loads that mend them.
async fn note_rows(transaction: &Transaction<'_>, load: LoadId) -> Result<(), PostgresError> {
    let ask = "select greatest($2::bigint / batch_size, 1), exists (select from open_key) or exists (select from named_row) \
        from etl.load where id = $1";
    let row = transaction.query_one(ask, &[&load.0, &ROWS_AT_ONCE]).await?;
    let (batches, has_rejects): (i64, bool) = (row.get(0), row.get(1));
    let own = transaction.prepare(include_str!("resolve_own.sql")).await?;
    let mut after = Some(-1_i32);
    while let Some(batch) = after {
        after = transaction.query_one(&own, &[&load.0, &batch, &batches]).await?.get(0);
    }
    if !has_rejects {
        return Ok(());
    }
    let later = transaction.prepare(include_str!("resolve_later.sql")).await?;
    let mut after = (load.0, i32::MAX);
    while let Some(row) = transaction.query_opt(&later, &[&load.0, &after.0, &after.1, &batches]).await? {
        after = (row.get(0), row.get(1));
    }
    Ok(())
}

/// Whether a load, or the datasets of parked rows that it has released, have open rejects; also if that would take long to find out.
/// Loads of a dataset take turns from then on, so that if two end at once, the second sees the first.
async fn concerns_rejects(transaction: &Transaction<'_>, load: LoadId) -> Result<bool, PostgresError> {
    let alone = "select pg_advisory_xact_lock(hashtextextended('etl.reject ' || dataset, 0)) from ( \
        select dataset from etl.load where id = $1 union select dataset from etl.parked where released_by = $1 order by 1) d";
    let alone = transaction.prepare_cached(alone).await?;
    transaction.query(&alone, &[&load.0]).await?;
    // The loads with open rejects, the newest first, each by one look at an index.
    let concerned = "with recursive concerned as materialized ( \
             select dataset from etl.load where id = $1 and bucket <> all ($2) \
             union select p.dataset from etl.parked p join etl.load l on l.id = p.released_by \
             where p.released_by = $1 and l.bucket <> all ($2) \
         ), open (load_id, nth) as ( \
             (select load_id, 1 from etl.reject where state = 'open' order by load_id desc limit 1) \
             union all \
             select (select r.load_id from etl.reject r where r.state = 'open' and r.load_id < open.load_id \
                 order by r.load_id desc limit 1), nth + 1 \
             from open where load_id is not null and nth < 1000 \
         ) \
         select exists (select from open where exists (select from concerned) and (nth = 1000 \
             or (select dataset from etl.load where id = open.load_id) in (select dataset from concerned)))";
    let concerned = transaction.prepare_cached(concerned).await?;
    Ok(transaction.query_one(&concerned, &[&load.0, &&BUCKETS_WITHOUT_FILES[..]]).await?.get(0))
}
