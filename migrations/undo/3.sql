-- Takes V3 back. The role stays: other databases of the server may use it. `drop role small_etl_ingest` removes it.
alter default privileges in schema public revoke select, insert, update on tables from small_etl_ingest;
alter default privileges in schema public revoke usage on sequences from small_etl_ingest;
revoke all on all tables in schema public, etl from small_etl_ingest;
revoke all on all sequences in schema etl from small_etl_ingest;
revoke all on schema public, etl from small_etl_ingest;
delete from refinery_schema_history where version = 3;
