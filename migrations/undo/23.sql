-- Takes V23 back: what the ledger means is no longer said in it.
do $comments$
declare
    said record;
begin
    for said in
        select c.relname, c.relkind, a.attname
        from pg_description d join pg_class c on c.oid = d.objoid and c.relnamespace = 'etl'::regnamespace
            left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid and d.objsubid > 0
        where d.classoid = 'pg_class'::regclass and c.relkind in ('r', 'v')
    loop
        if said.attname is null then
            execute format('comment on %s etl.%I is null', case said.relkind when 'v' then 'view' else 'table' end, said.relname);
        else
            execute format('comment on column etl.%I.%I is null', said.relname, said.attname);
        end if;
    end loop;
end
$comments$;
delete from refinery_schema_history where version = 23;
