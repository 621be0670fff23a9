//! Rows that mend rejects, for files that replace scopes: such a row is a part of the file in which it was bad.

use super::key::Key;
use crate::domain::Dataset;
use crate::domain::object::UNDO_BUCKET;

/// SQL condition: two loads are runs of one file, or of one part of it. Content that has come back after another one is a file of its own.
pub(super) fn same_file(one: &str, other: &str) -> String {
    format!(
        "({one}.bucket, {one}.key, {one}.version, {one}.part) = ({other}.bucket, {other}.key, {other}.version, {other}.part) \
         and {one}.dataset = {other}.dataset and {one}.arrival is not distinct from {other}.arrival"
    )
}

/// SQL `bearing as (…), … mended as (…)`: the keys of the rows that mend rejects of the file of load `$1`, or of later files, with `_there`,
/// which is true. The table has these rows unless a later file has taken them away, which then has that scope. It does not have those of a load
/// that was undone.
pub(super) fn mended(dataset: &Dataset) -> String {
    format!(
        "bearing as materialized ( \
             select f.id from etl.load own join etl.load f on f.dataset = own.dataset and f.arrival is not null and f.rank > own.rank \
             where own.id = $1 and {any} \
             union select f.id from etl.load own join etl.load f on {same} where own.id = $1 and {any} \
         ), mending as materialized ( \
             select m.load_id, m.record, m.line from bearing b join etl.resubmission m on m.ranks_with = b.id \
             where not exists ( \
                 select from etl.load u where u.bucket = '{UNDO_BUCKET}' and u.key = m.load_id::text and u.state = 'loaded') \
         ), mended_key as materialized ( \
             select n.key as _text from etl.lineage i cross join lateral unnest(i.keys, i.lines, i.outcomes) as n (key, line, outcome) \
             where i.load_id in (select load_id from mending) and n.outcome in ('inserted', 'updated', 'unchanged') \
                 and case when i.load_id || ' ' || n.line in (select load_id || ' ' || line from mending) then true end \
             union select p.key from mending m join etl.parked p using (load_id, record) \
             where p.outcome in ('inserted', 'updated', 'unchanged') \
         ), mended as materialized ({mended})",
        any = format_args!(
            "(select exists (select from etl.load o where o.dataset = '{}' and o.ranks_from is not null))",
            dataset.name
        ),
        same = same_file("f", "own"),
        mended = Key::of(dataset).of_texts("select _text, true as _there from mended_key", "_there"),
    )
}
