-- Runs in the transaction that ends load :load, if its dataset has an open reject. Links the load's rejects with the
-- earlier ones that they were to mend, and resolves every reject that was mended by its rows, or by the parked rows
-- that it released. The joined rows are in temporary tables with indexes and statistics: without them, the planner
-- would compare 200,000 rejects each with each.

set client_min_messages = warning;
create temporary table if not exists bad_row (record bigint primary key, key text, lost boolean) on commit delete rows;
create temporary table if not exists linked_row (
    record bigint primary key, first_load_id bigint, first_record bigint, state text, resolved_by bigint,
    resolved_at timestamptz) on commit delete rows;
create index if not exists linked_row_by_first on linked_row (first_load_id, first_record);
create temporary table if not exists waiting_row (
    key text, nth bigint, first_load_id bigint, first_record bigint) on commit delete rows;
create index if not exists waiting_row_by_key on waiting_row using hash (key);
create temporary table if not exists open_row (
    id bigint primary key, load_id bigint, key text, first_load_id bigint, first_record bigint, dataset text,
    whole bigint, closable boolean) on commit delete rows;
create index if not exists open_row_by_key on open_row using hash (key);
create index if not exists open_row_by_first on open_row (first_load_id, first_record);
-- The nightly run ends several loads in one transaction.
delete from bad_row;
delete from linked_row;
delete from waiting_row;
delete from open_row;

-- A row that lost to another row of its file says nothing about its key. A resolved reject stays resolved.
insert into bad_row
select record, min(key), bool_and(rule = 'unique') from etl.reject where load_id = :load and state = 'open' group by record;
analyze bad_row;

-- A bad row continues an earlier one if it says so, or if the very same version of a file is loaded again. In the
-- second case the earlier row may already have been mended.
insert into linked_row
with again as (
    select distinct on (b.record) b.record, r.first_load_id, r.first_record, r.state, r.resolved_by, r.resolved_at
    from etl.load own join etl.load l on l.bucket = own.bucket and l.key = own.key and l.version = own.version
            and l.part = own.part and l.dataset = own.dataset and l.id < own.id
        join etl.reject r on r.load_id = l.id join bad_row b on b.record = r.record
    where own.id = :load order by b.record, l.id desc)
select record, coalesce(s.first_load_id, a.first_load_id), coalesce(s.first_record, a.first_record),
    a.state, a.resolved_by, a.resolved_at
from again a full join (
    select s.record, s.first_load_id, s.first_record
    from etl.resubmission s join bad_row b using (record) where s.load_id = :load) s using (record);
analyze linked_row;

-- Otherwise it continues an earlier one that has the same key. If there are several with one key, each takes one.
insert into waiting_row
select key, row_number() over (partition by key order by load_id desc, record), first_load_id, first_record from (
    select distinct on (r.key, r.first_load_id, r.first_record) r.key, r.first_load_id, r.first_record, r.load_id, r.record
    from (select distinct key from bad_row where not lost and key is not null) b join etl.reject r on r.key = b.key
        join etl.load l on l.id = r.load_id join etl.load own on own.id = :load and own.dataset = l.dataset
    where r.state = 'open' and l.id < own.id and not exists (
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

-- The rejects that may be resolved. Rejects of a failed load wait until the whole file is loaded, unless they are lines
-- of a rejects file themselves: the rest of such a file is recorded in other rejects.
insert into open_row
select r.id, r.load_id, r.key, r.first_load_id, r.first_record, l.dataset, w.id,
    l.state <> 'failed' or w.id is not null
        or exists (select from etl.resubmission s where s.load_id = r.load_id and s.record = r.record)
from etl.load own join etl.load l on l.dataset = own.dataset
        or l.dataset in (select dataset from etl.parked where released_by = own.id)
    join etl.reject r on r.load_id = l.id and r.state = 'open'
    left join lateral (
        select min(w.id) as id from etl.load w where l.state = 'failed' and w.bucket = l.bucket and w.key = l.key
            and w.part = l.part and w.dataset = l.dataset and w.id > l.id and w.state = 'loaded') w on true
where own.id = :load and l.finished_at is not null;
analyze open_row;

-- A good row that names the reject that it mends resolves all rejects of that bad row. A good row that names none
-- resolves the rejects with its key, and whatever the same bad rows were before. It does not if its own load also has a
-- bad row with that key: then it is unclear which of the two rows replaces the old one. Later loads are included,
-- because a load that overtook this one saw none of its rejects. A load that has not ended may still produce such a bad
-- row, and does this itself when it ends. What is still bad in the load of the good row stays open.
with settled as (
    select i.load_id, i.dataset, n.key, n.line, i.load_id as mended_by
    from etl.load own join etl.lineage i on i.dataset = own.dataset and i.load_id >= :load
        join etl.load w on w.id = i.load_id and w.finished_at is not null and w.bucket <> 'undo://'
        cross join lateral unnest(i.keys, i.lines, i.outcomes) as n (key, line, outcome)
    where own.id = :load and n.outcome <> 'parked' and exists (select from open_row o where o.load_id < i.load_id)
    union all
    select p.load_id, p.dataset, p.key, p.line, p.released_by
    from etl.load own join etl.parked p on p.released_by = own.id
        or p.dataset = own.dataset and p.load_id >= own.id and p.released_by is not null
        join etl.load w on w.id = p.load_id and w.finished_at is not null
    where own.id = :load and exists (select from open_row o where o.load_id < p.load_id)
), mending as (
    select g.*, s.first_load_id, s.first_record
    from settled g left join etl.resubmission s on s.load_id = g.load_id and s.line = g.line
), chain as (
    select first_load_id, first_record, load_id - 1 as last_load_id, load_id, mended_by
    from mending where first_load_id is not null
    union
    select o.first_load_id, o.first_record, o.load_id, m.load_id, m.mended_by
    from mending m join open_row o on o.key = m.key and o.dataset = m.dataset
    where m.first_load_id is null and o.load_id < m.load_id and o.closable and not exists (
        select from etl.reject b where b.load_id = m.load_id and b.key = m.key and b.rule <> 'unique')
), mended as (
    select o.id, c.mended_by, c.load_id from chain c join open_row o using (first_load_id, first_record)
    where o.load_id <= c.last_load_id and o.closable
    union all
    select id, whole, whole from open_row where whole = :load or load_id = :load and whole is not null
)
update etl.reject r set state = 'resolved', resolved_at = clock_timestamp(), resolved_by = m.mended_by
from (
    select d.id, min(d.mended_by) as mended_by from mended d join open_row o using (id) where not exists (
        select from etl.reject still where still.first_load_id = o.first_load_id and still.first_record = o.first_record
            and still.state = 'open' and still.load_id = d.load_id and still.load_id > o.load_id)
    group by d.id) m
where r.id = m.id;
