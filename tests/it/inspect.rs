//! What the ledger shows to people: the views, and the commands `status`, `rejects` and `explain`.

use std::fs;
use std::process::Output;

use insta::assert_snapshot;
use serde_json::Value;
use small_etl::pipeline::Request;

use crate::command_line::small_etl;
use crate::contract::{ASSETS, TRADES, head};
use crate::support::Scratch;
use crate::world::World;

fn run(world: &World, scratch: &Scratch, arguments: &[&str]) -> Output {
    small_etl(scratch, &world.variables(), arguments)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Returns what a command prints, without what differs from run to run: the bucket, times, versions of files and of
/// rules.
pub fn tidy(of: &World, output: &Output) -> String {
    let text =
        String::from_utf8_lossy(&output.stdout).replace(&of.bucket, "b") + &*String::from_utf8_lossy(&output.stderr);
    let mut shown = String::new();
    let mut rest = text.as_str();
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    while let Some(first) = rest.chars().next() {
        let word = rest.split(|next: char| !next.is_ascii_alphanumeric()).next().unwrap_or_default();
        let (replacement, length) = match word.len() {
            32 if is_hex(word) => ("VERSION", 32),
            16 if is_hex(word) => ("RULES", 16),
            4 if rest.starts_with("20") && rest.as_bytes().get(19) == Some(&b'Z') => ("TIME", 20),
            0 => ("", 0),
            length => (word, length),
        };
        if length == 0 {
            shown.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            shown.push_str(replacement);
            rest = &rest[length..];
        }
    }
    shown.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Five loads: bad trades and one that waits, accounts, the first trade mended, an older version of it, and a failed
/// file.
async fn busy() -> (World, Scratch) {
    let world = World::new().await;
    world
        .drop_file("incoming/assets/1.csv", ASSETS.replace("10000000003", "10000000005").replace("210000.00", "1"))
        .await;
    let bad = TRADES.replace(",15500.00,", ",15500.01,").replace(",500,14150.00", ",550,14150.00");
    world.drop_file("incoming/trades/1.csv", bad).await;
    world.drop_file("incoming/trades/2.csv", head(TRADES, 2)).await;
    let newer = head(TRADES, 2).replace("T14:30:00", "T14:40:00").replace("正常交易", "止损");
    world.drop_file("incoming/trades/3.csv", newer).await;
    let older = Request { again: true, ..world.request("incoming/trades/2.csv") };
    world.run(&older).await.unwrap();
    world.drop_file("incoming/trades/4.csv", "account_id\n1\n").await;
    (world, Scratch::new("inspect"))
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_how_loads_went_and_what_waits() {
    let (world, scratch) = busy().await;
    assert_snapshot!(tidy(&world, &run(&world, &scratch, &["status"])), @"
     load  began                 state                   dataset  read  written  removed  stale  parked  rejected  open  file
     6     TIME  failed: missing_column  trade       0        0        0      0       0         0     0  s3://b/incoming/trades/4.csv
     5     TIME  loaded                  trade       1        0        0      1       0         0     0  s3://b/incoming/trades/2.csv
     4     TIME  loaded                  trade       1        1        0      0       0         0     0  s3://b/incoming/trades/3.csv
     3     TIME  loaded                  trade       1        1        0      0       0         0     0  s3://b/incoming/trades/2.csv
     2     TIME  loaded                  trade       4        1        0      0       1         2     1  s3://b/incoming/trades/1.csv
     1     TIME  loaded                  asset       4        3        0      0       0         1     1  s3://b/incoming/assets/1.csv
    asset: rejected rows waiting to be mended: 1, the oldest since TIME; `small-etl rejects` lists them
    trade: rejected rows waiting to be mended: 1, the oldest since TIME; `small-etl rejects` lists them
    trade: rows waiting for the row that they refer to: 1, the oldest since TIME
    ");
    let since = json(&run(&world, &scratch, &["status", "--since", "1h", "--limit", "2", "--json"]));
    assert_eq!((since["loads"].as_array().unwrap().len(), &since["more"]), (2, &Value::from(4)));
    assert_eq!(since["loads"][0]["reason"], "missing_column");
    assert_eq!(since["waiting"][1]["open_rejects"], 1, "{since}");
    world.query("update etl.load set started_at = started_at - interval '2 days'").await;
    assert_eq!(json(&run(&world, &scratch, &["status", "--since", "1d", "--json"]))["loads"], Value::Array(vec![]));
    assert!(tidy(&world, &run(&world, &scratch, &["status", "--since", "soon"])).contains("write a time before now"));
    assert_snapshot!(world.query("select load_id, state, read, inserted, rejected, open_rejects, still_parked from etl.load_history order by 1").await, @"
    1 | loaded | 4 | 3 | 1 | 1 | 0
    2 | loaded | 4 | 1 | 2 | 1 | 1
    3 | loaded | 1 | 1 | 0 | 0 | 0
    4 | loaded | 1 | 0 | 0 | 0 | 0
    5 | loaded | 1 | 0 | 0 | 0 | 0
    6 | failed | 0 | 0 | 0 | 0 | 0
    ");
    assert_snapshot!(world.query("select dataset, reference_key, rows, loads, age > interval '0' from etl.parked_age").await, @"trade | 10000000003 | 1 | {2} | t");
}

#[tokio::test]
async fn the_history_of_a_load_that_runs_shows_its_batches_so_far() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "2")]).await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.query("update etl.load set state = 'loading', finished_at = null, inserted = 0; delete from etl.load_batch where batch = 1").await;
    assert_eq!(world.query("select state, inserted from etl.load_history").await, "loading | 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_lists_what_waits_and_exports_it_to_be_mended() {
    let (world, scratch) = busy().await;
    let rejects = |arguments: &[&str]| run(&world, &scratch, &[&["rejects"], arguments].concat());
    assert_snapshot!(tidy(&world, &rejects(&[])), @"
    load 1 s3://b/incoming/assets/1.csv line 5: column total_asset: total_asset is not cash + frozen_cash + market_value (rule total_is_sum)
    load 2 s3://b/incoming/trades/1.csv line 3: column traded_amount: traded_amount is not traded_price x traded_volume (rule amount_is_price_times_volume)
    load 2 s3://b/incoming/trades/1.csv line 3: column traded_volume: traded_volume is not a multiple of 100, as account types 2 3 7 11 need (rule lot_size)
    ");
    assert_snapshot!(tidy(&world, &rejects(&["2", "--all"])), @"
    load 2 s3://b/incoming/trades/1.csv line 2: column traded_amount: traded_amount is not traded_price x traded_volume (rule amount_is_price_times_volume), mended by load 3
    load 2 s3://b/incoming/trades/1.csv line 3: column traded_amount: traded_amount is not traded_price x traded_volume (rule amount_is_price_times_volume)
    load 2 s3://b/incoming/trades/1.csv line 3: column traded_volume: traded_volume is not a multiple of 100, as account types 2 3 7 11 need (rule lot_size)
    ");
    assert_snapshot!(tidy(&world, &rejects(&["--rule", "lot_size"])), @"load 2 s3://b/incoming/trades/1.csv line 3: column traded_volume: traded_volume is not a multiple of 100, as account types 2 3 7 11 need (rule lot_size)");
    assert_snapshot!(tidy(&world, &rejects(&["99"])), @"error: there is no load 99; `small-etl status` lists the latest");
    let listed = json(&rejects(&["2", "--all", "--json", "--limit", "1"]));
    assert_eq!((&listed["more"], &listed["rejects"][0]["state"]), (&Value::from(1), &Value::from("resolved")));
    assert_eq!(
        (&listed["rejects"][0]["resolved_by"], &listed["rejects"][0]["line"]),
        (&Value::from(3), &Value::from(2))
    );

    assert_snapshot!(tidy(&world, &rejects(&["2", "--export", "mend.csv"])), @"rows written to mend.csv: 1");
    let file = fs::read_to_string(scratch.path().join("mend.csv")).unwrap();
    assert_snapshot!(file, @r#"
    _load_id,_record,_line,_errors,id,account_id,account_type,traded_id,stock_code,traded_time,traded_price,traded_volume,traded_amount,strategy_name,order_remark,direction,offset_flag,created_at,updated_at
    2,2,3,"traded_amount: traded_amount is not traded_price x traded_volume (rule amount_is_price_times_volume); traded_volume: traded_volume is not a multiple of 100, as account types 2 3 7 11 need (rule lot_size)",2,10000000002,2,T20251222000002,000001,2025-12-22T11:15:00,28.30,550,14150.00,量化1号,建仓,0,48,2025-12-22T11:15:00,2025-12-22T14:25:00
    "#);
    let mended = file.replace(",550,14150.00", ",500,14150.00");
    world.drop_file("incoming/trades/5.csv", mended).await;
    assert_snapshot!(tidy(&world, &rejects(&["2"])), @"no bad row waits to be mended");
    assert!(!rejects(&["2", "--export", "none.csv"]).status.success());
    assert!(!scratch.path().join("none.csv").exists());
    // Rows of several loads go into one file, and so do rejects files and what came of them, unless the columns differ.
    let rows = rejects(&["--dataset", "trade", "--all", "--export", "trades.csv"]);
    assert_eq!(tidy(&world, &rows), "rows written to trades.csv: 2");
    assert!(tidy(&world, &rejects(&["--limit", "0"])).starts_with("and 1 more rows"));
    let other = rejects(&["--all", "--export", "all.csv"]);
    assert!(tidy(&world, &other).contains("loads 1 and 2 have files of other forms"), "{other:?}");
    assert!(!scratch.path().join("all.csv").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_the_file_and_line_of_a_row_and_all_that_tried() {
    let (world, scratch) = busy().await;
    let explain = |arguments: &[&str]| run(&world, &scratch, &[&["explain"], arguments].concat());
    assert_snapshot!(tidy(&world, &explain(&["trade", "T20251222000001"])), @"
    trade T20251222000001: its present values come from
      load 4 s3://b/incoming/trades/3.csv line 2: updated TIME (version VERSION, rules RULES)
    what the files brought, in the order of the commits:
      load 3 s3://b/incoming/trades/2.csv line 2: inserted TIME (version VERSION, rules RULES)
      load 4 s3://b/incoming/trades/3.csv line 2: updated TIME (version VERSION, rules RULES)
      load 5 s3://b/incoming/trades/2.csv line 2: stale TIME (version VERSION, rules RULES)
    rejects with this key:
      load 2 s3://b/incoming/trades/1.csv line 2: column traded_amount: traded_amount is not traded_price x traded_volume (rule amount_is_price_times_volume), mended by load 3 (rules RULES)
    ");
    let answer = json(&explain(&["trade", "T20251222000001", "--json"]));
    assert_eq!((&answer["present"]["load_id"], &answer["present"]["line"]), (&Value::from(4), &Value::from(2)));
    assert_eq!((&answer["changed_elsewhere"], &answer["in_table"]), (&Value::from(false), &Value::from(true)));

    // A row that waits and is then released.
    assert_snapshot!(tidy(&world, &explain(&["trade", "T20251222000004"])), @"
    trade T20251222000004: no such row in the table
    what the files brought, in the order of the commits:
      load 2 s3://b/incoming/trades/1.csv line 5: waiting since TIME for the row that it refers to (version VERSION, rules RULES)
    ");
    world.drop_file("incoming/assets/2.csv", ASSETS).await;
    assert_snapshot!(tidy(&world, &explain(&["trade", "T20251222000004"])), @"
    trade T20251222000004: its present values come from
      load 2 s3://b/incoming/trades/1.csv line 5: inserted TIME, after it had waited since TIME; load 7 released it (version VERSION, rules RULES)
    what the files brought, in the order of the commits:
      load 2 s3://b/incoming/trades/1.csv line 5: inserted TIME, after it had waited since TIME; load 7 released it (version VERSION, rules RULES)
    ");

    assert_snapshot!(tidy(&world, &explain(&["trade", "nobody"])), @"trade nobody: no such row in the table");
    assert_snapshot!(tidy(&world, &explain(&["trades", "T1"])), @r#"error: unknown dataset "trades"; did you mean "trade"?"#);
    // A clock that was put back changes nothing about who wrote it last.
    world.query("update etl.load_batch set committed_at = committed_at - interval '1 day' where load_id = 4").await;
    let answer = json(&explain(&["trade", "T20251222000001", "--json"]));
    assert_eq!(answer["present"]["load_id"], 4);
    world.query("update trade set order_remark = 'by hand'").await;
    assert!(
        tidy(&world, &explain(&["trade", "T20251222000001"])).contains("another program has written the row since")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcile_and_report_answer_on_the_command_line() {
    let (world, scratch) = busy().await;
    world.query("update etl.load set rejects_key = null where id = 1").await;
    assert_snapshot!(tidy(&world, &run(&world, &scratch, &["reconcile"])), @"
    5 versions found, 0 of them to load: 0 loaded, 0 failed, 0 ended otherwise, 0 left
    parked rows released: 0
    rejects files written: 1
    rejects deleted: 0, of which open: 0
    checked 6 loads and 5 rows of tables; discrepancies: 0
    ");
    assert_eq!(json(&run(&world, &scratch, &["reconcile", "--json"]))["rejects_files_written"], 0);
    assert_snapshot!(tidy(&world, &run(&world, &scratch, &["report", "2", "--html", "out.html"])), @"report of load 2 written to out.html");
    let told = json(&run(&world, &scratch, &["report", "2", "--html", "out.html", "--json"]));
    assert_eq!(told, serde_json::json!({"load_id": 2, "html": "out.html"}));
    assert!(fs::read_to_string(scratch.path().join("out.html")).unwrap().contains("amount_is_price_times_volume"));
    assert!(
        tidy(&world, &run(&world, &scratch, &["report", "99", "--html", "none.html"])).contains("there is no load 99")
    );
    assert!(!scratch.path().join("none.html").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejects_file_that_is_missing_is_told_with_its_cause() {
    let (world, scratch) = (World::with_own_s3(&[]).await, Scratch::new("inspect"));
    world.put("incoming/assets/1.csv", ASSETS.replace("210000.00", "1")).await;
    let address = format!("s3://{}/incoming/assets/1.csv", world.bucket);
    world.s3_server.refuse_writes(true);
    let loaded = tidy(&world, &run(&world, &scratch, &["load", &address]));
    assert!(loaded.contains("its rejects file is not written yet; `small-etl reconcile` writes it"), "{loaded}");
    let output = run(&world, &scratch, &["reconcile"]);
    assert_eq!(output.status.code(), Some(3));
    assert_snapshot!(tidy(&world, &output), @"
    1 versions found, 0 of them to load: 0 loaded, 0 failed, 0 ended otherwise, 0 left
    parked rows released: 0
    rejects files written: 0
    rejects deleted: 0, of which open: 0
    checked 1 loads and 3 rows of tables; discrepancies: 0
    load 1: rejects file not written: write s3://b/rejects/asset/1.csv: S3 refused with AccessDenied; check that the bucket exists, and what the role may do there
    ");
    world.s3_server.refuse_writes(false);
    assert!(run(&world, &scratch, &["reconcile"]).status.success());
    let again = tidy(&world, &run(&world, &scratch, &["load", &address]));
    assert!(again.contains("rejects file: s3://b/rejects/asset/1.csv"), "{again}");
}
