-- The role that ingest logs in with: it reads and writes rows, and may not change the schema.
-- It has no password yet; give it one (`alter role small_etl_ingest password '…'`) or, on RDS, `grant rds_iam to small_etl_ingest`.
-- Roles belong to the whole server, so another database of the same server may have made this one already.

do $$
begin
    create role small_etl_ingest login connection limit 9;
exception
    when duplicate_object or unique_violation then null;
end
$$;

grant usage on schema etl, public to small_etl_ingest;
grant select, insert, update on all tables in schema etl to small_etl_ingest;
grant usage on all sequences in schema etl to small_etl_ingest;
grant select, insert, update on public.asset, public.trade to small_etl_ingest;
grant select on public.refinery_schema_history to small_etl_ingest;

-- A table that a later migration adds for a new dataset is writable without a grant of its own.
alter default privileges in schema public grant select, insert, update on tables to small_etl_ingest;
alter default privileges in schema public grant usage on sequences to small_etl_ingest;
