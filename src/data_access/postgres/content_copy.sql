-- Numbers rows of a load that say which reject they mend, as far as they may say so (see `Mending::keep`), and returns their content keys.
-- Parameters: 1 the load; of its rows 2 the records, 3 and 4 the load and record that they mend, 5 the keys that they have.
with said as (
    select n.record, left(n.key, 64) as hash, r.first_load_id, r.first_record,
        -- It was rejected with the values that it has.
        case when left(f.key, 64) = left(n.key, 64) then f.key end as own_key
    from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[]) as n (record, of_load_id, of_record, key)
        join etl.load own on own.id = $1
        join etl.load old on old.id = n.of_load_id and old.dataset = own.dataset and old.bucket = own.bucket
        join lateral (
            select first_load_id, first_record from etl.reject where load_id = n.of_load_id and record = n.of_record limit 1) r on true
        left join lateral (
            select key from etl.reject where load_id = r.first_load_id and record = r.first_record and key is not null limit 1) f on true
        join etl.load first on first.id = r.first_load_id
    -- The good rows of a file that failed are not there yet, and are copies as well.
    where old.id < own.id and old.finished_at is not null and (first.state = 'loaded' or exists (
        select from etl.load l where l.bucket = first.bucket and l.key = first.key and l.version = first.version and l.part = first.part
            and l.dataset = first.dataset and l.state = 'loaded'))
), runs as (
    select s.first_load_id, l.id as load_id
    from (select distinct first_load_id from said) s join etl.load o on o.id = s.first_load_id
        join etl.load l on l.bucket = o.bucket and l.key = o.key and l.version = o.version and l.part = o.part and l.dataset = o.dataset
), present as (
    -- What the file has itself, in whichever run: its good rows, and bad ones of which each value could be read.
    select r.first_load_id as load_id, k.key
    from runs r join etl.lineage i on i.load_id = r.load_id cross join unnest(i.keys) as k (key)
    union all
    select r.first_load_id, b.key from runs r join etl.reject b on b.load_id = r.load_id
), highest as (
    select first_load_id, hash, max(copy) as copy from (
        select load_id as first_load_id, left(key, 64) as hash, substr(key, 66)::bigint as copy from present
        where left(key, 64) in (select hash from said)
        union all
        select first_load_id, hash, copy from etl.content_copy where first_load_id in (select first_load_id from said)) c
    group by 1, 2
), added as (
    insert into etl.content_copy (first_load_id, first_record, hash, copy)
    select n.first_load_id, n.first_record, n.hash,
        coalesce(h.copy, 0) + row_number() over (partition by n.first_load_id, n.hash order by n.first_record)
    from (select distinct first_load_id, first_record, hash from said where own_key is null) n left join highest h using (first_load_id, hash)
    where not exists (select from etl.content_copy c
        where c.first_load_id = n.first_load_id and c.first_record = n.first_record and c.hash = n.hash)
    returning first_load_id, first_record, hash, copy
)
select s.record, coalesce(s.own_key, s.hash || '-' || c.copy) as key
from said s left join (
    select first_load_id, first_record, hash, copy from added
    union all select first_load_id, first_record, hash, copy from etl.content_copy) c using (first_load_id, first_record, hash)
order by s.record
