-- How the columns of a file differ from those that its source declares: `drift` has what was different about this file, and
-- `etl.schema_change` each change once for each source, with the load that first had it.
alter table etl.load add column drift jsonb;

create table etl.schema_change (
    dataset  text not null,
    source   text not null,
    change   text not null check (change in ('missing', 'new')),
    "column" text not null,
    load_id  bigint references etl.load on delete set null,
    noted_at timestamptz not null default clock_timestamp(),
    primary key (dataset, source, change, "column")
);
create index schema_change_load on etl.schema_change (load_id);

create function etl.announce_schema_change() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('small_etl.events', true) is distinct from 'on' then
        return null;
    end if;
    insert into etl.outbox (type, detail)
    select 'SchemaChanged', jsonb_build_object('load_id', l.id, 'dataset', new.dataset, 'source', new.source, 'bucket', l.bucket,
        'key', l.key, 'object_version', l.version, 'part', l.part, 'change', new.change, 'column', new."column")
    from etl.load l where l.id = new.load_id;
    return null;
end
$$;
create trigger announced_schema_change after insert on etl.schema_change for each row execute function etl.announce_schema_change();
