-- What a load needs to end in the same state whatever happens on its way.

-- Workers in a row that ended without committing anything; the third one fails the load.
alter table etl.load add column stalled integer not null default 0;

-- Whether a newer version of the same object had been claimed before this one: it then loses every tie.
alter table etl.load add column late boolean not null default false;

-- The transaction that wrote rows: together with `xmin` of a row it tells which load gave the row its present values.
alter table etl.load_batch add column xid xid;
alter table etl.load_batch alter column xid set default pg_current_xact_id()::xid;
create index load_batch_by_transaction on etl.load_batch using hash (xid);
alter table etl.parked add column released_xid xid;
create index parked_by_key on etl.parked (dataset, key);
