-- Takes V5 back: which rejects were mended and by what, and where rows came from, are lost.
drop view etl.parked_age, etl.load_history, etl.open_reject;
drop table etl.lineage, etl.resubmission;
drop type etl.row_outcome;
revoke delete on etl.reject from small_etl_ingest;
alter table etl.parked drop column line;
alter table etl.reject
    drop column byte_offset, drop column byte_length, drop column key, drop column first_load_id,
    drop column first_record, drop column resolved_by, drop column resolved_at;
alter table etl.load drop column version_id, drop column header, drop column rejects_bucket;
delete from refinery_schema_history where version = 5;
