-- Rows of `back` that must not come back into a scope, because a file with a higher rank has replaced it and does not have them. Where a row
-- is in its scope all the same, that file did not take it away, and it may get back its earlier values. A row of a load that is pruned has the
-- highest rank that such a load had.
select b._key, max(r._load) as _load
from back b join :history h on :is_back left join :table t on :is_there
    left join etl.load l on l.id = coalesce(b._by, :load) left join etl.pruned p on p.dataset = :dataset join (
        select r.load_id as _load, o.rank as _rank, n.scope as _scope
        from etl.replacement r join etl.load o on o.id = r.load_id cross join lateral unnest(r.scopes) as n (scope)
        where r.dataset = :dataset and o.id not in (select _load from hidden) and r.kept is distinct from 'unreadable_key'
    ) r on r._rank > coalesce(least(l.rank, l.ranks_from), p.rank) and r._load is distinct from l.id and :was_in_scope left join (
        -- What those files have, good or bad.
        select i.load_id, n.key from etl.lineage i cross join lateral unnest(i.keys) as n (key)
        where i.dataset = :dataset and i.load_id in (select load_id from etl.replacement where dataset = :dataset)
            and n.key in (select _key from back)
        union select j.load_id, j.key from etl.reject j join etl.replacement x on x.load_id = j.load_id
        where x.dataset = :dataset and j.key in (select _key from back)
    ) f on f.load_id = r._load and f.key = b._key
where f.key is null and (:first_of_t is null or :flagged not (:is_in_scope)) group by 1
