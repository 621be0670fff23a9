-- Claims a part of a version of an object for its first worker, or for a next run where it is finished and `again` is asked for, or where
-- it has come back: another content was there in between, or it could not be read. Inserts nothing where its last run is another worker's or
-- needs no next one, also if that run is pruned.
-- `:written` is when the version was written, `:parts` are all parts of the object, and `:by_arrival` says whether the order of arrival tells the
-- newer one of two rows.
with known as (
    select id, version, part, run, dataset, state, reason, coalesce(origin, id) as origin, finished_at is not null as finished, sequencer, modified_at,
        coalesce(precedes, id) as place, arrival, rpad(lower(sequencer), 64, '0') collate "C" as place_in_key, pruned
    from etl.known_load where bucket = :bucket and key = :key
), last as (
    select l.*, coalesce(:version_id, 'null') = 'null' and exists (
        -- On disk, a file was read when it was loaded, whatever time its writer has given it.
        select from known o where o.version <> :version and case when :bucket = 'file://' then o.id > l.id
            else etl.is_later(:sequencer, :written, o.sequencer, o.modified_at)
                and etl.is_later(o.sequencer, o.modified_at, l.sequencer, l.modified_at) end) as returned,
        -- Put once more after it could not be read.
        coalesce((state = 'superseded' or state = 'failed' and reason in ('not_found', 'forbidden'))
            and etl.is_later(:sequencer, :written, sequencer, modified_at), false) as resent
    from known l where l.version = :version and l.part = :part order by l.run desc limit 1
), own as (
    -- A request that names a version need not know its sequencer. But if the same version was written again since, it
    -- has another sequencer.
    select coalesce(:sequencer, (select sequencer from last where (modified_at = :written) is not false), (
        select max(sequencer) from known where version = :version and part <> :part and (modified_at = :written) is not false)) as sequencer
), newer as (
    -- S3 orders the events of one key by their sequencers: hexadecimal numbers, the shorter one padded with zeros on
    -- the right. Versions from a listing have ranks, which cannot be compared with sequencers.
    select min(place) as place, count(version) > 0 or coalesce(own.sequencer like '#%-', false) as late
    from own left join known on version <> :version and (known.sequencer like '#%') = (own.sequencer like '#%')
        and rpad(lower(known.sequencer), 64, '0') collate "C" > rpad(lower(own.sequencer), 64, '0') collate "C"
    group by own.sequencer
), beside as (
    -- The first part of this version that was claimed, if there is one: the others rank with it, each by its place in the object.
    select min(id) as id, (array_agg(arrival order by id))[1] as arrival from known
    where :by_arrival and cardinality(:parts::text[]) > 1 and version = :version and dataset = :dataset and arrival is not null
        and id > (select coalesce(max(id), 0) from known where version <> :version)
), arrived as (
    -- In seconds since 1970: when the object was written, as S3 tells it; now, where that is not known, or lies in the future. What
    -- orders the versions of its key takes precedence. A dataset that was ordered by arrival before goes on above all loads from then.
    select case when beside.arrival is not null then beside.arrival when :by_arrival then greatest(0, least(min(known.arrival) filter (where known.place_in_key > own.place_in_key),
            greatest(max(known.arrival) filter (where known.place_in_key < own.place_in_key), least(clock.written, clock.now))))
        else greatest((select max(arrival) from etl.load where dataset = :dataset and arrival is not null),
            (select arrival from etl.pruned where dataset = :dataset)) end as arrival
    from (select sequencer, rpad(lower(sequencer), 64, '0') collate "C" as place_in_key from own) own
        cross join (select floor(extract(epoch from clock_timestamp()))::bigint as now,
            floor(extract(epoch from :written::timestamptz))::bigint as written) clock
        cross join beside
        left join known on known.version <> :version and (known.sequencer like '#%') = (own.sequencer like '#%')
    group by clock.written, clock.now, beside.arrival
), earlier as (
    -- The run whose rows this one writes once more. Content that has come back is new, and its rows are rows of their own.
    select known.origin from known join last on last.finished and not last.returned
    where known.version = :version and known.part = :part and known.dataset = :dataset order by known.run desc limit 1
)
insert into etl.load as mine (bucket, key, version, run, sequencer, dataset, dataset_version, size_bytes, batch_size, max_rejects,
    max_reject_rate, lease_token, lease_expires_at, version_id, stalled, late, modified_at, max_future_seconds,
    source, arrival, precedes, part, parts, origin)
select :bucket, :key, :version, coalesce(last.run + (last.finished and (:again or last.returned or last.resent))::integer, 0), own.sequencer, :dataset, :dataset_version, :size, :batch_size, :max_rejects,
    :max_reject_rate, :token, clock_timestamp() + make_interval(secs => :lease_seconds), :version_id, 1, newer.late, :written, :max_future_seconds, :source,
    arrived.arrival,
    case when newer.late then coalesce(newer.place,
        (select min(place) from known where version <> :version and (modified_at > :written) is not false), 0) else (select id from beside) end,
    :part, :parts, earlier.origin
from own cross join newer cross join arrived left join last on true left join earlier on true
where (:again or last.returned or last.resent or not last.pruned) is not false
on conflict (bucket, key, version, part, run) do nothing
returning id, coalesce(mine.origin, id) as origin, run, late, attempt, started_at, extract(epoch from clock_timestamp() - started_at)::float8 as age,
    stalled, dataset, source, dataset_version, batch_size, max_rejects, max_reject_rate, max_future_seconds, etl.since(mine) as since, claimed_tick
