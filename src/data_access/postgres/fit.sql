-- Whether rows of a dataset can be written to its table, as far as the catalog tells: why not, a sentence each, and what
-- writing them must know. The place of a reason says of what kind it is. Whether each column can hold its values is another question, and answered before.
-- Parameters: 1 the table, 2 the columns of its key, 3 its columns; of the reference 4 the table, 5 the columns of the key there, 6 those
-- here, and 7 the columns that are read there. Without a reference those are null. 8 whether rows are deleted.
with own as (
    select c.oid, c.relkind as kind, c.relreplident as identity, c.relhasrules, format('%I.%I', n.nspname, c.relname) as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($1::text)
), other as (
    select c.oid, format('%I.%I', n.nspname, c.relname) as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($4::text)
), login as (
    select quote_ident(current_user) as role
), own_column as (
    select a.*, quote_ident(a.attname) as name from own join pg_attribute a on a.attrelid = own.oid
    where a.attname = any ($3::text[]) and a.attnum > 0 and not a.attisdropped
), key as (
    select array_agg(attnum order by attnum) as attnums, string_agg(name, ', ' order by array_position($2::text[], attname::text)) as name
    from own_column where attname = any ($2::text[])
), key_index as (
    -- `on conflict` uses all of these indexes together, so a single deferrable one breaks it.
    select x.relname as name, i.indimmediate as immediate, i.indisvalid and i.indisready as valid, i.indcollation::oid[] as collated
    from key cross join own join pg_index i on i.indrelid = own.oid join pg_class x on x.oid = i.indexrelid
    where i.indisunique and not i.indisexclusion and i.indpred is null
        and array(select unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) order by 1) = key.attnums
), needed as (
    -- System columns show which transaction wrote a row.
    select oid, name, 1 as place, 'select' as may, 'r' as command, $3::text[] || '{ctid,xmin,xmax}'::text[] as columns from own
    union all select oid, name, 2, 'insert', 'a', $3 from own
    union all select oid, name, 3, 'update', 'w', array(select unnest($3::text[]) except select unnest($2::text[])) from own
    union all select oid, name, 1, 'select', 'r', $7::text[] from other
    -- A right to a whole table.
    union all select oid, name, 4, 'delete', 'd', '{}' from own where $8
), lacking as (
    select n.name, string_agg(case when l.of = 1 then n.may else format('%s (%s)', n.may, l.columns) end, ', ' order by n.place) as rights
    from needed n cross join lateral (
        select string_agg(quote_ident(a.attname), ', ' order by a.attnum) as columns, case when count(*) = cardinality(n.columns) then 1 end as of
        from pg_attribute a where a.attrelid = n.oid and a.attname = any (n.columns)
            and case when n.may <> 'delete' then not has_column_privilege(n.oid, a.attnum, n.may) end) l
    where l.columns is not null or n.may = 'delete' and not has_table_privilege(n.oid, n.may) group by n.name
), unseen as (
    select n.name, string_agg(n.may, ', ' order by n.place) as commands from needed n
    where row_security_active(n.oid) and not exists (
        select from pg_policy p where p.polrelid = n.oid and p.polpermissive and p.polcmd::text in ('*', n.command)
            and exists (select from unnest(p.polroles) as r (role) where r.role = 0 or pg_has_role(r.role, 'usage')))
    group by n.name
), fault as (
    select 1 as place, case kind
        when 'p' then 'it is partitioned, and Postgres does not tell there whether a row was inserted or updated; make it a plain table'
        when 'v' then 'it is a view; name the table that it shows'
        when 'm' then 'it is a materialized view, which only `refresh` writes; make it a plain table'
        when 'f' then 'it is a foreign table, which has no unique key; make it a plain table'
        else 'it is not a table; name one' end as text
    from own where kind <> 'r'
    union all
    select 2, format('the tables that inherit from it (%s) have rows that its unique key does not know; make it a plain table',
        string_agg(i.inhrelid::regclass::text, ', '))
    from own join pg_inherits i on i.inhparent = own.oid where kind = 'r' having count(*) > 0
    union all
    select 3, format('its rule %I rewrites what is written, and Postgres cannot upsert there; run: drop rule %1$I on %s', r.rulename, own.name)
    from own join pg_rewrite r on r.ev_class = own.oid where kind = 'r' and r.ev_type in ('2', '3') and r.ev_enabled <> 'D'
    union all
    select 4, format('column %s is generated always and takes no value; give it the type "ignored" in the dataset, or run: alter table %s alter %1$s drop expression',
        c.name, own.name)
    from own_column c cross join own where own.kind = 'r' and c.attgenerated <> ''
    union all
    select 5, format('column %s is generated always as identity and takes no value; run: alter table %s alter %1$s set generated by default', c.name, own.name)
    from own_column c cross join own where own.kind = 'r' and c.attidentity = 'a'
    union all
    select case when exists (select from key_index) then 7 else 6 end, coalesce('the unique index ' || (select string_agg(quote_ident(name::text), ', ') from key_index)
            || ' of the key is not valid, since building it failed; drop it and create it once more',
        format('the key %s needs a unique index of its own; run: create unique index on %s (%1$s)', key.name, own.name))
    from key cross join own where own.kind = 'r' and not exists (select from key_index where valid)
    union all
    select 7, format('the unique key %I is deferrable, and Postgres cannot upsert by such a one; run: alter table %s drop constraint %1$I, add unique (%3$s)',
        i.name, own.name, key.name)
    from key_index i cross join own cross join key where own.kind = 'r' and i.valid and not i.immediate
    union all
    select 8, format('the key %s has the collation %s, for which different texts are equal; run: alter table %s alter %1$s type text collate "C"',
        k.name, c.oid::regcollation, own.name)
    from own_column k cross join own join pg_collation c on c.oid = k.attcollation or c.oid in (select unnest(collated) from key_index)
    where own.kind = 'r' and k.attname = any ($2::text[]) and k.attcollation <> 0 and not c.collisdeterministic
    union all
    select 9, format('the publication %s sends its updates, which takes a replica identity; give it a primary key, or run: alter table %s replica identity full',
        string_agg(quote_ident(p.pubname::text), ', '), own.name)
    from own join pg_publication_tables t on format('%I.%I', t.schemaname, t.tablename) = own.name join pg_publication p on p.pubname = t.pubname
    where kind = 'r' and (p.pubupdate or $8 and p.pubdelete) and own.identity <> 'f' and not exists (
        select from pg_index i where i.indrelid = own.oid and i.indimmediate
            and case own.identity when 'd' then i.indisprimary when 'i' then i.indisreplident end)
    group by own.name
    union all
    select 10, format('table %s, to which it refers, is missing; run its migration', replace($4, '"', ''))
    where $4 is not null and not exists (select from other)
    union all
    select 11, format('table %s, to which it refers, has no column %I', other.name, wanted.name)
    from other cross join unnest($7) as wanted (name) where not exists (
        select from pg_attribute a where a.attrelid = other.oid and a.attname = wanted.name and not a.attisdropped)
    union all
    select 12, format('role %s may not make temporary tables; run: grant temporary on database %I to %1$s', role, current_database())
    from login where not has_database_privilege(current_database(), 'temporary')
    union all
    select 13, format('role %s lacks rights; run: grant %s on %s to %1$s', role, l.rights, l.name)
    from login cross join lacking l cross join own where own.kind = 'r'
    union all
    select 13, format('foreign key %I of table %s changes its rows when a row is deleted here, and no ledger would count them; drop it and add it with: on delete no action',
        f.conname, f.conrelid::regclass)
    from own join pg_constraint f on f.confrelid = own.oid and f.contype = 'f' and f.confdeltype in ('c', 'n', 'd')
    where own.kind = 'r' and $8
    union all
    select 14, format('role %s may not take numbers for column %I; run: grant usage on sequence %s to %1$s', role, a.attname, s.oid::regclass)
    from login cross join own join pg_attrdef d on d.adrelid = own.oid
        join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum and a.attname <> all ($3)
        join pg_depend n on n.classid = 'pg_attrdef'::regclass and n.objid = d.oid and n.refclassid = 'pg_class'::regclass
        join pg_class s on s.oid = n.refobjid
    -- This function may be called for sequences only.
    where case s.relkind when 'S' then not has_sequence_privilege(s.oid, 'usage, update') end
    union all
    select 15, format('row level security is on for %s, and no policy lets role %s %s; run: create policy small_etl on %1$s to %2$s using (true) with check (true)',
        u.name, role, u.commands)
    from login cross join unseen u cross join own where own.kind = 'r'
)
select not row_security_active(own.oid) and not own.relhasrules as takes_copies,
    array(select text from fault order by place, text) as faults,
    array(select place from fault order by place, text) as places,
    array(select name::text from key_index)
        || array(select f.conname::text from pg_constraint f join other on other.oid = f.confrelid
            where f.conrelid = own.oid and f.contype = 'f' and cardinality(f.conkey) = cardinality($6::text[])
                and not exists (select from unnest($6::text[], $5::text[]) as wanted (here, there) where not exists (
                    select from unnest(f.conkey, f.confkey) as has (here, there)
                        join pg_attribute a on a.attrelid = f.conrelid and a.attnum = has.here and a.attname = wanted.here
                        join pg_attribute b on b.attrelid = f.confrelid and b.attnum = has.there and b.attname = wanted.there))) as contended,
    -- The triggers that may drop a row: those that run for each row before it is written.
    array(select t.tgname::text from pg_trigger t where t.tgrelid = own.oid and t.tgtype & 3 = 3 and t.tgenabled <> 'D' order by 1) as triggers,
    array(select p.polname::text from pg_policy p where p.polrelid = own.oid and row_security_active(own.oid) order by 1) as policies
from own
