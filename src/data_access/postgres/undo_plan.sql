-- Plans what undoing load :load does with each row that it has written or deleted, or brought once more: the rows of `undo_plan` (`undo_plan.rs`).
-- `hidden` has `undone (_load)`, the loads that are undone, and `hidden (_load)`, these with all undos. What is joined again and again is in
-- tables with statistics: without them, the planner would compare each row with each.
create temporary table undo_named on commit drop as
with :hidden, same as materialized (
    -- The keys of the rows that the load has brought once more, if other loads are undone.
    :same
), touched as materialized (
    select :key, bool_or(_own) as _own from (
        select :key, true as _own from :table where written_by = :load
        union all select :key, true from :history where replaced_by = :load or written_by = :load
        union all select :key_of_s, false from same s
        where exists (select from :table t where :is_same and t.written_by in (select _load from undone))
            or exists (select from :history h where :was_same and h.replaced_by in (select _load from undone))
        -- What other loads that are undone took away stayed away as long as this load had replaced its scope.
        :kept_away
    ) x group by :key
)
select *, :key_text as _key from touched k;
analyze pg_temp.undo_named;

-- What loads have done to these rows, since the first that is undone.
create temporary table undo_entry on commit drop as
with :hidden
select n.key as _key, b.load_id as _load, b.tick as _tick, n.outcome::text as _outcome, :rank as _rank
from etl.load_batch b join etl.lineage i using (load_id, batch) join etl.load o on o.id = b.load_id
    cross join lateral unnest(i.keys, i.lines, i.outcomes) as n (key, line, outcome)
where i.dataset = :dataset and n.outcome <> 'parked' and n.key in (select _key from pg_temp.undo_named)
    and b.tick > (select min(claimed_tick) from etl.load where id in (select _load from undone))
union all select p.key, p.load_id, p.tick, p.outcome, :parked_rank from etl.parked p join etl.load o on o.id = p.load_id
where p.dataset = :dataset and p.outcome is not null and p.key in (select _key from pg_temp.undo_named);
analyze pg_temp.undo_entry;

-- The states that a row has had, the latest first.
create temporary table undo_past on commit drop as
select :key_of_k, k._key, h.written_by as _by, h.replaced_by as _ended_by, h.valid_from as _from, h.valid_to as _until,
    :version_of_h as _version, h.ended_as as _as, :gone as _gone,
    -- What an undo has ended that is pruned by now does not come back: it is not known any more whose rows do not count.
    (:gone or h.ended_as = 'undone') as _ended,
    row_number() over (partition by k._key order by h.valid_to desc, h.valid_from desc nulls last) as _nth
from pg_temp.undo_named k join :history h on :was_there;
analyze pg_temp.undo_past;

create temporary table undo_plan on commit drop as
with :hidden, written as materialized (
    select _key, _load, max(_tick) as _tick from pg_temp.undo_entry where _outcome in ('inserted', 'updated', 'removed') group by 1, 2
), dead as materialized (
    select d.key as _key, z.load_id as _load, z.version as _version from etl.tombstone d cross join lateral (
        select d.load_id, d.version union all
        select x.load_id, x.version from jsonb_to_recordset(d.before) as x (load_id bigint, version text)) z
    where d.dataset = :dataset and d.key in (select _key from pg_temp.undo_named)
), mending as materialized (
    -- Where these rows are in files with rows that rank with other files, since they mend rejects of those.
    select i.load_id as _load, n.key as _key, min(n.line) as _line
    from etl.load o join etl.lineage i on i.load_id = o.id cross join lateral unnest(i.keys, i.lines) as n (key, line)
    where o.dataset = :dataset and o.ranks_from is not null and n.key in (select _key from pg_temp.undo_named) group by 1, 2
), settled as materialized (
    -- What loads that count have written and deleted. Whatever has the same version and a lower rank is stale beside it.
    select x._key, x._version, :rank_of_x as _rank from (
        select _key, _version, _by as _load from pg_temp.undo_past union all select _key, _version, _load from dead
    ) x join etl.load o on o.id = x._load left join mending n on n._load = x._load and n._key = x._key
    where x._load not in (select _load from hidden)
), endorsed as materialized (
    -- States of undone loads that another load has found unchanged.
    select p._key, p._nth from pg_temp.undo_past p join written w on w._key = p._key and w._load = p._by
    where p._by <> :load and p._by in (select _load from undone) and exists (
        select from pg_temp.undo_entry e where e._key = p._key and e._outcome = 'unchanged' and e._tick > w._tick
            and e._load not in (select _load from hidden) and not exists (
                select from settled x where x._key = e._key and x._version is not distinct from p._version and x._rank > e._rank))
), back as materialized (
    -- The state that is given back: the latest of a load that counts. If that is the absence of the row, there is none.
    select * from (
        select distinct on (_key) *, _ended and _ended_by not in (select _load from hidden) as _nothing from pg_temp.undo_past
        where _ended and _ended_by not in (select _load from hidden) or _by is null or _by not in (select _load from hidden)
            or (_key, _nth) in (select _key, _nth from endorsed)
        order by _key, _nth) b where not _nothing
), state as materialized (
    -- Whether the row is there now, and the load that has written or deleted it.
    select k.*, :first_of_t is not null as _there, :version_of_t as _version, l._by as _last,
        case when :first_of_t is not null then t.written_by
             when l._gone or l._as = 'undone' and coalesce(e._outcome, 'removed') = 'removed' then l._ended_by end as _author
    from pg_temp.undo_named k left join :table t on :is_there left join pg_temp.undo_past l on l._key = k._key and l._nth = 1
        left join pg_temp.undo_entry e on e._key = l._key and e._load = l._ended_by and l._as = 'undone'
), confirmed as materialized (
    -- The last load that has found the present state unchanged.
    select s._key, max(e._load) as _load from state s
        join pg_temp.undo_entry e on e._key = s._key and e._outcome = 'unchanged' and e._load not in (select _load from hidden)
        left join written w on w._key = s._key and w._load = s._author left join dead d on d._key = s._key and d._load = e._load
    where e._tick > coalesce(w._tick, (select max(b.tick) from etl.load_batch b where b.load_id = s._author), 0) and not exists (
        select from settled x where x._key = s._key and x._rank > e._rank
            and x._version is not distinct from case when s._there then s._version else d._version end) group by 1
), buried as materialized (
    -- The last load with a tombstone that came after the state which would be given back.
    select b._key, max(d._load) as _load from back b join dead d on d._key = b._key
        join pg_temp.undo_entry e on e._key = d._key and e._load = d._load left join written w on w._key = b._key and w._load = b._by
    where d._load not in (select _load from hidden) and e._tick > coalesce(w._tick, 0) and not exists (
        select from settled x where x._key = d._key and x._version is not distinct from d._version and x._rank > e._rank) group by 1
), blocked as materialized (
    :blocked
), decided as (
    select :key_of_s, s._key, s._own, b._ended_by, b._from, b._until,
        case when s._there and s._author is null then 'another program has written it since'
             when s._there and s._author not in (select _load from hidden) then 'load ' || s._author || ' has written it since'
             when s._author not in (select _load from hidden) then 'load ' || s._author || ' has deleted it since'
             when s._author is null then 'another program has deleted it since'
             when c._load is not null then 'load ' || c._load || ' has brought the same since'
             when not s._there and d._load is not null then 'load ' || d._load || ' has deleted it as well'
             when r._load is not null and not (s._there and :deletes) then 'load ' || r._load || ' has replaced its scope without it'
             when not s._there and b._key is null then 'load ' || s._last || ' had written it, and is undone'
             :referred_to
             end as _reason,
        case when not s._there then 'inserted' when b._key is null or r._load is not null then 'removed' else 'updated' end as _outcome
    from state s left join back b on b._key = s._key left join confirmed c on c._key = s._key
        left join buried d on d._key = s._key left join blocked r on r._key = s._key
)
select row_number() over (order by _key collate "C") as _record, :key, _key, _own, _ended_by, _from, _until, _reason,
    case when _reason is null then _outcome else 'stale' end as _outcome
from decided where _own or _reason is null
