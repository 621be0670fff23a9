-- The nightly run's own ledger, the audit trail, and the keys of encrypted columns.

-- One row for each run that compared a bucket with the ledger. `bucket` and `prefix` are what was asked for; null is everything.
create table etl.reconciliation (
    id            bigint generated always as identity primary key,
    bucket        text,
    prefix        text,
    state         text not null default 'running' check (state in ('running', 'done', 'interrupted', 'failed')),
    started_at    timestamptz not null default clock_timestamp(),
    finished_at   timestamptz,
    compared      bigint not null default 0,
    sent          bigint not null default 0,
    released      bigint not null default 0,
    discrepancies bigint not null default 0,
    missing_files bigint not null default 0,
    report        jsonb,
    report_bucket text,
    report_key    text,
    error         text,
    constraint a_finished_run_says_when check ((finished_at is null) = (state = 'running'))
);

-- Who did what, when, and under which version. Rows are only ever added: nobody is granted more, and the trigger refuses it
-- also to the owner. Who and when cannot be given, they are noted by the server.
create table etl.audit (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default clock_timestamp(),
    login   text not null default session_user,
    client  inet default inet_client_addr(),
    program text not null default current_setting('application_name'),
    action  text not null,
    load_id bigint,
    detail  jsonb not null default '{}'
);
create index audit_by_load on etl.audit (load_id);

create function etl.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'etl.audit is append-only';
end
$$;
create trigger append_only before update or delete or truncate on etl.audit
    for each statement execute function etl.refuse_change();

-- With the rights of the owner, so that a role cannot load without being noted.
create function etl.audit_load() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
begin
    insert into etl.audit (action, load_id, detail) values ('load ' || new.state, new.id, jsonb_strip_nulls(jsonb_build_object(
        'bucket', new.bucket, 'key', new.key, 'version', new.version, 'run', new.run, 'attempt', new.attempt,
        'dataset', new.dataset, 'dataset_version', new.dataset_version, 'reason', new.reason)));
    return null;
end
$$;
create trigger audited_claim after insert on etl.load for each row execute function etl.audit_load();
create trigger audited_state after update of state on etl.load for each row
    when (old.state <> new.state or old.attempt <> new.attempt) execute function etl.audit_load();

create function etl.audit_rejects() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
begin
    insert into etl.audit (action, load_id, detail)
    select 'rejects deleted', load_id, jsonb_build_object(
        'violations', count(*), 'open', count(*) filter (where state = 'open'))
    from gone group by load_id;
    return null;
end
$$;
create trigger audited_deletion after delete on etl.reject referencing old table as gone
    for each statement execute function etl.audit_rejects();

create function etl.audit_reconciliation() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
begin
    insert into etl.audit (action, detail) values ('reconciliation ' || new.state, jsonb_build_object(
        'id', new.id, 'sent', new.sent, 'released', new.released, 'discrepancies', new.discrepancies));
    return null;
end
$$;
create trigger audited_start after insert on etl.reconciliation for each row execute function etl.audit_reconciliation();
create trigger audited_end after update of state on etl.reconciliation for each row execute function etl.audit_reconciliation();

-- Data keys, each wrapped by a key of KMS that alone can open it; its setting may be an alias. The number of its data key
-- stands in each encrypted value.
create table etl.data_key (
    id            bigint generated always as identity primary key,
    configured_as text not null,
    kms_key       text not null,
    wrapped       bytea not null,
    created_at    timestamptz not null default clock_timestamp()
);
create function etl.audit_data_key() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
begin
    insert into etl.audit (action, detail) values ('data key made', jsonb_build_object(
        'id', new.id, 'configured_as', new.configured_as, 'kms_key', new.kms_key));
    return null;
end
$$;
create trigger audited_data_key after insert on etl.data_key for each row execute function etl.audit_data_key();

-- Where a dataset encrypts a column, the bytes of its rejects are encrypted as well: under this data key.
alter table etl.reject add column data_key bigint references etl.data_key (id);

grant select, insert, update on etl.reconciliation to small_etl_ingest;
grant insert (action, load_id, detail) on etl.audit to small_etl_ingest;
grant select, insert (configured_as, kms_key, wrapped) on etl.data_key to small_etl_ingest;
