//! `replace` where a row may move from one scope to another, because the columns of the scope do not all belong to the key.
//!
//! The load with the highest rank that has a key says to which scope it belongs. If a later file has replaced that scope and does not have the
//! key, the row is gone, and no older file brings it back into another scope.

use std::collections::HashSet;

use deadpool_postgres::Transaction;
use tokio_postgres::Error as PostgresError;

use super::super::claim::Claim;
use super::super::key::Key;
use super::super::row_history::{keep, origin_of};
use super::super::scope::Scope;
use super::super::sql_names::table_name;
use super::super::tie::{Window, rank_of_row, won};
use super::super::undone::counts;
use crate::domain::{Dataset, LoadId};

/// Whether rows of the dataset may move.
pub(super) fn may_move(dataset: &Dataset) -> bool {
    let scope = dataset.replacement.as_ref().map_or(&[][..], |replacement| &replacement.scope);
    scope.iter().any(|column| !dataset.key.contains(column))
}

/// Those of some records of a load whose keys a load with a higher rank has.
pub(super) async fn superseded(
    transaction: &Transaction<'_>,
    load: LoadId,
    dataset: &Dataset,
    (records, keys): (&[i64], &[String]),
) -> Result<HashSet<i64>, PostgresError> {
    let statement = format!(
        "with own as materialized (select id, dataset, rank, ranks_from from etl.load where id = $1), \
             bounds as materialized (select left(min(key collate \"C\"), 200) as lowest, left(max(key collate \"C\"), 200) as highest \
                 from unnest($3::text[]) as k (key)), \
             newer as materialized ( \
                 select n.key, max({their_rank}) as rank \
                 from own join etl.load o on o.dataset = own.dataset and o.arrival is not null and o.rank > least(own.rank, own.ranks_from) \
                     join etl.lineage i on i.load_id = o.id cross join bounds \
                     cross join lateral unnest(i.keys, i.lines) as n (key, line) \
                 where i.lowest_key <= bounds.highest and i.highest_key >= bounds.lowest and n.key = any ($3) and {counts} group by n.key) \
         select r.record from unnest($2::bigint[], $3::text[]) as r (record, key) join newer n using (key) cross join own \
         where n.rank > {rank}",
        counts = counts(&dataset.name),
        their_rank = rank_of_row(dataset, "o.id", ["o.rank", "o.ranks_from"], "m.line = n.line"),
        rank = rank_of_row(dataset, "own.id", ["own.rank", "own.ranks_from"], "m.record = r.record"),
    );
    let statement = transaction.prepare_cached(&statement).await?;
    let rows = transaction.query(&statement, &[&load.0, &records, &keys]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Takes away rows that older files have brought, and that this load has in scopes which later files have replaced. Returns how many there
/// were. No batch of another load may be under way.
pub(super) async fn take_away(
    transaction: &Transaction<'_>,
    claim: &Claim,
    dataset: &Dataset,
) -> Result<i64, PostgresError> {
    let (key, table, flag) = (Key::of(dataset), table_name(&dataset.table), Scope::of(dataset).flag());
    let is_there = key.equal("t.", "k.");
    let present = flag.as_ref().map(|flag| format!(" and t.{flag} is not true")).unwrap_or_default();
    let gone = match &flag {
        None => format!("delete from {table} t using lost k where {is_there} returning 1"),
        Some(flag) => format!(
            "update {table} t set {flag} = true{} from lost k where {is_there}{present} returning 1",
            origin_of(dataset, "$1")
        ),
    };
    let history = keep(dataset, "$1", "deleted", &format!("join lost k on {is_there}{present}"));
    let statement = format!(
        "with own as materialized (select id, rank, ranks_from from etl.load where id = $1), tied as materialized ( \
             select n.key as _key, {rank} as _rank \
             from own join etl.lineage i on i.load_id = own.id \
                 cross join lateral unnest(i.keys, i.lines, i.outcomes) as n (key, line, outcome) \
             where n.outcome = 'stale' \
         ), {won}, lost as materialized ({lost}), gone as ({gone}){history} select count(*) from gone",
        rank = rank_of_row(dataset, "own.id", ["own.rank", "own.ranks_from"], "m.line = n.line"),
        won = won(dataset, &Window { since: "0", but: Some("$1") }),
        lost = key.of_texts("select _key as _text, true as _there from won", "_there"),
        history = history.map(|keep| format!(", kept as ({keep})")).unwrap_or_default(),
    );
    transaction.query_one(&statement, &[&claim.load_id.0]).await.map(|row| row.get(0))
}
