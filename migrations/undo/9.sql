-- Takes V9 back; the role keeps its limit.
delete from refinery_schema_history where version = 9;
