-- Does what `write_plain.sql` does for a table in partitions. Of what it writes there, Postgres returns no system columns. So rows that are
-- overwritten are locked first, and what was planned is what happens.
held as materialized (
    select :key_of_t from :table t
    where (:key_of_t, t.ctid) in (select :key, _seen from candidate where _plan in ('changed', 'tied'))
    order by :key_of_t for no key update
), placed as (
    insert into :table as t (:columns)
    select :values from candidate
    where (_plan in ('new', 'changed') or _plan = 'tied' and :key_text in (select _key from won))
        and (_plan = 'new' or (:key) in (select * from held))
    order by :key
    on conflict (:key) do :update
    returning :key_of_t
), written as (
    select p.*, c._plan = 'new' as _inserted from placed p join candidate c on :is_placed
)
