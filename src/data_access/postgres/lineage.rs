//! SQL that records what became of each accepted row.

use crate::domain::Dataset;

/// SQL `noted as (…)`: records the outcomes of `ended` in the lineage of batch 2 of load 1.
pub(super) fn noted(dataset: &Dataset) -> String {
    format!(
        "noted as ( \
             insert into etl.lineage as i (load_id, batch, dataset, lowest_key, highest_key, keys, lines, outcomes) \
             select $1, $2, '{name}', left(min(_key collate \"C\"), 200), left(max(_key collate \"C\"), 200), array_agg(_key order by _record), \
                 array_agg(_line order by _record), array_agg(_outcome::etl.row_outcome order by _record) \
             from ended where _outcome is not null having count(*) > 0 \
             on conflict (load_id, batch) do update set \
                 lowest_key = least(i.lowest_key, excluded.lowest_key), \
                 highest_key = greatest(i.highest_key, excluded.highest_key), keys = i.keys || excluded.keys, \
                 lines = i.lines || excluded.lines, outcomes = i.outcomes || excluded.outcomes)",
        name = dataset.name,
    )
}
