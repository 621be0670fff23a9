//! SQL for the loads of a dataset that were undone. What they wrote counts no longer, and neither does an undo itself: a row that was given back
//! belongs to the load that wrote it first, and has the rank of that one.

use crate::domain::object::UNDO_BUCKET;

/// SQL that selects the loads of a dataset that were undone, as `_load`. The rows of an undo and its batches commit together; it is closed after
/// that.
pub(super) fn undone(dataset: &str) -> String {
    format!(
        "select u.key::bigint as _load from etl.load u where u.bucket = '{UNDO_BUCKET}' and u.dataset = '{dataset}' \
             and (u.state = 'loaded' or exists (select from etl.load_batch b where b.load_id = u.id))"
    )
}

/// SQL that selects the keys, of those in `among`, that an undo gave back or took away, as `_key`, with the `_tick` at which it did so last.
pub(super) fn given_back(dataset: &str, among: &str) -> String {
    format!(
        "select n.key as _key, max(b.tick) as _tick from etl.load u join etl.load_batch b on b.load_id = u.id \
             join etl.lineage i on i.load_id = b.load_id and i.batch = b.batch \
             cross join lateral unnest(i.keys, i.outcomes) as n (key, outcome) \
         where u.bucket = '{UNDO_BUCKET}' and u.dataset = '{dataset}' and n.outcome <> 'stale' and n.key in ({among}) group by 1"
    )
}

/// SQL that selects the loads of a dataset whose writing counts, without a list of columns: `from … where …`, for the load `o`.
pub(super) fn counts(dataset: &str) -> String {
    format!("o.bucket <> '{UNDO_BUCKET}' and o.id not in ({})", undone(dataset))
}
