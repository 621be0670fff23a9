//! What a changed rule would do to the files that were loaded.

use std::fs;
use std::process::Output;

use insta::assert_snapshot;
use serde_json::Value;

use crate::command_line::{self, small_etl};
use crate::contract::{ASSETS, TRADES};
use crate::support::Scratch;
use crate::world::World;
use crate::{append, tombstones};

const TODAY: &str = include_str!("../../datasets/trade.toml");

/// Lots of 500 instead of 100, and codes of six letters or digits.
fn changed() -> String {
    TODAY.replace("traded_volume % 100 = 0", "traded_volume % 500 = 0").replace("'[0-9]{6}'", "'[0-9A-Z]{6}'")
}

fn replay(world: &World, scratch: &Scratch, more: &[&str]) -> Output {
    let arguments = [&["replay", "--dataset", "trade", "--definition", "new.toml"], more].concat();
    small_etl(scratch, &world.variables(), &arguments)
}

fn text(world: &World, output: &Output) -> String {
    command_line::text(output).replace(&world.bucket, "b")
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_says_which_rows_change_sides_and_writes_nothing() {
    let world = World::on_moto(&[]).await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    // A second version of the same object: each version is read as it was.
    let second = TRADES
        .replace("600000", "60000A")
        .replace("T2025", "U2025")
        .replace(",2,U20251222000002,000001", ",2,U20251222000002,00001");
    world.drop_file("incoming/trades/1.csv", second).await;
    world.drop_file("incoming/trades/2.csv", "account_id\n1\n").await;
    let scratch = Scratch::new("replay");
    fs::write(scratch.path().join("new.toml"), changed()).unwrap();
    let (before, loads) = (world.outcome().await, world.query("select * from etl.load order by id").await);
    assert_snapshot!(text(&world, &replay(&world, &scratch, &["--since", "30d"])), @"
    exit 0
    2 files with 8 records of dataset trade: 2 rows would be rejected that are accepted today, 1 accepted that are rejected
      rule lot_size: would reject 2, would accept 0
        load 2 1.csv line 5: column traded_volume: traded_volume is not a multiple of 100, as account types 2 3 7 11 need (rule lot_size)
        load 3 1.csv line 5: column traded_volume: traded_volume is not a multiple of 100, as account types 2 3 7 11 need (rule lot_size)
      rule six_digit_code: would reject 0, would accept 1
        load 3 1.csv line 2: column stock_code: stock_code is not six digits, as account types 2 3 7 11 need (rule six_digit_code)
      load 4 could not be compared: under today's definition: s3://b/incoming/trades/2.csv line 1: the header lacks column account_type, traded_id, stock_code, traded_time, traded_price, traded_volume, traded_amount, strategy_name, order_remark, direction, offset_flag, created_at, updated_at; add it
    ");
    let answer = replay(&world, &scratch, &["--since", "30d", "--json"]);
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&answer["would_reject"], &answer["would_accept"]), (&Value::from(2), &Value::from(1)), "{answer}");
    assert_eq!(answer["rules"]["lot_size"]["would_reject"], 2);
    assert_eq!(answer["files"].as_array().unwrap().len(), 2);
    assert_eq!((before, loads), (world.outcome().await, world.query("select * from etl.load order by id").await));
    // Loads that began earlier are not read.
    world.query("update etl.load set started_at = started_at - interval '31 days'").await;
    assert!(text(&world, &replay(&world, &scratch, &["--since", "30d"])).contains("0 files with 0 records"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_replaced_is_named_and_not_taken_for_another() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    world.put("incoming/trades/1.csv", TRADES.replace("T2025", "U2025")).await;
    let scratch = Scratch::new("replay");
    fs::write(scratch.path().join("new.toml"), changed()).unwrap();
    assert_snapshot!(text(&world, &replay(&world, &scratch, &["--since", "1d"])), @"
    exit 3
    0 files with 0 records of dataset trade: 0 rows would be rejected that are accepted today, 0 accepted that are rejected
      load 2 could not be compared: under today's definition: s3://b/incoming/trades/1.csv: the object was replaced before it was read
    ");
}

/// A row whose version was too far in the future when its file was claimed is rejected under any rules.
#[tokio::test(flavor = "multi_thread")]
async fn replay_counts_the_future_from_the_claim_of_each_load() {
    let world = World::with(&[("LOAD__MAX_FUTURE_SECONDS", "0")]).await;
    let soon = (chrono::Utc::now() + chrono::TimeDelta::seconds(3)).format("%Y-%m-%dT%H:%M:%S");
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    // The fourth trade, with 400 pieces, is the one that breaks the changed rule.
    world.drop_file("incoming/trades/1.csv", TRADES.replace("2025-12-22T14:15:00", &soon.to_string())).await;
    assert_eq!(world.query("select rule from etl.reject").await, "future");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let scratch = Scratch::new("replay");
    fs::write(scratch.path().join("new.toml"), changed()).unwrap();
    let answer = text(&world, &replay(&world, &scratch, &["--since", "1d"]));
    assert!(answer.contains("1 files with 4 records of dataset trade: 0 rows would be rejected"), "{answer}");
    // A load from before the bound existed has no bound.
    world.query("update etl.load set max_future_seconds = null").await;
    let answer = text(&world, &replay(&world, &scratch, &["--since", "1d"]));
    assert!(answer.contains("1 files with 4 records of dataset trade: 1 rows would be rejected"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_wrong_is_told_before_any_file_is_read() {
    let world = World::new().await;
    let scratch = Scratch::new("replay");
    let run = |definition: &str| {
        fs::write(scratch.path().join("new.toml"), definition).unwrap();
        text(&world, &replay(&world, &scratch, &["--since", "1d"]))
    };
    assert_snapshot!(run(&changed().replace("traded_volume % 500", "traded_volum % 500")), @r#"
    exit 3
    error: new.toml line 118: rule lot_size: unknown column "traded_volum"; did you mean "traded_volume"?
    "#);
    assert_snapshot!(run(include_str!("../../datasets/asset.toml")), @r#"
    exit 3
    error: new.toml: this is the definition of "asset", not of "trade"
    "#);
    assert_snapshot!(run(&changed().replace("'[0-9A-Z]{6}'", "'[0-9A-Z{6}'")), @"
    exit 3
    error: dataset trade: a rule or pattern is wrong: Invalid Input Error: missing ]: [0-9A-Z{6}
    ");
}

/// Loads a file of a dataset and replays it under a definition in which one text is another.
async fn replayed((name, definition, table): (&str, &str, &str), file: &str, (from, to): (&str, &str)) -> String {
    let scratch = Scratch::new("replay");
    fs::write(scratch.path().join(format!("{name}.toml")), definition).unwrap();
    let world = World::with(&[("DATASETS__PATH", scratch.path().to_str().unwrap())]).await;
    world.query(table).await;
    world.drop_file(&format!("incoming/{name}s/1.csv"), file).await;
    assert!(definition.contains(from));
    fs::write(scratch.path().join("new.txt"), definition.replace(from, to)).unwrap();
    let arguments = ["replay", "--dataset", name, "--definition", "new.txt", "--since", "1d"];
    text(&world, &small_etl(&scratch, &world.variables(), &arguments))
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_checks_of_a_tombstone_what_a_load_checks_of_it() {
    let quote = ("quote", tombstones::QUOTE, tombstones::QUOTE_TABLE);
    let file = "op,code,revision,bid\nI,A,1,10\nD,B,1,\nD,C,1,900\nI,D,1,20\nI,E,1,\n";
    assert_snapshot!(replayed(quote, file, ("bid < 1000", "bid < 20")).await, @"
    exit 0
    1 files with 5 records of dataset quote: 1 rows would be rejected that are accepted today, 0 accepted that are rejected
      rule bid_is_small: would reject 1, would accept 0
        load 1 1.csv line 5: column bid: bid is 1000 or more (rule bid_is_small)
    ");
    // What was a tombstone is a row that lacks a value, and the other way round.
    let answer = replayed(quote, file, ("values = [\"D\"]", "values = [\"I\"]")).await;
    assert!(
        answer.contains("1 rows would be rejected that are accepted today, 1 accepted that are rejected"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_compares_rows_that_are_appended_by_their_places() {
    let visit = ("visit", append::VISIT, append::TABLE);
    // Equal rows are rows of their own.
    let file = "page,seconds\na,1\na,1\na,1000\nb,7\nb,7\n";
    assert_snapshot!(replayed(visit, file, ("seconds < 1000", "seconds <> 7")).await, @"
    exit 0
    1 files with 5 records of dataset visit: 2 rows would be rejected that are accepted today, 1 accepted that are rejected
      rule seconds_are_few: would reject 2, would accept 1
        load 1 1.csv line 4: column seconds: seconds are 1000 or more (rule seconds_are_few)
        load 1 1.csv line 5: column seconds: seconds are 1000 or more (rule seconds_are_few)
        load 1 1.csv line 6: column seconds: seconds are 1000 or more (rule seconds_are_few)
    ");
}
