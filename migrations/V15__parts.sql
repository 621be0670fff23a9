-- One object may hold several loads: a member of an archive, a sheet of a workbook or a section of a file is a part with a load of its own.
-- `part` is its name, and empty where the load is that of the whole object.
-- `parts`: all parts of the object that are to be loaded, as its loads were claimed. The object is settled when each of them is.

-- The new key is written for the loads that are there, and no load begins or ends meanwhile.
alter table etl.load
    add column part text not null default '',
    add column parts text[] not null default '{""}',
    add constraint a_load_is_of_one_of_the_parts check (part = any (parts)),
    drop constraint load_bucket_key_version_run_key,
    add constraint load_bucket_key_version_part_run_key unique (bucket, key, version, part, run);

create or replace view etl.open_reject as
select l.dataset, r.load_id, l.bucket, l.key as file, r.record, r.line, r."column", r.rule, r.message, r.value, r.key,
    l.started_at as rejected_at, l.state as load_state, r.first_load_id, r.first_record, r.id as reject_id, l.part
from etl.reject r join etl.load l on l.id = r.load_id
where r.state = 'open' and not exists (
    select from etl.reject later
    where later.first_load_id = r.first_load_id and later.first_record = r.first_record
        and later.load_id > r.load_id and later.resolved_by is null);

create or replace view etl.load_history as
select l.id as load_id, l.dataset, l.bucket, l.key as file, l.version, l.run, l.state, l.reason, l.error, l.attempt,
    l.started_at, l.finished_at, coalesce(l.finished_at, clock_timestamp()) - l.started_at as duration,
    l.read, n.inserted, n.updated, n.unchanged, n.stale, n.parked, n.rejected, l.withheld, n.warnings, l.released,
    (select count(distinct record) from etl.open_reject o where o.load_id = l.id) as open_rejects,
    (select count(*) from etl.parked p where p.load_id = l.id and p.released_by is null) as still_parked,
    l.dataset_version, l.rejects_bucket, l.rejects_key, l.part
from etl.load l cross join lateral (
    select l.inserted, l.updated, l.unchanged, l.stale, l.parked, l.rejected, l.warnings where l.state <> 'loading'
    union all
    select coalesce(sum(inserted), 0)::bigint, coalesce(sum(updated), 0)::bigint, coalesce(sum(unchanged), 0)::bigint,
        coalesce(sum(stale), 0)::bigint, coalesce(sum(parked), 0)::bigint, coalesce(sum(rejected), 0)::bigint,
        coalesce(sum(warnings), 0)::bigint
    from etl.load_batch where load_id = l.id having l.state = 'loading') n;

-- Both say which part a load is of.
create or replace function etl.audit_load() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into etl.audit (action, load_id, detail) values ('load ' || new.state, new.id, jsonb_strip_nulls(jsonb_build_object(
        'bucket', new.bucket, 'key', new.key, 'version', new.version, 'part', nullif(new.part, ''), 'run', new.run,
        'attempt', new.attempt, 'dataset', new.dataset, 'source', new.source, 'dataset_version', new.dataset_version, 'reason', new.reason)));
    return null;
end
$$;

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
            'parked', new.parked, 'rejected', new.rejected, 'warnings', new.warnings));
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
