-- Takes V19 back.
create or replace view etl.open_reject as
select l.dataset, r.load_id, l.bucket, l.key as file, r.record, r.line, r."column", r.rule, r.message, r.value, r.key,
    l.started_at as rejected_at, l.state as load_state, r.first_load_id, r.first_record, r.id as reject_id, l.part
from etl.reject r join etl.load l on l.id = r.load_id
where r.state = 'open' and not exists (
    select from etl.reject later
    where later.first_load_id = r.first_load_id and later.first_record = r.first_record
        and later.load_id > r.load_id and later.resolved_by is null);
drop index etl.reject_later;
drop index etl.load_by_start;
create or replace function etl.since(own etl.load) returns bigint language sql stable as $$
    select least(
        case when own.precedes is null then own.claimed_tick
            else coalesce((select n.claimed_tick from etl.load n where n.id = own.precedes), 0) end,
        case when own.arrival is not null then (
            select min(o.claimed_tick) from etl.load o
            where o.dataset = own.dataset and o.arrival is not null and o.rank > own.rank) end)
$$;
alter table etl.resubmission drop column ranks_with;
alter table etl.load drop column rank, drop column ranks_from;
alter table etl.load
    add column rank text collate "C" not null generated always as (
        coalesce('A' || lpad(arrival::text, 19, '0'), '')
        || lpad(coalesce(precedes, id)::text, 19, '0') || rpad(lower(coalesce(sequencer, '')), 64, '0') || lpad(id::text, 19, '0')) stored;
create index load_by_arrival on etl.load (dataset, rank) where arrival is not null;
delete from refinery_schema_history where version = 19;
