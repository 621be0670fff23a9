-- The columns of a table, as the check of a table and its plan need them. Parameter: 1 the table.
-- A column of a domain holds what the type beneath the domain holds.
with recursive below as (
    select a.attrelid, a.attnum, a.atttypid as kind, a.atttypmod as modifier
    from pg_attribute a where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped
    union all
    select b.attrelid, b.attnum, t.typbasetype, t.typtypmod
    from below b join pg_type t on t.oid = b.kind where t.typtype = 'd'
)
select a.attname, b.kind::regtype::text as kind, a.attnotnull or own.typnotnull as required, own.typtype = 'd' as is_domain,
    exists (select from pg_index i where i.indrelid = a.attrelid and i.indisprimary and a.attnum = any (i.indkey)) as is_primary,
    a.atthasdef or a.attidentity <> '' or own.typdefault is not null as filled, format_type(a.atttypid, a.atttypmod) as shown,
    information_schema._pg_char_max_length(b.kind, b.modifier) as length,
    information_schema._pg_numeric_precision(b.kind, b.modifier) as precision,
    information_schema._pg_numeric_scale(b.kind, b.modifier) as scale,
    information_schema._pg_datetime_precision(b.kind, b.modifier) as fraction
from below b join pg_type t on t.oid = b.kind and t.typtype <> 'd'
    join pg_attribute a using (attrelid, attnum) join pg_type own on own.oid = a.atttypid
