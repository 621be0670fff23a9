-- Whether the counts of some loads that have ended (`:ended`) differ from those of their batches, parked rows and released rows.
with ended as materialized (:ended) select l.id, not (
    l.read = l.inserted + l.updated + l.removed + l.unchanged + l.stale + l.parked + l.rejected + l.withheld
    and (l.inserted, l.updated, l.removed, l.unchanged, l.stale, l.parked)
        = (b.inserted, b.updated, b.removed, b.unchanged, b.stale, b.parked)
    and (l.state <> 'loaded' or (l.read, l.rejected) = (b.read, b.rejected))
    and l.parked = (select count(*) from etl.parked p where p.load_id = l.id)
    and l.released = (select count(*) from etl.parked p where p.released_by = l.id and p.outcome <> 'expired')
    and l.expired = (select count(*) from etl.parked p where p.load_id = l.id and p.outcome = 'expired')) as wrong
from ended join etl.load l using (id) cross join lateral (
    select coalesce(sum(inserted), 0) as inserted, coalesce(sum(updated), 0) as updated,
        coalesce(sum(removed), 0) as removed,
        coalesce(sum(unchanged), 0) as unchanged, coalesce(sum(stale), 0) as stale,
        coalesce(sum(parked), 0) as parked, coalesce(sum(rejected), 0) as rejected,
        coalesce(sum(last_record - first_record + 1), 0) as read
    from etl.load_batch where load_id = l.id) b
order by l.id
