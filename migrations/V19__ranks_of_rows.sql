-- Where the order of arrival decides: parts of one object rank by their place in it, in whatever order they are loaded, and a row that
-- mends a reject ranks right above the load that rejected it, not as a row that arrives now.

-- As in V14: in the order in which a batch takes them.
lock table etl.parked, etl.load in access exclusive mode;

-- `ranks_from`: the lowest rank that a row of the load has; null where each has that of the load.
alter table etl.load add column ranks_from text collate "C";
create index load_mending on etl.load (dataset) where ranks_from is not null;
alter table etl.load drop column rank;
alter table etl.load
    add column rank text collate "C" not null generated always as (
        coalesce('A' || lpad(arrival::text, 19, '0'), '')
        || lpad(coalesce(precedes, id)::text, 19, '0') || rpad(lower(coalesce(sequencer, '')), 64, '0')
        || lpad(array_position(parts, part)::text, 9, '0') || lpad(id::text, 19, '0')) stored;
create index load_by_arrival on etl.load (dataset, rank) where arrival is not null;

-- `ranks_with`: the load with which the row came. That is the one that rejected it or, if that was to mend a row as well, the one with which
-- that row came. Null in rows from before: they came with their own load.
alter table etl.resubmission add column ranks_with bigint;
create index resubmission_by_origin on etl.resubmission (ranks_with) where ranks_with is not null;

-- The tick from which on loads may have committed that rank above this one, or above a row of it; 0 where that is not known.
create or replace function etl.since(own etl.load) returns bigint language sql stable as $$
    select least(
        case when own.precedes is null then own.claimed_tick
            else coalesce((select n.claimed_tick from etl.load n where n.id = own.precedes), 0) end,
        case when own.arrival is not null then (
            select min(o.claimed_tick) from etl.load o
            where o.dataset = own.dataset and o.arrival is not null and o.rank > least(own.rank, own.ranks_from)) end,
        -- The dataset was not ordered by arrival then.
        case when own.ranks_from < 'A' then (
            select min(o.claimed_tick) from etl.load o where o.dataset = own.dataset and o.rank > own.ranks_from) end)
$$;

-- What people ask first, from the newest loads.
create index load_by_start on etl.load (started_at);

-- Only a reject that continues another one can be a later attempt: few are.
create index reject_later on etl.reject (first_load_id, first_record) where load_id <> first_load_id;
create or replace view etl.open_reject as
select l.dataset, r.load_id, l.bucket, l.key as file, r.record, r.line, r."column", r.rule, r.message, r.value, r.key,
    l.started_at as rejected_at, l.state as load_state, r.first_load_id, r.first_record, r.id as reject_id, l.part
from etl.reject r join etl.load l on l.id = r.load_id
where r.state = 'open' and not exists (
    select from etl.reject later
    where later.first_load_id = r.first_load_id and later.first_record = r.first_record
        and later.load_id <> later.first_load_id and later.load_id > r.load_id and later.resolved_by is null);
