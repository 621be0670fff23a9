-- Notes which rows of the next $3 batches of load $1, after batch $2, may mend a reject. Returns the last of these batches.
with part as materialized (
    select batch from etl.lineage where load_id = $1 and batch > $2 order by batch limit $3
), noted as (
    insert into good_row
    select n.load_id, n.dataset, n.key, n.line, n.load_id, s.first_load_id, s.first_record
    from (
        select i.load_id, i.dataset, u.key, u.line
        from part join etl.lineage i on i.load_id = $1 and i.batch = part.batch
            cross join lateral unnest(i.keys, i.lines, i.outcomes) as u (key, line, outcome)
        where u.outcome <> 'parked') n
        left join etl.resubmission s on s.load_id = $1 and s.line = n.line
    -- By a look at the index for each row, however few rejects are open.
    where s.load_id is not null or (n.load_id, n.line) in (select load_id, line from again_line)
        or (select true from etl.reject r where r.key = n.key and r.state = 'open' and r.load_id < $1 limit 1)
)
select max(batch) from part
