-- How much waits in each dataset: rows that wait to be mended or for another row. Of each kind, at most $1 are counted, from the oldest on and from
-- the newest on.
with old_reject as materialized (
    select dataset, load_id, record, reject_id, rejected_at from etl.open_reject order by load_id limit $1
), new_reject as materialized (
    select dataset, load_id, record, reject_id, rejected_at from etl.open_reject order by load_id desc limit $1
), rejects as (
    select dataset, count(distinct (load_id, record)) as open, min(rejected_at) as oldest
    from (select * from old_reject union select * from new_reject) r group by 1
), old_parked as materialized (
    select load_id, record, dataset, parked_at from etl.parked where released_by is null order by parked_at limit $1
), new_parked as materialized (
    select load_id, record, dataset, parked_at from etl.parked where released_by is null order by parked_at desc limit $1
), parked as (
    select dataset, count(*) as rows, min(parked_at) as oldest
    from (select * from old_parked union select * from new_parked) p group by 1
)
select dataset, coalesce(r.open, 0) as open, r.oldest as oldest_reject, coalesce(p.rows, 0) as parked,
    p.oldest as oldest_parked,
    greatest((select count(*) from old_reject), (select count(*) from old_parked)) < $1 as counted
from rejects r full join parked p using (dataset) order by 1
