-- Takes V6 back: the runs of the reconciliation, the audit trail and the data keys are lost, and so is what those encrypted.
alter table etl.reject drop column data_key;
drop table etl.data_key;
drop function etl.audit_data_key();
drop table etl.reconciliation;
drop trigger audited_claim on etl.load;
drop trigger audited_state on etl.load;
drop trigger audited_deletion on etl.reject;
drop function etl.audit_load();
drop function etl.audit_rejects();
drop function etl.audit_reconciliation();
drop table etl.audit;
drop function etl.refuse_change();
delete from refinery_schema_history where version = 6;
