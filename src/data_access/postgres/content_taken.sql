-- Which copies of some contents rows of a load must not take, because other rows of its object have them; with a line, the number is that of
-- just this row of the load, and so it is with a record, where the reject is deleted that told the line. What the load itself has written goes
-- before what earlier runs had. Parameters: 1 the load, 2 the hashes.
with own as (
    select * from etl.load where id = $1
), runs as (
    select 0 as object, l.id as load_id, l.part, l.part <> own.part and l.id in (:undone) as is_undone
    from own join etl.load l using (bucket, key, version, dataset)
), wanted as (
    select unnest($2::text[]) as hash
), :given
select hash, copy, is_written, case when is_one then line end as line, case when is_one and line is null then record end as record
from (
    select *, load_id = $1 and record is null as is_written, load_id = $1 and record is null
        or is_own and row_number() over (partition by hash, line, case when line is null then record end, is_own order by place, load_id) = 1 as is_one
    from (select g.*, g.part = own.part and g.owner = own.part as is_own from given g cross join own) g
    -- What good rows of earlier runs of the same part had is free: the same rows take it again.
    where not is_own or record is not null or load_id = $1) t
