//! What undoing a load changes in the ledger besides its own batches, in SQL: tombstones, scopes, parked rows and rejects.

use super::encode::postgres_type;
use super::sql_names::version;
use super::undo_plan::hidden;
use crate::domain::{Dataset, LoadId};

/// The statements, in their order, after `undo_plan` and `undo_waiting` are filled. `undo` is the load that undoes `load`.
pub(super) fn statements(dataset: &Dataset, load: LoadId, undo: LoadId) -> Vec<String> {
    let name = &dataset.name;
    let mut steps = vec![rejects(dataset, load), tombstones(dataset, load), forgotten_tombstones(name, load)];
    steps.push(format!(
        "update etl.parked set released_by = {undo}, released_at = clock_timestamp(), released_xid = pg_current_xact_id()::xid, \
             tick = nextval('etl.clock'), outcome = 'stale' \
         where load_id = {load} and released_by is null"
    ));
    steps.extend([
        "update etl.parked p set released_by = null, released_at = null, released_xid = null, tick = null, outcome = null \
         from pg_temp.undo_waiting w where p.load_id = w.load_id and p.record = w.record"
            .to_owned(),
        // The loads have ended as many waits fewer.
        "update etl.load l set released = released - w.rows \
         from (select _by, count(*) as rows from pg_temp.undo_waiting group by 1) w where l.id = w._by"
            .to_owned(),
    ]);
    if dataset.replacement.is_some() {
        steps.extend([
            // The load that replaced a scope before may be pruned. What ranks below one that was replaces nothing.
            format!(
                "with {hidden} update etl.scope s set load_id = n.load_id from ( \
                     select distinct on (x.scope) x.scope, r.load_id \
                     from etl.replacement r join etl.load o on o.id = r.load_id cross join lateral unnest(r.scopes) as x (scope) \
                     where r.dataset = '{name}' and r.load_id not in (select _load from hidden) \
                         and not exists (select from etl.pruned p where p.dataset = '{name}' and p.rank > o.rank) \
                     order by x.scope, o.rank desc) n \
                 where s.dataset = '{name}' and s.load_id = {load} and s.scope = n.scope",
                hidden = hidden(dataset, load),
            ),
            format!(
                "update etl.scope s set load_id = 0, rank = p.rank from etl.pruned p \
                 where p.dataset = '{name}' and s.dataset = '{name}' and s.load_id = {load}"
            ),
            format!("delete from etl.scope where dataset = '{name}' and load_id = {load}"),
        ]);
    }
    steps
}

/// Opens the rejects again that were mended by rows which are taken back, or which wait again: those that a row names, those with its key, those of
/// the same line in an earlier run, and what a failed load of the file had left. `resolve.sql` has resolved them for the same reasons.
/// A row of another load that is undone may have stayed until now.
fn rejects(dataset: &Dataset, load: LoadId) -> String {
    let (name, hidden) = (&dataset.name, hidden(dataset, load));
    format!(
        "with {hidden}, taken as materialized (select _key from pg_temp.undo_plan where _outcome <> 'stale' union \
             select key from etl.tombstone where dataset = '{name}' \
                 and (load_id = {load} or before @> jsonb_build_array(jsonb_build_object('load_id', {load}))) \
                 and key not in (select _key from pg_temp.undo_plan) \
         ), gone as materialized ( \
             select i.load_id, n.key, n.line, i.load_id as by \
             from etl.lineage i cross join lateral unnest(i.keys, i.lines, i.outcomes) as n (key, line, outcome) \
             where i.dataset = '{name}' and i.load_id in (select _load from undone) and n.outcome <> 'parked' \
                 and n.key in (select _key from taken) \
             union all select p.load_id, p.key, p.line, p.released_by from etl.parked p \
             where p.load_id in (select _load from undone) and p.released_by is not null and p.key in (select _key from taken) \
             union all select w.load_id, w.key, w.line, w._by from pg_temp.undo_waiting w \
         ), chain as materialized ( \
             select s.first_load_id, s.first_record, g.by from gone g join etl.resubmission s on s.load_id = g.load_id and s.line = g.line \
             union select r.first_load_id, r.first_record, g.by \
             from gone g join etl.reject r on r.key = g.key and r.resolved_by = g.by and r.load_id < g.load_id \
                 join etl.load l on l.id = r.load_id and l.dataset = '{name}' \
             union select r.first_load_id, r.first_record, g.by \
             from gone g join etl.load own on own.id = g.load_id \
                 join etl.load l on l.bucket = own.bucket and l.key = own.key and l.version = own.version and l.part = own.part \
                     and l.dataset = own.dataset and l.id < own.id \
                 join etl.reject r on r.load_id = l.id and r.line = g.line and r.resolved_by = g.by \
             union select r.first_load_id, r.first_record, own.id \
             from etl.load own join etl.load l on l.bucket = own.bucket and l.key = own.key and l.part = own.part and l.dataset = own.dataset \
                     and l.id < own.id and l.state = 'failed' \
                 join etl.reject r on r.load_id = l.id and r.resolved_by = own.id \
             where own.id = {load} and not exists ( \
                 select from etl.lineage i cross join lateral unnest(i.keys) as n (key) \
                 where i.load_id = {load} and n.key = r.key and n.key not in (select _key from taken)) \
         ) \
         update etl.reject r set state = 'open', resolved_by = null, resolved_at = null \
         from chain c where r.first_load_id = c.first_load_id and r.first_record = c.first_record and r.resolved_by = c.by"
    )
}

/// Takes the tombstones of the load away. Of the others with a key, the newest is in force.
fn tombstones(dataset: &Dataset, load: LoadId) -> String {
    let newest = version(dataset)
        .map_or_else(String::new, |column| format!("e.version::{} desc nulls last, ", postgres_type(column)));
    format!(
        "with entry as materialized ( \
             select t.key, e.* from etl.tombstone t cross join lateral ( \
                 select t.version, t.load_id, t.at union all \
                 select x.version, x.load_id, x.at from jsonb_to_recordset(t.before) as x (version text, load_id bigint, at timestamptz)) e \
             where t.dataset = '{name}' and e.load_id <> {load} \
                 and (t.load_id = {load} or t.before @> jsonb_build_array(jsonb_build_object('load_id', {load}))) \
         ), ranked as ( \
             select e.*, row_number() over (partition by e.key order by {newest}coalesce(l.rank, p.rank) desc nulls last, e.load_id desc) as nth \
             from entry e left join etl.load l on l.id = e.load_id left join etl.pruned p on p.dataset = '{name}' \
         ), rest as ( \
             select key, jsonb_agg(jsonb_build_object('version', version, 'load_id', load_id, 'at', at) order by nth desc) as before \
             from ranked where nth > 1 group by key) \
         update etl.tombstone t set version = n.version, load_id = n.load_id, at = n.at, before = coalesce(r.before, '[]') \
         from ranked n left join rest r using (key) where t.dataset = '{name}' and t.key = n.key and n.nth = 1",
        name = dataset.name,
    )
}

/// Takes the tombstones of the load away that were the only ones with their keys.
fn forgotten_tombstones(name: &str, load: LoadId) -> String {
    format!("delete from etl.tombstone where dataset = '{name}' and load_id = {load}")
}

/// Selects the loads some of whose rows were stale since the load, and perhaps because of it: those with the keys of what is given back or of
/// tombstones that were in force and, where files replace scopes, all whose rows have a lower rank. What a load that was undone before had made
/// stale counts as well, if both concern the same rows or scopes.
pub(super) fn lost(dataset: &Dataset, load: LoadId) -> String {
    let name = &dataset.name;
    let given_back = format!(
        "select _key from pg_temp.undo_plan where _outcome <> 'stale' \
         union select key from etl.tombstone where dataset = '{name}' and load_id = {load}"
    );
    let (concerned, shared) = if dataset.replacement.is_some() {
        let both = "etl.replacement a join etl.replacement b on a.scopes && b.scopes";
        (
            "least(o.rank, o.ranks_from) < own.rank".to_owned(),
            format!("{both} where a.load_id = l.id and b.load_id = {load}"),
        )
    } else {
        (
            format!("n.key in ({given_back})"),
            format!(
                "etl.lineage i cross join lateral unnest(i.keys) as n (key) where i.load_id = l.id and n.key in ({given_back})"
            ),
        )
    };
    format!(
        "with {hidden}, own as materialized ( \
             select rank, claimed_tick from etl.load l where id = {load} or id in (select _load from undone) and exists (select from {shared})) \
         select b.load_id from own join etl.load_batch b on b.tick > own.claimed_tick join etl.lineage i using (load_id, batch) \
             join etl.load o on o.id = b.load_id cross join lateral unnest(i.keys, i.outcomes) as n (key, outcome) \
         where i.dataset = '{name}' and n.outcome = 'stale' and o.id not in (select _load from hidden) and {concerned} \
         union \
         select n.load_id from own join etl.parked n on n.tick > own.claimed_tick join etl.load o on o.id = n.load_id \
         where n.dataset = '{name}' and n.outcome = 'stale' and o.id not in (select _load from hidden) and {concerned} \
             and not exists (select from pg_temp.undo_waiting w where w.load_id = n.load_id and w.record = n.record) \
         order by 1",
        hidden = hidden(dataset, load),
    )
}
