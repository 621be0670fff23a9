-- The parts of a version of an object: those that the last of its claims names, in their order, and all others that have a load.
with known as materialized (
    select * from etl.known_load where bucket = :bucket and key = :key and version = :version
), named as (
    select p.part, p.place from (select parts from known order by id desc limit 1) w cross join lateral unnest(w.parts) with ordinality as p (part, place)
)
select part, n.place is not null as is_listed, l.dataset, l.source, l.finished_at is null as is_open,
    exists (
        select from known k where k.part = coalesce(n.part, l.part) and (k.state = 'loaded' or exists (select from etl.load_batch where load_id = k.id)) and not exists (
            select from etl.load u where u.bucket = 'undo://' and u.key = k.id::text and u.state = 'loaded')) as is_loaded,
    l.state = 'loading' and l.lease_expires_at > clock_timestamp() as is_held,
    coalesce(:version_id, 'null') = 'null' and exists (
        select from etl.known_load o where o.bucket = :bucket and o.key = :key and o.version <> :version
            and etl.is_later(:sequencer, :written, o.sequencer, o.modified_at)
            and etl.is_later(o.sequencer, o.modified_at, l.sequencer, l.modified_at)) as is_returned,
    coalesce((l.state = 'superseded' or l.state = 'failed' and l.reason in ('not_found', 'forbidden'))
        and etl.is_later(:sequencer, :written, l.sequencer, l.modified_at), false) as is_resent
from named n full join (select distinct on (part) * from known order by part, run desc) l using (part)
order by n.place, l.id
