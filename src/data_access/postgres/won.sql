-- Selects from the rows of `tied (_key, _rank)` those that the table must take. A row of the table belongs to the load that last wrote it, or to a
-- load with a higher rank that has since found it unchanged. Loads that were undone do not count, as far as their rows were given back. If the
-- lineage was deleted or never had the row, the owner is unknown, and the table keeps its row.
undone as materialized (:undone), given_back as materialized (:given_back), entry as materialized (
    select n.key as _key, :rank as _rank, b.tick as _tick, n.outcome <> 'unchanged' as _wrote, false as _own,
        b.load_id in (select _load from undone) as _undone
    from etl.load_batch b join etl.lineage i using (load_id, batch) join etl.load o on o.id = b.load_id
        cross join lateral unnest(i.keys, i.lines, i.outcomes) as n (key, line, outcome)
    where (select count(*) > 0 from tied) and i.dataset = :dataset and b.tick > :since :but
        and i.lowest_key <= (select left(max(_key collate "C"), 200) from tied)
        and i.highest_key >= (select left(min(_key collate "C"), 200) from tied)
        and n.outcome in ('inserted', 'updated', 'unchanged') and o.bucket <> :undo_bucket
        -- This form makes the planner use a hash for the keys, however few it expects.
        and case when n.key in (select _key from tied) then true end
    union all
    select p.key, :parked_rank, p.tick, p.outcome <> 'unchanged', false, p.load_id in (select _load from undone)
    from etl.parked p join etl.load o on o.id = p.load_id
    where p.dataset = :dataset and p.key = any (array(select _key from tied)) and p.tick > :since
        and p.outcome in ('inserted', 'updated', 'unchanged')
        and p.released_xid is distinct from pg_current_xact_id()::xid
    union all
    select _key, _rank, null, false, true, false from tied
), won as materialized (
    select _key from (
        select *, max(_tick) filter (where _wrote) over (partition by _key) as _last from entry c
        where not _undone or _wrote and not exists (
            select from given_back g where g._key = c._key and g._tick > c._tick)) e
    group by _key
    having coalesce(max(_rank) filter (where not _own and _tick >= coalesce(_last, 0)) < max(_rank) filter (where _own), true)
        and coalesce(max(_last), :since) > 0
        and coalesce(max(_last) > (select tick from etl.forgotten), :since >= (select tick from etl.forgotten))
)
