-- Numbers rows of a load that say which reject they mend, as far as they may say so (see `Mending::keep`), and returns their content keys.
-- Parameters: 1 the load; of its rows 2 the records, 3 and 4 the load and record that they mend, 5 the keys that they have.
with said as materialized (
    select n.record, left(n.key, 64) as hash, r.first_load_id, r.first_record, first.part, o.object
    from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[]) as n (record, of_load_id, of_record, key)
        join etl.load own on own.id = $1
        join etl.load old on old.id = n.of_load_id and old.dataset = own.dataset and old.bucket = own.bucket
        join lateral (
            select first_load_id, first_record from etl.reject where load_id = n.of_load_id and record = n.of_record limit 1) r on true
        join etl.load first on first.id = r.first_load_id
        cross join lateral (
            select min(l.id) as object from etl.load l where l.bucket = first.bucket and l.key = first.key
                and l.version = first.version and l.dataset = first.dataset) o
    -- The good rows of a file that failed are not there yet, and are copies as well.
    where old.id < own.id and old.finished_at is not null and (first.state = 'loaded' or exists (
        select from etl.load l where l.bucket = first.bucket and l.key = first.key and l.version = first.version and l.part = first.part
            and l.dataset = first.dataset and l.state = 'loaded'))
), wanted as (
    select distinct hash from said
), runs as (
    select o.object, l.id as load_id, l.part, false as is_undone
    from (select distinct object from said) o join etl.load f on f.id = o.object
        join etl.load l on l.bucket = f.bucket and l.key = f.key and l.version = f.version and l.dataset = f.dataset
), :given, known as (
    -- It was mended so before, or rejected with the values that it has.
    select distinct on (object, part, record, hash) object, part, record as first_record, hash, copy
    from given where record is not null and owner = part order by object, part, record, hash, place, load_id
), highest as (
    select object, hash, max(copy) as copy from given group by 1, 2
), numbered as (
    select n.*, coalesce(h.copy, 0) + row_number() over (partition by n.object, n.hash order by n.first_load_id, n.first_record) as copy
    from (select object, part, first_record, hash, min(first_load_id) as first_load_id from said group by 1, 2, 3, 4) n
        left join highest h using (object, hash)
    where not exists (
        select from known k where k.object = n.object and k.part = n.part and k.first_record = n.first_record and k.hash = n.hash)
), added as (
    insert into etl.content_copy (first_load_id, first_record, hash, copy) select first_load_id, first_record, hash, copy from numbered
)
select s.record, s.hash || '-' || coalesce(k.copy, n.copy) as key
from said s left join known k using (object, part, first_record, hash) left join numbered n using (object, part, first_record, hash)
order by s.record
