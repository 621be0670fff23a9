-- A ledger that has grown for years: :loads loads with 20 rows each, twice as many open rejects, and a fifth as many rows that wait for accounts
-- which never come. Only the newest thousand loads are of the last day, however large the rest is. The loads before them have the numbers up
-- to a thousand.

-- Neither the triggers nor the foreign keys concern what is generated.
set session_replication_role = replica;
set synchronous_commit = off;

insert into etl.dataset (version, name, definition) select 'old', name, '' from unnest(array['asset', 'trade']) name;

insert into asset (account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at)
select 'A' || n, 2, 1, 0, 0, 1, '2020-01-01' from generate_series(1, 10000) n;

-- Every hundredth load has 200 open rejects, and every thousandth one parked 200 rows. Every tenth one is of assets.
insert into etl.load (id, bucket, key, version, dataset, dataset_version, state, lease_token, lease_expires_at, batch_size, read, inserted, parked,
    rejected, started_at, finished_at, header, rejects_bucket, rejects_key)
overriding system value
select 1000 + n, 'b', 'incoming/' || n || '.csv', md5(n::text), case when n % 10 = 0 then 'asset' else 'trade' end, 'old', 'loaded', n,
    at, 10000, 20 + parked + rejected, 20, parked, rejected, at, at, 'id', case when rejected > 0 then 'b' end,
    case when rejected > 0 then 'rejects/' || n || '.csv' end
from (
    select n, case when n % 1000 = 1 then 200 else 0 end as parked, case when n % 100 = 50 then 200 else 0 end as rejected,
        now() - interval '3 hours' - case when n > :loads - 1000 then interval '0' else interval '2 days' + (:loads - n) * interval '1 second' end as at
    from generate_series(1, :loads) n) l;

insert into etl.load_batch (load_id, batch, first_record, last_record, inserted, updated, unchanged, stale, parked, rejected, warnings, committed_at)
select id, 0, 1, read, inserted, 0, 0, 0, parked, rejected, 0, finished_at
from etl.load where id > 1000 order by id;

insert into etl.lineage (load_id, batch, dataset, lowest_key, highest_key, keys, lines, outcomes)
select id, 0, dataset, 'T0', 'T9', array(select 'T' || (id * 20 + k) * 2654435761 % 1000000007 from generate_series(1, 20) k),
    array(select k + 1 from generate_series(1, 20) k), array_fill('inserted'::etl.row_outcome, array[20])
from etl.load where id > 1000 order by id;

insert into etl.reject (load_id, record, line, "column", rule, message, value, raw, key, first_load_id, first_record)
select id, 20 + k, 21 + k, 'traded_price', 'scale', '"1.555" has more than 2 decimals', '1.555', 'T,1.555', 'R' || id * 200 + k, id, 20 + k
from etl.load cross join generate_series(1, 200) k where id > 1000 and rejected > 0 order by id, k;

insert into etl.parked (load_id, record, line, dataset, key, reference_dataset, reference_key, row_version, content, parked_at)
select id, 300 + k, 301 + k, 'trade', 'P' || id * 200 + k, 'asset', 'M' || id * 200 + k, '2020-01-01', '{}', finished_at
from etl.load cross join generate_series(1, 200) k where id > 1000 and parked > 0 order by id, k;

insert into etl.resubmission (load_id, record, line, first_load_id, first_record, ranks_with)
select id, 1, 2, id - 5, 1, id - 5 from etl.load where id > 1000 and id % 10 = 5 order by id;

select setval(pg_get_serial_sequence('etl.load', 'id'), 1000 + :loads);
set session_replication_role = default;
vacuum analyze;
