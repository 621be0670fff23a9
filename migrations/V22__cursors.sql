-- What a load and a night need so that their cost follows what is new, and not all that was ever loaded.

-- The nightly run looks at the loads that ended since its last pass.
create index load_by_end on etl.load (finished_at);
-- Which rows were to mend a reject, starting from the reject.
create index resubmission_by_first on etl.resubmission (first_load_id, first_record);
-- Which row has waited the longest.
create index parked_since on etl.parked (parked_at) where released_by is null;
-- The rows that have become rejects, of each load.
create index parked_expired on etl.parked (load_id, released_at) where outcome = 'expired';

-- `touched_at`: when a run last worked on the part. Parts take turns by it.
alter table etl.reconciliation_step add column touched_at timestamptz;
-- These steps looked at all loads each night. From now on they look at those since the last pass, and so begin once more with all of them.
delete from etl.reconciliation_step where step in ('retention', 'rejects files');
