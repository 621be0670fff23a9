//! The way back of a bad row: from the rejects file, mended, into the table, and out of the list of open rejects.

use std::fs;
use std::process::Command;

use insta::assert_snapshot;
use small_etl::domain::{LoadStatus, Location};
use small_etl::pipeline::Request;
use small_etl::services::Deadline;
use small_etl::services::tidy::{Tidied, delete_expired, write_missing};

use crate::command_line::{small_etl, text};
use crate::contract::{ASSETS, TRADES, head};
use crate::support::Scratch;
use crate::world::{World, settings_for};

const STATES: &str = "select load_id, record, rule, key, state, resolved_by, first_load_id, first_record \
    from etl.reject order by load_id, record, id";
const OPEN: &str = "select load_id, record, rule, key from etl.open_reject order by load_id, record, rule";

/// Four assets: one with a wrong sum, one with a wrong type and a wrong sum, a good one, and one without its last cell.
fn broken_assets() -> String {
    ASSETS
        .replace("305000.00", "305000.01")
        .replace(
            "10000000002,2,500000.00,50000.00,800000.00,1350000.00",
            "10000000002,9,500000.00,50000.00,800000.00,1",
        )
        .replace(",210000.00,2025-12-22T14:15:00", ",210000.00")
}

async fn rejects_file(world: &World, load: i64) -> String {
    world.get(&world.bucket, &format!("rejects/asset/{load}.csv")).await
}

/// Corrects the mistakes of [`broken_assets`] wherever they are.
fn mend(text: &str) -> String {
    text.replace("305000.01", "305000.00")
        .replace(
            "10000000002,9,500000.00,50000.00,800000.00,1,",
            "10000000002,2,500000.00,50000.00,800000.00,1350000.00,",
        )
        .replace(",210000.00\n", ",210000.00,2025-12-22T14:15:00\n")
}

/// Returns the file without its first four columns.
fn without_ours(text: &str) -> String {
    let rows = text.lines().map(|line| {
        let cells = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line.as_bytes());
        let cells: Vec<String> =
            cells.into_records().next().unwrap().unwrap().iter().skip(4).map(String::from).collect();
        cells.join(",") + "\n"
    });
    rows.collect()
}

/// Does what the nightly run does with rejects.
pub async fn tidy(world: &World, retention_days: Option<u32>) -> Tidied {
    let (database, output, deadline) = (&world.database, &world.context.output, Deadline::default());
    let mut done = Tidied::default();
    if let Some(days) = retention_days {
        let pass = database.begin_pass("retention", "", "", None).await.unwrap();
        assert!(delete_expired(database, output, days, (&pass, &deadline), &mut done).await.unwrap());
        // As the nightly run does: what failed is looked at again.
        let ended = done.rejects_not_deleted.is_empty();
        if ended { database.end_pass(&pass).await } else { database.drop_pass(&pass).await }.unwrap();
    }
    let pass = database.begin_pass("rejects files", "", "", None).await.unwrap();
    assert!(write_missing(database, output, (&pass, &deadline), &mut done).await.unwrap());
    let ended = done.rejects_files_missing.is_empty();
    if ended { database.end_pass(&pass).await } else { database.drop_pass(&pass).await }.unwrap();
    done
}

#[tokio::test]
async fn the_rejects_file_has_what_is_wrong_and_the_bytes_of_each_bad_record() {
    let world = World::new().await;
    let report = world.drop_file("incoming/assets/1.csv", broken_assets()).await;
    assert_eq!(report.rejects_key.as_deref(), Some("rejects/asset/1.csv"));
    assert_eq!(
        world.load("incoming/assets/1.csv").await.rejects_key,
        report.rejects_key,
        "a duplicate says so as well"
    );
    assert_eq!(
        world.query("select rejects_bucket, rejects_key from etl.load").await,
        format!("{} | rejects/asset/1.csv", world.bucket)
    );
    assert_snapshot!(rejects_file(&world, 1).await, @r#"
    _load_id,_record,_line,_errors,id,account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at
    1,1,2,total_asset: total_asset is not cash + frozen_cash + market_value (rule total_is_sum),1,10000000001,2,100000.00,5000.00,200000.00,305000.01,2025-12-22T14:30:00
    1,2,3,"account_type: ""9"" is not one of 1 2 3 5 6 7 11 (rule allowed); total_asset: total_asset is not cash + frozen_cash + market_value (rule total_is_sum)",2,10000000002,9,500000.00,50000.00,800000.00,1,2025-12-22T14:25:00
    1,4,5,"the record has 7 fields, the header 8; add those that are missing (rule field_count)",4,10000000004,1,80000.00,10000.00,120000.00,210000.00
    "#);
    // The record itself: where it is, and its key.
    let text = broken_assets();
    let records = world.query("select distinct record, byte_offset, byte_length, key from etl.reject order by 1").await;
    for (line, key) in records.lines().zip(["10000000001", "10000000002", "-"]) {
        let [record, offset, length, found] = line.split(" | ").collect::<Vec<_>>().try_into().unwrap();
        let (offset, length): (usize, usize) = (offset.parse().unwrap(), length.parse().unwrap());
        let expected = text.lines().nth(record.parse().unwrap()).unwrap();
        assert_eq!((&text[offset..offset + length], found), (expected, key));
    }
}

#[tokio::test]
async fn a_rejects_file_opens_in_a_program_that_knows_nothing_of_it() {
    let world = World::new().await;
    let odd = ASSETS
        .replace("10000000002,2", "\"a \"\"b\"\",\r\nc\",9")
        .replace("305000.00", "\"=1+1\"")
        .replace("10000000003,3", "日本,8");
    let report = world.drop_file("incoming/assets/1.csv", odd).await;
    assert_eq!(report.counts.unwrap().rejected, 3);
    let scratch = Scratch::new("mend");
    fs::write(scratch.path().join("rejects.csv"), rejects_file(&world, 1).await).unwrap();
    let script = "import csv; rows = list(csv.DictReader(open('rejects.csv', newline='', encoding='utf-8'))); \
        print([(r['_record'], r['_line'], r['account_id'], r['total_asset'], None in r) for r in rows])";
    let output = Command::new("python3").args(["-c", script]).current_dir(scratch.path()).output().unwrap();
    assert_snapshot!(String::from_utf8_lossy(&output.stdout), @r#"[('1', '2', '10000000001', '=1+1', False), ('2', '3', 'a "b",\r\nc', '1350000.00', False), ('3', '5', '日本', '625000.00', False)]"#);
}

#[tokio::test]
async fn a_mended_row_closes_the_reject_that_it_came_from() {
    let world = World::new().await.into_ingest_role();
    world.drop_file("incoming/assets/1.csv", broken_assets()).await;
    assert_eq!(world.query("select dataset, open_rejects from etl.load_history").await, "asset | 3");
    let report = world.drop_file("incoming/assets/mended.csv", mend(&rejects_file(&world, 1).await)).await;
    let counts = report.counts.unwrap();
    assert_eq!((counts.read, counts.inserted, counts.rejected), (3, 3, 0));
    assert_snapshot!(world.query(STATES).await, @r"
    1 | 1 | total_is_sum | 10000000001 | resolved | 2 | 1 | 1
    1 | 2 | allowed | 10000000002 | resolved | 2 | 1 | 2
    1 | 2 | total_is_sum | 10000000002 | resolved | 2 | 1 | 2
    1 | 4 | field_count | - | resolved | 2 | 1 | 4
    ");
    assert_eq!(world.query(OPEN).await, "");
    assert_eq!(world.query("select read, inserted, rejected from etl.load order by id").await, "4 | 1 | 3\n3 | 3 | 0");
    assert_eq!(world.query("select count(*) from asset").await, "4");
}

#[tokio::test]
async fn without_the_four_columns_a_mended_row_is_known_by_its_key() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", broken_assets()).await;
    let mended = without_ours(&mend(&rejects_file(&world, 1).await));
    assert!(mended.starts_with("id,account_id"), "{mended}");
    assert_eq!(world.drop_file("incoming/assets/mended.csv", mended).await.counts.unwrap().inserted, 3);
    // A row without a readable key is not recognized.
    assert_eq!(world.query(OPEN).await, "1 | 4 | field_count | -");
    // A row of another dataset with the same key closes nothing.
    let trade = TRADES.replace("T20251222000001", "10000000009").replace(",15500.00,", ",15500.01,");
    world.drop_file("incoming/trades/1.csv", trade).await;
    world.drop_file("incoming/assets/3.csv", ASSETS.replace("10000000001", "10000000009")).await;
    assert_eq!(
        world.query("select dataset, key from etl.open_reject where key is not null").await,
        "trade | 10000000009"
    );
}

#[tokio::test]
async fn a_row_that_is_still_bad_is_linked_to_the_old_reject_and_counted_once() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", broken_assets()).await;
    let second = rejects_file(&world, 1).await.replace("305000.01", "305000.02");
    world.drop_file("incoming/assets/2.csv", second).await;
    assert_snapshot!(world.query(STATES).await, @r"
    1 | 1 | total_is_sum | 10000000001 | open | - | 1 | 1
    1 | 2 | allowed | 10000000002 | open | - | 1 | 2
    1 | 2 | total_is_sum | 10000000002 | open | - | 1 | 2
    1 | 4 | field_count | - | open | - | 1 | 4
    2 | 1 | total_is_sum | 10000000001 | open | - | 1 | 1
    2 | 2 | allowed | 10000000002 | open | - | 1 | 2
    2 | 2 | total_is_sum | 10000000002 | open | - | 1 | 2
    2 | 3 | field_count | - | open | - | 1 | 4
    ");
    assert_snapshot!(world.query(OPEN).await, @r"
    2 | 1 | total_is_sum | 10000000001
    2 | 2 | allowed | 10000000002
    2 | 2 | total_is_sum | 10000000002
    2 | 3 | field_count | -
    ");
    // The rejects file of a rejects file has the four columns once, and its report does not have them.
    let page = world.get(&world.bucket, "rejects/asset/2.html").await;
    assert!(page.contains("<code>1,10000000001,2,"), "{page}");
    let third = rejects_file(&world, 2).await;
    assert_eq!(third.matches("_load_id").count(), 1, "{third}");
    assert_eq!(third.lines().nth(1).unwrap().split(',').next(), Some("2"));
    let report = world.drop_file("incoming/assets/3.csv", mend(&third.replace("305000.02", "305000.00"))).await;
    assert_eq!(report.counts.unwrap().inserted, 3);
    assert_eq!(world.query("select distinct state, resolved_by from etl.reject").await, "resolved | 3");
    assert_eq!(world.query(OPEN).await, "");
}

#[tokio::test]
async fn a_mended_row_that_must_wait_closes_its_reject_when_it_is_released() {
    let world = World::new().await;
    world.drop_file("incoming/trades/1.csv", TRADES.replace(",15500.00,", ",15500.01,")).await;
    let file = world.get(&world.bucket, "rejects/trade/1.csv").await;
    let report = world.drop_file("incoming/trades/2.csv", file.replace("15500.01", "15500.00")).await;
    assert_eq!(report.counts.unwrap().parked, 1);
    assert_eq!(world.query("select state from etl.reject").await, "open");
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    assert_eq!(world.query("select state, resolved_by from etl.reject").await, "resolved | 3");
    assert_eq!(
        world.query("select line, outcome, released_by from etl.parked where load_id = 2").await,
        "2 | inserted | 3"
    );
}

/// The file is loaded again meanwhile, so that its bad row is rejected twice.
#[tokio::test]
async fn a_mended_row_that_waits_while_its_file_is_loaded_again_closes_both_rejects_when_it_is_released() {
    let world = World::new().await;
    world.drop_file("incoming/trades/1.csv", TRADES.replace(",15500.00,", ",15500.01,")).await;
    let file = world.get(&world.bucket, "rejects/trade/1.csv").await;
    assert_eq!(
        world.drop_file("incoming/trades/2.csv", file.replace("15500.01", "15500.00")).await.counts.unwrap().parked,
        1
    );
    let again = Request { again: true, ..world.request("incoming/trades/1.csv") };
    assert_eq!(world.run(&again).await.unwrap().counts.unwrap().rejected, 1);
    assert_eq!(world.query("select string_agg(state, ' ') from etl.reject").await, "open open");
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    assert_eq!(
        world.query("select state, resolved_by from etl.reject order by load_id").await,
        "resolved | 4\nresolved | 4"
    );
    // The same where the other row was added by hand, and the nightly run finds that.
    let world = World::new().await;
    world.drop_file("incoming/trades/1.csv", TRADES.replace(",15500.00,", ",15500.01,")).await;
    world.drop_file("incoming/trades/2.csv", file.replace("15500.01", "15500.00")).await;
    world.run(&Request { again: true, ..world.request("incoming/trades/1.csv") }).await.unwrap();
    let insert = "insert into asset (account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at) \
        select '1000000000' || n, 2, 1, 0, 0, 1, now() from generate_series(1, 3) n";
    world.query(insert).await;
    crate::nightly::reconcile(&world).await;
    assert_eq!(world.query("select distinct state from etl.reject").await, "resolved");
    // An attempt of another file that came later is one of its own.
    let world = World::new().await;
    world.drop_file("incoming/trades/1.csv", TRADES.replace(",15500.00,", ",15500.01,")).await;
    world.drop_file("incoming/trades/2.csv", file.replace("15500.01", "15500.00")).await;
    world.drop_file("incoming/trades/3.csv", file).await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    assert_eq!(world.query("select state from etl.reject order by load_id").await, "resolved\nopen");
}

#[tokio::test]
async fn rejects_of_a_failed_load_close_only_when_the_whole_file_loads() {
    let world = World::with(&[("LOAD__MAX_REJECTS", "2")]).await;
    let failed = world.drop_file("incoming/assets/1.csv", broken_assets()).await;
    assert_eq!((failed.status, failed.rejects_key.as_deref()), (LoadStatus::Failed, Some("rejects/asset/1.csv")));
    let mended = mend(&rejects_file(&world, 1).await);
    assert_eq!(world.drop_file("incoming/assets/mended.csv", mended).await.counts.unwrap().inserted, 3);
    assert_eq!(world.query("select distinct state from etl.reject").await, "open", "its good row is not loaded yet");
    // Two of the three are corrected in the file itself.
    let whole = mend(&broken_assets()).replace("305000.00", "305000.03");
    assert_eq!(world.drop_file("incoming/assets/1.csv", whole).await.status, LoadStatus::Loaded);
    assert_snapshot!(world.query(STATES).await, @r"
    1 | 1 | total_is_sum | 10000000001 | open | - | 1 | 1
    1 | 2 | allowed | 10000000002 | resolved | 3 | 1 | 2
    1 | 2 | total_is_sum | 10000000002 | resolved | 3 | 1 | 2
    1 | 4 | field_count | - | resolved | 3 | 1 | 4
    3 | 1 | total_is_sum | 10000000001 | open | - | 1 | 1
    ");
    assert_eq!(world.query(OPEN).await, "3 | 1 | total_is_sum | 10000000001");
    world
        .drop_file("incoming/assets/mended.csv", mend(&rejects_file(&world, 3).await.replace("305000.03", "305000.00")))
        .await;
    assert_eq!(world.query(OPEN).await, "");
}

/// The first run has loaded none of its rows, and what was mended meanwhile stays mended.
#[tokio::test]
async fn rows_that_were_mended_before_their_failed_file_was_loaded_again_are_not_open() {
    let world = World::with(&[("LOAD__MAX_REJECTS", "2")]).await;
    world.drop_file("incoming/assets/1.csv", broken_assets()).await;
    let two_of_three = mend(&rejects_file(&world, 1).await).replace("305000.00", "305000.03");
    world.drop_file("incoming/assets/mended.csv", two_of_three).await;
    let world = world.under(&[("LOAD__MAX_REJECTS", "9")]);
    let again = Request { again: true, ..world.request("incoming/assets/1.csv") };
    assert_eq!(world.run(&again).await.unwrap().status, LoadStatus::Loaded);
    assert_snapshot!(world.query(STATES).await, @r"
    1 | 1 | total_is_sum | 10000000001 | open | - | 1 | 1
    1 | 2 | allowed | 10000000002 | resolved | 3 | 1 | 2
    1 | 2 | total_is_sum | 10000000002 | resolved | 3 | 1 | 2
    1 | 4 | field_count | - | resolved | 3 | 1 | 4
    2 | 1 | total_is_sum | 10000000001 | open | - | 1 | 1
    3 | 1 | total_is_sum | 10000000001 | open | - | 1 | 1
    3 | 2 | allowed | 10000000002 | resolved | 2 | 1 | 2
    3 | 2 | total_is_sum | 10000000002 | resolved | 2 | 1 | 2
    3 | 4 | field_count | - | resolved | 2 | 1 | 4
    ");
    assert_eq!(world.query(OPEN).await, "3 | 1 | total_is_sum | 10000000001");
}

#[tokio::test]
async fn the_same_version_loaded_once_more_counts_its_bad_rows_once() {
    let world = World::new().await;
    let twice = format!("{}5,10000000003,3,0,0,0,0,2025-12-22T14:20:00\n", broken_assets());
    world.drop_file("incoming/assets/1.csv", twice).await;
    let again = Request { again: true, ..world.request("incoming/assets/1.csv") };
    assert_eq!(world.run(&again).await.unwrap().counts.unwrap().unchanged, 1);
    assert_snapshot!(world.query("select load_id, record, rule, state, first_load_id, first_record from etl.open_reject \
        join etl.reject using (load_id, record, rule, first_load_id, first_record) order by 1, 2, 3").await, @r"
    2 | 1 | total_is_sum | open | 1 | 1
    2 | 2 | allowed | open | 1 | 2
    2 | 2 | total_is_sum | open | 1 | 2
    2 | 3 | unique | open | 1 | 3
    2 | 4 | field_count | open | 1 | 4
    ");
    let scratch = Scratch::new("mend");
    let listed = text(&small_etl(&scratch, &world.variables(), &["rejects", "1"]));
    assert!(
        listed.contains("rows that were sent again and are still bad are rejects of load 2: small-etl rejects 2"),
        "{listed}"
    );
}

#[tokio::test]
async fn a_row_that_lost_within_its_file_waits_until_a_later_file_brings_its_key() {
    let world = World::new().await;
    let twice = format!("{ASSETS}5,10000000001,2,1.00,0,0,1.00,2025-12-22T14:31:00\n");
    world.drop_file("incoming/assets/1.csv", twice).await;
    assert_eq!(world.query(OPEN).await, "1 | 1 | unique | 10000000001");
    // Its key is also bad in the next file, where another row has it, too.
    let next = format!("{ASSETS}5,10000000001,2,1.00,0,0,2.00,2025-12-22T14:32:00\n");
    world.drop_file("incoming/assets/2.csv", next).await;
    assert_eq!(world.query(OPEN).await, "2 | 5 | total_is_sum | 10000000001");
    world.drop_file("incoming/assets/3.csv", ASSETS).await;
    assert_eq!(world.query(OPEN).await, "");
}

#[tokio::test]
async fn numbers_that_name_no_reject_of_the_dataset_are_as_good_as_none() {
    let world = World::new().await;
    world.drop_file("incoming/trades/1.csv", TRADES.replace(",15500.00,", ",15500.01,")).await;
    world.drop_file("incoming/assets/1.csv", broken_assets()).await;
    // A load of another dataset, a record that was good, a load that does not exist yet, and something that is not a
    // number.
    let own = ["1,1", "2,3", "99,1", "x,"];
    let lines = ASSETS.lines().zip(["_load_id,_record"].into_iter().chain(own));
    let lines: Vec<String> = lines.map(|(line, own)| format!("{own},{line}")).collect();
    let report = world.drop_file("incoming/assets/2.csv", lines.join("\n")).await;
    assert_eq!((report.status, report.counts.unwrap().rejected), (LoadStatus::Loaded, 0));
    assert_eq!(world.query("select count(*) from etl.resubmission").await, "0");
    assert_eq!(world.query("select dataset, record from etl.open_reject order by 1, 2").await, "asset | 4\ntrade | 1");
}

/// Every sender can write any numbers into a file. They must not close or hide what is wrong with the rows of others.
#[tokio::test]
async fn numbers_count_only_for_a_row_of_the_same_bucket_that_has_the_key_of_the_reject() {
    let own = |rows: &[String]| {
        let header = "_load_id,_record,".to_owned() + ASSETS.lines().next().unwrap();
        [&[header], rows].concat().join("\n") + "\n"
    };
    let row = |of: &str, key: &str, sum: u32| format!("{of},9,{key},2,1,0,0,{sum},2025-12-22T14:30:00");
    let open = "select distinct record, key from etl.open_reject where load_id = 1 order by 1";
    let world = World::new().await;
    // A wrong sum, a missing key, a key that is too long, a key that comes twice, and a row with the wrong number of
    // columns.
    let bad = format!(
        "{}\n1,A1,2,1,0,0,2,2025-12-22T14:30:00\n2,,2,1,0,0,1,2025-12-22T14:30:00\n3,{},2,1,0,0,1,2025-12-22T14:30:00\n\
         4,A4,2,1,0,0,1,2025-12-22T14:30:00\n5,A4,2,1,0,0,1,2025-12-22T14:30:00\n6\n",
        ASSETS.lines().next().unwrap(),
        "A3".repeat(11)
    );
    world.drop_file("incoming/assets/theirs/1.csv", bad).await;
    let all = "1 | A1\n2 | -\n3 | -\n4 | A4\n6 | -";
    assert_eq!(world.query(open).await, all);

    // Good and bad rows with another key, and bad rows without a key: they neither mend the reject nor replace it.
    let strange = own(&[row("1,1", "X1", 1), row("1,1", "X2", 3), row("1,1", "", 1), row("1,4", "", 1)]);
    world.drop_file("incoming/assets/ours/1.csv", strange).await;
    assert_eq!(
        world.query(open).await,
        all.replace("4 | A4\n", ""),
        "what lost to another row of its key was wrong in its key"
    );
    // For a file from another bucket, numbers do not count, but the key does.
    let elsewhere = format!("{}-other", world.bucket);
    world.s3.create_bucket().bucket(&elsewhere).send().await.unwrap();
    let world = world.with_bucket(elsewhere);
    let numbers: Vec<String> =
        ["1,1", "1,2", "1,3", "1,6"].iter().zip(["A1", "B2", "B3", "B6"]).map(|(of, key)| row(of, key, 1)).collect();
    world.drop_file("incoming/assets/theirs/2.csv", own(&numbers)).await;
    assert_eq!(world.query(open).await, "2 | -\n3 | -\n6 | -");
    let first = world.query("select bucket from etl.load where id = 1").await;
    let world = world.with_bucket(first);
    world.drop_file("incoming/assets/theirs/3.csv", own(&numbers)).await;
    assert_eq!(world.query(open).await, "");
    assert_eq!(
        world.query("select load_id, record, first_record from etl.resubmission order by 1, 2").await,
        "2 | 4 | 4\n4 | 1 | 1\n4 | 2 | 2\n4 | 3 | 3\n4 | 4 | 6"
    );
}

/// The same for a file that fails as a whole, whose lines are stored as rejects.
#[tokio::test]
async fn numbers_of_a_file_that_fails_count_no_more_than_those_of_one_that_loads() {
    let world = World::with(&[("LOAD__MAX_REJECTS", "3")]).await;
    world.drop_file("incoming/assets/1.csv", broken_assets()).await;
    let header = "_load_id,_record,".to_owned() + ASSETS.lines().next().unwrap();
    let rows = [("1,1", "10000000001"), ("1,2", "Z2"), ("1,4", "Z4"), ("1,1", "Z1")];
    let rows = rows.map(|(of, key)| format!("\n{of},1,{key},2,1,0,0,2,2025-12-22T14:30:00"));
    let report = world.drop_file("incoming/assets/2.csv", header + &rows.concat()).await;
    assert_eq!(report.status, LoadStatus::Failed);
    assert_eq!(
        world.query(OPEN).await,
        "1 | 2 | allowed | 10000000002\n1 | 2 | total_is_sum | 10000000002\n\
        2 | 1 | total_is_sum | 10000000001\n2 | 2 | total_is_sum | Z2\n2 | 3 | total_is_sum | Z4\n2 | 4 | total_is_sum | Z1"
    );
    assert_eq!(world.query("select record, first_record from etl.resubmission order by 1").await, "1 | 1\n3 | 4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_file_that_overtakes_closes_the_rejects_of_the_earlier_one() {
    let world = World::new().await;
    world.drop_file("incoming/assets/0.csv", ASSETS).await;
    let (client, driver) = crate::world::client(&world.url).await;
    // The first file changes this account, so it waits for this session, and its reject is not committed yet.
    client.batch_execute("begin; update asset set cash = cash where account_id = '10000000004'").await.unwrap();
    let bad = broken_assets();
    let slow = format!("{}4,10000000004,1,1.00,0,0,1.00,2025-12-22T15:00:00\n", head(&bad, 4));
    world.put("incoming/assets/1.csv", slow).await;
    let (report, ()) = tokio::join!(world.load("incoming/assets/1.csv"), async {
        world.wait_for_lock_waiters(1).await;
        let report = world.drop_file("incoming/assets/2.csv", head(ASSETS, 3)).await;
        assert_eq!(report.counts.unwrap().unchanged, 2);
        assert_eq!(world.query("select count(*) from etl.reject").await, "0");
        client.batch_execute("commit").await.unwrap();
    });
    assert_eq!(report.counts.unwrap().rejected, 2);
    drop(client);
    driver.await.unwrap();
    assert_eq!(world.query("select distinct load_id, state, resolved_by from etl.reject").await, "2 | resolved | 3");
}

#[tokio::test]
async fn a_rejects_file_that_cannot_be_written_does_not_endanger_the_load_and_is_written_later() {
    let world = World::with_own_s3(&[("OUTPUT__BUCKET", "elsewhere"), ("OUTPUT__PREFIX", "small-etl/")]).await;
    world.s3.create_bucket().bucket("elsewhere").send().await.unwrap();
    world.put("incoming/assets/1.csv", broken_assets()).await;
    world.s3_server.refuse_writes(true);
    let report = world.load("incoming/assets/1.csv").await;
    assert_eq!((report.status, report.rejects_key), (LoadStatus::Loaded, None));
    assert_eq!(world.query("select state, rejected, rejects_key from etl.load").await, "loaded | 3 | -");
    let nightly = async || tidy(&world, None).await;
    let missing = nightly().await.rejects_files_missing;
    assert_snapshot!(missing[0].error, @"write s3://elsewhere/small-etl/rejects/asset/1.csv: S3 refused with AccessDenied; check that the bucket exists, and what the role may do there");
    world.s3_server.refuse_writes(false);
    assert_eq!(nightly().await, Tidied { rejects_files_written: 1, ..Tidied::default() });
    assert_eq!(nightly().await, Tidied::default());
    assert!(world.get("elsewhere", "small-etl/rejects/asset/1.csv").await.contains("305000.01"));
    let page = world.get("elsewhere", "small-etl/rejects/asset/1.html").await;
    assert!(page.contains("total_is_sum") && page.contains("s3://elsewhere/small-etl/rejects/asset/1.csv"), "{page}");
}

#[tokio::test]
async fn a_file_on_this_machine_has_a_rejects_file_where_a_bucket_is_set() {
    let (world, scratch) = (World::new().await, Scratch::new("mend"));
    let path = scratch.path().join("assets.csv");
    fs::write(&path, broken_assets()).unwrap();
    let request = Request { dataset: Some("asset".into()), ..Request::new(Location::File(path)) };
    assert_eq!(world.run(&request).await.unwrap().rejects_key, None);
    let bucket = world.bucket.clone();
    let world = world.under(&[("OUTPUT__BUCKET", &bucket)]);
    let report = world.run(&Request { again: true, ..request }).await.unwrap();
    assert_eq!(report.rejects_key.as_deref(), Some("rejects/asset/2.csv"));
    let nightly = tidy(&world, None).await;
    assert_eq!(nightly, Tidied { rejects_files_written: 1, ..Tidied::default() });
    assert_eq!(rejects_file(&world, 1).await.lines().count(), 4);
}

#[tokio::test]
async fn a_dataset_that_would_load_rejects_files_is_refused() {
    let scratch = Scratch::new("mend");
    let definition = include_str!("../../datasets/asset.toml").replace("incoming/assets/**", "**");
    fs::write(scratch.path().join("asset.toml"), definition).unwrap();
    let path = scratch.path().display().to_string();
    let settings = settings_for("postgres://localhost/none", &[("DATASETS__PATH", &path)]);
    let Err(error) = small_etl::start::context(&settings, &small_etl::services::Parts::default()) else {
        panic!("it would never end")
    };
    assert_snapshot!(error.to_string(), @"dataset asset claims rejects/asset/1.csv, where rejects are written; set output.prefix, or narrow its files");
}

#[tokio::test]
async fn a_rejects_file_of_any_size_is_written_in_parts() {
    let world = World::new().await;
    let long = "x".repeat(1024 * 1024);
    let header = ASSETS.lines().next().unwrap();
    let rows: Vec<String> = (0..40).map(|row| format!("{row},A{row},2,1,0,0,1{long},2025-12-22T14:30:00")).collect();
    let report = world.drop_file("incoming/assets/1.csv", format!("{header}\n{}\n", rows.join("\n"))).await;
    assert_eq!(report.counts.unwrap().rejected, 40);
    let written = rejects_file(&world, 1).await;
    assert_eq!(written.lines().count(), 41);
    for (line, row) in written.lines().skip(1).zip(&rows) {
        assert!(line.ends_with(row.as_str()));
    }
}

#[tokio::test]
async fn rejects_whose_time_is_over_are_deleted_with_their_files() {
    let world = World::with_own_s3(&[]).await;
    world.drop_file("incoming/assets/1.csv", broken_assets()).await;
    world.drop_file("incoming/assets/2.csv", broken_assets().replace("1000000000", "2000000000")).await;
    world.query("update etl.load set finished_at = finished_at - interval '31 days' where id = 1").await;
    let world = world.into_ingest_role();
    let nightly = async || tidy(&world, Some(30)).await;
    let expected = Tidied { rejects_deleted: 4, open_rejects_deleted: 4, ..Tidied::default() };
    world.s3_server.refuse_writes(true);
    let refused = nightly().await;
    assert_eq!((refused.rejects_not_deleted.len(), refused.rejects_deleted), (1, 0), "the ledger keeps what S3 keeps");
    world.s3_server.refuse_writes(false);
    assert_eq!(nightly().await, expected);
    assert_eq!(world.query("select load_id, count(*) from etl.reject group by 1").await, "2 | 4");
    assert_eq!(
        world.query("select id, rejected, rejects_key from etl.load order by 1").await,
        "1 | 3 | -\n2 | 3 | rejects/asset/2.csv"
    );
    let listed = world.s3.list_objects_v2().bucket(&world.bucket).prefix("rejects/").send().await.unwrap();
    let keys: Vec<&str> = listed.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(keys, ["rejects/asset/2.csv", "rejects/asset/2.html"]);
    assert_eq!(nightly().await, Tidied::default(), "what is deleted is not written again");
}
