-- What a load needs to end in the same state whatever happens on its way.

-- Workers in a row that ended without committing anything; the third one fails the load.
alter table etl.load add column stalled integer not null default 0;

-- The transaction that wrote a batch: together with `xmin` of a row it tells which load gave the row its present values.
alter table etl.load_batch add column xid xid;
alter table etl.load_batch alter column xid set default pg_current_xact_id()::xid;
create index load_batch_by_transaction on etl.load_batch using hash (xid);

-- Whether a newer version of the same object had been claimed when the row was parked, and the transaction that released it.
alter table etl.parked add column late boolean not null default false;
alter table etl.parked add column released_xid xid;
create index parked_by_key on etl.parked (dataset, key);

-- Is a newer version of this load's object claimed? S3 orders the events of one key by their sequencer: hexadecimal
-- digits, the shorter padded with zeros on the right.
create function etl.is_late(of_load bigint) returns boolean language sql stable as $$
    select exists (
        select from etl.load own join etl.load newer on newer.bucket = own.bucket and newer.key = own.key
        where own.id = of_load and newer.version <> own.version
            and rpad(lower(newer.sequencer), 64, '0') collate "C" > rpad(lower(own.sequencer), 64, '0') collate "C")
$$;
