-- What decides between two rows with one key and one time, without asking which transaction wrote a row: that number is lost
-- when a table is altered, dumped or moved. docs/decisions/0004 says how.

-- In the order in which a batch takes them, so that this migration waits for batches while it holds nothing that they need. A load that
-- ends takes them in another order; of the two, the one that Postgres stops begins again.
lock table etl.load_batch, etl.lineage, etl.parked, etl.load in access exclusive mode;

-- A counter that no clock change moves back and that a dump keeps: a number for each claim, batch and release.
create sequence etl.clock;

-- `modified_at`: when this version of the file was written, as S3 (or the file system) says.
-- `max_future_seconds`: a row whose version lies further than this after the first claim is a reject; null where there was no bound yet.
-- `claimed_tick`: a batch with a lower tick belongs to a load that was claimed earlier.
-- `precedes`: a newer version of the same object was claimed before, by this load; this one ranks right below it.
alter table etl.load
    add column modified_at timestamptz,
    add column max_future_seconds bigint,
    add column claimed_tick bigint,
    add column precedes bigint;
-- A late load has lost every tie so far, and goes on to.
update etl.load set precedes = 0 where late;
-- What was there before has its time as its tick, in microseconds: each table is written anew once, and no row is sorted or joined.
-- Of two rows with one key and one time the one stays whose load has the higher rank: the order of the claims, but for versions
-- of one object that are claimed the other way round.
alter table etl.load
    alter column claimed_tick type bigint using (extract(epoch from started_at) * 1000000)::bigint - 1,
    add column rank text collate "C" not null generated always as (
        lpad(coalesce(precedes, id)::text, 19, '0') || rpad(lower(coalesce(sequencer, '')), 64, '0') || lpad(id::text, 19, '0')) stored;

-- Whether one version of an object was written after another: by the sequencers of S3 where both have one (what begins with #
-- is a rank in a listing, and none), else by the times. False where that is not known.
create function etl.is_later(sequencer text, modified_at timestamptz, than_sequencer text, than_modified_at timestamptz)
returns boolean language sql immutable parallel safe as $$
    select coalesce(case when sequencer not like '#%' and than_sequencer not like '#%'
        then rpad(lower(sequencer), 64, '0') collate "C" > rpad(lower(than_sequencer), 64, '0') collate "C"
        else modified_at > than_modified_at end, false)
$$;

create index load_unfinished on etl.load (dataset) where finished_at is null;

-- The tick is taken when all rows of the batch are written, so that of two batches with one key the second has the higher one.
-- That of a parked row is taken when it is released.
alter table etl.load_batch add column tick bigint;
alter table etl.parked add column tick bigint;

drop index etl.load_batch_by_transaction;
alter table etl.load_batch alter column tick type bigint using (extract(epoch from committed_at) * 1000000)::bigint;
alter table etl.parked alter column tick type bigint using (extract(epoch from released_at) * 1000000)::bigint;
select setval('etl.clock', greatest(
    (select max(claimed_tick) from etl.load), (select max(tick) from etl.load_batch), (select max(tick) from etl.parked), 1));

alter table etl.load alter column claimed_tick set not null, alter column claimed_tick set default nextval('etl.clock');
alter table etl.load_batch alter column tick set not null, alter column tick set default nextval('etl.clock');
create index load_batch_by_tick on etl.load_batch (tick);
create index parked_waiting_by_key on etl.parked (dataset, key) where released_by is null;

-- Up to which tick something of the lineage was deleted. What a load that was claimed before then may overwrite at equal times
-- is not known any more, and so nothing.
create table etl.forgotten (tick bigint not null);
create unique index forgotten_once on etl.forgotten ((true));
insert into etl.forgotten
select coalesce(max(tick), 0) from etl.load_batch b
where inserted + updated + unchanged > 0 and not exists (
    select from etl.lineage i where i.load_id = b.load_id and i.batch = b.batch);

create function etl.note_forgotten() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    last bigint;
begin
    if tg_op = 'TRUNCATE' then
        last := nextval('etl.clock');
    elsif tg_table_name = 'lineage' then
        -- Where the batches go as well, they are noted themselves.
        select max(b.tick) into last from gone join etl.load_batch b using (load_id, batch);
    else
        select max(tick) into last from gone;
    end if;
    update etl.forgotten set tick = last where tick < last;
    return null;
end
$$;
create trigger forgotten after delete on etl.lineage referencing old table as gone
    for each statement execute function etl.note_forgotten();
create trigger forgotten after delete on etl.load_batch referencing old table as gone
    for each statement execute function etl.note_forgotten();
create trigger forgotten after delete on etl.parked referencing old table as gone
    for each statement execute function etl.note_forgotten();
create trigger forgotten_all after truncate on etl.lineage for each statement execute function etl.note_forgotten();
create trigger forgotten_all after truncate on etl.load_batch for each statement execute function etl.note_forgotten();
create trigger forgotten_all after truncate on etl.parked for each statement execute function etl.note_forgotten();

grant usage on sequence etl.clock to small_etl_ingest;
grant select on etl.forgotten to small_etl_ingest;
grant execute on function etl.is_later(text, timestamptz, text, timestamptz) to small_etl_ingest;
