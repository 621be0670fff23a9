-- What the ledger says of versions of objects of bucket $1: keys $2, versions $3, and when each was written $4, as far as that can
-- be asked. The loads of a version that was claimed say which parts it has, the last of them what counts; a part without a load was
-- left by a worker that was stopped before it came to it.
select w.parts is not null as claimed,
    exists (select from etl.known_load o where o.bucket = $1 and o.key = n.key and o.version <> '') as known,
    coalesce(bool_or(l.state = 'loading' and not l.free), false) as held,
    coalesce(bool_or(l.finished_at is not null and exists (
        select from etl.known_load o where o.bucket = $1 and o.key = n.key and o.version <> n.version
            and etl.is_later(null, n.written, o.sequencer, o.modified_at)
            and etl.is_later(o.sequencer, o.modified_at, l.sequencer, l.modified_at))), false) as returned,
    coalesce(bool_or(p.part is not null and l.state is null or l.state = 'interrupted' and l.free or l.state = 'loading' and l.free),
        false) as left_over,
    -- Without versions a content that was replaced may come again under the same `ETag`.
    coalesce(array_agg(p.part order by p.part) filter (
        where l.state = 'superseded' or l.state = 'failed' and l.reason in ('not_found', 'forbidden')), '{}') as unreadable
from unnest($2::text[], $3::text[], $4::timestamptz[]) with ordinality as n (key, version, written, place)
    left join lateral (
        -- By a sum, so that the loads of the version are read, and not all of the ledger from its end.
        select parts from etl.known_load where bucket = $1 and key = n.key and version = n.version order by id + 0 desc limit 1) w on true
    left join lateral unnest(w.parts) as p (part) on true
    left join lateral (
        select state, reason, lease_expires_at < clock_timestamp() as free, finished_at, sequencer, modified_at from etl.known_load
        where bucket = $1 and key = n.key and version = n.version and part = p.part order by run desc limit 1) l on true
group by n.place, n.key, n.version, n.written, w.parts
order by n.place
