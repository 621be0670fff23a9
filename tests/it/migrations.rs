//! The migrations of the schema and the role of ingest.

use std::fs;
use std::path::Path;

use small_etl::data_access::postgres::Database;
use small_etl::domain::{LoadStatus, Location};
use small_etl::error::ErrorKind;
use small_etl::pipeline::Request;

use crate::contract::{ASSETS, TRADES};
use crate::support::Scratch;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Fault, Which};
use crate::world::{World, client, datasets, empty_database, query, settings_for};

/// Returns the statements that undo each migration, with its number, the newest first.
pub fn undo_scripts() -> Vec<(i64, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/undo");
    let mut scripts: Vec<(i64, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let number = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            (number, fs::read_to_string(&path).unwrap())
        })
        .collect();
    scripts.sort_by_key(|(number, _)| -number);
    scripts
}

/// Returns the migrations in order: numbers and names.
pub fn all() -> Vec<(i64, String)> {
    let names = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (number, name) = name.strip_prefix('V')?.strip_suffix(".sql")?.split_once("__")?;
        Some((number.parse().unwrap(), name.to_owned()))
    });
    let mut all: Vec<_> = names.collect();
    all.sort();
    all
}

fn database(url: &str) -> Database {
    Database::new(&settings_for(url, &[]).database().unwrap()).unwrap()
}

#[tokio::test]
async fn two_workers_that_migrate_at_once_apply_each_migration_once() {
    let (url, _) = empty_database().await;
    let (one, two) = (database(&url), database(&url));
    let datasets = datasets();
    let (one, two) = tokio::join!(one.migrate(None, &datasets), two.migrate(None, &datasets));
    let (one, two) = (one.unwrap().len(), two.unwrap().len());
    let all = undo_scripts().len();
    assert_eq!((one.max(two), one.min(two)), (all, 0));
    assert_eq!(query(&url, "select count(*) from refinery_schema_history").await, all.to_string());
}

#[tokio::test]
async fn the_documented_way_back_leaves_nothing_and_the_way_forth_works_again() {
    let (url, _) = empty_database().await;
    let objects = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
        where n.nspname in ('etl', 'public') and c.relname <> 'refinery_schema_history' and c.relname not like 'refinery%'";
    database(&url).migrate(None, &datasets()).await.unwrap();
    assert_ne!(query(&url, objects).await, "0");
    let scripts = undo_scripts();
    for (_, undo) in &scripts {
        query(&url, undo).await;
    }
    assert_eq!(query(&url, objects).await, "0");
    assert_eq!(database(&url).migrate(None, &datasets()).await.unwrap().len(), scripts.len());
}

#[tokio::test]
async fn the_ingest_role_loads_files_and_cannot_change_the_schema() {
    let world = World::new().await.into_ingest_role();
    assert_eq!(world.drop_file("incoming/assets/1.csv", ASSETS).await.counts.unwrap().inserted, 4);

    let (client, connection) = tokio_postgres::connect(&world.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    for statement in [
        "alter table asset add column x int",
        "drop table trade",
        "create table public.x (y int)",
        "create table etl.x (y int)",
        "delete from asset",
        "truncate etl.load",
        "delete from etl.load",
        "create role x",
    ] {
        let error = client.batch_execute(statement).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{statement}");
    }
}

#[tokio::test]
async fn a_role_that_was_there_before_is_limited_too_unless_somebody_did() {
    let server = Postgres::start(&["fsync=off"], |_| {});
    let url = server.url("postgres");
    let limit = "select rolconnlimit from pg_roles where rolname = 'small_etl_ingest'";
    query(&url, "create role small_etl_ingest login password 'theirs'").await;
    database(&url).migrate(None, &datasets()).await.unwrap();
    assert_eq!(query(&url, limit).await, "9");
    query(&url, "alter role small_etl_ingest connection limit 20").await;
    for (_, undo) in undo_scripts().iter().filter(|(number, _)| *number >= 9) {
        query(&url, undo).await;
    }
    database(&url).migrate(None, &datasets()).await.unwrap();
    assert_eq!(query(&url, limit).await, "20");
}

#[tokio::test]
async fn a_schema_that_is_missing_or_too_old_is_refused() {
    let (url, _) = empty_database().await;
    let mut world = World::new().await;
    world.database = database(&url);
    world.put("incoming/assets/1.csv", ASSETS).await;
    let error = world.try_load("incoming/assets/1.csv").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("run `small-etl migrate` first"), "{error}");

    let world = World::new().await;
    let scripts = undo_scripts();
    let (newest, before) = (scripts[0].0, scripts[1].0);
    world.query(&format!("delete from refinery_schema_history where version = {newest}")).await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    let error = world.try_load("incoming/assets/1.csv").await.unwrap_err();
    let expected = format!("the schema has version {before}, this program needs {newest}");
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn a_ledger_from_before_the_steps_goes_on_where_it_was() {
    let (mut world, scratch) = (World::new().await, Scratch::new("upgrade"));
    let file = scratch.path().join("assets.csv");
    fs::write(&file, ASSETS).unwrap();
    let request = || Request { dataset: Some("asset".into()), ..Request::new(Location::File(file.clone())) };
    assert_eq!(world.run(&request()).await.unwrap().status, LoadStatus::Loaded);
    world
        .query(
            "insert into etl.reconciliation (state, started_at, finished_at) values \
             ('done', '2025-12-20', '2025-12-20'), ('done', '2025-12-21', '2025-12-21'), ('interrupted', '2025-12-22', '2025-12-22')",
        )
        .await;
    for (_, undo) in undo_scripts().iter().filter(|(number, _)| *number >= 12) {
        world.query(undo).await;
    }
    assert_eq!(world.query("select bucket from etl.load").await, "file");
    // A file that was loaded from a bucket of that name.
    world
        .query(
            "insert into etl.load (bucket, key, version, dataset, dataset_version, state, lease_token, lease_expires_at, batch_size, finished_at) \
             select bucket, 'incoming/assets/1.csv', md5(version), dataset, dataset_version, state, 0, now(), 1, now() from etl.load",
        )
        .await;
    world.migrate(None).await;
    world = world.under(&[]);
    assert_eq!(world.query("select bucket from etl.load order by id").await, "file://\nfile");
    assert_eq!(world.run(&request()).await.unwrap().status, LoadStatus::Duplicate);
    assert_eq!(
        world.query("select step, since from etl.reconciliation_step order by step").await,
        "balance | 2025-12-21 00:00:00+00\ncalendar | 2025-12-21 00:00:00+00"
    );
}

/// Loads continue while the schema is migrated: a batch that has looked at its checkpoint, and a load that is about to
/// end.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_migrated_while_loads_write_to_it() {
    for (first, then) in [
        (
            "select from etl.load_batch where load_id = 1",
            "insert into etl.lineage select load_id, batch + 1, dataset, lowest_key, highest_key, keys, lines, outcomes from etl.lineage; \
             insert into etl.load_batch (load_id, batch, first_record, last_record, inserted, updated, unchanged, stale, parked, rejected, warnings) \
             values (1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0); update etl.load set read = read where id = 1",
        ),
        (
            "select from etl.load where id = 1 for no key update",
            "select from etl.load_batch where load_id = 1; select from etl.parked; update etl.load set read = read where id = 1",
        ),
    ] {
        let world = World::new().await;
        world.drop_file("incoming/assets/1.csv", ASSETS).await;
        for (_, undo) in undo_scripts().iter().filter(|(number, _)| *number >= 10) {
            world.query(undo).await;
        }
        let (load, _) = client(&world.url).await;
        load.batch_execute(&format!("begin; {first}")).await.unwrap();
        let go_on = async {
            world.wait_for_lock_waiters(1).await;
            load.batch_execute(&format!("{then}; commit")).await.unwrap();
        };
        tokio::join!(world.migrate(None), go_on);
        let ahead = "select bool_and(tick <= (select last_value from etl.clock)), bool_and(tick > claimed_tick) \
            from etl.load_batch join etl.load on id = load_id where batch = 0";
        assert_eq!(world.query(ahead).await, "t | t");
    }
}

/// A ledger of schema 9 shows only by its times what came after what.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_from_before_the_order_was_kept_goes_on_with_what_waits_in_it() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "2"), ("LOAD__CONNECTIONS", "1")]).await;
    let trade = |account: &str, remark: &str| {
        let lines: Vec<_> = TRADES.lines().take(2).collect();
        format!("{}\n{}\n", lines[0], lines[1].replace("10000000001", account).replace("正常交易", remark))
    };
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.drop_file("incoming/trades/1.csv", trade("20000000001", "parked")).await;
    // This load is interrupted after its first batch and overtaken by the next one.
    let far = ASSETS.replace("10000000004,1,", "30000000004,1,");
    let far = far.replace("80000.00,10000.00,120000.00,210000.00,2025", "80000.00,10000.00,120000.00,210000.00,9999");
    world.put("incoming/assets/2.csv", far.replace(",2,", ",5,").replace(",3,", ",5,")).await;
    let proxy = world.proxy();
    let worker = world.signalled_worker("incoming/assets/2.csv", &proxy, (Which::Commit, 3), Fault::Call, "KILL");
    assert!(worker.finish().await.is_none());
    world.drop_file("incoming/trades/2.csv", trade("10000000001", "later")).await;
    world.drop_file("incoming/assets/3.csv", ASSETS.replace(",2,", ",7,").replace(",3,", ",7,")).await;

    for (_, undo) in undo_scripts().iter().filter(|(number, _)| *number >= 10) {
        query(&world.url, undo).await;
    }
    world.migrate(None).await;
    world.end_leases().await;
    let counts = world.load("incoming/assets/2.csv").await.counts.unwrap();
    assert_eq!((counts.stale, counts.rejected), (1, 0), "the later row stays, and the load had no bound of the future");
    let types = "select string_agg(account_type::text, ' ' order by account_id) from asset";
    assert_eq!(world.query(types).await, "7 7 7 1 1");
    world.drop_file("incoming/assets/4.csv", ASSETS.replace("1000000000", "2000000000")).await;
    assert_eq!(world.query("select outcome, order_remark from etl.parked, trade").await, "stale | later");
    let counts = world.drop_file("incoming/trades/3.csv", trade("10000000001", "new")).await.counts.unwrap();
    assert_eq!(counts.updated, 1);
}
