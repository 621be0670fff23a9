given as materialized (
    -- Which copies of these contents the rows of an object have been given, with the lines of these rows; bad and mended ones also with
    -- the records that they had first. Needs `runs (object, load_id, part, is_undone)` and `wanted (hash)`. If rows of two parts have the same number,
    -- as in ledgers from before copies were counted across parts, it belongs to the part that had it first.
    select *, first_value(part) over (partition by object, hash, copy order by load_id) as owner from (
        select r.object, r.load_id, r.part, left(n.key, 64) as hash, substr(n.key, 66)::bigint as copy,
            null::bigint as record, n.line, 3 as place
        from runs r join etl.lineage i on i.load_id = r.load_id cross join lateral unnest(i.keys, i.lines) as n (key, line)
        where not r.is_undone and left(n.key, 64) in (select hash from wanted)
        union all
        select r.object, r.load_id, r.part, left(b.key, 64), substr(b.key, 66)::bigint,
            case when f.load_id is null then b.record else b.first_record end, b.line, 2
        from runs r join etl.reject b on b.load_id = r.load_id left join runs f on f.load_id = b.first_load_id and f.object = r.object
        where left(b.key, 64) in (select hash from wanted)
        union all
        select r.object, r.load_id, r.part, c.hash, c.copy, c.first_record, b.line, 1
        from runs r join etl.content_copy c on c.first_load_id = r.load_id left join lateral (
            select line from etl.reject where load_id = c.first_load_id and record = c.first_record limit 1) b on true
        where c.hash in (select hash from wanted)) g
)
