-- Takes the tombstones of load :load away. Of the others with a key, the newest is in force.
with entry as materialized (
    select t.key, e.* from etl.tombstone t cross join lateral (
        select t.version, t.load_id, t.at union all
        select x.version, x.load_id, x.at from jsonb_to_recordset(t.before) as x (version text, load_id bigint, at timestamptz)) e
    where t.dataset = :dataset and e.load_id <> :load
        and (t.load_id = :load or t.before @> jsonb_build_array(jsonb_build_object('load_id', :load)))
), ranked as (
    select e.*, row_number() over (partition by e.key order by :newest coalesce(l.rank, p.rank) desc nulls last, e.load_id desc) as nth
    from entry e left join etl.load l on l.id = e.load_id left join etl.pruned p on p.dataset = :dataset
), rest as (
    select key, jsonb_agg(jsonb_build_object('version', version, 'load_id', load_id, 'at', at) order by nth desc) as before
    from ranked where nth > 1 group by key)
update etl.tombstone t set version = n.version, load_id = n.load_id, at = n.at, before = coalesce(r.before, '[]')
from ranked n left join rest r using (key) where t.dataset = :dataset and t.key = n.key and n.nth = 1
