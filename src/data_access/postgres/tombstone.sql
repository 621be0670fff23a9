-- Deletes the rows that the tombstones of the stage of a batch name. A tombstone deletes a row that is older, or as old and of a load with a lower
-- rank. Where there is no row, it is unchanged, and its version is kept unless a newer one is. Where a row is newer, or a newer tombstone is kept,
-- it is stale. A row that another program has written since it was looked at is left alone and looked at again.
-- Parameters: 1 the load, 2 the batch, 3 the tick of the claim.
with own as materialized (
    select rank, ranks_from from etl.load where id = $1
), candidate as materialized (
    select s._record, s._line, :key_of_s, :key_text as _key, :rank as _rank, :version as _version, t.ctid as _seen,
        case when :first_of_t is not null then :present
             when d.key is null or :is_newer then 'absent'
             when :is_older then 'stale'
             when :outranks then 'absent'
             else 'known' end as _plan
    from :stage s cross join own left join :table t on :is_same
        :graves
), tied as materialized (
    select _key, _rank from candidate where _plan = 'tied'
), :won, removed as (
    delete from :table t using candidate c
    where :is_candidate and t.ctid = c._seen and (c._plan = 'changed' or c._plan = 'tied' and c._key in (select _key from won))
    returning c._record
):history, kept as (
    insert into etl.tombstone as k (dataset, key, version, load_id)
    select :dataset, _key, _version, $1 from candidate
    where _plan = 'absent' or _record in (select _record from removed) order by _key
    on conflict (dataset, key) do update set version = excluded.version, load_id = excluded.load_id,
        before = :before, at = clock_timestamp()
):known, ended as (
    select _record, _line, _key,
        case when _record in (select _record from removed) then 'removed'
             when _plan in ('absent', 'known') then 'unchanged'
             when _plan = 'stale' then 'stale'
             when _plan = 'tied' and _key not in (select _key from won) then 'stale' end as _outcome
    from candidate
), :noted
select 0::bigint as inserted, 0::bigint as updated, count(*) filter (where _outcome = 'removed') as removed,
    count(*) filter (where _outcome = 'unchanged') as unchanged, count(*) filter (where _outcome = 'stale') as stale,
    0::bigint as parked, 0::bigint as disagreements,
    null::text[] as overwritten, null::text[] as ranks, null::bigint[] as overwriting,
    array_agg(_record) filter (where _outcome is null) as unsettled
from ended
