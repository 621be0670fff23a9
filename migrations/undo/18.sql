-- Takes V18 back. Deleted keys are forgotten, and a load that removed rows counts them as updated. The type keeps its value `removed`, which
-- Postgres cannot take away; rows of the lineage that have it say `updated`.
create or replace function etl.announce_load() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    file jsonb := jsonb_build_object('load_id', new.id, 'dataset', new.dataset, 'bucket', new.bucket, 'key', new.key,
        'object_version', new.version, 'source', new.source, 'part', new.part, 'run', new.run);
begin
    if current_setting('small_etl.events', true) is distinct from 'on' then
        return null;
    end if;
    if new.state = 'loaded' then
        insert into etl.outbox (type, detail) values ('FileLoaded', file || jsonb_build_object(
            'read', new.read, 'inserted', new.inserted, 'updated', new.updated, 'unchanged', new.unchanged, 'stale', new.stale,
            'parked', new.parked, 'rejected', new.rejected, 'warnings', new.warnings, 'deleted', new.deleted));
    else
        insert into etl.outbox (type, detail) values ('FileFailed', file || jsonb_build_object(
            'state', new.state, 'reason', new.reason, 'error', left(new.error, 2000)));
    end if;
    if new.rejected > 0 then
        insert into etl.outbox (type, detail) values ('RowsRejected', file || jsonb_build_object('rejected', new.rejected));
    end if;
    if new.released > 0 then
        insert into etl.outbox (type, detail) values ('RowsReleased', jsonb_build_object(
            'released', new.released, 'by', 'load', 'id', new.id));
    end if;
    return null;
end
$$;

drop table etl.tombstone;
update etl.lineage set outcomes = array_replace(outcomes, 'removed', 'updated') where 'removed' = any (outcomes);

drop view etl.load_history;
alter table etl.load_batch drop constraint every_record_has_one_outcome;
update etl.load_batch set updated = updated + removed where removed > 0;
alter table etl.load_batch
    drop column removed,
    add constraint every_record_has_one_outcome check (
        last_record - first_record + 1 = inserted + updated + unchanged + stale + parked + rejected);
alter table etl.load drop constraint every_record_has_one_outcome;
update etl.load set updated = updated + removed where removed > 0;
alter table etl.load
    drop column removed,
    add constraint every_record_has_one_outcome check (
        state in ('loading', 'interrupted')
        or read = inserted + updated + unchanged + stale + parked + rejected + withheld);

create view etl.load_history as
select l.id as load_id, l.dataset, l.bucket, l.key as file, l.version, l.run, l.state, l.reason, l.error, l.attempt,
    l.started_at, l.finished_at, coalesce(l.finished_at, clock_timestamp()) - l.started_at as duration,
    l.read, n.inserted, n.updated, n.unchanged, n.stale, n.parked, n.rejected, l.withheld, n.warnings, l.released,
    (select count(distinct record) from etl.open_reject o where o.load_id = l.id) as open_rejects,
    (select count(*) from etl.parked p where p.load_id = l.id and p.released_by is null) as still_parked,
    l.dataset_version, l.rejects_bucket, l.rejects_key, l.part, l.deleted
from etl.load l cross join lateral (
    select l.inserted, l.updated, l.unchanged, l.stale, l.parked, l.rejected, l.warnings where l.state <> 'loading'
    union all
    select coalesce(sum(inserted), 0)::bigint, coalesce(sum(updated), 0)::bigint, coalesce(sum(unchanged), 0)::bigint,
        coalesce(sum(stale), 0)::bigint, coalesce(sum(parked), 0)::bigint, coalesce(sum(rejected), 0)::bigint,
        coalesce(sum(warnings), 0)::bigint
    from etl.load_batch where load_id = l.id having l.state = 'loading') n;

grant select on etl.load_history to small_etl_ingest;
delete from refinery_schema_history where version = 18;
