-- What a load and a night need so that their cost follows what is new, and not all that was ever loaded.

-- The nightly run looks at the loads that ended since its last pass.
create index load_by_end on etl.load (finished_at);
-- Which rows were to mend a reject, starting from the reject.
create index resubmission_by_first on etl.resubmission (first_load_id, first_record);
-- Which row has waited the longest.
create index parked_since on etl.parked (parked_at) where released_by is null;
-- The rows that have become rejects, of each load.
create index parked_expired on etl.parked (load_id, released_at) where outcome = 'expired';

-- `touched_at`: when a run last worked on the part. Parts take turns by it.
alter table etl.reconciliation_step add column touched_at timestamptz;
-- These steps looked at all loads each night. From now on they look at those since the last pass, and so begin once more with all of them.
delete from etl.reconciliation_step where step in ('retention', 'rejects files');

-- The same view, but with the time of the transaction: a function whose result changes within a statement keeps the planner from looking at
-- the newest loads alone, and it counted the rejects and parked rows of all.
create or replace view etl.load_history as
select l.id as load_id, l.dataset, l.bucket, l.key as file, l.version, l.run, l.state, l.reason, l.error, l.attempt,
    l.started_at, l.finished_at, coalesce(l.finished_at, now()) - l.started_at as duration,
    l.read, n.inserted, n.updated, n.unchanged, n.stale, n.parked, n.rejected, l.withheld, n.warnings, l.released,
    (select count(distinct record) from etl.open_reject o where o.load_id = l.id) as open_rejects,
    (select count(*) from etl.parked p where p.load_id = l.id and p.released_by is null) as still_parked,
    l.dataset_version, l.rejects_bucket, l.rejects_key, l.part, l.deleted, n.removed, l.expired
from etl.load l cross join lateral (
    select l.inserted, l.updated, l.unchanged, l.stale, l.parked, l.rejected, l.warnings, l.removed where l.state <> 'loading'
    union all
    select coalesce(sum(inserted), 0)::bigint, coalesce(sum(updated), 0)::bigint, coalesce(sum(unchanged), 0)::bigint,
        coalesce(sum(stale), 0)::bigint, coalesce(sum(parked), 0)::bigint, coalesce(sum(rejected), 0)::bigint,
        coalesce(sum(warnings), 0)::bigint, coalesce(sum(removed), 0)::bigint
    from etl.load_batch where load_id = l.id having l.state = 'loading') n;
