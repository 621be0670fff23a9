-- Takes V7 back: it is forgotten what other loaders have had.
drop table etl.delivery;
delete from refinery_schema_history where version = 7;
