-- Takes V11 back. Every violation has the bytes of its record again, and the role of ingest has whole tables.
drop view etl.rejected_record;
update etl.reject r set raw = coalesce((
    select f.raw from etl.reject f
    where f.load_id = r.load_id and f.record = r.record and f.raw is not null order by f.id limit 1), '')
where raw is null;
alter table etl.reject alter column raw set not null;

grant select, insert, update on etl.dataset, etl.load, etl.load_batch, etl.reject, etl.parked, etl.lineage, etl.resubmission,
    etl.reconciliation to small_etl_ingest;
grant usage on all sequences in schema etl to small_etl_ingest;
alter default privileges in schema public grant select, insert, update on tables to small_etl_ingest;
alter default privileges in schema public grant usage on sequences to small_etl_ingest;
-- The tables of datasets, of which it has columns.
do $$
declare
    dataset record;
begin
    for dataset in
        select distinct a.attrelid::regclass::text as name
        from pg_attribute a join pg_class c on c.oid = a.attrelid cross join aclexplode(a.attacl) x
        where c.relnamespace = 'public'::regnamespace and x.grantee = 'small_etl_ingest'::regrole and x.privilege_type = 'INSERT'
    loop
        execute format('grant select, insert, update on table %s to small_etl_ingest', dataset.name);
    end loop;
end
$$;
delete from refinery_schema_history where version = 11;
