-- Takes V12 back: the nightly run begins each step at its first part again.
drop table etl.reconciliation_step, etl.outbox_sender;
update etl.load set bucket = 'file' where bucket = 'file://';
delete from refinery_schema_history where version = 12;
