-- Takes V4 back: who wrote a row last, and how often a load stalled, are lost.
drop index etl.parked_by_key;
alter table etl.parked drop column released_xid;
alter table etl.load_batch drop column xid;
alter table etl.load drop column late, drop column stalled;
delete from refinery_schema_history where version = 4;
