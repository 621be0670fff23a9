-- Takes V21 back. What was pruned stays pruned: objects of pruned loads that still lie in their bucket are loaded again by the nightly run. Rows that
-- waited too long stay rejects, and count as stale.
drop function etl.prune_records(timestamptz, integer), etl.prune_loads(timestamptz, bigint, integer), etl.check_cut_off(timestamptz),
    etl.is_prunable(etl.load, timestamptz);
drop trigger append_only_for_its_time on etl.audit;
drop trigger append_only on etl.audit;
create trigger append_only before update or delete or truncate on etl.audit for each statement execute function etl.refuse_change();
drop function etl.refuse_young(), etl.cut_off();
drop trigger content_forgotten on etl.parked;
drop function etl.forget_content();

create or replace function etl.since(own etl.load) returns bigint language sql stable as $$
    select least(
        case when own.precedes is null then own.claimed_tick
            else coalesce((select n.claimed_tick from etl.load n where n.id = own.precedes), 0) end,
        case when own.arrival is not null then (
            select min(o.claimed_tick) from etl.load o
            where o.dataset = own.dataset and o.arrival is not null and o.rank > least(own.rank, own.ranks_from)) end,
        -- The dataset was not ordered by arrival then.
        case when own.ranks_from < 'A' then (
            select min(o.claimed_tick) from etl.load o where o.dataset = own.dataset and o.rank > own.ranks_from) end)
$$;
drop view etl.known_load;
drop table etl.pruned, etl.settled, etl.retention;

drop view etl.load_history;
create view etl.load_history as
select l.id as load_id, l.dataset, l.bucket, l.key as file, l.version, l.run, l.state, l.reason, l.error, l.attempt,
    l.started_at, l.finished_at, coalesce(l.finished_at, clock_timestamp()) - l.started_at as duration,
    l.read, n.inserted, n.updated, n.unchanged, n.stale, n.parked, n.rejected, l.withheld, n.warnings, l.released,
    (select count(distinct record) from etl.open_reject o where o.load_id = l.id) as open_rejects,
    (select count(*) from etl.parked p where p.load_id = l.id and p.released_by is null) as still_parked,
    l.dataset_version, l.rejects_bucket, l.rejects_key, l.part, l.deleted, n.removed
from etl.load l cross join lateral (
    select l.inserted, l.updated, l.unchanged, l.stale, l.parked, l.rejected, l.warnings, l.removed where l.state <> 'loading'
    union all
    select coalesce(sum(inserted), 0)::bigint, coalesce(sum(updated), 0)::bigint, coalesce(sum(unchanged), 0)::bigint,
        coalesce(sum(stale), 0)::bigint, coalesce(sum(parked), 0)::bigint, coalesce(sum(rejected), 0)::bigint,
        coalesce(sum(warnings), 0)::bigint, coalesce(sum(removed), 0)::bigint
    from etl.load_batch where load_id = l.id having l.state = 'loading') n;
grant select on etl.load_history to small_etl_ingest;
alter table etl.load drop column expired;
update etl.parked set outcome = 'stale' where outcome = 'expired';
alter table etl.parked
    drop constraint parked_outcome_check,
    add constraint parked_outcome_check check (outcome in ('inserted', 'updated', 'unchanged', 'stale'));

drop index etl.scope_load;
alter table etl.scope drop column rank;
delete from etl.scope s where not exists (select from etl.load l where l.id = s.load_id);
update etl.reject r set resolved_by = null where resolved_by is not null and not exists (select from etl.load l where l.id = r.resolved_by);
update etl.parked p set released_by = p.load_id where released_by is not null and not exists (select from etl.load l where l.id = p.released_by);
alter table etl.scope add constraint scope_load_id_fkey foreign key (load_id) references etl.load (id) on delete cascade;
alter table etl.reject add constraint reject_resolved_by_fkey foreign key (resolved_by) references etl.load (id) on delete set null;
alter table etl.parked add constraint parked_released_by_fkey foreign key (released_by) references etl.load (id);
delete from refinery_schema_history where version = 21;
