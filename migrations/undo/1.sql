-- Takes V1 back: the ledger, its rejects and the parked rows are lost.
drop schema etl cascade;
delete from refinery_schema_history where version = 1;
