-- Writes the rows of the stage of a batch where they belong, and records their outcomes. Returns the counts, the tied rows that were written, and
-- the records that are unsettled because another load wrote their rows meanwhile.
-- Parameters: 1 the load, 2 the batch, 3 the tick of the claim. `decision` is that of `decide.sql`.
with own as materialized (
    select rank, ranks_from from etl.load where id = $1
), :decision:parked, ended as (
    select c._record, c._line, :key_text as _key, c._rank, c._plan = 'tied' as _tied, c._disagreements, :outcome as _outcome
    from candidate c left join written w on :is_written
), :noted
select count(*) filter (where _outcome = 'inserted') as inserted,
    count(*) filter (where _outcome = 'updated') as updated,
    0::bigint as removed,
    count(*) filter (where _outcome = 'unchanged') as unchanged,
    count(*) filter (where _outcome = 'stale') as stale,
    count(*) filter (where _outcome = 'parked') as parked,
    coalesce(sum(_disagreements) filter (where _outcome <> 'parked'), 0)::bigint as disagreements,
    array_agg(_key) filter (where _tied and _outcome = 'updated') as overwritten,
    array_agg(_rank) filter (where _tied and _outcome = 'updated') as ranks,
    array_agg($1::bigint) filter (where _tied and _outcome = 'updated') as overwriting,
    array_agg(_record) filter (where _outcome is null) as unsettled
from ended
