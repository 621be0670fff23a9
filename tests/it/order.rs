//! Files that arrive late, overlap, or arrive at the same time: the result is the same as if they had been loaded one
//! after another.

use std::fmt::Write as _;

use small_etl::domain::LoadStatus;

use crate::contract::{ASSETS, TRADES};
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::world::{World, checked, client};

const HEADER: &str = "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at";

/// Returns assets A0 to A`rows` - 1 with this much cash, in an order that `step` shuffles.
fn assets(rows: usize, cash: usize, step: usize, time: &str) -> String {
    let mut file = format!("{HEADER}\n");
    for row in 0..rows {
        writeln!(file, "A{},2,{cash},0,0,{cash},2025-12-22T{time}", row * step % rows).unwrap();
    }
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_file_that_comes_late_says_how_many_of_its_rows_were_stale() {
    let world = World::new().await;
    world.drop_file("incoming/assets/new.csv", assets(10, 2, 1, "15:00:00")).await;
    let counts = world.drop_file("incoming/assets/old.csv", assets(12, 1, 1, "14:00:00")).await.counts.unwrap();
    assert_eq!((counts.stale, counts.inserted, counts.updated), (10, 2, 0));
    assert_eq!(world.query("select cash, count(*) from asset group by 1 order by 1").await, "1.00 | 2\n2.00 | 10");
}

/// COPY does not cast, and equal numbers may have different bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_wider_columns_takes_the_rows_and_knows_them_again() {
    for wider in ["alter account_type type bigint", "alter cash type numeric(30, 6)"] {
        let world = World::new().await;
        world.query(&format!("truncate asset cascade; alter table asset {wider}")).await;
        let name = wider.len();
        let first = world.drop_file(&format!("incoming/assets/{name}.csv"), assets(10, 1, 1, "15:00:00")).await;
        assert_eq!(first.counts.unwrap().inserted, 10, "{wider}");
        let again = world.drop_file(&format!("incoming/assets/{name}-again.csv"), assets(10, 1, 3, "15:00:00")).await;
        assert_eq!(again.counts.unwrap().unchanged, 10, "{wider}");
    }
}

/// What a warm process remembers about a table may be out of date.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_altered_between_two_files_takes_the_second() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", assets(10, 1, 1, "15:00:00")).await;
    world.query("alter table asset alter account_type type bigint, alter cash type numeric(30, 6)").await;
    let counts = world.drop_file("incoming/assets/2.csv", assets(12, 2, 1, "16:00:00")).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.updated), (2, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_far_in_the_future_is_rejected_and_makes_no_later_row_stale() {
    let world = World::new().await;
    let in_hours = |hours| (chrono::Utc::now() + chrono::TimeDelta::hours(hours)).format("%Y-%m-%dT%H:%M:%S");
    let file = format!(
        "{HEADER}\nA0,2,1,0,0,1,9999-12-31T00:00:00\nA1,2,1,0,0,1,{}\nA2,2,1,0,0,1,{}\nA0,2,2,0,0,2,2025-12-22T14:00:00\n",
        in_hours(25),
        in_hours(23)
    );
    world.put("incoming/assets/1.csv", file).await;
    let request = world.request("incoming/assets/1.csv");
    let checked = checked(&world.context, &request).await.unwrap();
    assert_eq!((checked.validated.accepted, checked.validated.rejected), (2, 2), "`validate` counts from now");
    let counts = world.load("incoming/assets/1.csv").await.counts.unwrap();
    assert_eq!((counts.inserted, counts.rejected), (2, 2));
    let rejects = "select record, \"column\", rule, key, left(value, 4), message like '%load.max_future_seconds%' from etl.reject";
    assert_eq!(world.query(&format!("{rejects} where record = 1")).await, "1 | updated_at | future | A0 | 9999 | t");
    assert_eq!(world.query("select string_agg(rule, ' ') from etl.reject").await, "future future");
    assert_eq!(world.drop_file("incoming/assets/2.csv", assets(3, 3, 1, "15:00:00")).await.counts.unwrap().stale, 1);
    assert_eq!(world.query("select cash from asset where account_id = 'A0'").await, "3.00");
}

/// Each pair of files has the same keys in another order. With equal times, only the order of the claims can decide.
#[tokio::test(flavor = "multi_thread")]
async fn files_with_overlapping_keys_that_load_at_once_end_as_one_after_the_other() {
    for times in [["14:00:00", "15:00:00"], ["15:00:00", "14:00:00"], ["14:00:00", "14:00:00"]] {
        let world = World::with(&[("LOAD__BATCH_SIZE", "50")]).await;
        world.drop_file("incoming/assets/0.csv", assets(1009, 9, 1, "13:00:00")).await;
        let (one, two) = (assets(1009, 1, 7, times[0]), assets(1009, 2, 500, times[1]));
        world.put("incoming/assets/1.csv", one).await;
        world.put("incoming/assets/2.csv", two).await;
        let (one, two) = tokio::join!(world.load("incoming/assets/1.csv"), world.load("incoming/assets/2.csv"));
        for report in [&one, &two] {
            assert_eq!(report.status, LoadStatus::Loaded);
            assert!(report.counts.unwrap().is_balanced());
        }
        assert_eq!(world.overlaps().await, 1, "{times:?}");
        let claimed_last = if one.load_id > two.load_id { "1.00" } else { "2.00" };
        let winner = match times[0].cmp(times[1]) {
            std::cmp::Ordering::Less => "2.00",
            std::cmp::Ordering::Greater => "1.00",
            std::cmp::Ordering::Equal => claimed_last,
        };
        assert_eq!(
            world.query("select cash, count(*) from asset group by 1").await,
            format!("{winner} | 1009"),
            "{times:?}"
        );
    }
}

/// An earlier load continues after a later one has ended: rows with the same time that the later one wrote stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_overtaken_corrects_nothing_of_the_load_that_overtook_it() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "10"), ("LOAD__CONNECTIONS", "1")]).await;
    world.put("incoming/assets/1.csv", assets(30, 1, 1, "14:00:00")).await;
    world.put("incoming/assets/2.csv", assets(30, 2, 1, "14:00:00")).await;
    let proxy = world.proxy();
    // The first worker dies before its second batch is committed.
    let worker = world.signalled_worker("incoming/assets/1.csv", &proxy, (Which::Commit, 3), Fault::Call, "KILL");
    assert!(worker.finish().await.is_none());
    assert_eq!(world.query("select count(*) from asset").await, "10");
    assert_eq!(world.load("incoming/assets/2.csv").await.counts.unwrap().updated, 10);
    world.end_leases().await;
    let counts = world.load("incoming/assets/1.csv").await.counts.unwrap();
    assert_eq!((counts.inserted, counts.stale), (10, 20));
    assert_eq!(world.query("select cash, count(*) from asset group by 1").await, "2.00 | 30");
}

/// A row that another load writes between look-up and write is looked up again, and the rest of its batch stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_another_load_writes_meanwhile_is_looked_at_again() {
    for (theirs, outcome, cash) in [
        // Newer than ours, the same as ours, older than ours.
        ("cash = 7, total_asset = 7, updated_at = '2025-12-22T15:00:00Z'", (0, 0, 1), "7.00"),
        ("cash = 2, total_asset = 2, updated_at = '2025-12-22T14:00:00Z'", (0, 1, 0), "2.00"),
        ("cash = 7, total_asset = 7, updated_at = '2025-12-22T13:30:00Z'", (1, 0, 0), "2.00"),
    ] {
        let world = World::new().await;
        world.drop_file("incoming/assets/1.csv", assets(1, 1, 1, "13:00:00")).await;
        world.put("incoming/assets/2.csv", assets(3, 2, 1, "14:00:00")).await;
        let (other, _) = client(&world.url).await;
        other.batch_execute(&format!("begin; update asset set {theirs}")).await.unwrap();
        let meanwhile = async {
            world.wait_for_lock_waiters(1).await;
            other.batch_execute("commit").await.unwrap();
        };
        let (report, ()) = tokio::join!(world.load("incoming/assets/2.csv"), meanwhile);
        let counts = report.counts.unwrap();
        assert_eq!((counts.updated, counts.unchanged, counts.stale), outcome, "{theirs}");
        assert_eq!(counts.inserted, 2);
        assert_eq!(world.query("select cash from asset where account_id = 'A0'").await, cash);
    }
}

/// Trades and their accounts arrive at the same time, in either order.
#[tokio::test(flavor = "multi_thread")]
async fn a_trade_and_its_account_that_come_at_once_always_meet() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "1")]).await;
    for _ in 0..10 {
        world.query("truncate asset, trade, etl.load restart identity cascade").await;
        world.put("incoming/assets/1.csv", ASSETS).await;
        world.put("incoming/trades/1.csv", TRADES).await;
        let (assets, trades) = tokio::join!(world.load("incoming/assets/1.csv"), world.load("incoming/trades/1.csv"));
        let (assets, trades) = (assets.counts.unwrap(), trades.counts.unwrap());
        assert_eq!((trades.inserted + trades.parked, assets.released + trades.released), (4, trades.parked));
        let settled =
            "select (select count(*) from trade), count(*) filter (where released_by is null) from etl.parked";
        assert_eq!(world.query(settled).await, "4 | 0");
        assert_eq!(world.query("select sum(warnings) from etl.load").await, "2");
    }
}

/// Two rows with the same key and time, of which the later is parked: in whatever order they reach the table, the row
/// of the later load stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_row_wins_over_the_row_of_an_earlier_load_and_loses_to_that_of_a_later() {
    let remark = "select order_remark from trade";
    let other = ASSETS.replace("1000000000", "2000000000");

    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.drop_file("incoming/trades/1.csv", trade("10000000001", "first")).await;
    world.drop_file("incoming/trades/2.csv", trade("20000000001", "second parked")).await;
    assert_eq!(world.drop_file("incoming/assets/2.csv", other.clone()).await.counts.unwrap().released, 1);
    assert_eq!(world.query(remark).await, "second parked");

    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.drop_file("incoming/trades/1.csv", trade("20000000001", "first parked")).await;
    world.drop_file("incoming/trades/2.csv", trade("10000000001", "second")).await;
    assert_eq!(world.drop_file("incoming/assets/2.csv", other).await.counts.unwrap().released, 1);
    assert_eq!(world.query(remark).await, "second");
}

/// The owner of each row is found, however far apart the keys of its load are from the others.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_waited_win_over_the_rows_of_several_earlier_loads() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    let lines: Vec<_> = TRADES.lines().collect();
    for (nth, line) in lines.iter().enumerate().skip(1) {
        world.drop_file(&format!("incoming/trades/{nth}.csv"), format!("{}\n{line}\n", lines[0])).await;
    }
    let waiting = TRADES.replace(",1000000000", ",2000000000");
    assert_eq!(world.drop_file("incoming/trades/9.csv", waiting).await.counts.unwrap().parked, 4);
    world.drop_file("incoming/assets/2.csv", ASSETS.replace("1000000000", "2000000000")).await;
    assert_eq!(world.query("select distinct outcome from etl.parked").await, "updated");
}

/// Three rows with one key, of which the first two wait, each for its account.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_rows_that_waited_that_of_the_later_file_stays_whatever_a_still_later_one_had_written() {
    let account = |name: &str| ASSETS.replace("1000000000", &format!("{name}000000000"));
    // When the row of the third file was updated, in which order the accounts come, which row stays, and what becomes of the first two.
    for (third, order, remark, outcomes) in [
        (None, ["2", "3"], "second", "inserted | updated"),
        (None, ["3", "2"], "second", "stale | inserted"),
        (Some("14:00:00"), ["2", "3"], "second", "updated | updated"),
        (Some("14:00:00"), ["3", "2"], "second", "stale | updated"),
        (Some("14:30:00"), ["3", "2"], "third", "stale | stale"),
    ] {
        let world = World::new().await;
        world.drop_file("incoming/assets/1.csv", ASSETS).await;
        world.drop_file("incoming/trades/1.csv", trade("20000000001", "first")).await;
        world.drop_file("incoming/trades/2.csv", trade("30000000001", "second")).await;
        if let Some(time) = third {
            let file = trade("10000000001", "third").replace("14:30:00", time);
            world.drop_file("incoming/trades/3.csv", file).await;
        }
        for name in order {
            let freed = world.drop_file(&format!("incoming/assets/{name}.csv"), account(name)).await;
            assert_eq!(freed.counts.unwrap().released, 1);
        }
        let found =
            "select order_remark, (select string_agg(outcome, ' | ' order by load_id) from etl.parked) from trade";
        assert_eq!(world.query(found).await, format!("{remark} | {outcomes}"), "{third:?} {order:?}");
    }
}

/// Returns the first trade with this account and this remark.
fn trade(account: &str, remark: &str) -> String {
    let lines: Vec<_> = TRADES.lines().take(2).collect();
    format!("{}\n{}\n", lines[0], lines[1].replace("10000000001", account).replace("正常交易", remark))
}

/// Statements that change no value of a table, but change which transaction wrote its rows.
const REWRITES: [&str; 4] = [
    "select",
    "alter table trade alter direction type bigint",
    "update trade set order_remark = order_remark",
    "create temporary table saved as table trade; delete from trade; insert into trade overriding system value table saved",
];

/// Restores a dump of the database under another name.
async fn restored(world: World) -> World {
    let copy = crate::world::empty_database().await.0;
    let script = r#"pg_dump "$0" | psql -q -v ON_ERROR_STOP=1 "$1" > /dev/null"#;
    let status = std::process::Command::new("sh").args(["-c", script, &world.url, &copy]).status().unwrap();
    assert!(status.success());
    world.moved_to(copy)
}

/// An older parked row must not overwrite the row of a later load, and a later one must overwrite the row of an older
/// load, whatever happened to the table meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_rewrites_a_table_the_row_of_the_later_load_stays() {
    let other = ASSETS.replace("1000000000", "2000000000");
    for dumped in [false, true] {
        for rewrite in REWRITES {
            for (parked, loaded, stays) in [("1", "2", "loaded"), ("2", "1", "parked")] {
                let mut world = World::new().await;
                world.drop_file("incoming/assets/1.csv", ASSETS).await;
                let mut files = [(parked, "20000000001", "parked"), (loaded, "10000000001", "loaded")];
                files.sort_unstable();
                for (number, account, remark) in files {
                    world.drop_file(&format!("incoming/trades/{number}.csv"), trade(account, remark)).await;
                }
                world.query(rewrite).await;
                if dumped {
                    world = restored(world).await;
                }
                let counts = world.drop_file("incoming/assets/2.csv", other.clone()).await.counts.unwrap();
                assert_eq!(counts.released, 1);
                let outcome = if stays == "loaded" { "stale" } else { "updated" };
                let context = format!("{rewrite}, dumped: {dumped}");
                assert_eq!(world.query("select outcome from etl.parked").await, outcome, "{context}");
                assert_eq!(world.query("select order_remark from trade").await, stays, "{context}");
            }
        }
    }
}

/// The same for a load that was overtaken, and for one that comes afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_overtaken_loses_and_a_new_one_wins_whoever_rewrote_the_table() {
    for dumped in [false, true] {
        let mut world = World::with(&[("LOAD__BATCH_SIZE", "10"), ("LOAD__CONNECTIONS", "1")]).await;
        world.put("incoming/assets/1.csv", assets(30, 1, 1, "14:00:00")).await;
        let proxy = world.proxy();
        let worker = world.signalled_worker("incoming/assets/1.csv", &proxy, (Which::Commit, 3), Fault::Call, "KILL");
        assert!(worker.finish().await.is_none());
        world.drop_file("incoming/assets/2.csv", assets(30, 2, 1, "14:00:00")).await;
        world.query("alter table asset alter account_type type bigint; update asset set cash = cash").await;
        if dumped {
            world = restored(world).await;
        }
        world.end_leases().await;
        let counts = world.load("incoming/assets/1.csv").await.counts.unwrap();
        assert_eq!((counts.inserted, counts.stale), (10, 20), "dumped: {dumped}");
        assert_eq!(world.query("select cash, count(*) from asset group by 1").await, "2.00 | 30");
        let counts = world.drop_file("incoming/assets/3.csv", assets(30, 3, 1, "14:00:00")).await.counts.unwrap();
        assert_eq!((counts.updated, counts.stale), (30, 0), "dumped: {dumped}");
    }
}

/// Rows that are not known to come from a load: a new file wins over them, and a row that has waited does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_wins_over_a_row_written_by_hand_and_a_row_that_has_waited_does_not() {
    let world = World::new().await;
    world.query("insert into asset (account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at) values \
        ('A0', 2, 7, 0, 0, 7, '2025-12-22T14:00:00Z')").await;
    assert_eq!(world.drop_file("incoming/assets/0.csv", assets(1, 1, 1, "14:00:00")).await.counts.unwrap().updated, 1);
    world.query("update asset set cash = 7, total_asset = 7").await;
    assert_eq!(world.drop_file("incoming/assets/1.csv", assets(1, 2, 1, "14:00:00")).await.counts.unwrap().updated, 1);

    world.drop_file("incoming/trades/1.csv", trade("10000000001", "parked")).await;
    let columns = "account_id, account_type, traded_id, stock_code, traded_time, traded_price, traded_volume, traded_amount, \
        strategy_name, order_remark, direction, offset_flag, created_at, updated_at";
    world
        .query(&format!(
            "insert into trade ({columns}) select 'A0', 2, key, '600000', row_version, 15.5, 1000, 15500, 's', 'by hand', 0, 48, \
                 row_version, row_version from etl.parked"
        ))
        .await;
    assert_eq!(world.drop_file("incoming/assets/2.csv", ASSETS).await.counts.unwrap().released, 1);
    assert_eq!(world.query("select outcome, order_remark from etl.parked, trade").await, "stale | by hand");
}

/// What was deleted from the lineage may have named a later load.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_lineage_was_pruned_an_older_row_overwrites_nothing_and_a_new_one_does() {
    let other = ASSETS.replace("1000000000", "2000000000");
    for prune in [
        "delete from etl.lineage where dataset = 'trade'",
        "delete from etl.load where key like '%/2.csv' and dataset = 'trade'",
        "truncate etl.lineage",
    ] {
        let world = World::new().await;
        world.drop_file("incoming/assets/1.csv", ASSETS).await;
        world.drop_file("incoming/trades/0.csv", trade("10000000001", "first")).await;
        world.drop_file("incoming/trades/1.csv", trade("20000000001", "parked")).await;
        world.drop_file("incoming/trades/2.csv", trade("10000000001", "second")).await;
        world.query(prune).await;
        world.drop_file("incoming/assets/2.csv", other.clone()).await;
        assert_eq!(
            world.query("select outcome, order_remark from etl.parked, trade").await,
            "stale | second",
            "{prune}"
        );
        let counts = world.drop_file("incoming/trades/3.csv", trade("10000000001", "third")).await.counts.unwrap();
        assert_eq!(counts.updated, 1, "{prune}");
    }
}

/// A load that finds a row with exactly its values need not write it, but the row then belongs to that load.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_later_load_found_unchanged_does_not_lose_to_one_in_between() {
    let world = World::with(&[("LOAD__CONNECTIONS", "1")]).await;
    world.drop_file("incoming/assets/0.csv", assets(10, 1, 1, "14:00:00")).await;
    world.put("incoming/assets/1.csv", assets(10, 2, 1, "14:00:00")).await;
    let proxy = world.proxy();
    let worker = world.signalled_worker("incoming/assets/1.csv", &proxy, (Which::Commit, 2), Fault::Call, "KILL");
    assert!(worker.finish().await.is_none());
    assert_eq!(
        world.drop_file("incoming/assets/2.csv", assets(10, 1, 3, "14:00:00")).await.counts.unwrap().unchanged,
        10
    );
    world.end_leases().await;
    assert_eq!(world.load("incoming/assets/1.csv").await.counts.unwrap().stale, 10);
    assert_eq!(world.query("select cash, count(*) from asset group by 1").await, "1.00 | 10");
}

/// The same while the later load is still running: the load in between waits for what it finds.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_later_load_is_finding_unchanged_is_waited_for() {
    let world = World::with(&[("LOAD__CONNECTIONS", "1")]).await;
    world.drop_file("incoming/assets/0.csv", assets(10, 1, 1, "14:00:00")).await;
    world.put("incoming/assets/1.csv", assets(10, 2, 1, "14:00:00")).await;
    let proxy = world.proxy();
    let worker = world.signalled_worker("incoming/assets/1.csv", &proxy, (Which::Commit, 2), Fault::Call, "KILL");
    assert!(worker.finish().await.is_none());
    world.end_leases().await;
    world.put("incoming/assets/2.csv", assets(10, 1, 3, "14:00:00")).await;
    let world = world.under(&[("LOAD__CONNECTIONS", "4")]);
    world.slow_down(2.0).await;
    let in_between = async {
        // The later load has looked at its rows and is not committed.
        while world.query("select count(*) from pg_stat_activity where wait_event = 'PgSleep'").await == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        world.load("incoming/assets/1.csv").await
    };
    let (later, in_between) = tokio::join!(world.load("incoming/assets/2.csv"), in_between);
    assert_eq!(later.counts.unwrap().unchanged, 10);
    assert_eq!(in_between.counts.unwrap().stale, 10);
    assert_eq!(world.query("select cash, count(*) from asset group by 1").await, "1.00 | 10");
}

const NOTES: &str = r#"
name = "note"
table = "note"
key = "note_id"
version = "seen_at"
files = ["incoming/notes/*"]

[[column]]
name = "note_id"
type = "text"
required = true

[[column]]
name = "traded_id"
type = "text"
required = true
max_length = 50

[[column]]
name = "seen_at"
type = "timestamp"
required = true

[reference]
column = "traded_id"
dataset = "trade"
"#;

/// Notes wait for trades, and trades for accounts. The worker that brings the accounts dies between the two.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_wait_for_rows_that_an_earlier_worker_freed_are_freed_too() {
    let folder = Scratch::new("notes");
    std::fs::write(folder.path().join("note.toml"), NOTES).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query("create table note (note_id text primary key, traded_id varchar(50) not null, seen_at timestamptz not null)").await;
    world
        .drop_file("incoming/notes/1.csv", "note_id,traded_id,seen_at\nN1,T20251222000001,2025-12-22T14:30:00\n")
        .await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    let proxy = world.proxy();
    // The commits of the claim, of the only batch, of the released trades, and of the released notes.
    let worker = world.signalled_worker("incoming/assets/1.csv", &proxy, (Which::Commit, 4), Fault::Call, "KILL");
    assert!(worker.finish().await.is_none());
    assert_eq!(world.query("select (select count(*) from trade), count(*) from note").await, "4 | 0");
    world.end_leases().await;
    assert_eq!(world.load("incoming/assets/1.csv").await.counts.unwrap().released, 5);
    assert_eq!(world.query("select count(*) from note").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_row_has_an_age_that_can_be_queried() {
    let world = World::new().await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    world.query("update etl.parked set parked_at = parked_at - interval '3 days' where record = 1").await;
    let old =
        "select key from etl.parked where released_by is null and clock_timestamp() - parked_at > interval '1 day'";
    assert_eq!(world.query(old).await, "T20251222000001");
}

/// Two rows with the same key in one file end the same way, whether they are in one batch or not.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_twice_in_a_file_ends_the_same_way_at_any_batch_size() {
    let mut file = format!("{HEADER}\n");
    for row in 0..60 {
        writeln!(file, "A{},2,{row},0,0,{row},2025-12-22T14:00:{:02}", row % 13, row % 11).unwrap();
    }
    let mut outcomes = Vec::new();
    for batch_size in ["1", "7", "10000"] {
        let world = World::with(&[("LOAD__BATCH_SIZE", batch_size)]).await;
        let counts = world.drop_file("incoming/assets/1.csv", file.clone()).await.counts.unwrap();
        assert_eq!((counts.inserted, counts.rejected), (13, 47));
        let rejects = world.query("select record, line, rule, message from etl.reject order by record, id").await;
        let rows = world.query("select account_id, cash, updated_at from asset order by 1").await;
        outcomes.push(format!("{rows}\n{rejects}"));
    }
    assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]));
}
