-- Takes V24 back. What is there stays compressed as it is.

alter table etl.lineage
    alter column keys set compression default, alter column lines set compression default, alter column outcomes set compression default;

delete from refinery_schema_history where version = 24;
