-- Takes V4 back: who wrote a row last and how often a load stalled are lost.
drop function etl.is_late(bigint);
drop index etl.parked_by_key;
alter table etl.parked drop column released_xid, drop column late;
alter table etl.load_batch drop column xid;
alter table etl.load drop column stalled;
delete from refinery_schema_history where version = 4;
