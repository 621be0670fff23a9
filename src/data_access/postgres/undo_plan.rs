//! What undoing a load gives back, in SQL: for each row, what it was before the load and before all others that are undone.
//!
//! The states that a row has had are in the table and its history: its values, each of one load, and its absence, of the load that ended them.
//! What a load that was undone has written is passed over, and what an undo has done as well. So loads can be undone in any order. The
//! first state of another load is given back, unless a later load has touched what is there now.

use postgres_protocol::escape::escape_literal;

use super::key::Key;
use super::scope::Scope;
use super::sql_file::filled;
use super::sql_names::{quoted, table_name};
use super::tie::rank_of_row;
use super::tombstone::kept_version;
use super::undone::undone;
use crate::domain::object::UNDO_BUCKET;
use crate::domain::row_history::{REPLACED_BY, VALID_FROM, VALID_TO};
use crate::domain::{Dataset, LoadId};

/// Statements that fill two temporary tables.
///
/// `undo_plan` has a row for each row that the load has written or deleted: what is to be done (`_outcome`), why nothing is, if nothing is
/// (`_reason`), and which row of the history is given back (`_ended_by`, `_from`, `_until`), if one is. A row that the load has only brought
/// once more is there (`_own` is false) if it was the last that kept the row of a load that is undone.
///
/// `undo_waiting` has the parked rows of other loads that wait again.
pub(super) fn statements(dataset: &Dataset, load: LoadId, referring: &[&Dataset]) -> String {
    let (rows, waiting) = (rows(dataset, load, referring), waiting(dataset, load));
    format!(
        "set local client_min_messages = warning; \
         drop table if exists pg_temp.undo_plan, pg_temp.undo_waiting, pg_temp.undo_named, pg_temp.undo_entry, pg_temp.undo_past; \
         {rows}; analyze pg_temp.undo_plan; create temporary table undo_waiting on commit drop as {waiting}"
    )
}

/// SQL `undone as (…), hidden as (…)`: the loads that are undone, this one among them, and these with all undos.
pub(super) fn hidden(dataset: &Dataset, load: LoadId) -> String {
    format!(
        "undone as materialized (select {load}::bigint as _load union {undone}), hidden as materialized ( \
             select _load from undone union select id from etl.load where bucket = '{UNDO_BUCKET}' and dataset = '{name}')",
        undone = undone(&dataset.name),
        name = dataset.name,
    )
}

fn rows(dataset: &Dataset, load: LoadId, referring: &[&Dataset]) -> String {
    let key = Key::of(dataset);
    // Where a column marks deleted rows, they are still there.
    let gone = match Scope::of(dataset).flag() {
        Some(_) => "h.ended_as = 'removed'",
        None => "h.ended_as in ('removed', 'deleted')",
    };
    filled(
        include_str!("undo_plan.sql"),
        &[
            ("load", &load.to_string()),
            ("dataset", &escape_literal(&dataset.name)),
            ("table", &table_name(&dataset.table)),
            ("history", &history_name(dataset)),
            ("key", &key.list("")),
            ("key_of_s", &key.list("s.")),
            ("key_of_k", &key.list("k.")),
            ("key_text", &key.text("k.")),
            ("first_of_t", &key.first("t.")),
            ("hidden", &hidden(dataset, load)),
            ("rank", &rank_of_row(dataset, "i.load_id", ["o.rank", "o.ranks_from"], "m.line = n.line")),
            ("parked_rank", &rank_of_row(dataset, "p.load_id", ["o.rank", "o.ranks_from"], "m.record = p.record")),
            ("rank_of_x", &rank_of_row(dataset, "o.id", ["o.rank", "o.ranks_from"], "m.line = n._line")),
            ("version_of_h", &kept_version(dataset, "h.")),
            ("version_of_t", &kept_version(dataset, "t.")),
            ("same", &same(&key, load)),
            ("kept_away", &kept_away(dataset, load)),
            ("is_same", &key.equal("t.", "s.")),
            ("was_same", &key.equal("h.", "s.")),
            ("is_there", &key.equal("t.", "k.")),
            ("was_there", &key.equal("h.", "k.")),
            ("gone", gone),
            ("deletes", if Scope::of(dataset).flag().is_some() { "false" } else { "true" }),
            ("blocked", &blocked(dataset, load)),
            ("referred_to", &referred_to(dataset, referring)),
        ],
    )
}

/// SQL that selects the keys of the rows that a load has brought once more, if other loads are undone.
fn same(key: &Key<'_>, load: LoadId) -> String {
    let texts = format!(
        "select n.key as _text, true as _same from etl.lineage i cross join lateral unnest(i.keys, i.outcomes) as n (key, outcome) \
         where i.load_id = {load} and n.outcome = 'unchanged' and (select count(*) > 1 from undone) \
         union select p.key, true from etl.parked p \
         where p.load_id = {load} and p.outcome = 'unchanged' and (select count(*) > 1 from undone)"
    );
    key.of_texts(&texts, "_same")
}

/// SQL branch: the keys of the rows that other loads which are undone took out of a scope that this one has replaced.
fn kept_away(dataset: &Dataset, load: LoadId) -> String {
    if dataset.replacement.is_none() {
        return String::new();
    }
    format!(
        "union all select {}, false from {} h where h.{REPLACED_BY} in (select _load from undone) and h.ended_as = 'deleted' and exists ( \
             select from etl.replacement r cross join lateral unnest(r.scopes) as n (scope) where r.load_id = {load} and {})",
        Key::of(dataset).list("h."),
        history_name(dataset),
        Scope::of(dataset).is("h.", "n.scope")
    )
}

fn history_name(dataset: &Dataset) -> String {
    table_name(dataset.history.as_deref().unwrap_or_default())
}

/// SQL condition: a row `h` of the history is that of `b`.
pub(super) fn is_given_back(dataset: &Dataset) -> String {
    format!(
        "{} and h.{REPLACED_BY} = b._ended_by and h.{VALID_TO} = b._until and h.{VALID_FROM} is not distinct from b._from",
        Key::of(dataset).equal("h.", "b.")
    )
}

/// SQL branches: a row that would be deleted stays where rows of another dataset refer to it.
fn referred_to(dataset: &Dataset, referring: &[&Dataset]) -> String {
    let branches = referring.iter().filter_map(|other| {
        let reference = other.reference.as_ref()?;
        let here = reference.columns.iter().map(|column| format!("f.{}", quoted(column)));
        let names = dataset.key.iter().zip(here).map(|(key, column)| format!("{column} = s.{}", quoted(key)));
        let names = names.collect::<Vec<_>>().join(" and ");
        let (other, rows) = (&other.name, table_name(&other.table));
        Some(format!(
            "when (b._key is null or r._load is not null) and exists (select from {rows} f where {names}) then 'rows of {other} refer to it' "
        ))
    });
    branches.collect()
}

/// SQL that selects rows which must not come back into a scope, because a later file has replaced it (`undo_blocked.sql`).
fn blocked(dataset: &Dataset, load: LoadId) -> String {
    if dataset.replacement.is_none() {
        return "select null::text as _key, null::bigint as _load where false".to_owned();
    }
    let (key, scope) = (Key::of(dataset), Scope::of(dataset));
    filled(
        include_str!("undo_blocked.sql"),
        &[
            ("load", &load.to_string()),
            ("dataset", &escape_literal(&dataset.name)),
            ("table", &table_name(&dataset.table)),
            ("history", &history_name(dataset)),
            ("is_back", &is_given_back(dataset)),
            ("is_there", &key.equal("t.", "b.")),
            ("first_of_t", &key.first("t.")),
            ("was_in_scope", &scope.is("h.", "r._scope")),
            ("is_in_scope", &scope.is("t.", "r._scope")),
            ("flagged", &scope.flag().map(|flag| format!("t.{flag} is true or")).unwrap_or_default()),
        ],
    )
}

/// SQL that selects parked rows of other loads whose waiting this one, or another one that is undone, has ended, because it replaced their scope or
/// appended their file once more.
fn waiting(dataset: &Dataset, load: LoadId) -> String {
    // Where a dataset refers to itself, a load may as well have released them.
    let refers_to_itself = dataset.reference.as_ref().is_some_and(|reference| reference.dataset == dataset.name);
    let taken_over = match &dataset.replacement {
        Some(_) if !refers_to_itself => format!(
            "exists (select from etl.replacement r join etl.load o on o.id = r.load_id cross join lateral unnest(r.scopes) as n (scope) \
                 where r.dataset = '{name}' and o.id not in (select _load from hidden) and {is_in} and o.rank > {rank})",
            name = dataset.name,
            is_in = Scope::of(dataset).is_of_content("p.content", "n.scope"),
            rank = rank_of_row(dataset, "p.load_id", ["l.rank", "l.ranks_from"], "m.record = p.record"),
        ),
        None if dataset.is_known_by_place() => {
            "exists (select from etl.load o where o.id > l.id and coalesce(o.origin, o.id) = coalesce(l.origin, l.id) and o.state = 'loaded' \
                 and o.id not in (select _load from hidden))"
                .to_owned()
        }
        _ => return "select load_id, record, line, key, released_by as _by from etl.parked where false".to_owned(),
    };
    format!(
        "with {hidden} select p.load_id, p.record, p.line, p.key, p.released_by as _by from etl.parked p join etl.load l on l.id = p.load_id \
         where not ({taken_over}) and p.released_by in (select _load from undone) and p.load_id not in (select _load from hidden) \
             and p.dataset = '{name}' and p.outcome = 'stale'",
        hidden = hidden(dataset, load),
        name = dataset.name,
    )
}
