//! The rights of the role of ingest. In every other test the program logs in as that role, which shows that it can do
//! everything that it must.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use insta::assert_snapshot;
use refinery::{Runner, Target};
use small_etl::data_access::postgres::{Database, RejectCursor, RejectFilter};
use small_etl::domain::{LoadId, LoadStatus};
use small_etl::error::ErrorKind;
use tokio_postgres::Client;

use crate::contract::ASSETS;
use crate::dataset::{DEFINITION, MIGRATION, QUOTES};
use crate::migrations::{self, undo_scripts};
use crate::support::Scratch;
use crate::support::postgres::Postgres;
use crate::world::{World, client, empty_database, query, settings_for};

/// Whether the role may run a statement. It may not if a right is missing, or if a view does not accept rows.
async fn may(session: &Client, statement: &str) -> bool {
    match session.batch_execute(statement).await {
        Ok(()) => true,
        Err(error) => {
            let code = error.code().unwrap().code();
            assert!(["42501", "55000"].contains(&code), "{statement}: {error:?}");
            false
        }
    }
}

#[tokio::test]
async fn the_role_of_ingest_may_change_what_a_load_changes_and_nothing_else() {
    let world = World::new().await;
    world.query("create table public.later (n serial, note text)").await;
    let columns = "select n.nspname || '.' || c.relname, c.relkind = 'v', a.attname, format_type(a.atttypid, null) from pg_attribute a \
        join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace \
        where n.nspname in ('etl', 'public') and c.relkind in ('r', 'v') and a.attnum > 0 and not a.attisdropped \
        and a.attgenerated = '' order by 1, a.attnum";
    let mut tables: BTreeMap<(String, bool), Vec<(String, String)>> = BTreeMap::new();
    for line in world.query(columns).await.lines() {
        let [table, is_view, column, kind] = line.split(" | ").collect::<Vec<_>>().try_into().unwrap();
        tables.entry((table.to_owned(), is_view == "t")).or_default().push((column.to_owned(), kind.to_owned()));
    }
    let (session, _driver) = client(&world.login).await;
    let mut allowed = String::new();
    for ((table, is_view), columns) in &tables {
        for verb in ["select", "insert", "update"] {
            let mut found = Vec::new();
            for (column, kind) in columns {
                let statement = match verb {
                    "select" => format!("select \"{column}\" from {table} where false"),
                    "insert" => format!(
                        "insert into {table} (\"{column}\") overriding user value select null::{kind} where false"
                    ),
                    _ => format!("update {table} set \"{column}\" = default where false"),
                };
                if may(&session, &statement).await {
                    found.push(column.as_str());
                }
            }
            let which = if found.len() == columns.len() { "all".to_owned() } else { found.join(" ") };
            if !found.is_empty() {
                writeln!(allowed, "{table} {verb}: {which}").unwrap();
            }
        }
        for (verb, statement) in [
            ("delete", format!("delete from {table} where false")),
            ("truncate", format!("truncate {table}")),
            ("trigger", format!("create trigger mine after insert on {table} execute function etl.refuse_change()")),
        ] {
            if !is_view && may(&session, &statement).await {
                writeln!(allowed, "{table} {verb}").unwrap();
            }
        }
    }
    let sequences = "select format('%I.%I', schemaname, sequencename) from pg_sequences order by 1";
    for sequence in world.query(sequences).await.lines() {
        if may(&session, &format!("select nextval('{sequence}')")).await {
            writeln!(allowed, "{sequence} nextval").unwrap();
        }
    }
    assert_snapshot!(allowed, @"
    etl.audit insert: action load_id detail
    etl.content_copy select: all
    etl.content_copy insert: all
    etl.data_key select: all
    etl.data_key insert: configured_as kms_key wrapped
    etl.dataset select: all
    etl.dataset insert: version name definition
    etl.delivery select: all
    etl.delivery insert: load_id loader rows
    etl.forgotten select: all
    etl.known_load select: all
    etl.lineage select: all
    etl.lineage insert: all
    etl.lineage update: lowest_key highest_key keys lines outcomes
    etl.load select: all
    etl.load insert: bucket key version run sequencer dataset dataset_version lease_token lease_expires_at batch_size max_rejects max_reject_rate size_bytes stalled late version_id modified_at max_future_seconds precedes source arrival part parts origin
    etl.load update: sequencer state reason attempt lease_token lease_expires_at read inserted updated unchanged stale parked rejected withheld warnings released statistics rejects_key finished_at error stalled header rejects_bucket modified_at source around dropped deleted removed ranks_from drift expired
    etl.load_batch select: all
    etl.load_batch insert: load_id batch first_record last_record inserted updated unchanged stale parked rejected warnings removed
    etl.load_history select: all
    etl.open_reject select: all
    etl.outbox select: all
    etl.outbox update: sent_at
    etl.outbox delete
    etl.outbox_sender select: all
    etl.outbox_sender update: token expires_at
    etl.parked select: all
    etl.parked insert: load_id record dataset key reference_dataset reference_key row_version content line
    etl.parked update: released_by released_at outcome warnings released_xid tick
    etl.parked_age select: all
    etl.pruned select: all
    etl.reconciliation select: all
    etl.reconciliation insert: bucket prefix
    etl.reconciliation update: state finished_at compared sent released discrepancies missing_files report report_bucket report_key error
    etl.reconciliation_step select: all
    etl.reconciliation_step insert: step part dataset_version began_at touched_at
    etl.reconciliation_step update: dataset_version cursor began_at since touched_at
    etl.reject select: all
    etl.reject insert: load_id record line column rule message value raw byte_offset byte_length key first_load_id first_record data_key
    etl.reject update: state first_load_id first_record resolved_by resolved_at
    etl.reject delete
    etl.rejected_record select: all
    etl.replacement select: all
    etl.replacement insert: load_id dataset scopes flagged rows_before
    etl.replacement update: inserted deleted elsewhere rows_after kept deleted_keys ended_at xid
    etl.resubmission select: all
    etl.resubmission insert: all
    etl.retention select: all
    etl.schema_change select: all
    etl.schema_change insert: dataset source change column load_id
    etl.scope select: all
    etl.scope insert: dataset scope load_id
    etl.scope update: load_id
    etl.settled select: all
    etl.settled delete
    etl.tombstone select: all
    etl.tombstone insert: dataset key version load_id
    etl.tombstone update: version load_id before at
    etl.tombstone delete
    public.asset select: account_id account_type cash frozen_cash market_value total_asset updated_at
    public.asset insert: account_id account_type cash frozen_cash market_value total_asset updated_at
    public.asset update: account_type cash frozen_cash market_value total_asset updated_at
    public.refinery_schema_history select: all
    public.trade select: account_id account_type traded_id stock_code traded_time traded_price traded_volume traded_amount strategy_name order_remark direction offset_flag created_at updated_at
    public.trade insert: account_id account_type traded_id stock_code traded_time traded_price traded_volume traded_amount strategy_name order_remark direction offset_flag created_at updated_at
    public.trade update: account_id account_type stock_code traded_time traded_price traded_volume traded_amount strategy_name order_remark direction offset_flag created_at updated_at
    etl.clock nextval
    etl.lease_token nextval
    ");
}

/// A right that a mode no longer needs is taken back by the next `migrate`.
#[tokio::test]
async fn rows_may_be_deleted_only_where_a_mode_does_that() {
    let folder = Scratch::new("rights");
    let define = |options: &str| {
        let text = format!(
            "name = \"item\"\ntable = \"item\"\n{options}\nfiles = [\"items/*\"]\n[[column]]\nname = \"code\"\ntype = \"text\"\nrequired = true\n"
        );
        std::fs::write(folder.path().join("item.toml"), text).unwrap();
    };
    let key = "key = \"code\"\nversion = \"arrival\"";
    define(key);
    let mut world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world
        .query("create table item (load_id bigint, record bigint, code text unique, gone boolean not null default false, unique (load_id, record))")
        .await;
    for (options, deletes) in [
        (key.to_owned(), false),
        ("mode = \"append\"".to_owned(), true),
        (format!("mode = \"replace\"\n{key}\ndeleted = \"gone\""), false),
        (format!("mode = \"replace\"\n{key}"), true),
        (format!("mode = \"upsert\"\n{key}"), false),
    ] {
        define(&options);
        world = world.under(&[]);
        world.migrate(None).await;
        let (session, _driver) = client(&world.login).await;
        assert_eq!(may(&session, "delete from item where false").await, deletes, "{options}");
        assert!(!may(&session, "truncate item").await, "{options}");
    }
}

#[tokio::test]
async fn the_bytes_of_a_reject_and_the_file_of_a_load_stay_as_they_are() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS.replace("305000.00", "1")).await;
    let (session, _driver) = client(&world.login).await;
    for statement in [
        "update etl.reject set raw = null",
        "update etl.reject set raw = '', state = 'resolved'",
        "update etl.reject set message = '', value = null, rule = ''",
        "update etl.reject set load_id = load_id, record = 2, line = 2",
        "insert into etl.reject (id, load_id, record, line, rule, message, raw, first_load_id, first_record) \
            overriding system value values (0, 1, 1, 2, '', '', '', 1, 1)",
        "update etl.load set key = 'incoming/assets/other.csv'",
        "update etl.load set bucket = 'other', version = 'other', run = 7",
        "update etl.load set dataset = 'trade', dataset_version = dataset_version",
        "update etl.load set started_at = '2000-01-01'",
        "update etl.load set max_rejects = null, batch_size = 1",
        "insert into etl.load_batch (load_id, batch, first_record, last_record, inserted, updated, unchanged, stale, parked, rejected, \
            warnings, committed_at) values (1, 9, 1, 1, 1, 0, 0, 0, 0, 0, 0, '2000-01-01')",
        "update etl.load_batch set inserted = 0",
        "update etl.parked set content = '{}'",
        "update etl.resubmission set first_record = 9",
        "update etl.dataset set definition = ''",
        "update asset set account_id = 'A'",
        "update asset set id = 1",
    ] {
        assert!(!may(&session, statement).await, "{statement}");
    }
    // What may be done to a reject is recorded.
    let lines = "select count(*) from etl.audit";
    let before: i64 = world.query(lines).await.parse().unwrap();
    session.batch_execute("delete from etl.reject").await.unwrap();
    assert_eq!(world.query(lines).await, (before + 1).to_string());
}

/// Migrates an empty database to an older version of the schema.
async fn at_schema(url: &str, version: i32) {
    let (mut session, _driver) = client(url).await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let migrations = refinery::load_sql_migrations(folder).unwrap();
    Runner::new(&migrations).set_target(Target::Version(version)).run_async(&mut session).await.unwrap();
}

/// A load of schema 9 with a record that breaks two rules, with its bytes stored at both.
const OLD_LEDGER: &str = "
insert into etl.dataset (version, name, definition) values ('old', 'asset', 'of its day');
insert into etl.load (bucket, key, version, dataset, dataset_version, state, lease_token, lease_expires_at, batch_size, read, rejected,
        finished_at, header)
    select current_database(), 'incoming/assets/0.csv', 'v', 'asset', 'old', 'loaded', nextval('etl.lease_token'), now(), 10, 1, 1, now(),
        'account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at';
insert into etl.load_batch (load_id, batch, first_record, last_record, inserted, updated, unchanged, stale, parked, rejected, warnings)
    values (1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0);
insert into etl.reject (load_id, record, line, \"column\", rule, message, value, raw, key, first_load_id, first_record)
    select 1, 1, 2, c, r, r, '9', 'A1,9,1,0,0,2,2025-12-22T14:30:00', 'A1', 1, 1
    from (values ('account_type', 'allowed'), ('total_asset', 'total_is_sum')) as v (c, r);
create table public.later (n serial, note text);
create table public.lookup (note text);
revoke all on public.lookup from small_etl_ingest;
grant select on public.lookup to small_etl_ingest;
";

#[tokio::test]
async fn an_older_ledger_goes_on_and_what_was_granted_too_much_is_taken_back() {
    let (url, name) = empty_database().await;
    at_schema(&url, 9).await;
    query(&url, OLD_LEDGER).await;
    query(&url, MIGRATION).await;
    let rights = "select format('%s %s', has_table_privilege('small_etl_ingest', c.oid, 'insert'), \
            has_any_column_privilege('small_etl_ingest', c.oid, 'insert')), has_table_privilege('small_etl_ingest', c.oid, 'select'), relname \
        from pg_class c where relnamespace = 'public'::regnamespace and relkind = 'r' and relname not like '%history' order by relname";
    assert_snapshot!(query(&url, rights).await, @"
    t t | t | asset
    t t | t | later
    f f | t | lookup
    t t | t | order
    t t | t | trade
    ");
    let folder = Scratch::new("rights");
    std::fs::write(folder.path().join("quote.toml"), DEFINITION).unwrap();
    let world = World::on_database(url, name, &[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.migrate(None).await;
    assert_snapshot!(world.query(rights).await, @"
    f t | f | asset
    f f | f | later
    f f | t | lookup
    f t | f | order
    f t | f | trade
    ");
    let (session, _driver) = client(&world.login).await;
    assert!(!may(&session, "insert into later (note) values ('x')").await);
    assert_eq!(world.drop_file("incoming/quotes/1.csv", QUOTES).await.status, LoadStatus::Loaded);
    // What another role creates later is not writable either.
    world.query("create table public.latest (note text)").await;
    assert!(!may(&session, "insert into latest values ('x')").await);

    // The rejects from then are read and mended like those of today.
    let filter = RejectFilter { load: Some(LoadId(1)), ..RejectFilter::default() };
    let (page, _) = world.database.page_of_rejects(&filter, RejectCursor::default()).await.unwrap();
    let raw = b"A1,9,1,0,0,2,2025-12-22T14:30:00".as_slice();
    assert_eq!(page.iter().map(|reject| &*reject.violation.raw).collect::<Vec<_>>(), [raw, raw]);
    let mended = "_load_id,_record,account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at\n1,1,A1,2,1,0,0,1,2025-12-22T14:30:00\n";
    world.drop_file("incoming/assets/1.csv", mended).await;
    assert_eq!(
        world.query("select state, resolved_by from etl.reject where load_id = 1").await,
        "resolved | 3\nresolved | 3"
    );
}

#[tokio::test]
async fn what_somebody_granted_too_much_is_taken_back_by_the_next_migration() {
    let world = World::new().await;
    let rights = "select has_column_privilege('small_etl_ingest', 'etl.reject', 'raw', 'update'), \
        has_table_privilege('small_etl_ingest', 'etl.load', 'delete'), has_table_privilege('small_etl_ingest', 'etl.audit', 'select'), \
        has_table_privilege('small_etl_ingest', 'public.asset', 'delete')";
    world
        .query(
            "grant update (raw) on etl.reject to small_etl_ingest; grant delete on etl.load, public.asset to small_etl_ingest; \
             grant select on etl.audit to small_etl_ingest",
        )
        .await;
    assert_eq!(world.query(rights).await, "t | t | t | t");
    world.migrate(None).await;
    assert_eq!(world.query(rights).await, "f | f | f | f");
}

#[tokio::test]
async fn the_way_back_gives_every_reject_its_bytes_and_the_role_its_tables() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS.replace(",2,100000.00", ",9,100001.00")).await;
    let bytes = "select count(*), count(raw), count(distinct raw) from etl.reject";
    assert_eq!(world.query(bytes).await, "2 | 1 | 1");
    for (_, undo) in undo_scripts().iter().filter(|(number, _)| *number >= 11) {
        world.query(undo).await;
    }
    assert_eq!(world.query(bytes).await, "2 | 2 | 1");
    let (session, _driver) = client(&world.login).await;
    assert!(may(&session, "update etl.reject set raw = raw; insert into asset select * from asset where false").await);
    world.migrate(None).await;
    assert!(!may(&session, "update etl.reject set raw = raw").await);
    assert_eq!(world.drop_file("incoming/assets/2.csv", ASSETS).await.status, LoadStatus::Loaded);
}

/// A load that continues may write columns, and a table, that the current definitions do not name.
#[tokio::test]
async fn a_load_that_has_not_ended_keeps_the_rights_of_its_own_definition() {
    let folder = Scratch::new("rights");
    let quote = folder.path().join("quote.toml");
    std::fs::write(&quote, DEFINITION).unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let world = World::with(&[("DATASETS__PATH", path.as_str()), ("LOAD__BATCH_SIZE", "1")]).await;
    world.query(MIGRATION).await;
    world.drop_file("incoming/quotes/1.csv", QUOTES).await;
    // The state that a worker leaves which has committed nothing.
    world
        .query(
            "update etl.load set state = 'interrupted', finished_at = null, lease_expires_at = now(); \
             truncate etl.load_batch, etl.reject, etl.lineage, \"order\"",
        )
        .await;
    let today = DEFINITION.replace("[[column]]\nname = \"desc\"\ntype = \"text\"\n", "");
    std::fs::write(&quote, today).unwrap();
    let world = world.under(&[]);
    world.migrate(None).await;
    assert_eq!(world.load("incoming/quotes/1.csv").await.counts.unwrap().inserted, 3);
    world.migrate(None).await;
    let (session, _driver) = client(&world.login).await;
    assert!(!may(&session, "update \"order\" set \"desc\" = default where false").await);
}

/// On RDS nobody is a superuser, and a table may belong to another role.
#[tokio::test]
async fn an_owner_who_is_no_superuser_migrates_and_names_what_another_owner_has_to_grant() {
    let server = Postgres::start(&["fsync=off"], |_| {});
    // As the README says.
    query(&server.url("postgres"), "create role me login createrole").await;
    query(&server.url("postgres"), "create database etl owner me").await;
    let admin = server.url("etl");
    let folder = Scratch::new("rights");
    std::fs::write(folder.path().join("quote.toml"), DEFINITION).unwrap();
    let url = admin.replace("postgres@", "me@");
    let settings = settings_for(&url, &[("DATASETS__PATH", folder.path().to_str().unwrap())]);
    let (database, datasets) = (Database::new(&settings.database().unwrap()).unwrap(), settings.datasets().unwrap());
    assert_eq!(database.migrate(None, &datasets).await.unwrap().len(), migrations::all().len());
    query(&admin, MIGRATION).await;
    let error = database.migrate(None, &datasets).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let (told, grant) =
        error.to_string().split_once(": grant ").map(|(told, grant)| (told.to_owned(), grant.to_owned())).unwrap();
    assert_eq!(told, "dataset quote: table order belongs to another role; let its owner run");
    query(&admin, &format!("grant {grant}")).await;
    assert!(database.migrate(None, &datasets).await.unwrap().is_empty());
}
