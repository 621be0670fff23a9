-- What a load brought to other places than the tables: one row for each further loader of its pipeline that is done.
create table etl.delivery (
    load_id      bigint not null references etl.load (id),
    loader       text not null,
    rows         bigint not null,
    delivered_at timestamptz not null default clock_timestamp(),
    primary key (load_id, loader)
);
grant select, insert on etl.delivery to small_etl_ingest;
