-- Datasets without a column that tells which of two rows is the newer one: then the object that arrived later decides. And those without
-- a column that tells rows apart: then their content does.

-- As in V10: in the order in which a batch takes them.
lock table etl.parked, etl.load in access exclusive mode;

-- `arrival`: when the object arrived, in seconds since 1970, for loads of such a dataset. Null for all others.
alter table etl.load add column arrival bigint;
alter table etl.load drop column rank;
alter table etl.load
    add column rank text collate "C" not null generated always as (
        coalesce('A' || lpad(arrival::text, 19, '0'), '')
        || lpad(coalesce(precedes, id)::text, 19, '0') || rpad(lower(coalesce(sequencer, '')), 64, '0') || lpad(id::text, 19, '0')) stored;
create index load_by_arrival on etl.load (dataset, rank) where arrival is not null;

-- The tick from which on loads may have committed that rank above this one; 0 where that is not known.
create function etl.since(own etl.load) returns bigint language sql stable as $$
    select least(
        case when own.precedes is null then own.claimed_tick
            else coalesce((select n.claimed_tick from etl.load n where n.id = own.precedes), 0) end,
        case when own.arrival is not null then (
            select min(o.claimed_tick) from etl.load o
            where o.dataset = own.dataset and o.arrival is not null and o.rank > own.rank) end)
$$;

grant execute on function etl.since(etl.load) to small_etl_ingest;

-- A version that is a number is in `content` alone.
alter table etl.parked alter column row_version drop not null;

-- Content keys are numbered by the copies of a row in its file. A row that is mended becomes the next copy after those of the file in which
-- it was bad first, and keeps that number however often it is sent.
create table etl.content_copy (
    first_load_id bigint not null references etl.load (id) on delete cascade,
    first_record  bigint not null,
    hash          text not null,
    copy          bigint not null,
    primary key (first_load_id, first_record, hash),
    unique (first_load_id, hash, copy)
);
grant select, insert on etl.content_copy to small_etl_ingest;
