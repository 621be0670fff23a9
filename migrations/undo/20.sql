-- Takes V20 back: how the columns of files differed from those of their sources is forgotten.
drop table etl.schema_change;
drop function etl.announce_schema_change();
alter table etl.load drop column drift;
delete from refinery_schema_history where version = 20;
