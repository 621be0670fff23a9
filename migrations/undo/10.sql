-- Takes V10 back: the order of the versions of an object is lost where S3 did not tell it by events, and so is when they were written.
drop trigger forgotten on etl.lineage;
drop trigger forgotten on etl.load_batch;
drop trigger forgotten on etl.parked;
drop trigger forgotten_all on etl.lineage;
drop trigger forgotten_all on etl.load_batch;
drop trigger forgotten_all on etl.parked;
drop function etl.note_forgotten();
drop table etl.forgotten;
drop index etl.parked_waiting_by_key;
drop index etl.load_unfinished;
drop function etl.is_later(text, timestamptz, text, timestamptz);
alter table etl.parked drop column tick;
alter table etl.load_batch drop column tick;
alter table etl.load drop column rank;
alter table etl.load drop column modified_at, drop column max_future_seconds, drop column claimed_tick, drop column precedes;
drop sequence etl.clock;
create index load_batch_by_transaction on etl.load_batch using hash (xid);
delete from refinery_schema_history where version = 10;
