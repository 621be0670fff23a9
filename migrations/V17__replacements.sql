-- Files that replace what is in the table for a scope, such as the positions of one account on one day.

-- The file with the highest rank of those that replace a scope, from the moment on at which it begins to.
create table etl.scope (
    dataset text not null,
    scope   text not null,
    load_id bigint not null references etl.load (id) on delete cascade,
    primary key (dataset, scope)
);

-- What a file has replaced. `elsewhere` counts rows of its scopes that came or went meanwhile by other hands than this load's. Without
-- figures, a later file has overtaken some of its scopes.
create table etl.replacement (
    load_id      bigint primary key references etl.load (id) on delete cascade,
    dataset      text not null,
    scopes       text[] not null,
    flagged      boolean not null,
    rows_before  bigint not null,
    inserted     bigint,
    deleted      bigint,
    elsewhere    bigint,
    rows_after   bigint,
    kept         text,
    deleted_keys text[],
    begun_at     timestamptz not null default clock_timestamp(),
    ended_at     timestamptz,
    xid          xid,
    constraint rows_before_and_after_agree check (
        rows_after = rows_before + inserted + elsewhere - case when flagged then 0 else deleted end),
    constraint nothing_is_deleted_where_it_is_kept check (kept is null or deleted = 0),
    constraint a_reason_is_known check (kept in ('overtaken', 'unreadable_key'))
);
create index replacement_by_dataset on etl.replacement (dataset);

-- The values of a key of several columns: the text by which the ledger knows it has a comma between them, and a backslash before a comma
-- or a backslash in a value.
create function etl.key_values(key text) returns text[] language sql immutable parallel safe as $$
    select case when strpos(key, '\') = 0 then string_to_array(key, ',')
        else array(select regexp_replace(m[1], '\\(.)', '\1', 'g') from regexp_matches(key || ',', '((?:[^,\\]|\\.)*),', 'g') as m) end
$$;
