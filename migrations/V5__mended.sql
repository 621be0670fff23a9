-- Bad rows that are explained, mended and closed, and where every row came from.

-- By which S3 reads this very version; null where the bucket keeps none.
alter table etl.load add column version_id text;
update etl.load set version_id = version
    where bucket <> 'file' and version <> '' and version !~ '^[0-9a-f]{32}(-[0-9]+)?$';
-- The file's own header, which its rejects file needs, and the bucket in which that one lies under `rejects_key`.
alter table etl.load add column header bytea;
alter table etl.load add column rejects_bucket text;

-- `first_load_id` and `first_record` name the reject as which a bad row came first: itself, or an earlier one that it was
-- to mend. All rejects with the same two numbers are one row of somebody's work.
alter table etl.reject
    add column byte_offset   bigint,
    add column byte_length   bigint,
    add column key           text,
    add column first_load_id bigint,
    add column first_record  bigint,
    add column resolved_by   bigint references etl.load (id) on delete set null,
    add column resolved_at   timestamptz;
update etl.reject set first_load_id = load_id, first_record = record;
alter table etl.reject
    alter column first_load_id set not null,
    alter column first_record set not null,
    add constraint an_open_reject_is_resolved_by_none check (state = 'resolved' or resolved_by is null);
create index reject_open on etl.reject (load_id) where state = 'open';
create index reject_by_first on etl.reject (first_load_id, first_record);
-- A key may be longer than an entry of a tree.
create index reject_by_key on etl.reject using hash (key);

-- Records that say which reject they are to mend, by `_load_id` and `_record` of a rejects file; with the numbers as which
-- that row was bad first.
create table etl.resubmission (
    load_id       bigint not null references etl.load (id) on delete cascade,
    record        bigint not null,
    line          bigint not null,
    first_load_id bigint not null,
    first_record  bigint not null,
    primary key (load_id, record),
    unique (load_id, line)
);

alter table etl.parked add column line bigint;

-- What became of each accepted row, a batch in one row here: keys, lines and outcomes stand in the same order. Of the lowest
-- and the highest key the first 200 characters are enough to find a batch.
create type etl.row_outcome as enum ('inserted', 'updated', 'unchanged', 'stale', 'parked');
create table etl.lineage (
    load_id     bigint not null references etl.load (id) on delete cascade,
    batch       integer not null,
    dataset     text not null,
    lowest_key  text collate "C" not null,
    highest_key text collate "C" not null,
    keys        text[] not null,
    lines       bigint[] not null,
    outcomes    etl.row_outcome[] not null,
    primary key (load_id, batch)
);
create index lineage_by_key on etl.lineage (dataset, lowest_key, highest_key);

-- The bad rows that wait for somebody, each once: of several attempts to mend one the last. Where that was resolved by hand,
-- nobody waits for the others either.
create view etl.open_reject as
select l.dataset, r.load_id, l.bucket, l.key as file, r.record, r.line, r."column", r.rule, r.message, r.value, r.key,
    l.started_at as rejected_at, l.state as load_state, r.first_load_id, r.first_record, r.id as reject_id
from etl.reject r join etl.load l on l.id = r.load_id
where r.state = 'open' and not exists (
    select from etl.reject later
    where later.first_load_id = r.first_load_id and later.first_record = r.first_record
        and later.load_id > r.load_id and later.resolved_by is null);

-- Every load, also while it runs: then with what its batches have committed so far.
create view etl.load_history as
select l.id as load_id, l.dataset, l.bucket, l.key as file, l.version, l.run, l.state, l.reason, l.error, l.attempt,
    l.started_at, l.finished_at, coalesce(l.finished_at, clock_timestamp()) - l.started_at as duration,
    l.read, n.inserted, n.updated, n.unchanged, n.stale, n.parked, n.rejected, l.withheld, n.warnings, l.released,
    (select count(distinct record) from etl.open_reject o where o.load_id = l.id) as open_rejects,
    (select count(*) from etl.parked p where p.load_id = l.id and p.released_by is null) as still_parked,
    l.dataset_version, l.rejects_bucket, l.rejects_key
from etl.load l cross join lateral (
    select l.inserted, l.updated, l.unchanged, l.stale, l.parked, l.rejected, l.warnings where l.state <> 'loading'
    union all
    select coalesce(sum(inserted), 0)::bigint, coalesce(sum(updated), 0)::bigint, coalesce(sum(unchanged), 0)::bigint,
        coalesce(sum(stale), 0)::bigint, coalesce(sum(parked), 0)::bigint, coalesce(sum(rejected), 0)::bigint,
        coalesce(sum(warnings), 0)::bigint
    from etl.load_batch where load_id = l.id having l.state = 'loading') n;

-- What waits for which row of another dataset, and since when.
create view etl.parked_age as
select dataset, reference_dataset, reference_key, count(*) as rows, min(parked_at) as oldest,
    clock_timestamp() - min(parked_at) as age, array_agg(distinct load_id order by load_id) as loads
from etl.parked where released_by is null group by 1, 2, 3;

grant select, insert, update on etl.lineage, etl.resubmission to small_etl_ingest;
grant select on etl.open_reject, etl.load_history, etl.parked_age to small_etl_ingest;
-- The nightly run deletes rejects whose time is over.
grant delete on etl.reject to small_etl_ingest;
