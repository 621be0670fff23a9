//! Keys of several columns, of any type that can be a key, in tables of any schema.

use std::fmt::Write as _;

use insta::assert_snapshot;
use small_etl::domain::{LoadReport, LoadStatus};

use crate::command_line::{small_etl, text};
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::world::World;

const POSITION: &str = r#"
name = "position"
table = "broker.position"
key = ["account_id", "as_of", "code"]
version = "seen_at"
files = ["incoming/positions/*"]

[[column]]
name = "code"
type = "text"
required = true
max_length = 20

[[column]]
name = "as_of"
type = "date"
required = true

[[column]]
name = "volume"
type = "decimal"
precision = 12
scale = 2
required = true
min = 0

[[column]]
name = "account_id"
type = "integer"
required = true

[[column]]
name = "seen_at"
type = "timestamp"
required = true
"#;

const LOT: &str = r#"
name = "lot"
table = "lot"
key = ["account_id", "number"]
version = "arrival"
files = ["incoming/lots/*"]
null_values = [""]

[[column]]
name = "account_id"
type = "integer"
required = true

[[column]]
name = "number"
type = "bigint"
required = true

[[column]]
name = "day"
type = "date"

[[column]]
name = "code"
type = "text"
max_length = 20

[[column]]
name = "volume"
type = "decimal"
precision = 12
scale = 2

[reference]
columns = ["account_id", "day", "code"]
dataset = "position"
warn_unless = [{ id = "volumes_agree", column = "volume", equals = "volume" }]
"#;

const TABLES: &str = "create schema broker; \
    create table broker.position (account_id integer not null, as_of date not null, code varchar(20) not null, volume numeric(12, 2) not null, \
        seen_at timestamptz not null, primary key (account_id, code, as_of)); \
    create table lot (account_id integer not null, number bigint not null, day date, code varchar(20), volume numeric(12, 2), \
        unique (account_id, number), foreign key (account_id, day, code) references broker.position (account_id, as_of, code))";

async fn world(settings: &[(&str, &str)]) -> (World, Scratch) {
    let folder = Scratch::new("composite");
    std::fs::write(folder.path().join("position.toml"), POSITION).unwrap();
    std::fs::write(folder.path().join("lot.toml"), LOT).unwrap();
    let path = folder.path().display().to_string();
    let world = World::with(&[settings, &[("DATASETS__PATH", &path)]].concat()).await;
    world.query(TABLES).await;
    (world, folder)
}

/// Rows are an account, a day of January, a code, a volume and an hour.
async fn drop_positions(world: &World, name: &str, rows: &[(i32, u32, &str, &str, u32)]) -> LoadReport {
    let mut text = "account_id,as_of,code,volume,seen_at\n".to_owned();
    for (account, day, code, volume, hour) in rows {
        writeln!(text, "{account},2025-01-{day:02},\"{code}\",{volume},2025-01-31T{hour:02}:00:00").unwrap();
    }
    world.drop_file(&format!("incoming/positions/{name}.csv"), text).await
}

async fn drop_lots(world: &World, name: &str, rows: &[&str]) -> LoadReport {
    let text = rows.iter().fold("account_id,number,day,code,volume\n".to_owned(), |text, row| format!("{text}{row}\n"));
    world.drop_file(&format!("incoming/lots/{name}.csv"), text).await
}

const PRESENT: &str = "select account_id, extract(day from as_of), code, volume from broker.position order by 1, 2, 3";

#[tokio::test]
async fn rows_are_told_apart_by_all_columns_of_the_key_together() {
    for batch_size in ["1", "2", "10000"] {
        let (world, _folder) = world(&[("LOAD__BATCH_SIZE", batch_size)]).await;
        let first =
            [(1, 1, "A", "1", 9), (1, 1, "B", "2", 9), (1, 2, "A", "3", 9), (2, 1, "A", "4", 9), (2, 1, "A,", "5", 9)];
        assert_eq!(drop_positions(&world, "1", &first).await.counts.unwrap().inserted, 5);
        // The same, a newer, an older and a new one.
        let second = [(1, 1, "A", "1.00", 9), (1, 1, "B", "20", 10), (1, 2, "A", "30", 8), (2, 2, "A", "6", 9)];
        let counts = drop_positions(&world, "2", &second).await.counts.unwrap();
        assert_eq!((counts.unchanged, counts.updated, counts.stale, counts.inserted), (1, 1, 1, 1));
        let present = [
            "1 | 1 | A | 1.00",
            "1 | 1 | B | 20.00",
            "1 | 2 | A | 3.00",
            "2 | 1 | A | 4.00",
            "2 | 1 | A, | 5.00",
            "2 | 2 | A | 6.00",
        ];
        assert_eq!(world.query(PRESENT).await, present.join("\n"));
        let found = reconcile(&world).await;
        assert!(found.is_clean() && found.rows_checked == 6, "{found:?}");
    }
}

#[tokio::test]
async fn of_rows_with_one_key_in_a_file_the_newest_wins_and_the_others_say_so() {
    let (world, _folder) = world(&[]).await;
    let rows = [(1, 1, "A,B", "1", 9), (1, 1, "A", "2", 9), (1, 1, "A,B", "3", 10), (1, 2, "A,B", "4", 9)];
    let counts = drop_positions(&world, "1", &rows).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.rejected), (3, 1));
    assert_snapshot!(world.query("select record, \"column\", rule, key, message from etl.reject").await, @r#"1 | - | unique | 1,2025-01-01,A\,B | "1,2025-01-01,A\\,B" stands again in line 4, which wins as the newer or later; keep one"#);
}

#[tokio::test]
async fn a_reject_is_mended_by_the_row_of_its_whole_key() {
    let (world, scratch) = world(&[]).await;
    let counts = drop_positions(&world, "1", &[(1, 1, "A", "-1", 9), (1, 2, "A", "-1", 9), (1, 3, "A", "x", 9)])
        .await
        .counts
        .unwrap();
    assert_eq!(counts.rejected, 3);
    assert_eq!(drop_positions(&world, "2", &[(1, 2, "A", "1", 9)]).await.counts.unwrap().inserted, 1);
    let open = "select record, key from etl.open_reject order by 1";
    assert_eq!(world.query(open).await, "1 | 1,2025-01-01,A\n3 | 1,2025-01-03,A");
    let rejects = world.get(&world.bucket, "rejects/position/1.csv").await;
    let counts = world
        .drop_file("incoming/positions/3.csv", rejects.replace(",-1,", ",1,").replace(",x,", ",2,"))
        .await
        .counts
        .unwrap();
    assert_eq!((counts.inserted, counts.unchanged), (2, 1));
    assert_eq!(world.query(open).await, "");
    for arguments in [&["1", "2025-01-02", "A"][..], &["1,2025-01-02,A"]] {
        let explained = text(&small_etl(&scratch, &world.variables(), &[&["explain", "position"], arguments].concat()));
        for part in [
            "exit 0",
            "position 1,2025-01-02,A: its present values come from",
            "2.csv line 2: inserted",
            "3.csv line 3: unchanged",
            "rejects with this key",
        ] {
            assert!(explained.contains(part), "{part}: {explained}");
        }
    }
    let wrong = text(&small_etl(&scratch, &world.variables(), &["explain", "position", "1", "2025-01-02"]));
    assert!(wrong.contains("give a value for each of account_id, as_of, code"), "{wrong}");
}

/// A row waits for the one that all columns of its reference name, and none where one of them is null.
#[tokio::test]
async fn a_row_waits_for_the_row_that_several_columns_name() {
    let (world, _folder) = world(&[]).await;
    drop_positions(&world, "1", &[(1, 1, "A", "5", 9)]).await;
    let rows = [
        "1,1,2025-01-01,A,5",
        "1,2,2025-01-01,A,6",
        "1,3,2025-01-02,A,7",
        "2,1,2025-01-01,A,8",
        "1,4,,A,9",
        "1,5,2025-01-01,,9",
    ];
    let counts = drop_lots(&world, "1", &rows).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.parked, counts.warnings), (4, 2, 1));
    assert_eq!(
        world.query("select key, reference_key from etl.parked order by 1").await,
        "1,3 | 1,2025-01-02,A\n2,1 | 1,2025-01-01,A".replace("2,1 | 1", "2,1 | 2")
    );
    // A later object brings one of them once more.
    assert_eq!(drop_lots(&world, "2", &["1,3,2025-01-02,A,70"]).await.counts.unwrap().parked, 1);
    let released = drop_positions(&world, "2", &[(1, 2, "A", "70", 9)]).await.counts.unwrap();
    assert_eq!((released.released, released.warnings), (2, 0));
    assert_eq!(world.query("select volume from lot where number = 3").await, "70.00");
    assert_eq!(world.query("select count(*) from etl.parked where released_by is null").await, "1");
    // In its table without the ledger.
    world.query("insert into broker.position values (2, '2025-01-01', 'A', 8, now())").await;
    assert_eq!(reconcile(&world).await.released, 1);
    assert_eq!(world.query("select count(*) from lot").await, "6");
    world.query("alter table lot drop constraint lot_account_id_day_code_fkey; delete from broker.position where account_id = 2").await;
    let found = reconcile(&world).await;
    assert!(found.discrepancies.iter().any(|found| found.message.contains("2,1")), "{:?}", found.discrepancies);
}

/// Without a version and without values besides its key a row is there, or is not.
#[tokio::test]
async fn a_table_may_consist_of_its_key_alone() {
    let (_, folder) = world(&[]).await;
    let rest = LOT.find("[[column]]\nname = \"day\"").unwrap();
    std::fs::write(folder.path().join("lot.toml"), &LOT[..rest]).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world
        .query(&format!(
            "{}; create table lot (account_id integer, number bigint, unique (number, account_id))",
            TABLES.split("; create table lot").next().unwrap()
        ))
        .await;
    let file = "account_id,number\n1,1\n1,2\n2,1\n";
    assert_eq!(world.drop_file("incoming/lots/1.csv", file).await.counts.unwrap().inserted, 3);
    let counts = world.drop_file("incoming/lots/2.csv", format!("{file}2,2\n")).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.unchanged), (1, 3));
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test]
async fn a_load_that_is_killed_and_one_in_its_way_end_as_one_after_the_other() {
    let codes = ["A", "B"].into_iter().flat_map(|code| [code; 4]).cycle();
    let rows: Vec<(i32, u32, &str, &str, u32)> =
        (0..40_i32).zip(codes).map(|(row, code)| (row % 4, 1 + row.unsigned_abs() / 8, code, "1", 9)).collect();
    let (world, _folder) = world(&[("LOAD__BATCH_SIZE", "7"), ("LOAD__CONNECTIONS", "1")]).await;
    let mut text = "account_id,as_of,code,volume,seen_at\n".to_owned();
    for (account, day, code, volume, hour) in &rows {
        writeln!(text, "{account},2025-01-{day:02},{code},{volume},2025-01-31T{hour:02}:00:00").unwrap();
    }
    world.put("incoming/positions/1.csv", text).await;
    let proxy = world.proxy();
    let worker = world.signalled_worker("incoming/positions/1.csv", &proxy, (Which::Commit, 3), Fault::Call, "KILL");
    assert!(worker.finish().await.is_none());
    // The same keys at the same time with other values: the later claim wins.
    let others: Vec<(i32, u32, &str, &str, u32)> =
        rows.iter().take(20).map(|row| (row.0, row.1, row.2, "2", 9)).collect();
    drop_positions(&world, "2", &others).await;
    world.end_leases().await;
    let report = world.load("incoming/positions/1.csv").await;
    assert_eq!((report.status, report.counts.unwrap().stale), (LoadStatus::Loaded, 13));
    assert_eq!(
        world.query("select volume, count(*) from broker.position group by 1 order by 1").await,
        "1.00 | 20\n2.00 | 20"
    );
}

#[tokio::test]
async fn a_table_without_an_index_over_the_whole_key_is_refused() {
    let (world, _folder) = world(&[]).await;
    world.query("alter table lot drop constraint lot_account_id_number_key; create unique index on lot (account_id, number, day)").await;
    world.put("incoming/lots/1.csv", "account_id,number,day,code,volume\n").await;
    let error = world.try_load("incoming/lots/1.csv").await.unwrap_err();
    assert_snapshot!(error.chain(), @"dataset lot: table lot: the key account_id, number needs a unique index of its own; run: create unique index on public.lot (account_id, number)");
    world.query("alter table broker.position rename to elsewhere").await;
    world.put("incoming/positions/1.csv", "account_id,as_of,code,volume,seen_at\n").await;
    let error = world.try_load("incoming/positions/1.csv").await.unwrap_err();
    assert_snapshot!(error.chain(), @"dataset position: table broker.position is missing; run its migration");
}

/// What a dataset says of its loads goes before the settings, and is frozen with the first claim.
#[tokio::test]
async fn a_dataset_may_have_a_batch_size_and_thresholds_of_its_own() {
    let (_, folder) = world(&[]).await;
    std::fs::write(
        folder.path().join("position.toml"),
        format!("{POSITION}\n[load]\nbatch_size = 2\nmax_rejects = 1\n"),
    )
    .unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap()), ("LOAD__MAX_REJECTS", "0")]).await;
    world.query(TABLES).await;
    let rows = [(1, 1, "A", "-1", 9), (1, 2, "A", "1", 9), (1, 3, "A", "1", 9)];
    let counts = drop_positions(&world, "1", &rows).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.rejected), (2, 1));
    assert_eq!(
        world.query("select batch_size, max_rejects, (select count(*) from etl.load_batch) from etl.load").await,
        "2 | 1 | 2"
    );
    let failed = drop_positions(&world, "2", &[(1, 1, "A", "-1", 9), (1, 2, "A", "-1", 9)]).await;
    assert_eq!((failed.status, failed.reason.as_deref()), (LoadStatus::Failed, Some("too_many_rejects")));
    assert!(failed.error.unwrap().contains("load.max_rejects = 1"));
}

#[tokio::test]
async fn a_row_of_a_partitioned_table_waits_as_any_other() {
    let (world, _folder) = world(&[]).await;
    world
        .query(
            "drop table lot; create table lot (account_id integer not null, number bigint not null, day date, code varchar(20), \
                 volume numeric(12, 2), unique (account_id, number), \
                 foreign key (account_id, day, code) references broker.position (account_id, as_of, code)) partition by hash (account_id); \
             create table lot_0 partition of lot for values with (modulus 2, remainder 0); \
             create table lot_1 partition of lot for values with (modulus 2, remainder 1)",
        )
        .await;
    drop_positions(&world, "1", &[(1, 1, "A", "1", 9)]).await;
    let counts = drop_lots(&world, "1", &["1,1,2025-01-01,A,1", "1,2,2025-01-02,A,1"]).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.parked), (1, 1));
    let counts = drop_positions(&world, "2", &[(1, 2, "A", "1", 9)]).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.released), (1, 1));
    let counts = drop_lots(&world, "2", &["1,1,2025-01-01,A,2", "2,1,2025-01-03,A,1"]).await.counts.unwrap();
    assert_eq!((counts.updated, counts.parked), (1, 1));
    assert_eq!(
        world.query("select account_id, number, volume from lot order by 1, 2").await,
        "1 | 1 | 2.00\n1 | 2 | 1.00"
    );
}
