-- Runs before the rows of load :load are read, in the transaction that ends it (:closing is true), or in which parked rows were released on its
-- behalf at night. Notes what makes a row worth a look: few rows mend anything, and only those are kept in `good_row`.

set client_min_messages = warning;
create temporary table if not exists good_row (
    load_id bigint, dataset text, key text, line bigint, mended_by bigint, first_load_id bigint, first_record bigint) on commit delete rows;
create temporary table if not exists chain_row (
    first_load_id bigint, first_record bigint, last_load_id bigint, load_id bigint, mended_by bigint, is_named boolean) on commit delete rows;
create temporary table if not exists mended_row (id bigint, mended_by bigint, load_id bigint) on commit delete rows;
create temporary table if not exists again_line (load_id bigint, line bigint) on commit delete rows;
create temporary table if not exists open_key (key text) on commit delete rows;
create temporary table if not exists named_row (load_id bigint, record bigint, line bigint) on commit delete rows;
-- The nightly run releases rows of several loads in one transaction.
delete from good_row;
delete from chain_row;
delete from mended_row;
delete from again_line;
delete from open_key;
delete from named_row;

-- The lines that were bad when the same version of a file was loaded before.
insert into again_line
select distinct own.id, o.line
from (select :load as id union select load_id from etl.parked where released_by = :load) r join etl.load own on own.id = r.id
    join etl.load l on l.bucket = own.bucket and l.key = own.key and l.version = own.version and l.part = own.part and l.dataset = own.dataset
        and l.id < own.id
    join etl.reject o on o.load_id = l.id and o.state = 'open';
analyze again_line;

-- The keys of the load's own rejects, and the records of later loads that were to mend them.
insert into open_key
select distinct key from etl.reject where :closing and load_id = :load and state = 'open' and key is not null;
insert into named_row
select s.load_id, s.record, s.line
from (select distinct first_load_id, first_record from etl.reject where :closing and load_id = :load and state = 'open') b
    join etl.resubmission s using (first_load_id, first_record)
where s.load_id > :load;
analyze open_key;
analyze named_row;

-- Parked rows that the load released, and its own that other loads have released. One that a later run of its file has discarded says nothing: the
-- later run has that row itself, and it may wait once more.
insert into good_row
select p.load_id, p.dataset, p.key, p.line, p.released_by, s.first_load_id, s.first_record
from (
    select p.* from etl.parked p join etl.load w on w.id = p.load_id and w.finished_at is not null
    where p.released_by = :load and p.outcome <> 'expired'
    union all
    select p.* from etl.parked p where :closing and p.load_id = :load and p.released_by <> :load) p
    left join etl.resubmission s on s.load_id = p.load_id and s.line = p.line
where not (:discarded) and (s.load_id is not null or (p.load_id, p.line) in (select load_id, line from again_line)
    or (select true from etl.reject r where r.key = p.key and r.state = 'open' and r.load_id < p.load_id limit 1));

-- Those of later loads, as far as they concern the load's own rejects.
insert into good_row
select p.load_id, p.dataset, p.key, p.line, p.released_by, s.first_load_id, s.first_record
from (
    select p.load_id, p.record from open_key k join etl.load own on own.id = :load
        join etl.parked p on p.dataset = own.dataset and p.key = k.key and p.load_id > own.id
    union
    select load_id, record from named_row) c
    join etl.parked p using (load_id, record) join etl.load own on own.id = :load and own.dataset = p.dataset
    join etl.load w on w.id = p.load_id and w.finished_at is not null
    left join etl.resubmission s on s.load_id = p.load_id and s.line = p.line
where p.released_by is not null and p.outcome <> 'expired' and not (:discarded);
