-- Nothing grows for ever by itself: loads that ended long ago are pruned, rows that waited too long become rejects, and the content of a
-- row that waits no more is not kept.

-- What stays when a load is pruned refers to it by its number alone. Nothing here rewrites a table or reads a large one, so the locks are
-- held for a moment. They are taken in the order in which a batch takes them.
lock table etl.reject, etl.parked, etl.scope, etl.load in access exclusive mode;
alter table etl.reject drop constraint reject_resolved_by_fkey;
alter table etl.parked drop constraint parked_released_by_fkey;
alter table etl.scope drop constraint scope_load_id_fkey;

-- `rank`: that of the load, once the load is pruned.
alter table etl.scope add column rank text collate "C";
create index scope_load on etl.scope (load_id);

-- A row that waited too long: it is released by its own load as `expired`, and is a reject with rule `reference` from then on. It stays in the
-- sum of its load as parked; `expired` counts such rows. What is there holds without being looked at: it had to be one of four outcomes so far.
alter table etl.load add column expired bigint not null default 0;
alter table etl.parked
    drop constraint parked_outcome_check,
    add constraint parked_outcome_check check (outcome in ('inserted', 'updated', 'unchanged', 'stale', 'expired')) not valid;

-- A row that waits no more is in the table, or in no need of it: its content is not kept, unless a session says
-- `set small_etl.keep_content = 'on'`, because an undo may let the row wait again.
create function etl.forget_content() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('small_etl.keep_content', true) is distinct from 'on' then
        new.content := '{}';
    end if;
    return new;
end
$$;
create trigger content_forgotten before update of released_by on etl.parked for each row
    when (old.released_by is null and new.released_by is not null and new.outcome is distinct from 'expired')
    execute function etl.forget_content();

-- With the time of the transaction: a function whose result changes within a statement keeps the planner from looking at the newest loads alone, and
-- it counted the rejects and parked rows of all.
create or replace view etl.load_history as
select l.id as load_id, l.dataset, l.bucket, l.key as file, l.version, l.run, l.state, l.reason, l.error, l.attempt,
    l.started_at, l.finished_at, coalesce(l.finished_at, now()) - l.started_at as duration,
    l.read, n.inserted, n.updated, n.unchanged, n.stale, n.parked, n.rejected, l.withheld, n.warnings, l.released,
    (select count(distinct record) from etl.open_reject o where o.load_id = l.id) as open_rejects,
    (select count(*) from etl.parked p where p.load_id = l.id and p.released_by is null) as still_parked,
    l.dataset_version, l.rejects_bucket, l.rejects_key, l.part, l.deleted, n.removed, l.expired
from etl.load l cross join lateral (
    select l.inserted, l.updated, l.unchanged, l.stale, l.parked, l.rejected, l.warnings, l.removed where l.state <> 'loading'
    union all
    select coalesce(sum(inserted), 0)::bigint, coalesce(sum(updated), 0)::bigint, coalesce(sum(unchanged), 0)::bigint,
        coalesce(sum(stale), 0)::bigint, coalesce(sum(parked), 0)::bigint, coalesce(sum(rejected), 0)::bigint,
        coalesce(sum(warnings), 0)::bigint, coalesce(sum(removed), 0)::bigint
    from etl.load_batch where load_id = l.id having l.state = 'loading') n;

-- How long the ledger is kept. Only the owner writes here (`migrate` does, from the settings), so the role of ingest cannot shorten it.
-- `days` is null where everything is kept. Loads that ended before `pruned_before` may be gone.
create table etl.retention (
    only_one      boolean primary key default true check (only_one),
    days          integer check (days > 0),
    pruned_before timestamptz
);
insert into etl.retention (days) values (730);

-- The versions whose loads are pruned: a repeated event is still a duplicate, and a later version still knows which came first. A row goes when its
-- object does not lie in its bucket any more.
create table etl.settled (
    bucket      text not null,
    key         text not null,
    version     text not null,
    part        text not null,
    run         integer not null,
    load_id     bigint not null,
    dataset     text not null,
    source      text,
    parts       text[] not null,
    state       text not null,
    reason      text,
    attempt     integer not null,
    sequencer   text,
    modified_at timestamptz,
    arrival     bigint,
    precedes    bigint,
    origin      bigint,
    finished_at timestamptz not null,
    primary key (bucket, key, version, part, run)
);
-- In the order of a listing.
create index settled_in_order on etl.settled (bucket collate "C", key collate "C");

-- What the pruned loads of a dataset leave together. `rank` and `arrival`: the highest that one of them had. `rows`: how many rows more they inserted than
-- they took away. `wrote` and `dataset_version`: the last of them that wrote rows, and its definition.
create table etl.pruned (
    dataset         text primary key,
    loads           bigint not null,
    rank            text collate "C" not null,
    arrival         bigint,
    rows            bigint not null,
    wrote           bigint,
    dataset_version text
);

-- The loads of all versions that the ledger knows, pruned or not, as far as it says which are settled and in which order they came.
create view etl.known_load as
select id, bucket, key, version, part, run, dataset, source, parts, state, reason, sequencer, modified_at, arrival, precedes, origin,
    finished_at, lease_expires_at, false as pruned
from etl.load
union all
select load_id, bucket, key, version, part, run, dataset, source, parts, state, reason, sequencer, modified_at, arrival, precedes, origin,
    finished_at, finished_at, true
from etl.settled;

-- As in V19; and 0 where a load that ranks above this one, or above a row of it, may be pruned: which rows that one wrote is not known any more.
create or replace function etl.since(own etl.load) returns bigint language sql stable as $$
    select least(
        case when own.precedes is null then own.claimed_tick
            else coalesce((select n.claimed_tick from etl.load n where n.id = own.precedes), 0) end,
        case when own.arrival is not null then (
            select min(o.claimed_tick) from etl.load o
            where o.dataset = own.dataset and o.arrival is not null and o.rank > least(own.rank, own.ranks_from)) end,
        -- The dataset was not ordered by arrival then.
        case when own.ranks_from < 'A' then (
            select min(o.claimed_tick) from etl.load o where o.dataset = own.dataset and o.rank > own.ranks_from) end,
        case when own.arrival is not null or own.ranks_from is not null then (
            select 0::bigint from etl.pruned p where p.dataset = own.dataset and p.rank > least(own.rank, own.ranks_from)) end)
$$;

-- The moment before which things may be pruned: by the clock of the server, and null where everything is kept.
create function etl.cut_off() returns timestamptz language sql stable as $$
    select clock_timestamp() - make_interval(days => days) from etl.retention
$$;

-- The audit trail is append-only for as long as the ledger is kept, whoever deletes.
drop trigger append_only on etl.audit;
create trigger append_only before update or truncate on etl.audit for each statement execute function etl.refuse_change();
create function etl.refuse_young() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from gone where (at < etl.cut_off()) is not true) then
        raise exception 'etl.audit is append-only until its time is over';
    end if;
    return null;
end
$$;
create trigger append_only_for_its_time after delete on etl.audit referencing old table as gone
    for each statement execute function etl.refuse_young();

-- Whether a load may go, as far as it alone says. Its times are not all that counts: the role of ingest can change some of them, and
-- the lines of the audit trail it cannot.
create function etl.is_prunable(l etl.load, before timestamptz) returns boolean language sql stable as $$
    select l.finished_at is not null and l.finished_at < before and l.started_at < before
        -- Rejects are kept by a retention of their own, and rows that wait are still to be loaded.
        and l.rejects_key is null and not exists (select from etl.reject r where r.load_id = l.id)
        -- A load that has released one of its rows counts that row as well.
        and not exists (
            select from etl.parked p left join etl.load y on y.id = p.released_by
            where p.load_id = l.id and (p.released_by is null or p.released_at >= before or y.id is not null and (y.finished_at < before) is not true))
        and not exists (select from etl.audit a where a.load_id = l.id and a.action like 'load %' and a.at >= before)
        -- Mended rows rank with the load that rejected them, for as long as the lineage has these rows.
        and not exists (select from etl.resubmission m where m.ranks_with = l.id)
        -- An undo says that the rows of a load do not count, for as long as the lineage has these rows.
        and case when l.bucket = 'undo://' then not exists (select from etl.load u where u.id = l.key::bigint) else true end
$$;

create function etl.check_cut_off(before timestamptz) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if (before <= etl.cut_off()) is not true then
        raise exception 'the ledger is kept for % days, so nothing is pruned that is younger', (select days from etl.retention)
            using errcode = 'insufficient_privilege';
    end if;
end
$$;

-- Prunes, of the next `most` loads after the load `after`, those that ended before `before`. Loads of one version go together, so that it is never known in
-- part. Returns the last load that was looked at (null at the end) and how many are gone. Another run that prunes at the time has done nothing wrong; then
-- this one does nothing.
create function etl.prune_loads(before timestamptz, after bigint, most integer, out last bigint, out pruned bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    page bigint[];
    going bigint[];
    newest bigint;
begin
    pruned := 0;
    perform etl.check_cut_off(before);
    if not pg_try_advisory_xact_lock(hashtextextended('etl.prune', 0)) then
        return;
    end if;
    update etl.retention set pruned_before = before where (pruned_before >= before) is not true;
    -- Numbers follow the times of the claims closely enough: a load beyond this one is looked at in another night.
    newest := (select id from etl.load where started_at < before order by started_at desc, id desc limit 1);
    page := array(select id from etl.load where id > after and id <= newest order by id limit most);
    last := (select max(id) from unnest(page) as id);
    going := array(
        select l.id
        from (select distinct p.bucket, p.key, p.version from etl.load p where p.id = any (page) and etl.is_prunable(p, before)) v
            join etl.load l on l.bucket = v.bucket and l.key = v.key and l.version = v.version
        where not exists (select from etl.load o where o.bucket = v.bucket and o.key = v.key and o.version = v.version
            and etl.is_prunable(o, before) is not true));
    if going = '{}' then
        return;
    end if;
    -- As a claim locks its object: it decides by what it sees, and must not lose it meanwhile. What is being claimed goes another night.
    going := array(
        with locked as materialized (
            select id, pg_try_advisory_xact_lock(hashtextextended(bucket || '/' || key, 0)) as got from etl.load where id = any (going))
        select id from locked where got);
    -- A claim may have added a run before that.
    going := array(
        select l.id from etl.load l where l.id = any (going) and not exists (
            select from etl.load o where o.bucket = l.bucket and o.key = l.key and o.version = l.version
                and (o.id <> all (going) or etl.is_prunable(o, before) is not true)));
    insert into etl.settled
    select bucket, key, version, part, run, id, dataset, source, parts, state, reason, attempt, sequencer, modified_at, arrival, precedes,
        origin, finished_at
    from etl.load where id = any (going) and bucket not in ('undo://', 'rekey://');
    insert into etl.pruned as p (dataset, loads, rank, arrival, rows, wrote, dataset_version)
    select l.dataset, count(*), max(l.rank), max(l.arrival),
        sum(coalesce(b.rows, 0) + w.rows - case when r.flagged then 0 else l.deleted end),
        max(l.id) filter (where b.wrote), (array_agg(l.dataset_version order by l.id desc) filter (where b.wrote))[1]
    from etl.load l
        left join (
            select load_id, sum(inserted - removed) as rows, bool_or(inserted + updated + unchanged > 0) as wrote
            from etl.load_batch where load_id = any (going) group by 1) b on b.load_id = l.id
        left join etl.replacement r on r.load_id = l.id
        cross join lateral (select count(*) as rows from etl.parked where load_id = l.id and outcome = 'inserted') w
    where l.id = any (going) group by 1
    on conflict (dataset) do update set loads = p.loads + excluded.loads, rank = greatest(p.rank, excluded.rank),
        arrival = greatest(p.arrival, excluded.arrival), rows = p.rows + excluded.rows,
        (wrote, dataset_version) = (select wrote, dataset_version from (values
            (p.wrote, p.dataset_version), (excluded.wrote, excluded.dataset_version)) as v (wrote, dataset_version) order by wrote desc nulls last limit 1);
    update etl.scope s set rank = l.rank from etl.load l where s.load_id = any (going) and l.id = s.load_id;
    delete from etl.lineage where load_id = any (going);
    delete from etl.load_batch where load_id = any (going);
    delete from etl.parked where load_id = any (going);
    delete from etl.delivery where load_id = any (going);
    delete from etl.load where id = any (going);
    get diagnostics pruned = row_count;
    if pruned > 0 then
        insert into etl.audit (action, detail) values ('loads pruned', jsonb_build_object('before', before, 'loads', pruned));
    end if;
end
$$;

-- Deletes up to `most` lines each of the audit trail, of nightly runs and of events that were sent, if they are from before `before`. Returns how many
-- it deleted.
create function etl.prune_records(before timestamptz, most integer, out deleted bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    gone bigint;
begin
    perform etl.check_cut_off(before);
    -- Their numbers follow their times.
    delete from etl.audit where at < before and id in (select id from etl.audit order by id limit most);
    get diagnostics deleted = row_count;
    delete from etl.reconciliation where finished_at < before and id in (select id from etl.reconciliation order by id limit most);
    get diagnostics gone = row_count;
    deleted := deleted + gone;
    delete from etl.outbox where id in (select id from etl.outbox where sent_at < before limit most);
    get diagnostics gone = row_count;
    deleted := deleted + gone;
end
$$;

revoke execute on function etl.is_prunable(etl.load, timestamptz), etl.check_cut_off(timestamptz), etl.prune_loads(timestamptz, bigint, integer),
    etl.prune_records(timestamptz, integer) from public;
