-- The lines of a file at which earlier runs found a row bad that another file has mended, and the record whose place the mended row has.
-- Parameters: 1 the load, 2 the first of the runs.
with mended as materialized (
    select distinct s.load_id, s.record, s.line, (
        select line from etl.reject where load_id = s.first_load_id and record = s.first_record limit 1) as at
    from etl.load own join etl.load f on f.bucket = own.bucket and f.key = own.key and f.version = own.version and f.part = own.part
            and f.dataset = own.dataset and f.id < own.id and coalesce(f.origin, f.id) = $2
        join etl.resubmission s on s.first_load_id = f.id
    where own.id = $1 and s.load_id not in (:undone)
), written as materialized (
    select i.load_id, n.line, n.key from etl.lineage i cross join lateral unnest(i.keys, i.lines) as n (key, line)
    where i.load_id in (select load_id from mended)
    union
    select load_id, line, key from etl.parked where load_id in (select load_id from mended)
)
select distinct m.at as line, split_part(w.key, ',', 2)::bigint as record, m.load_id
from mended m join written w on w.load_id = m.load_id and w.line = m.line
where split_part(w.key, ',', 1) = $2::text
order by 1
