-- The bytes of a bad record are kept once, and the role of ingest gets single rights instead of whole tables.

-- `raw` stands at the first violation of a record (the one with the lowest id) and is null at the others. Rejects from before
-- this have it at each.
alter table etl.reject alter column raw drop not null;

-- Each bad record once, with its bytes.
create view etl.rejected_record as
select distinct on (load_id, record) load_id, record, line, key, byte_offset, byte_length, raw, data_key
from etl.reject order by load_id, record, raw is null, id;

-- V3 made every later table in schema public writable for the role of ingest. From now on `migrate` grants what the dataset of
-- a table needs, after the migrations (src/data_access/postgres/grants.rs). What V3 gave to later tables and sequences is taken
-- back; where somebody has granted more, or less, it was meant and stays.
do $$
declare
    taken record;
begin
    for taken in
        select distinct format('alter default privileges for role %s in schema public revoke %s from small_etl_ingest',
            d.defaclrole::regrole, case d.defaclobjtype when 'S' then 'usage on sequences' else 'select, insert, update on tables' end) as back
        from pg_default_acl d cross join aclexplode(d.defaclacl) a
        where d.defaclnamespace = 'public'::regnamespace and d.defaclobjtype in ('r', 'S')
            and a.grantee = 'small_etl_ingest'::regrole
        union all
        select format('revoke all on %s %s from small_etl_ingest', case c.relkind when 'S' then 'sequence' else 'table' end, c.oid::regclass)
        from pg_class c cross join lateral (
            select array_agg(x.privilege_type order by x.privilege_type) as rights
            from aclexplode(c.relacl) x where x.grantee = 'small_etl_ingest'::regrole) a
        where c.relnamespace = 'public'::regnamespace
            and a.rights = case c.relkind when 'S' then array['USAGE'] else array['INSERT', 'SELECT', 'UPDATE'] end
    loop
        begin
            execute taken.back;
        exception
            -- They belong to another role, which has to do it.
            when insufficient_privilege then
                raise warning 'small_etl_ingest keeps a right that it should not have: let the owner run: %', taken.back;
        end;
    end loop;
end
$$;
