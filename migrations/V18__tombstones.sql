-- Records that delete a row. The ledger counts them as `removed`, which belongs to the sum, and keeps the versions of what they deleted.

-- In the order in which a batch takes them, so that this migration waits for batches while it holds nothing that they need.
lock table etl.load_batch, etl.lineage, etl.load in access exclusive mode;

alter table etl.load_batch
    add column removed bigint not null default 0,
    drop constraint every_record_has_one_outcome,
    add constraint every_record_has_one_outcome check (
        last_record - first_record + 1 = inserted + updated + removed + unchanged + stale + parked + rejected);
alter table etl.load
    add column removed bigint not null default 0,
    drop constraint every_record_has_one_outcome,
    add constraint every_record_has_one_outcome check (
        state in ('loading', 'interrupted')
        or read = inserted + updated + removed + unchanged + stale + parked + rejected + withheld);

alter type etl.row_outcome add value if not exists 'removed';

-- The keys that tombstones have named, whether there was a row or not. Where the table has no row, one that is older and comes later is stale.
-- `version`: as JSON writes it; null where the order of arrival decides.
-- `load_id`: the load with the highest rank of those that brought this version.
-- `before`: of a dataset with a history, all other tombstones with the key that were in force or would be without this one, each as a JSON
-- object. If the load of this one is undone, the newest of them is in force.
create table etl.tombstone (
    dataset text not null,
    key     text not null,
    version text,
    load_id bigint not null,
    before  jsonb not null default '[]',
    at      timestamptz not null default clock_timestamp(),
    primary key (dataset, key)
);
grant select, insert, update, delete on etl.tombstone to small_etl_ingest;

create or replace view etl.load_history as
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
            'read', new.read, 'inserted', new.inserted, 'updated', new.updated, 'removed', new.removed, 'unchanged', new.unchanged, 'stale', new.stale,
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
