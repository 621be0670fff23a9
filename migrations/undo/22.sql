-- Takes V22 back. The next nightly run begins where the last one stopped, as before.
create or replace view etl.load_history as
select l.id as load_id, l.dataset, l.bucket, l.key as file, l.version, l.run, l.state, l.reason, l.error, l.attempt,
    l.started_at, l.finished_at, coalesce(l.finished_at, clock_timestamp()) - l.started_at as duration,
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
alter table etl.reconciliation_step drop column touched_at;
drop index etl.parked_expired;
drop index etl.parked_since;
drop index etl.resubmission_by_first;
drop index etl.load_by_end;
delete from refinery_schema_history where version = 22;
