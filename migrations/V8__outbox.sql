-- What others may want to hear of: written by the transaction that makes it true, sent afterwards. Only sessions that say
-- `set small_etl.events = 'on'` write any. The temporary schema of a session comes last in the path of what runs as the owner, or it
-- would come first, and with it whatever a session has put there.
create table etl.outbox (
    id      uuid primary key default gen_random_uuid(),
    at      timestamptz not null default clock_timestamp(),
    type    text not null,
    detail  jsonb not null,
    sent_at timestamptz
);
create index outbox_unsent on etl.outbox (at) where sent_at is null;

create function etl.announce_load() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    file jsonb := jsonb_build_object('load_id', new.id, 'dataset', new.dataset, 'bucket', new.bucket, 'key', new.key,
        'object_version', new.version, 'run', new.run);
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
create trigger announced_end after update of state on etl.load for each row
    when (old.state <> new.state and new.finished_at is not null) execute function etl.announce_load();

create function etl.announce_reconciliation() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('small_etl.events', true) is distinct from 'on' then
        return null;
    end if;
    if new.released > 0 then
        insert into etl.outbox (type, detail) values ('RowsReleased', jsonb_build_object(
            'released', new.released, 'by', 'reconciliation', 'id', new.id));
    end if;
    insert into etl.outbox (type, detail) values ('ReconciliationFinished', jsonb_build_object(
        'reconciliation_id', new.id, 'state', new.state, 'bucket', new.bucket, 'prefix', new.prefix, 'compared', new.compared,
        'sent', new.sent, 'released', new.released, 'discrepancies', new.discrepancies, 'missing_files', new.missing_files,
        'report_bucket', new.report_bucket, 'report_key', new.report_key));
    return null;
end
$$;
create trigger announced_end after update of state on etl.reconciliation for each row
    when (old.state = 'running' and new.state <> 'running') execute function etl.announce_reconciliation();

-- What is not sent stays, whoever deletes.
create function etl.keep_unsent() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if old.sent_at is null then
        raise exception 'an event that is not sent stays in etl.outbox';
    end if;
    return old;
end
$$;
create trigger keep_unsent before delete on etl.outbox for each row execute function etl.keep_unsent();

alter function etl.audit_load() set search_path = pg_catalog, pg_temp;
alter function etl.audit_rejects() set search_path = pg_catalog, pg_temp;
alter function etl.audit_reconciliation() set search_path = pg_catalog, pg_temp;
alter function etl.audit_data_key() set search_path = pg_catalog, pg_temp;

grant select, update (sent_at), delete on etl.outbox to small_etl_ingest;
