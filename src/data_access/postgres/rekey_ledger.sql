-- Gives the keys in the ledger that `pg_temp.rekey_row` knows their new form. What cannot be known under the new list is marked: no
-- row will have such a key again. Runs after rekey_plan.sql in its transaction.

-- Each key is one look at an index, however many there are.
set local enable_hashjoin = off;
set local enable_mergejoin = off;
update etl.lineage i set keys = n.keys, lowest_key = left(n.lowest, 200), highest_key = left(n.highest, 200)
from (
    select i.load_id, i.batch, array_agg(k.key order by k.place) as keys, min(k.key collate "C") as lowest, max(k.key collate "C") as highest
    from etl.lineage i join etl.load_batch b using (load_id, batch) cross join lateral (
        select u.place, case
            when r.new is not null and (:narrows or (u.outcome in ('inserted', 'updated', 'unchanged') and b.tick >= coalesce(s.tick, 0))) then r.new
            when u.key like 'was %' then u.key
            else 'was ' || u.key end as key
        from unnest(i.keys, i.outcomes) with ordinality as u (key, outcome, place)
            left join pg_temp.rekey_row r on r.old = u.key left join pg_temp.rekey_settled s on s.key = u.key) k
    where i.dataset = :dataset group by i.load_id, i.batch) n
where n.load_id = i.load_id and n.batch = i.batch;
set local enable_hashjoin = on;
set local enable_mergejoin = on;

update etl.parked p set key = n.key
from (
    select p.load_id, p.record, case
        when r.new is not null and (:narrows or (p.outcome in ('inserted', 'updated', 'unchanged') and p.tick >= coalesce(s.tick, 0))) then r.new
        else 'was ' || p.key end as key
    from etl.parked p left join pg_temp.rekey_row r on r.old = p.key left join pg_temp.rekey_settled s on s.key = p.key
    where p.dataset = :dataset and p.key not like 'was %') n
where n.load_id = p.load_id and n.record = p.record;

-- A reject has the key of a row only if that row has been the same one all the time.
update etl.reject b set key = n.key
from (
    select b.id, coalesce(case when :narrows then r.new end, 'was ' || b.key) as key
    from etl.reject b join etl.load l on l.id = b.load_id left join pg_temp.rekey_row r on r.old = b.key
    where l.dataset = :dataset and b.key not like 'was %') n
where n.id = b.id;

-- Mended rows that are in the table keep their numbers. All others get one when they come again.
create temporary table rekey_copy on commit drop as
select distinct on (c.first_load_id, c.first_record, r.hash)
    c.first_load_id, c.first_record, r.hash, substr(r.new, 66)::bigint as copy
from etl.content_copy c join etl.load l on l.id = c.first_load_id join pg_temp.rekey_row r on r.old = c.hash || '-' || c.copy
where l.dataset = :dataset and (:narrows or exists (
    select from pg_temp.rekey_entry e
    where e.key = r.old and e.first_load_id = c.first_load_id and e.first_record = c.first_record))
order by c.first_load_id, c.first_record, r.hash, copy;
delete from etl.content_copy c using etl.load l where l.id = c.first_load_id and l.dataset = :dataset;
insert into etl.content_copy (first_load_id, first_record, hash, copy) select first_load_id, first_record, hash, copy from pg_temp.rekey_copy;

update etl.replacement p set deleted_keys = array(
    select case when k.key like 'was %' then k.key else coalesce(case when :narrows then r.new end, 'was ' || k.key) end
    from unnest(p.deleted_keys) with ordinality as k (key, place) left join pg_temp.rekey_row r on r.old = k.key order by k.place)
where p.dataset = :dataset and cardinality(p.deleted_keys) > 0;
