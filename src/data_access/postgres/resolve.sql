-- Runs in the transaction that ends load :load (:closing is true), or in which parked rows were released on its behalf at night. Resolves every
-- reject that was mended by the load's rows, or by the parked rows that it released; and if it ends, those of its own rejects that later loads
-- have mended, which overtook it. Of two loads, the one that ends last finds what the rows of the later one mend in the other. So it
-- starts from rows of this load, and does not look at the other open rejects of the dataset. `good_row` has the rows that may mend something
-- (`resolve_begin.sql`, `resolve_own.sql`, `resolve_later.sql`).

analyze good_row;

-- A good row that names the reject that it mends resolves all rejects of that bad row. A good row that names none
-- resolves the rejects with its key, and whatever the same bad rows were before. It does not if its own load also has a
-- bad row with that key: then it is unclear which of the two rows replaces the old one. Nor does it if its object arrived
-- before that of the bad row, where arrival decides.
insert into chain_row
select first_load_id, first_record, load_id - 1, load_id, mended_by, true from good_row where first_load_id is not null
union
select o.first_load_id, o.first_record, o.load_id, m.load_id, m.mended_by, false
from good_row m join etl.reject o on o.key = m.key and o.state = 'open' and o.load_id < m.load_id
    join etl.load l on l.id = o.load_id and l.dataset = m.dataset and l.finished_at is not null
    join etl.load own on own.id = m.load_id and (l.arrival is null or own.arrival is null or l.rank < own.rank)
where m.first_load_id is null and :closable and not exists (
    select from etl.reject b where b.load_id = m.load_id and b.key = m.key and b.rule <> 'unique');
analyze chain_row;

insert into mended_row
select o.id, c.mended_by, c.load_id
from chain_row c join etl.reject o using (first_load_id, first_record) join etl.load l on l.id = o.load_id and l.finished_at is not null
    -- Where arrival decides, what the bad row became in an object that arrived later is not mended by its key.
    join etl.load m on m.id = c.load_id and (c.is_named or l.arrival is null or m.arrival is null or l.rank < m.rank)
where o.state = 'open' and :closable and (o.load_id <= c.last_load_id
    -- A row that names its reject waited while the file of that was loaded again. A content that came back is not the same file.
    or c.is_named and o.load_id <> c.load_id and exists (
        select from etl.reject e join etl.load f on f.id = e.load_id
        where e.first_load_id = c.first_load_id and e.first_record = c.first_record and e.load_id <= c.last_load_id
            and coalesce(f.origin, f.id) = coalesce(l.origin, l.id)))
union all
-- The very line of the same version of a file is good now. Of such a reject nobody need know the key.
select o.id, g.mended_by, g.load_id
from (select distinct load_id from good_row) r join etl.load own on own.id = r.load_id
    join etl.load l on l.bucket = own.bucket and l.key = own.key and l.version = own.version and l.part = own.part and l.dataset = own.dataset
        and l.id < own.id and l.finished_at is not null
    join etl.reject o on o.load_id = l.id and o.state = 'open'
    join good_row g on g.load_id = own.id and g.line = o.line
where own.state = 'loaded'
union all
-- All that a failed load of the file has left.
select o.id, w.id, w.id
from etl.load w join etl.load l on l.bucket = w.bucket and l.key = w.key and l.part = w.part and l.dataset = w.dataset
        and l.id < w.id and l.state = 'failed'
    join etl.reject o on o.load_id = l.id and o.state = 'open'
where :closing and w.id = :load and w.state = 'loaded'
union all
select o.id, w.id, w.id
from etl.load l cross join lateral (
        select min(w.id) as id from etl.load w where w.bucket = l.bucket and w.key = l.key and w.part = l.part and w.dataset = l.dataset
            and w.id > l.id and w.state = 'loaded') w
    join etl.reject o on o.load_id = l.id and o.state = 'open'
where :closing and l.id = :load and l.state = 'failed' and w.id is not null;

-- What is still bad in the load of the good row stays open.
update etl.reject r set state = 'resolved', resolved_at = clock_timestamp(), resolved_by = m.mended_by
from (
    select d.id, min(d.mended_by) as mended_by from mended_row d join etl.reject o using (id) where not exists (
        select from etl.reject still where still.first_load_id = o.first_load_id and still.first_record = o.first_record
            and still.state = 'open' and still.load_id = d.load_id and still.load_id > o.load_id)
    group by d.id) m
where r.id = m.id;
