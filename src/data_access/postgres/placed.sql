-- The records by whose places rows of a file are known since earlier runs, with their lines: those that were accepted, and bad ones that another
-- file has mended. Parameters: 1 the load, 2 the first of the runs.
with run as materialized (
    select f.id from etl.load own join etl.load f on f.bucket = own.bucket and f.key = own.key and f.version = own.version and f.part = own.part
        and f.dataset = own.dataset and f.id < own.id and coalesce(f.origin, f.id) = $2 and f.id not in (:undone)
    where own.id = $1
), mended as materialized (
    select distinct s.load_id, s.record, s.line, (
        select line from etl.reject where load_id = s.first_load_id and record = s.first_record limit 1) as at
    from run join etl.resubmission s on s.first_load_id = run.id where s.load_id not in (:undone)
), written as materialized (
    select i.load_id, n.line, n.key from etl.lineage i cross join lateral unnest(i.keys, i.lines) as n (key, line)
    where i.load_id in (select load_id from mended)
    union
    select load_id, line, key from etl.parked where load_id in (select load_id from mended)
)
select distinct line, record from (
    select m.at as line, split_part(w.key, ',', 2)::bigint as record
    from mended m join written w on w.load_id = m.load_id and w.line = m.line
    where m.at is not null and split_part(w.key, ',', 1) = $2::text
    union all
    select n.line, split_part(n.key, ',', 2)::bigint
    from run join etl.lineage i on i.load_id = run.id cross join lateral unnest(i.keys, i.lines) as n (key, line)
    where split_part(n.key, ',', 1) = $2::text
    union all
    select p.line, p.record from run join etl.parked p on p.load_id = run.id
    where p.outcome is distinct from 'stale' and p.outcome is distinct from 'expired' and split_part(p.key, ',', 1) = $2::text) p
where line > 0
