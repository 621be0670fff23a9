-- Ends a load, or leaves it to the next worker: its counts are the sums of its batches, its rejects and the parked rows that it released. A
-- constraint of `etl.load` proves the sum of a load that has ended.
-- `:stalled` says whether this worker counts as one that stalled.
with batches as (
    select coalesce(sum(inserted), 0)::bigint as inserted, coalesce(sum(updated), 0)::bigint as updated,
        coalesce(sum(removed), 0)::bigint as removed,
        coalesce(sum(unchanged), 0)::bigint as unchanged, coalesce(sum(stale), 0)::bigint as stale,
        coalesce(sum(parked), 0)::bigint as parked, coalesce(sum(warnings), 0)::bigint as warnings
    from etl.load_batch where load_id = :load
), rejects as (
    select count(distinct record) as rejected from etl.reject where load_id = :load
), freed as (
    select count(*) as released, coalesce(sum(warnings), 0)::bigint as warnings
    from etl.parked where released_by = :load
), outcomes as (
    select b.*, r.rejected, f.released, b.warnings + f.warnings as all_warnings,
        b.inserted + b.updated + b.removed + b.unchanged + b.stale + b.parked + r.rejected as records
    from batches b, rejects r, freed f
)
update etl.load l set state = :state, reason = :reason, error = :error,
    read = case when :state = 'loaded' then :read else greatest(l.read, :read, o.records) end,
    inserted = o.inserted, updated = o.updated, removed = o.removed, unchanged = o.unchanged, stale = o.stale,
    parked = o.parked, rejected = o.rejected,
    withheld = case when :state in ('failed', 'superseded') then greatest(l.read, :read, o.records) - o.records else 0 end,
    warnings = o.all_warnings + coalesce(jsonb_array_length(l.drift), 0), released = o.released, deleted = :deleted, statistics = :statistics,
    stalled = case when :stalled then l.stalled else greatest(l.stalled - 1, 0) end,
    finished_at = case when :state <> 'interrupted' then clock_timestamp() end,
    lease_expires_at = clock_timestamp()
from outcomes o where l.id = :load and l.lease_token = :token and l.state = 'loading'
returning l.read, l.inserted, l.updated, l.removed, l.unchanged, l.stale, l.parked, l.rejected, l.withheld,
    l.warnings, l.released, l.deleted
