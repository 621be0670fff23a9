-- Where each step of the nightly run stands, who sends what lies in the outbox, and a mark of files on a machine that no bucket can have.

-- A row for each part of a step that can be cut off. One pass over a part may take several runs: each goes on after `cursor`, which is
-- null at the beginning. `began_at` is when the pass under way began, and `since` when the last one began that came to its end.
create table etl.reconciliation_step (
    step            text not null,
    part            text not null,
    dataset_version text not null,
    cursor          text,
    began_at        timestamptz,
    since           timestamptz,
    primary key (step, part),
    constraint a_cursor_is_that_of_a_pass_under_way check (cursor is null or began_at is not null)
);
insert into etl.reconciliation_step (step, part, dataset_version, since)
select step, '', '', max(started_at)
from etl.reconciliation cross join unnest(array['balance', 'calendar']) as step
where state = 'done' and prefix is null group by step;

-- The one who sends events, under a lease that ends by itself: then they go in their order, and no transaction is open while the bus
-- answers.
create table etl.outbox_sender (
    only_one   boolean primary key default true check (only_one),
    token      bigint not null default 0,
    expires_at timestamptz not null default '-infinity'
);
insert into etl.outbox_sender default values;

-- Until now `file` stood for the bucket of a file on a machine, which a bucket may be called as well. Such a file has an absolute path, and a
-- SHA-256 as its version.
update etl.load set bucket = 'file://' where bucket = 'file' and key like '/%' and version ~ '^[0-9a-f]{64}$';

grant select, insert, update on etl.reconciliation_step to small_etl_ingest;
grant select, update on etl.outbox_sender to small_etl_ingest;
