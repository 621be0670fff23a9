-- The next rejected records in the order of load and record, with all their violations: whole records, as long as fewer than $9 bytes come before.
-- Parameters: 1 to 5 those of the filter, which is :is_wanted; 6 and 7 the load and record where the last page ended; 8 the most records; 9 bytes.
with page as (
    -- For a single load, this enters the index at the cursor and not at the first record of the load.
    select distinct r.load_id, r.record from etl.reject r
    where (r.load_id, r.record) > ($6, $7) and ($1 is distinct from $6 or r.record > $7) and :is_wanted
    order by 1, 2 limit $8
), sized as (
    select p.load_id, p.record, b.raw, b.data_key,
        (sum(v.bytes) over (order by p.load_id, p.record))::bigint - v.bytes as bytes_before
    from page p cross join lateral (
            select b.raw, b.data_key from etl.reject b
            where b.load_id = p.load_id and b.record = p.record order by b.raw is null, b.id limit 1) b
        cross join lateral (
            select coalesce(octet_length(b.raw), 0) + coalesce(sum(octet_length(v.value)), 0)::bigint as bytes
            from etl.reject v where v.load_id = p.load_id and v.record = p.record) v
)
select r.load_id, l.bucket, l.key as file, l.part, l.dataset, l.dataset_version, r.state = 'open' as open, r.resolved_by,
    r.first_load_id, r.first_record, r.record, r.line, r."column", r.rule, r.message, r.value, r.key,
    r.byte_offset, r.byte_length, r.is_first, case when r.is_first then s.raw end as raw, s.data_key
from sized s join etl.load l on l.id = s.load_id cross join lateral (
    select *, row_number() over (order by v.id) = 1 as is_first from etl.reject v
    where v.load_id = s.load_id and v.record = s.record) r
where s.bytes_before < $9 order by r.load_id, r.record, r.id
