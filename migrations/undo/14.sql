-- Takes V14 back. Loads of datasets that are ordered by arrival, and rows that are parked without a time, are not understood by what came before.
drop table etl.content_copy;
drop function etl.since(etl.load);
drop index etl.load_by_arrival;
alter table etl.load drop column rank, drop column arrival;
alter table etl.load
    add column rank text collate "C" not null generated always as (
        lpad(coalesce(precedes, id)::text, 19, '0') || rpad(lower(coalesce(sequencer, '')), 64, '0') || lpad(id::text, 19, '0')) stored;
update etl.parked set row_version = '-infinity' where row_version is null;
alter table etl.parked alter column row_version set not null;
delete from refinery_schema_history where version = 14;
