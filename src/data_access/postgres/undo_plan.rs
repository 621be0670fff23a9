//! What undoing a load gives back, in SQL: for each row, what it was before the load and before all others that are undone.
//!
//! The states that a row has had are in the table and its history: its values, each of one load, and its absence, of the load that ended them.
//! What a load that was undone has written is passed over, and what an undo has done as well. So loads can be undone in any order. The
//! first state of another load is given back, unless a later load has touched what is there now.

use super::key::Key;
use super::scope::Scope;
use super::sql_names::{quoted, table_name};
use super::tie::rank_of_row;
use super::undone::undone;
use crate::domain::object::UNDO_BUCKET;
use crate::domain::row_history::{ENDED_AS, REPLACED_BY, VALID_FROM, VALID_TO, WRITTEN_BY};
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
        "set local client_min_messages = warning; drop table if exists pg_temp.undo_plan, pg_temp.undo_waiting; \
         create temporary table undo_plan on commit drop as {rows}; analyze pg_temp.undo_plan; \
         create temporary table undo_waiting on commit drop as {waiting}"
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
    let (table, history) = (table_name(&dataset.table), table_name(dataset.history.as_deref().unwrap_or_default()));
    let (own, name) = (key.list(""), &dataset.name);
    // Where a column marks deleted rows, they are still there.
    let gone = match Scope::of(dataset).flag() {
        Some(_) => format!("h.{ENDED_AS} = 'removed'"),
        None => format!("h.{ENDED_AS} in ('removed', 'deleted')"),
    };
    // What an undo has ended that is pruned by now does not come back: it is not known any more whose rows do not count.
    let ended = format!("{gone} or h.{ENDED_AS} = 'undone'");
    let same = key.of_texts(
        &format!(
            "select n.key as _text, true as _same from etl.lineage i cross join lateral unnest(i.keys, i.outcomes) as n (key, outcome) \
             where i.load_id = {load} and n.outcome = 'unchanged' and (select count(*) > 1 from undone) \
             union select p.key, true from etl.parked p \
             where p.load_id = {load} and p.outcome = 'unchanged' and (select count(*) > 1 from undone)"
        ),
        "_same",
    );
    format!(
        "with {hidden}, same as materialized ({same}), touched as materialized ( \
             select {own}, bool_or(_own) as _own from ( \
                 select {own}, true as _own from {table} where {WRITTEN_BY} = {load} \
                 union all select {own}, true from {history} where {REPLACED_BY} = {load} or {WRITTEN_BY} = {load} \
                 union all select {own_of_s}, false from same s \
                 where exists (select from {table} t where {is_same} and t.{WRITTEN_BY} in (select _load from undone)) \
                     or exists (select from {history} h where {was_same} and h.{REPLACED_BY} in (select _load from undone)) \
             ) x group by {own} \
         ), named as materialized (select *, {text} as _key from touched k \
         ), entry as materialized ( \
             select n.key as _key, b.load_id as _load, b.tick as _tick, n.outcome::text as _outcome \
             from etl.load_batch b join etl.lineage i using (load_id, batch) \
                 cross join lateral unnest(i.keys, i.outcomes) as n (key, outcome) \
             where i.dataset = '{name}' and n.outcome <> 'parked' and n.key in (select _key from named) \
                 and b.tick > (select min(claimed_tick) from etl.load where id in (select _load from undone)) \
             union all select p.key, p.load_id, p.tick, p.outcome from etl.parked p \
             where p.dataset = '{name}' and p.outcome is not null and p.key in (select _key from named) \
         ), written as materialized ( \
             select _key, _load, max(_tick) as _tick from entry where _outcome in ('inserted', 'updated', 'removed') group by 1, 2 \
         ), past as materialized ( \
             select {own_of_k}, k._key, h.{WRITTEN_BY} as _by, h.{REPLACED_BY} as _ended_by, h.{VALID_FROM} as _from, h.{VALID_TO} as _until, \
                 h.{ENDED_AS} as _as, {gone} as _gone, {ended} as _ended, \
                 row_number() over (partition by k._key order by h.{VALID_TO} desc, h.{VALID_FROM} desc nulls last) as _nth \
             from named k join {history} h on {was_there} \
         ), endorsed as materialized ( \
             select p._key, p._nth from past p join written w on w._key = p._key and w._load = p._by \
             where p._by <> {load} and p._by in (select _load from undone) and exists ( \
                 select from entry e where e._key = p._key and e._outcome = 'unchanged' and e._tick > w._tick \
                     and e._load not in (select _load from hidden)) \
         ), back as materialized ( \
             select * from ( \
                 select distinct on (_key) *, _ended and _ended_by not in (select _load from hidden) as _nothing from past \
                 where _ended and _ended_by not in (select _load from hidden) or _by is null or _by not in (select _load from hidden) \
                     or (_key, _nth) in (select _key, _nth from endorsed) \
                 order by _key, _nth) b where not _nothing \
         ), state as materialized ( \
             select k.*, t.{first} is not null as _there, l._by as _last, case when t.{first} is not null then t.{WRITTEN_BY} \
                     when l._gone or l._as = 'undone' and coalesce(e._outcome, 'removed') = 'removed' then l._ended_by end as _author \
             from named k left join {table} t on {is_there} left join past l on l._key = k._key and l._nth = 1 \
                 left join entry e on e._key = l._key and e._load = l._ended_by and l._as = 'undone' \
         ), confirmed as materialized ( \
             select s._key, max(e._load) as _load from state s \
                 join entry e on e._key = s._key and e._outcome = 'unchanged' and e._load not in (select _load from hidden) \
                 left join written w on w._key = s._key and w._load = s._author \
             where e._tick > coalesce(w._tick, (select max(b.tick) from etl.load_batch b where b.load_id = s._author), 0) group by 1 \
         ), buried as materialized ( \
             select b._key, max(z.load_id) as _load from back b join etl.tombstone d on d.dataset = '{name}' and d.key = b._key \
                 cross join lateral ( \
                     select d.load_id union all select (x ->> 'load_id')::bigint from jsonb_array_elements(d.before) as x) z \
                 join entry e on e._key = d.key and e._load = z.load_id left join written w on w._key = b._key and w._load = b._by \
             where z.load_id not in (select _load from hidden) and e._tick > coalesce(w._tick, 0) group by 1 \
         ), blocked as materialized ({blocked} \
         ), decided as ( \
             select {own_of_s}, s._key, s._own, b._ended_by, b._from, b._until, \
                 case when s._there and s._author is null then 'another program has written it since' \
                      when s._there and s._author not in (select _load from hidden) then 'load ' || s._author || ' has written it since' \
                      when s._author not in (select _load from hidden) then 'load ' || s._author || ' has deleted it since' \
                      when s._author is null then 'another program has deleted it since' \
                      when c._load is not null then 'load ' || c._load || ' has brought the same since' \
                      when not s._there and d._load is not null then 'load ' || d._load || ' has deleted it as well' \
                      when r._load is not null then 'load ' || r._load || ' has replaced its scope without it' \
                      when not s._there and b._key is null then 'load ' || s._last || ' had written it, and is undone' \
                      {refer}end as _reason, \
                 case when not s._there then 'inserted' when b._key is null then 'removed' else 'updated' end as _outcome \
             from state s left join back b on b._key = s._key left join confirmed c on c._key = s._key \
                 left join buried d on d._key = s._key left join blocked r on r._key = s._key \
         ) \
         select row_number() over (order by _key collate \"C\") as _record, {own}, _key, _own, _ended_by, _from, _until, _reason, \
             case when _reason is null then _outcome else 'stale' end as _outcome \
         from decided where _own or _reason is null",
        hidden = hidden(dataset, load),
        own_of_s = key.list("s."),
        own_of_k = key.list("k."),
        is_same = key.equal("t.", "s."),
        was_same = key.equal("h.", "s."),
        was_there = key.equal("h.", "k."),
        is_there = key.equal("t.", "k."),
        text = key.text("k."),
        first = key.first(""),
        blocked = blocked(dataset, load),
        refer = refer(dataset, referring),
    )
}

/// SQL condition: a row `h` of the history is that of `b`.
pub(super) fn is_given_back(dataset: &Dataset) -> String {
    format!(
        "{} and h.{REPLACED_BY} = b._ended_by and h.{VALID_TO} = b._until and h.{VALID_FROM} is not distinct from b._from",
        Key::of(dataset).equal("h.", "b.")
    )
}

/// SQL branches: a row that would be deleted stays where rows of another dataset refer to it.
fn refer(dataset: &Dataset, referring: &[&Dataset]) -> String {
    let branches = referring.iter().filter_map(|other| {
        let reference = other.reference.as_ref()?;
        let here = reference.columns.iter().map(|column| format!("f.{}", quoted(column)));
        let names = dataset.key.iter().zip(here).map(|(key, column)| format!("{column} = s.{}", quoted(key)));
        let names = names.collect::<Vec<_>>().join(" and ");
        let (other, rows) = (&other.name, table_name(&other.table));
        Some(format!(
            "when b._key is null and exists (select from {rows} f where {names}) then 'rows of {other} refer to it' "
        ))
    });
    branches.collect()
}

/// SQL that selects rows which must not come back into a scope, because a file with a higher rank has replaced it, and does not have them. Where
/// a row is in its scope all the same, that file did not take it away, and it may get back its earlier values. A row of a load that is pruned has the
/// highest rank that such a load had.
fn blocked(dataset: &Dataset, load: LoadId) -> String {
    if dataset.replacement.is_none() {
        return "select null::text as _key, null::bigint as _load where false".to_owned();
    }
    let (key, scope) = (Key::of(dataset), Scope::of(dataset));
    let flagged = scope.flag().map(|flag| format!("t.{flag} is true or ")).unwrap_or_default();
    format!(
        "select b._key, max(r._load) as _load \
         from back b join {history} h on {is_back} left join {table} t on {is_there} \
             left join etl.load l on l.id = coalesce(b._by, {load}) left join etl.pruned p on p.dataset = '{name}' join ( \
                 select r.load_id as _load, o.rank as _rank, n.scope as _scope \
                 from etl.replacement r join etl.load o on o.id = r.load_id cross join lateral unnest(r.scopes) as n (scope) \
                 where r.dataset = '{name}' and o.id not in (select _load from hidden) and r.kept is distinct from 'unreadable_key' \
             ) r on r._rank > coalesce(least(l.rank, l.ranks_from), p.rank) and r._load is distinct from l.id and {is_in} left join ( \
                 select i.load_id, n.key from etl.lineage i cross join lateral unnest(i.keys) as n (key) \
                 where i.dataset = '{name}' and i.load_id in (select load_id from etl.replacement where dataset = '{name}') \
                     and n.key in (select _key from back) \
                 union select j.load_id, j.key from etl.reject j join etl.replacement x on x.load_id = j.load_id \
                 where x.dataset = '{name}' and j.key in (select _key from back) \
             ) f on f.load_id = r._load and f.key = b._key \
         where f.key is null and (t.{first} is null or {flagged}not ({stays})) group by 1",
        table = table_name(&dataset.table),
        is_there = key.equal("t.", "b."),
        first = key.first(""),
        stays = scope.is("t.", "r._scope"),
        history = table_name(dataset.history.as_deref().unwrap_or_default()),
        is_back = is_given_back(dataset),
        name = dataset.name,
        is_in = scope.is("h.", "r._scope"),
    )
}

/// SQL that selects parked rows of other loads whose waiting this one has ended, because it replaced their scope.
fn waiting(dataset: &Dataset, load: LoadId) -> String {
    // Where a dataset refers to itself, a load may as well have released them.
    let refers_to_itself = dataset.reference.as_ref().is_some_and(|reference| reference.dataset == dataset.name);
    if dataset.replacement.is_none() || refers_to_itself {
        return "select load_id, record, line, key from etl.parked where false".to_owned();
    }
    format!(
        "with {hidden} select p.load_id, p.record, p.line, p.key from etl.parked p join etl.load l on l.id = p.load_id \
         where p.released_by = {load} and p.load_id not in (select _load from hidden) and p.dataset = '{name}' and p.outcome = 'stale' \
             and not exists ( \
                 select from etl.replacement r join etl.load o on o.id = r.load_id cross join lateral unnest(r.scopes) as n (scope) \
                 where r.dataset = '{name}' and o.id not in (select _load from hidden) and {is_in} and o.rank > {rank})",
        hidden = hidden(dataset, load),
        name = dataset.name,
        is_in = Scope::of(dataset).is_of_content("p.content", "n.scope"),
        rank = rank_of_row(dataset, "p.load_id", ["l.rank", "l.ranks_from"], "m.record = p.record"),
    )
}
