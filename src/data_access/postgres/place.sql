-- The places of rows of a load that say which reject they mend, as far as they may say so (see `Mending::keep`): the load that brought the
-- bad row first, in the first of its runs, and its record there. Parameters: 1 the load; of its rows 2 the records, 3 and 4 the load and
-- record that they mend.
select n.record, coalesce(f.origin, f.id) as of_load, r.first_record as of_record
from unnest($2::bigint[], $3::bigint[], $4::bigint[]) as n (record, of_load_id, of_record)
    join etl.load own on own.id = $1
    join etl.load old on old.id = n.of_load_id and old.dataset = own.dataset and old.bucket = own.bucket
    join lateral (
        select first_load_id, first_record from etl.reject where load_id = n.of_load_id and record = n.of_record limit 1) r on true
    join etl.load f on f.id = r.first_load_id
where old.id < own.id and old.finished_at is not null and coalesce(f.origin, f.id) <> coalesce(own.origin, own.id)
