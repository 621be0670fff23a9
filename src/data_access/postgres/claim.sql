-- Claims a part of a version of an object for its first worker, or for a next run where it is finished and `again` is asked for, or where
-- it has come back: another content was there in between, or it could not be read. Inserts nothing where its last run is another worker's or
-- needs no next one, also if that run is pruned.
--
-- $1 bucket, $2 key, $3 version, $4 sequencer, $5 dataset, $6 version of the definitions, $7 size, $8 batch size, $9 most rejects,
-- $10 greatest share of rejects, $11 seconds of the lease, $12 again, $13 token, $14 version id, $15 when it was written,
-- $16 seconds in the future, $17 part, $18 all parts of the object, $19 source, $20 whether the order of arrival tells the newer one of two
-- rows
with known as (
    select id, version, part, run, dataset, state, reason, coalesce(origin, id) as origin, finished_at is not null as finished, sequencer, modified_at,
        coalesce(precedes, id) as place, arrival, rpad(lower(sequencer), 64, '0') collate "C" as place_in_key, pruned
    from etl.known_load where bucket = $1 and key = $2
), last as (
    select l.*, coalesce($14, 'null') = 'null' and exists (
        -- On disk, a file was read when it was loaded, whatever time its writer has given it.
        select from known o where o.version <> $3 and case when $1 = 'file://' then o.id > l.id
            else etl.is_later($4, $15, o.sequencer, o.modified_at)
                and etl.is_later(o.sequencer, o.modified_at, l.sequencer, l.modified_at) end) as returned,
        -- Put once more after it could not be read.
        coalesce((state = 'superseded' or state = 'failed' and reason in ('not_found', 'forbidden'))
            and etl.is_later($4, $15, sequencer, modified_at), false) as resent
    from known l where l.version = $3 and l.part = $17 order by l.run desc limit 1
), own as (
    -- A request that names a version need not know its sequencer. But if the same version was written again since, it
    -- has another sequencer.
    select coalesce($4, (select sequencer from last where (modified_at = $15) is not false), (
        select max(sequencer) from known where version = $3 and part <> $17 and (modified_at = $15) is not false)) as sequencer
), newer as (
    -- S3 orders the events of one key by their sequencers: hexadecimal numbers, the shorter one padded with zeros on
    -- the right. Versions from a listing have ranks, which cannot be compared with sequencers.
    select min(place) as place, count(version) > 0 or coalesce(own.sequencer like '#%-', false) as late
    from own left join known on version <> $3 and (known.sequencer like '#%') = (own.sequencer like '#%')
        and rpad(lower(known.sequencer), 64, '0') collate "C" > rpad(lower(own.sequencer), 64, '0') collate "C"
    group by own.sequencer
), beside as (
    -- The first part of this version that was claimed, if there is one: the others rank with it, each by its place in the object.
    select min(id) as id, (array_agg(arrival order by id))[1] as arrival from known
    where $20 and cardinality($18::text[]) > 1 and version = $3 and dataset = $5 and arrival is not null
        and id > (select coalesce(max(id), 0) from known where version <> $3)
), arrived as (
    -- In seconds since 1970: when the object was written, as S3 tells it; now, where that is not known, or lies in the future. What
    -- orders the versions of its key takes precedence. A dataset that was ordered by arrival before goes on above all loads from then.
    select case when beside.arrival is not null then beside.arrival when $20 then greatest(0, least(min(known.arrival) filter (where known.place_in_key > own.place_in_key),
            greatest(max(known.arrival) filter (where known.place_in_key < own.place_in_key), least(clock.written, clock.now))))
        else greatest((select max(arrival) from etl.load where dataset = $5 and arrival is not null),
            (select arrival from etl.pruned where dataset = $5)) end as arrival
    from (select sequencer, rpad(lower(sequencer), 64, '0') collate "C" as place_in_key from own) own
        cross join (select floor(extract(epoch from clock_timestamp()))::bigint as now,
            floor(extract(epoch from $15::timestamptz))::bigint as written) clock
        cross join beside
        left join known on known.version <> $3 and (known.sequencer like '#%') = (own.sequencer like '#%')
    group by clock.written, clock.now, beside.arrival
), earlier as (
    -- The run whose rows this one writes once more. Content that has come back is new, and its rows are rows of their own.
    select known.origin from known join last on last.finished and not last.returned
    where known.version = $3 and known.part = $17 and known.dataset = $5 order by known.run desc limit 1
)
insert into etl.load as mine (bucket, key, version, run, sequencer, dataset, dataset_version, size_bytes, batch_size, max_rejects,
    max_reject_rate, lease_token, lease_expires_at, version_id, stalled, late, modified_at, max_future_seconds,
    source, arrival, precedes, part, parts, origin)
select $1, $2, $3, coalesce(last.run + (last.finished and ($12 or last.returned or last.resent))::integer, 0), own.sequencer, $5, $6, $7, $8, $9,
    $10, $13, clock_timestamp() + make_interval(secs => $11), $14, 1, newer.late, $15, $16, $19,
    arrived.arrival,
    case when newer.late then coalesce(newer.place,
        (select min(place) from known where version <> $3 and (modified_at > $15) is not false), 0) else (select id from beside) end,
    $17, $18, earlier.origin
from own cross join newer cross join arrived left join last on true left join earlier on true
where ($12 or last.returned or last.resent or not last.pruned) is not false
on conflict (bucket, key, version, part, run) do nothing
returning id, coalesce(mine.origin, id) as origin, run, late, attempt, started_at, extract(epoch from clock_timestamp() - started_at)::float8 as age,
    stalled, dataset, source, dataset_version, batch_size, max_rejects, max_reject_rate, max_future_seconds, etl.since(mine) as since, claimed_tick
