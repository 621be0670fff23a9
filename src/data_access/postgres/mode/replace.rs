//! `replace`: what becomes of a scope when a file has replaced it.
//!
//! A load registers the scopes of its file before it writes a row. From then on, batches of loads with a lower rank leave rows of those
//! scopes alone. When all batches are committed, the transaction that closes the load takes away what the file does not have. So the end
//! is that of the file with the highest rank, in whatever order files come and wherever a worker is killed (`docs/decisions/0024`).

use std::collections::HashSet;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use deadpool_postgres::Transaction;
use tokio_postgres::Error as PostgresError;

use super::super::claim::Claim;
use super::super::copy::PLACES;
use super::super::encode::keys;
use super::super::key::Key;
use super::super::mended::{mended, same_file};
use super::super::query_error;
use super::super::row_history::{keep, origin_of};
use super::super::scope::Scope;
use super::super::sql_names::quoted;
use super::super::sql_names::table_name;
use super::super::tie::{batches_of, rank_of_row};
use super::contract::Steps;
use super::moved;
use crate::domain::{Dataset, LoadId};
use crate::error::{Error, ErrorKind, Result};

pub(super) struct Replace;

#[async_trait]
impl Steps for Replace {
    async fn overtaken(
        &self,
        transaction: &Transaction<'_>,
        load: LoadId,
        dataset: &Dataset,
        rows: &[RecordBatch],
    ) -> Result<HashSet<i64>> {
        let failed = |error| query_error("look which scopes later files have replaced", error);
        let scope = dataset.replacement.as_ref().map_or(&[][..], |replacement| &replacement.scope);
        let (records, scopes): (Vec<i64>, Vec<String>) = texts_of(dataset, scope, rows)?.into_iter().unzip();
        // A mended row is a part of the file in which it was bad, also if that was loaded again since.
        let rank = rank_of_row(dataset, "own.id", ["own.rank", "own.ranks_from"], "m.record = r.record");
        let statement = format!(
            "with own as materialized (select id, dataset, rank, ranks_from from etl.load where id = $1), \
                 newer as materialized ( \
                     select s.scope, coalesce(o.rank, s.rank) as rank, o.dataset, o.bucket, o.key, o.version, o.part, o.arrival \
                     from own join etl.scope s on s.dataset = own.dataset and s.scope = any ($3) \
                         left join etl.load o on o.id = s.load_id \
                     where coalesce(o.rank, s.rank) > least(own.rank, own.ranks_from)) \
             select r.record from unnest($2::bigint[], $3::text[]) as r (record, scope) join newer n using (scope) cross join own \
             where n.rank > {rank} and (own.ranks_from is null or not exists ( \
                 select from etl.resubmission m join etl.load f on f.id = m.ranks_with \
                 where m.load_id = own.id and m.record = r.record and {}))",
            same_file("f", "n"),
        );
        let statement = transaction.prepare_cached(&statement).await.map_err(failed)?;
        let found = transaction.query(&statement, &[&load.0, &records, &scopes]).await.map_err(failed)?;
        let mut overtaken: HashSet<i64> = found.iter().map(|row| row.get(0)).collect();
        if moved::may_move(dataset) {
            let (records, keys): (Vec<i64>, Vec<String>) = texts_of(dataset, &dataset.key, rows)?.into_iter().unzip();
            let superseded = moved::superseded(transaction, load, dataset, (&records, &keys)).await;
            overtaken.extend(superseded.map_err(failed)?);
        }
        Ok(overtaken)
    }

    async fn end(
        &self,
        transaction: &Transaction<'_>,
        claim: &Claim,
        dataset: &Dataset,
        _read: i64,
    ) -> Result<i64, PostgresError> {
        // A file with rejects that were mended has not registered anything, and neither has an empty one that changes nothing.
        let registered = "select scopes from etl.replacement where load_id = $1 and ended_at is null";
        let Some(row) = transaction.query_opt(registered, &[&claim.load_id.0]).await? else { return Ok(0) };
        // No batch of another load is under way, and a scope of this load that is free now stays so.
        let alone = format!(
            "set local statement_timeout = 0; set local work_mem = '64MB'; select pg_advisory_xact_lock({})",
            batches_of(&dataset.name)
        );
        transaction.batch_execute(&alone).await?;
        let scopes: Vec<String> = row.get("scopes");
        let overtaken =
            overtaken(transaction, claim.load_id, &scopes.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let own: Vec<String> = scopes.iter().filter(|scope| !overtaken.contains(*scope)).cloned().collect();
        let unreadable = "select exists (select from etl.reject where load_id = $1 and key is null)";
        let unreadable: bool = transaction.query_one(unreadable, &[&claim.load_id.0]).await?.get(0);
        let kept = match (own.len(), unreadable) {
            (0, _) => Some("overtaken"),
            (_, true) => Some("unreadable_key"),
            (_, false) => None,
        };
        let (taken, figures) = if own.is_empty() {
            (Vec::new(), None)
        } else {
            if kept.is_none() {
                settle_waiting(transaction, claim, dataset, &own).await?;
            }
            let (taken, figures) = take_away(transaction, claim, dataset, &own, kept.is_none()).await?;
            (taken, (own.len() == scopes.len()).then_some(figures))
        };
        let moved = if moved::may_move(dataset) { moved::take_away(transaction, claim, dataset).await? } else { 0 };
        let deleted = i64::try_from(taken.len()).unwrap_or(i64::MAX);
        let (present, inserted) = figures.unzip();
        let ended = "update etl.replacement set kept = $2, deleted_keys = $3, deleted = $4::bigint, rows_after = $5::bigint - case when flagged then 0 else $4::bigint end, \
                inserted = $6, elsewhere = $5::bigint - rows_before - $6::bigint, ended_at = clock_timestamp(), xid = pg_current_xact_id()::xid \
            where load_id = $1";
        transaction.execute(ended, &[&claim.load_id.0, &kept, &taken, &deleted, &present, &inserted]).await?;
        // Those are no rows of the scopes of this file.
        Ok(deleted + moved)
    }
}

/// The records of rows with the values of some columns, as the ledger knows them: those of the scope, or the key.
fn texts_of(dataset: &Dataset, names: &[String], rows: &[RecordBatch]) -> Result<Vec<(i64, String)>> {
    let mut found = Vec::new();
    for rows in rows {
        let (places, values) = rows.columns().split_at_checked(PLACES).unwrap_or_default();
        let records = places
            .first()
            .and_then(|records| arrow::array::AsArray::as_primitive_opt::<arrow::datatypes::Int64Type>(records));
        let records = records.ok_or_else(|| Error::new(ErrorKind::System, "rows to load lack their records"))?;
        if names.is_empty() {
            found.extend(records.values().iter().map(|record| (*record, String::new())));
            continue;
        }
        let columns = dataset.columns.iter().zip(values).filter(|(column, _)| names.contains(&column.name));
        let texts = keys(columns, names)?;
        found.extend(records.values().iter().enumerate().map(|(row, record)| (*record, texts.value(row).to_owned())));
    }
    Ok(found)
}

/// The scopes that a load with a higher rank has registered.
pub(in super::super) async fn overtaken(
    transaction: &Transaction<'_>,
    load: LoadId,
    scopes: &[&str],
) -> Result<HashSet<String>, PostgresError> {
    let statement = "select s.scope from etl.load own join etl.scope s on s.dataset = own.dataset and s.scope = any ($2) \
            left join etl.load o on o.id = s.load_id \
        where own.id = $1 and coalesce(o.rank, s.rank) > own.rank";
    let statement = transaction.prepare_cached(statement).await?;
    let rows = transaction.query(&statement, &[&load.0, &scopes]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Ends the waiting of parked rows of earlier files that this file may take away: they are stale, whatever they wait for.
async fn settle_waiting(
    transaction: &Transaction<'_>,
    claim: &Claim,
    dataset: &Dataset,
    scopes: &[String],
) -> Result<(), PostgresError> {
    let scope = Scope::of(dataset);
    // An undo of this load lets them wait again.
    if dataset.history.is_some() {
        transaction.batch_execute("set local small_etl.keep_content = 'on'").await?;
    }
    let statement = format!(
        "update etl.parked p set released_by = own.id, released_at = clock_timestamp(), released_xid = pg_current_xact_id()::xid, \
             tick = nextval('etl.clock'), outcome = 'stale', warnings = 0 \
         from etl.load l, etl.load own \
         where own.id = $1 and l.id = p.load_id and p.dataset = own.dataset and p.released_by is null and {rank} < own.rank and {holds} \
             and not exists (select from etl.reject b where b.load_id = own.id and b.key = p.key) \
             and (l.ranks_from is null or not exists ( \
                 select from etl.resubmission m join etl.load f on f.id = m.ranks_with \
                 where m.load_id = p.load_id and m.record = p.record and {same}))",
        rank = rank_of_row(dataset, "p.load_id", ["l.rank", "l.ranks_from"], "m.record = p.record"),
        holds = scope.holds_content("p.content", 2),
        same = same_file("f", "own"),
    );
    let values = scope.values(scopes);
    let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&claim.load_id.0];
    parameters.extend(values.iter().map(|values| values as &(dyn tokio_postgres::types::ToSql + Sync)));
    transaction.execute(&statement, &parameters).await.map(|_| ())
}

/// Takes the rows of scopes away that the file does not have, if it may. Returns their keys; how many rows the scopes had, and how
/// many of those the load has inserted.
async fn take_away(
    transaction: &Transaction<'_>,
    claim: &Claim,
    dataset: &Dataset,
    scopes: &[String],
    may: bool,
) -> Result<(Vec<String>, (i64, i64)), PostgresError> {
    let (scope, key, table) = (Scope::of(dataset), Key::of(dataset), table_name(&dataset.table));
    let origin = origin_of(dataset, "$1");
    // Rows of several partitions may have the same place.
    let same = dataset.key.iter().map(|name| format!(" and t.{0} is not distinct from absent.{0}", quoted(name)));
    let is_absent = format!("t.ctid = absent._ctid{}", same.collect::<String>());
    let gone = match (may, scope.flag()) {
        (false, _) => format!("select {} as _key from {table} t where false", key.text("t.")),
        (true, None) => {
            format!("delete from {table} t using absent where {is_absent} returning {} as _key", key.text("t."))
        }
        (true, Some(flag)) => format!(
            "update {table} t set {flag} = true{origin} from absent where {is_absent} and t.{flag} is not true returning {} as _key",
            key.text("t.")
        ),
    };
    let still = scope.flag().map_or_else(|| "true".to_owned(), |flag| format!("t.{flag} is not true"));
    let ended = if may { format!("join absent on {is_absent} where {still}") } else { "where false".to_owned() };
    let history = keep(dataset, "$1", "deleted", &ended).map(|keep| format!(", kept as ({keep})")).unwrap_or_default();
    // The keys of the ledger are compared as values of their types: the table may print them with more decimals. The rows are read once, and only
    // those that the file does not have are kept.
    let is_gone = "filter (where coalesce(f._outcome::text, b._there::text, m._there::text) is null)";
    let columns = dataset.key.iter().map(|name| quoted(name)).enumerate();
    let (kept, arrays): (Vec<String>, Vec<String>) = columns
        .map(|(place, name)| (format!("array_agg(t.{name}) {is_gone} as _{place}"), format!("_{place}")))
        .unzip();
    let statement = format!(
        "with file as ({file}), bad as materialized ({bad}), {mended}, seen as materialized ( \
             select count(*) as present, count(*) filter (where f._outcome = 'inserted') as inserted, \
                 array_agg(t.ctid) {is_gone} as _ctids, {kept} \
             from {table} t left join file f on {is_there} left join bad b on {is_bad} left join mended m on {is_mended} where {holds} \
         ), absent as materialized ( \
             select a.* from seen cross join lateral unnest(_ctids, {arrays}) as a (_ctid, {own}) \
         ), gone as ({gone}){history} \
         select present, inserted + (select count(*) from etl.parked where load_id = $1 and outcome = 'inserted') as inserted, \
             array(select _key from gone) as taken \
         from seen",
        kept = kept.join(", "),
        arrays = arrays.join(", "),
        file = key.of_texts(
            "select n.key as _text, n.outcome as _outcome \
             from etl.lineage i cross join lateral unnest(i.keys, i.outcomes) as n (key, outcome) where i.load_id = $1",
            "_outcome",
        ),
        bad = key.of_texts("select distinct key as _text, true as _there from etl.reject where load_id = $1", "_there"),
        mended = mended(dataset),
        is_mended = key.equal("m.", "t."),
        own = key.list(""),
        is_bad = key.equal("b.", "t."),
        is_there = key.equal("f.", "t."),
        holds = scope.holds("t.", 2),
    );
    let values = scope.values(scopes);
    let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&claim.load_id.0];
    parameters.extend(values.iter().map(|values| values as &(dyn tokio_postgres::types::ToSql + Sync)));
    let row = transaction.query_one(&statement, &parameters).await?;
    Ok((row.get("taken"), (row.get("present"), row.get("inserted"))))
}
