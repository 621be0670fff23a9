-- Numbers the copies of rows under new content keys. `pg_temp.rekey_row` has the present key of each row of the table (`old`), the hash that it
-- gets, and its new key, as if each were the first copy. :narrows is whether the hash covers nothing that the old one did not cover. Otherwise only what
-- the table has now tells the new key, and occurrences from before it was written say nothing about it.

analyze pg_temp.rekey_row;

create temporary table rekey_twin on commit drop as
select old, hash from pg_temp.rekey_row where hash in (select hash from pg_temp.rekey_row group by hash having count(*) > 1);
analyze pg_temp.rekey_twin;

-- When the present values of a row were written, and the last load that brought them.
create temporary table rekey_settled on commit drop as
select key, max(tick) filter (where outcome <> 'unchanged') as tick, (array_agg(load_id order by tick desc))[1] as load_id from (
    select i.load_id, n.key, n.outcome::text as outcome, b.tick
    from etl.lineage i join etl.load_batch b using (load_id, batch) cross join lateral unnest(i.keys, i.outcomes) as n (key, outcome)
    where i.dataset = :dataset and not :narrows
    union all
    select load_id, key, outcome, tick from etl.parked where dataset = :dataset and not :narrows) e
where outcome in ('inserted', 'updated', 'unchanged') group by key;
create index on pg_temp.rekey_settled (key);
analyze pg_temp.rekey_settled;

-- Which loads brought the rows that may be copies of each other, and the rows that mended a reject.
create temporary table rekey_entry on commit drop as
with wanted as materialized (
    select old from pg_temp.rekey_twin
    union select c.hash || '-' || c.copy from etl.content_copy c join etl.load l on l.id = c.first_load_id where l.dataset = :dataset
), entry as (
    select i.load_id, n.key, n.line, n.outcome::text as outcome, b.tick
    from etl.lineage i join etl.load_batch b using (load_id, batch)
        cross join lateral unnest(i.keys, i.lines, i.outcomes) as n (key, line, outcome)
    where i.dataset = :dataset and n.key in (select old from wanted)
    union all
    select load_id, key, line, outcome, tick from etl.parked
    where dataset = :dataset and released_by is not null and key in (select old from wanted)
)
select e.load_id, e.key, e.line, m.first_load_id, m.first_record
from entry e left join pg_temp.rekey_settled s using (key)
    left join etl.resubmission m on m.load_id = e.load_id and m.line = e.line
where :narrows or (e.outcome in ('inserted', 'updated', 'unchanged') and e.tick >= coalesce(s.tick, 0));
create index on pg_temp.rekey_entry (key);
analyze pg_temp.rekey_entry;

-- How many rows of each new content a file had: its own, and those that mended its rejects. Each run is asked alone, because a changed
-- definition may have read a row otherwise.
create temporary table rekey_brought on commit drop as
select t.hash, t.old, r.bucket, r.key, r.version, r.run, min(e.line) filter (where e.first_load_id is null) as line, max(e.load_id) as load_id,
    min(coalesce('mends ' || e.first_load_id || ' ' || e.first_record, t.old)) as row
from pg_temp.rekey_entry e join pg_temp.rekey_twin t on t.old = e.key
    join etl.load l on l.id = coalesce(e.first_load_id, e.load_id) and l.bucket not in ('undo://', 'rekey://')
    join etl.load r on r.bucket = l.bucket and r.key = l.key and r.version = l.version and r.dataset = l.dataset
        and (e.first_load_id is not null or r.id = e.load_id)
group by t.hash, t.old, r.bucket, r.key, r.version, r.run;

create temporary table rekey_best on commit drop as
select distinct on (hash) * from (
    select hash, bucket, key, version, run, count(distinct row) as rows, max(load_id) as load_id
    from pg_temp.rekey_brought group by hash, bucket, key, version, run) b
order by hash, rows desc, load_id desc;

-- Rows of one new content that no file had together: under the new list some of them would have been one row.
create temporary table rekey_fused on commit drop as
select t.hash, count(*) - coalesce(max(b.rows), 0) as rows, min(t.old) as first
from pg_temp.rekey_twin t left join pg_temp.rekey_best b using (hash) group by t.hash having count(*) > coalesce(max(b.rows), 0);

-- In the order of the file that had all of them.
update pg_temp.rekey_row r set new = r.hash || '-' || n.copy
from (
    select t.old, row_number() over (partition by t.hash order by b.line nulls last, t.old collate "C") as copy
    from pg_temp.rekey_twin t left join (
        pg_temp.rekey_best f join pg_temp.rekey_brought b using (hash, bucket, key, version, run)) on b.old = t.old) n
where r.old = n.old and n.copy > 1;
