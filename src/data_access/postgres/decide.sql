-- Decides what is to become of each row `s` of a source, which has `_record`, `_line`, and the columns of the table `t`.
-- `won` selects from `tied`, and `written` writes what is planned here (`write_plain.sql`, `write_partitioned.sql`).
candidate as materialized (
    select s._record, s._line, :rank as _rank, :load as _load, :row_of_s, t.ctid as _seen,
        case when :is_orphan then 'parked'
             when :first_of_t is null then :absent
             when (:row_of_t) is not distinct from (:row_of_s) then 'unchanged'
             :by_version
             else 'tied' end as _plan,
        :disagreements as _disagreements
    from :source s left join :table t on :is_same
        :referred
        :graves
), tied as materialized (
    select :key_text as _key, _rank from candidate where _plan = 'tied'
)
