-- Notes which rows of later loads mend rejects of load $1, in the next $4 batches after batch $3 of load $2. Returns the last of these batches.
with bounds as materialized (
    select left(min(key collate "C"), 200) as lowest, left(max(key collate "C"), 200) as highest from open_key
), part as materialized (
    select load_id, batch from etl.lineage where (load_id, batch) > ($2, $3) order by load_id, batch limit $4
), noted as (
    insert into good_row
    select n.load_id, n.dataset, n.key, n.line, n.load_id, s.first_load_id, s.first_record
    from (
        select i.load_id, i.dataset, u.key, u.line
        from part join etl.lineage i using (load_id, batch) join etl.load own on own.id = $1 and own.dataset = i.dataset
            join etl.load w on w.id = i.load_id and w.finished_at is not null and w.bucket <> 'undo://'
            cross join bounds cross join lateral unnest(i.keys, i.lines, i.outcomes) as u (key, line, outcome)
        -- Most batches have none of these keys, and need not be opened.
        where (i.lowest_key <= bounds.highest and i.highest_key >= bounds.lowest or i.load_id in (select load_id from named_row))
            and u.outcome <> 'parked'
            and (u.key in (select key from open_key) or (i.load_id, u.line) in (select load_id, line from named_row))) n
        left join etl.resubmission s on s.load_id = n.load_id and s.line = n.line
)
select load_id, batch from part order by load_id desc, batch desc limit 1
