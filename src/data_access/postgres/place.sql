-- The places of rows of a load that say which reject they mend, as far as they may say so (see `Mending::keep`): the load that brought the
-- bad row first, in the first of its runs, and the number that its line has in the last run that was loaded. Parameters: 1 the load; of its
-- rows 2 the records, 3 and 4 the load and record that they mend.
with said as materialized (
    select n.record, f.id as first_load, coalesce(f.origin, f.id) as of_load, r.first_record, (
            select b.line from etl.reject b join etl.load l on l.id = b.load_id
            where b.first_load_id = r.first_load_id and b.first_record = r.first_record
                and l.bucket = f.bucket and l.key = f.key and l.version = f.version and l.part = f.part and l.dataset = f.dataset
            limit 1) as line, (
            select max(l.id) from etl.load l
            where l.bucket = f.bucket and l.key = f.key and l.version = f.version and l.part = f.part and l.dataset = f.dataset
                and coalesce(l.origin, l.id) = coalesce(f.origin, f.id) and l.state = 'loaded' and l.id not in (:undone)) as last
    from unnest($2::bigint[], $3::bigint[], $4::bigint[]) as n (record, of_load_id, of_record)
        join etl.load own on own.id = $1
        join etl.load old on old.id = n.of_load_id and old.dataset = own.dataset and old.bucket = own.bucket
        join lateral (
            select first_load_id, first_record from etl.reject where load_id = n.of_load_id and record = n.of_record limit 1) r on true
        join etl.load f on f.id = r.first_load_id
    where old.id < own.id and old.finished_at is not null and coalesce(f.origin, f.id) <> coalesce(own.origin, own.id)
), later as materialized (
    -- A run that failed may have left out other records than the one that was loaded.
    select distinct last, line from said where last <> first_load
), numbered as materialized (
    select b.load_id, b.line, b.record from later n join etl.reject b on b.load_id = n.last and b.line = n.line
    union
    select i.load_id, k.line, split_part(k.key, ',', 2)::bigint
    from etl.lineage i cross join lateral unnest(i.keys, i.lines) as k (key, line)
    where i.load_id in (select last from later) and (i.load_id, k.line) in (select last, line from later)
    union
    select p.load_id, p.line, p.record from later n join etl.parked p on p.load_id = n.last and p.line = n.line
)
select s.record, s.of_load, coalesce(n.record, s.first_record) as of_record
from said s left join numbered n on s.last <> s.first_load and n.load_id = s.last and n.line = s.line
where s.last is null or s.last = s.first_load or n.record is not null
