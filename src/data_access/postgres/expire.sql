-- Ends the waiting of rows that have waited for too long, and whose reference has not arrived. They become rejects of the loads that parked
-- them, each of the row as which it was bad first. Returns those loads with the number of their rows.
-- Parameters: 1 null, 2 the days, 3 the most rows.
with due as materialized (
    select p.load_id, p.record from etl.parked p join etl.load l on l.id = p.load_id and l.finished_at is not null
    where p.dataset = :dataset and p.reference_dataset = :target and p.released_by is null
        and p.parked_at < clock_timestamp() - make_interval(days => $2)
        and (p.load_id, p.record) not in (select p.load_id, p.record :arrived)
    order by 1, 2 limit $3 for update of p skip locked
), expired as (
    update etl.parked p set released_by = p.load_id, released_at = clock_timestamp(),
        released_xid = pg_current_xact_id()::xid, tick = nextval('etl.clock'), outcome = 'expired'
    from due d where p.load_id = d.load_id and p.record = d.record returning p.*
), rejected as (
    insert into etl.reject (load_id, record, line, "column", rule, message, key, first_load_id, first_record)
    select e.load_id, e.record, coalesce(e.line, 0), :column, 'reference',
        format('refers to %s %s, which has not come within %s days', e.reference_dataset, e.reference_key, $2::integer),
        e.key, coalesce(s.first_load_id, e.load_id), coalesce(s.first_record, e.record)
    from expired e left join etl.resubmission s on s.load_id = e.load_id and s.record = e.record
)
update etl.load l set expired = l.expired + e.rows
from (select load_id, count(*) as rows from expired group by 1) e where l.id = e.load_id
returning l.id, e.rows
