-- The ledger: which file version was loaded by whom, how far, and what became of each of its records.

create schema etl;

-- The definitions that loads were checked against.
create table etl.dataset (
    version    text not null,
    name       text not null,
    definition text not null,
    first_used timestamptz not null default now(),
    primary key (version, name)
);

create table etl.load (
    id               bigint generated always as identity primary key,
    bucket           text not null,
    key              text not null,
    version          text not null,
    run              integer not null default 0,
    sequencer        text,
    dataset          text not null,
    dataset_version  text not null,
    state            text not null default 'loading'
                     check (state in ('loading', 'interrupted', 'loaded', 'failed', 'superseded')),
    reason           text,
    attempt          integer not null default 1,
    lease_token      bigint not null,
    lease_expires_at timestamptz not null,
    batch_size       integer not null check (batch_size > 0),
    max_rejects      bigint,
    max_reject_rate  double precision,
    size_bytes       bigint,
    read             bigint not null default 0,
    inserted         bigint not null default 0,
    updated          bigint not null default 0,
    unchanged        bigint not null default 0,
    stale            bigint not null default 0,
    parked           bigint not null default 0,
    rejected         bigint not null default 0,
    withheld         bigint not null default 0,
    warnings         bigint not null default 0,
    released         bigint not null default 0,
    statistics       jsonb,
    rejects_key      text,
    started_at       timestamptz not null default now(),
    finished_at      timestamptz,
    error            text,
    unique (bucket, key, version, run),
    foreign key (dataset_version, dataset) references etl.dataset (version, name),
    constraint every_record_has_one_outcome check (
        state in ('loading', 'interrupted')
        or read = inserted + updated + unchanged + stale + parked + rejected + withheld),
    constraint a_loaded_file_withholds_nothing check (state <> 'loaded' or withheld = 0),
    constraint a_finished_load_says_when check ((finished_at is null) = (state in ('loading', 'interrupted'))),
    constraint a_failed_load_says_why check (state <> 'failed' or (reason is not null and error is not null))
);

-- Fencing tokens: each claim takes a higher one.
create sequence etl.lease_token;

-- The checkpoints: a row here commits together with the rows of its batch.
create table etl.load_batch (
    load_id      bigint not null references etl.load (id) on delete cascade,
    batch        integer not null,
    first_record bigint not null,
    last_record  bigint not null,
    inserted     bigint not null,
    updated      bigint not null,
    unchanged    bigint not null,
    stale        bigint not null,
    parked       bigint not null,
    rejected     bigint not null,
    warnings     bigint not null,
    committed_at timestamptz not null default clock_timestamp(),
    primary key (load_id, batch),
    constraint every_record_has_one_outcome check (
        last_record - first_record + 1 = inserted + updated + unchanged + stale + parked + rejected)
);

create table etl.reject (
    id       bigint generated always as identity primary key,
    load_id  bigint not null references etl.load (id) on delete cascade,
    record   bigint not null,
    line     bigint not null,
    "column" text,
    rule     text not null,
    message  text not null,
    value    text,
    raw      bytea not null,
    state    text not null default 'open' check (state in ('open', 'resolved'))
);

create index reject_by_load on etl.reject (load_id, record);

create table etl.parked (
    load_id           bigint not null references etl.load (id) on delete cascade,
    record            bigint not null,
    dataset           text not null,
    key               text not null,
    reference_dataset text not null,
    reference_key     text not null,
    row_version       timestamptz not null,
    content           jsonb not null,
    parked_at         timestamptz not null default now(),
    released_by       bigint references etl.load (id),
    released_at       timestamptz,
    outcome           text check (outcome in ('inserted', 'updated', 'unchanged', 'stale')),
    warnings          bigint not null default 0,
    primary key (load_id, record),
    constraint a_released_row_says_how_and_when check (
        (released_by is null) = (outcome is null) and (released_by is null) = (released_at is null))
);

create index parked_waiting on etl.parked (reference_dataset, reference_key) where released_by is null;
create index parked_by_releasing_load on etl.parked (released_by) where released_by is not null;
