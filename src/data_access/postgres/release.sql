-- Loads parked rows whose reference has arrived. Of several rows with the same key, the newest is loaded and the others are stale. A row whose
-- `outcome` is null stays parked for the next call.
-- Parameters: 1 the load that parked them, or null for any; 2 the load that releases them, or null for those that parked them; 3 the most rows; for
-- a page also 4 and 5, its first and its last reference key. `decision` is that of `decide.sql` about the rows of `ready`.
with waiting as materialized (
    select p.load_id, p.record, p.line, p.key, :rank as load_rank, p.content:row_version
    :ready
        and ($2::bigint is not null or l.finished_at is not null)
    order by p.key, :newest load_rank desc, p.record desc limit $3 for update of p
), ranked as (
    select *, row_number() over (partition by key order by :newest load_rank desc, record desc) as rank from waiting
), ready as (
    select w.record as _record, w.line as _line, w.load_rank as _rank, w.load_id as _load, _x.*
    from ranked w cross join lateral jsonb_to_record(w.content) as _x (:typed) where w.rank = 1
), :decision, confirmed as materialized (
    -- A row that is found unchanged is locked, so that a load with a lower rank sees this.
    select :key_of_t from :table t
    where (:key_of_t, t.ctid) in (select :key, _seen from candidate where _plan = 'unchanged')
    order by :key_of_t for no key update
), settled as (
    select r.load_id, r.record, r.key, r.load_rank, r.rank = 1 and c._plan = 'tied' as tied,
        case when r.rank > 1 then 'stale'
             when c._plan = 'parked' or c._plan = 'unchanged' and (:key_of_c) not in (select * from confirmed) then null
             else :outcome end as outcome,
        case when r.rank = 1 then c._disagreements else 0 end as warnings
    from ranked r join candidate c on :is_candidate left join written w on :is_written
), released as (
    update etl.parked p
    set released_by = coalesce($2, p.load_id), released_at = clock_timestamp(), released_xid = pg_current_xact_id()::xid,
        tick = nextval('etl.clock'), outcome = s.outcome, warnings = s.warnings
    from settled s where p.load_id = s.load_id and p.record = s.record and s.outcome is not null
)
select count(outcome) as released, array_agg(key) filter (where tied and outcome = 'updated') as overwritten,
    array_agg(load_rank) filter (where tied and outcome = 'updated') as ranks,
    array_agg(load_id) filter (where tied and outcome = 'updated') as overwriting,
    array_agg(load_id) filter (where outcome is not null) as freed,
    array_agg(warnings::bigint) filter (where outcome is not null) as freed_warnings
from settled
