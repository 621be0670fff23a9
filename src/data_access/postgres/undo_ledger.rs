//! What undoing a load changes in the ledger besides its own batches, in SQL: tombstones, scopes, parked rows and rejects.

use super::encode::postgres_type;
use super::sql_file::filled;
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
    let (hidden, name, load) = (hidden(dataset, load), format!("'{}'", dataset.name), load.to_string());
    filled(include_str!("undo_rejects.sql"), &[("hidden", &hidden), ("dataset", &name), ("load", &load)])
}

/// Takes the tombstones of the load away. Of the others with a key, the newest is in force.
fn tombstones(dataset: &Dataset, load: LoadId) -> String {
    let newest = version(dataset)
        .map_or_else(String::new, |column| format!("e.version::{} desc nulls last, ", postgres_type(column)));
    let (name, load) = (format!("'{}'", dataset.name), load.to_string());
    filled(include_str!("undo_tombstones.sql"), &[("dataset", &name), ("load", &load), ("newest", &newest)])
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
