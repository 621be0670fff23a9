-- Takes V8 back: events that are not sent are lost.
drop trigger announced_end on etl.load;
drop trigger announced_end on etl.reconciliation;
drop function etl.announce_load();
drop function etl.announce_reconciliation();
drop table etl.outbox;
drop function etl.keep_unsent();
delete from refinery_schema_history where version = 8;
