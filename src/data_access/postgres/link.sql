-- Runs in the transaction that ends load :load, if it has an open reject. Links the load's rejects with the earlier ones that they were
-- to mend. The joined rows are in temporary tables with indexes and statistics: without them, the planner would compare 200,000 rejects
-- each with each.

set client_min_messages = warning;
create temporary table if not exists bad_row (record bigint primary key, key text, lost boolean, line bigint) on commit delete rows;
create temporary table if not exists linked_row (
    record bigint primary key, first_load_id bigint, first_record bigint, state text, resolved_by bigint,
    resolved_at timestamptz) on commit delete rows;
create index if not exists linked_row_by_first on linked_row (first_load_id, first_record);
create temporary table if not exists waiting_row (
    key text, nth bigint, first_load_id bigint, first_record bigint) on commit delete rows;
create index if not exists waiting_row_by_key on waiting_row using hash (key);
delete from bad_row;
delete from linked_row;
delete from waiting_row;

-- A row that lost to another row of its file says nothing about its key. A resolved reject stays resolved.
insert into bad_row
select record, min(key), bool_and(rule = 'unique'), min(line) from etl.reject where load_id = :load and state = 'open' group by record;
analyze bad_row;

-- A bad row continues an earlier one if it says so, or if the very same version of a file is loaded again. In the
-- second case the earlier row may already have been mended, also if its load failed, so that it waited for the whole file.
insert into linked_row
with again as (
    select distinct on (b.record) b.record, r.first_load_id, r.first_record, r.state, r.resolved_by, r.resolved_at,
        own.state = 'loaded' and l.state = 'failed' and r.state = 'open' as waited
    from etl.load own join etl.load l on l.bucket = own.bucket and l.key = own.key and l.version = own.version
            and l.part = own.part and l.dataset = own.dataset and l.id < own.id
        -- Records have other numbers where a changed definition leaves other lines out.
        join etl.reject r on r.load_id = l.id join bad_row b on b.line = r.line
    where own.id = :load order by b.record, l.id desc
), mended as (
    select a.record, min(s.load_id) as load_id
    from again a join etl.resubmission s using (first_load_id, first_record)
        join etl.load m on m.id = s.load_id and m.id < :load and m.state = 'loaded'
    where a.waited and m.id not in (:undone)
        and not exists (select from etl.reject r where r.load_id = s.load_id and r.record = s.record)
        and not exists (select from etl.parked p where p.load_id = s.load_id and p.record = s.record and p.released_by is null)
    group by 1
)
select record, coalesce(s.first_load_id, a.first_load_id), coalesce(s.first_record, a.first_record),
    case when m.load_id is null then a.state else 'resolved' end, coalesce(a.resolved_by, m.load_id),
    coalesce(a.resolved_at, case when m.load_id is not null then clock_timestamp() end)
from again a full join (
    select s.record, s.first_load_id, s.first_record
    from etl.resubmission s join bad_row b using (record) where s.load_id = :load) s using (record) left join mended m using (record);
analyze linked_row;

-- Otherwise it continues an earlier one that has the same key; where arrival decides, one whose object arrived before.
-- If there are several with one key, each takes one.
insert into waiting_row
select key, row_number() over (partition by key order by rank desc nulls last, load_id desc, record), first_load_id, first_record from (
    select distinct on (r.key, r.first_load_id, r.first_record) r.key, r.first_load_id, r.first_record, r.load_id, r.record,
        case when l.arrival is not null then l.rank end as rank
    from (select distinct key from bad_row where not lost and key is not null) b join etl.reject r on r.key = b.key
        join etl.load l on l.id = r.load_id join etl.load own on own.id = :load and own.dataset = l.dataset
    where r.state = 'open' and l.id < own.id and (l.arrival is null or own.arrival is null or l.rank < own.rank) and not exists (
        select from linked_row k where k.first_load_id = r.first_load_id and k.first_record = r.first_record)
    order by r.key, r.first_load_id, r.first_record, r.load_id desc, r.record) w;
analyze waiting_row;

insert into linked_row
select n.record, w.first_load_id, w.first_record from (
    select b.record, b.key, row_number() over (partition by b.key order by b.record) as nth from bad_row b
    where not b.lost and b.key is not null and not exists (select from linked_row k where k.record = b.record)) n
join waiting_row w using (key, nth);
analyze linked_row;

update etl.reject r set first_load_id = k.first_load_id, first_record = k.first_record,
    state = coalesce(k.state, r.state), resolved_by = k.resolved_by, resolved_at = k.resolved_at
from linked_row k where r.load_id = :load and r.record = k.record and r.state = 'open';
