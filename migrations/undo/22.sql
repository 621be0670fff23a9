-- Takes V22 back. The next nightly run begins where the last one stopped, as before.
alter table etl.reconciliation_step drop column touched_at;
drop index etl.parked_expired;
drop index etl.parked_since;
drop index etl.resubmission_by_first;
drop index etl.load_by_end;
delete from refinery_schema_history where version = 22;
