-- Opens the rejects of dataset :dataset again that were mended by rows which the undo of load :load takes back, or which wait again.
with :hidden, taken as materialized (select _key from pg_temp.undo_plan where _outcome <> 'stale' union
    select key from etl.tombstone where dataset = :dataset
        and (load_id = :load or before @> jsonb_build_array(jsonb_build_object('load_id', :load)))
        and key not in (select _key from pg_temp.undo_plan)
), gone as materialized (
    select i.load_id, n.key, n.line, i.load_id as by
    from etl.lineage i cross join lateral unnest(i.keys, i.lines, i.outcomes) as n (key, line, outcome)
    where i.dataset = :dataset and i.load_id in (select _load from undone) and n.outcome <> 'parked'
        and n.key in (select _key from taken)
    union all select p.load_id, p.key, p.line, p.released_by from etl.parked p
    where p.load_id in (select _load from undone) and p.released_by is not null and p.key in (select _key from taken)
    union all select w.load_id, w.key, w.line, w._by from pg_temp.undo_waiting w
), chain as materialized (
    select s.first_load_id, s.first_record, g.by from gone g join etl.resubmission s on s.load_id = g.load_id and s.line = g.line
    union select r.first_load_id, r.first_record, g.by
    from gone g join etl.reject r on r.key = g.key and r.resolved_by = g.by and r.load_id < g.load_id
        join etl.load l on l.id = r.load_id and l.dataset = :dataset
    union select r.first_load_id, r.first_record, g.by
    from gone g join etl.load own on own.id = g.load_id
        join etl.load l on l.bucket = own.bucket and l.key = own.key and l.version = own.version and l.part = own.part
            and l.dataset = own.dataset and l.id < own.id
        join etl.reject r on r.load_id = l.id and r.line = g.line and r.resolved_by = g.by
    union select r.first_load_id, r.first_record, own.id
    from etl.load own join etl.load l on l.bucket = own.bucket and l.key = own.key and l.part = own.part and l.dataset = own.dataset
            and l.id < own.id and l.state = 'failed'
        join etl.reject r on r.load_id = l.id and r.resolved_by = own.id
    where own.id = :load and not exists (
        select from etl.lineage i cross join lateral unnest(i.keys) as n (key)
        where i.load_id = :load and n.key = r.key and n.key not in (select _key from taken))
)
update etl.reject r set state = 'open', resolved_by = null, resolved_at = null
from chain c where r.first_load_id = c.first_load_id and r.first_record = c.first_record and r.resolved_by = c.by
