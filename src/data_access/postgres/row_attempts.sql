-- Every occurrence of key $2 of dataset $1 in a file, in the order in which the batches wrote it. What still waits comes last.
with attempt as (
    select i.load_id, n.line, n.outcome::text as outcome, b.committed_at as at, null::timestamptz as parked_at,
        null::bigint as released_by, b.xid::text as transaction, b.tick
    from etl.lineage i join etl.load_batch b using (load_id, batch)
        cross join lateral unnest(i.keys, i.lines, i.outcomes) as n (key, line, outcome)
    where i.dataset = $1 and i.lowest_key <= $2 and i.highest_key >= left($2, 200) and n.key = $2 and n.outcome <> 'parked'
    union all
    select p.load_id, p.line, coalesce(p.outcome, 'parked'), coalesce(p.released_at, p.parked_at), p.parked_at,
        p.released_by, p.released_xid::text, p.tick
    from etl.parked p where p.dataset = $1 and p.key = $2
    union all
    select r.load_id, null, 'deleted', r.ended_at, null, null, r.xid::text, null
    from etl.replacement r where r.dataset = $1 and $2 = any (r.deleted_keys)
)
select a.*, l.bucket, l.key, l.version, l.part, l.dataset_version
from attempt a join etl.load l on l.id = a.load_id
order by case when a.outcome = 'deleted' then (select max(b.tick) from attempt b where b.at <= a.at) else a.tick end, a.at, a.load_id
