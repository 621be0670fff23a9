-- Takes V17 back. Tables whose files replaced what was there keep their rows.
drop table etl.replacement;
drop table etl.scope;
drop function etl.key_values(text);
delete from refinery_schema_history where version = 17;
