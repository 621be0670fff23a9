-- Takes V13 back: by which source a file was read is forgotten.
alter table etl.load drop column source, drop column around, drop column dropped;
delete from refinery_schema_history where version = 13;
