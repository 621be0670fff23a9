//! The rules of the data contract, on files that break them one by one.

use insta::{allow_duplicates, assert_snapshot};

use crate::world::World;

pub const ASSETS: &str = "\
id,account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at
1,10000000001,2,100000.00,5000.00,200000.00,305000.00,2025-12-22T14:30:00
2,10000000002,2,500000.00,50000.00,800000.00,1350000.00,2025-12-22T14:25:00
3,10000000003,3,250000.00,75000.00,300000.00,625000.00,2025-12-22T14:20:00
4,10000000004,1,80000.00,10000.00,120000.00,210000.00,2025-12-22T14:15:00
";

pub const TRADES: &str = "\
id,account_id,account_type,traded_id,stock_code,traded_time,traded_price,traded_volume,traded_amount,strategy_name,order_remark,direction,offset_flag,created_at,updated_at
1,10000000001,2,T20251222000001,600000,2025-12-22T10:30:00,15.50,1000,15500.00,策略A,正常交易,0,48,2025-12-22T10:30:00,2025-12-22T14:30:00
2,10000000002,2,T20251222000002,000001,2025-12-22T11:15:00,28.30,500,14150.00,量化1号,建仓,0,48,2025-12-22T11:15:00,2025-12-22T14:25:00
3,10000000001,3,T20251222000003,600036,2025-12-22T13:45:00,42.80,2000,85600.00,趋势跟踪,止盈,0,49,2025-12-22T13:45:00,2025-12-22T14:20:00
4,10000000003,2,T20251222000004,300750,2025-12-22T09:30:00,105.20,300,31560.00,高频策略,网格交易,0,48,2025-12-22T09:30:00,2025-12-22T14:15:00
";

/// Returns the first lines of a text.
pub fn head(text: &str, lines: usize) -> &str {
    let end = text.match_indices('\n').nth(lines - 1).map_or(text.len(), |(at, _)| at + 1);
    &text[..end]
}

const TRADE_HEADER: &str = "account_id,account_type,traded_id,stock_code,traded_time,traded_price,traded_volume,traded_amount,strategy_name,order_remark,direction,offset_flag,created_at,updated_at";

/// Returns a good trade with these columns replaced.
fn trade(changes: &[(&str, &str)]) -> String {
    let good = [
        "10000000001",
        "2",
        "T1",
        "600000",
        "2025-12-22T10:30:00",
        "15.50",
        "1000",
        "15500.00",
        "s",
        "r",
        "0",
        "48",
        "2025-12-22T10:30:00",
        "2025-12-22T14:30:00",
    ];
    let cells = TRADE_HEADER
        .split(',')
        .zip(good)
        .map(|(column, cell)| changes.iter().find(|(changed, _)| *changed == column).map_or(cell, |(_, value)| value));
    cells.collect::<Vec<_>>().join(",")
}

fn trades(rows: &[String]) -> String {
    format!("{TRADE_HEADER}\n{}\n", rows.join("\n"))
}

const REJECTS: &str =
    "select record, line, coalesce(\"column\", '-'), rule, message from etl.reject order by load_id, record, id";

async fn with_assets() -> World {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world
}

#[tokio::test]
async fn the_samples_load_with_exactly_two_warnings() {
    let world = with_assets().await;
    let report = world.drop_file("incoming/trades/1.csv", TRADES).await;
    let counts = report.counts.unwrap();
    assert_eq!((counts.read, counts.inserted, counts.rejected, counts.warnings), (4, 4, 0, 2));
    assert_snapshot!(world.query("select account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at from asset order by 1").await, @r"
    10000000001 | 2 | 100000.00 | 5000.00 | 200000.00 | 305000.00 | 2025-12-22 14:30:00+00
    10000000002 | 2 | 500000.00 | 50000.00 | 800000.00 | 1350000.00 | 2025-12-22 14:25:00+00
    10000000003 | 3 | 250000.00 | 75000.00 | 300000.00 | 625000.00 | 2025-12-22 14:20:00+00
    10000000004 | 1 | 80000.00 | 10000.00 | 120000.00 | 210000.00 | 2025-12-22 14:15:00+00
    ");
    assert_snapshot!(world.query("select traded_id, account_id, account_type, stock_code, traded_time, traded_price, traded_volume, traded_amount, strategy_name, order_remark, direction, offset_flag from trade order by 1").await, @r"
    T20251222000001 | 10000000001 | 2 | 600000 | 2025-12-22 10:30:00+00 | 15.50 | 1000 | 15500.00 | 策略A | 正常交易 | 0 | 48
    T20251222000002 | 10000000002 | 2 | 000001 | 2025-12-22 11:15:00+00 | 28.30 | 500 | 14150.00 | 量化1号 | 建仓 | 0 | 48
    T20251222000003 | 10000000001 | 3 | 600036 | 2025-12-22 13:45:00+00 | 42.80 | 2000 | 85600.00 | 趋势跟踪 | 止盈 | 0 | 49
    T20251222000004 | 10000000003 | 2 | 300750 | 2025-12-22 09:30:00+00 | 105.20 | 300 | 31560.00 | 高频策略 | 网格交易 | 0 | 48
    ");
}

#[tokio::test]
async fn no_lossy_value_is_loaded() {
    let world = with_assets().await;
    let row = |number: usize, column: &str, cell: &str| {
        let id = format!("T{number}");
        trade(&[("traded_id", &id), (column, cell)])
    };
    let broken = [
        ("traded_price", "15.555"),
        ("traded_price", "1e2"),
        ("traded_price", ".5"),
        ("traded_price", "15."),
        ("traded_price", "1234567890123456789.00"),
        ("traded_price", "\"1,000.00\""),
        ("traded_volume", "100.7"),
        ("traded_volume", "1_000"),
        ("traded_volume", "1e2"),
        ("traded_volume", "+5"),
        ("traded_volume", " 5"),
        ("account_type", "2147483648"),
        ("traded_time", "2025-12-22T10:30:00+08:00"),
        ("traded_time", "2025-02-30T10:30:00"),
        ("traded_time", "2025-12-22 10:30:00"),
        ("traded_time", "2025-12-22T24:00:00"),
        ("traded_time", "2025-12-22T23:59:60"),
        ("traded_time", "0000-12-22T10:30:00"),
        ("traded_time", "10000-12-22T10:30:00"),
        ("traded_time", "2025-12-22T10:30:00.1234567"),
    ];
    let rows: Vec<String> =
        broken.iter().enumerate().map(|(number, (column, cell))| row(number, column, cell)).collect();
    let report = world.drop_file("incoming/trades/1.csv", trades(&rows)).await;
    let counts = report.counts.unwrap();
    assert_eq!((counts.read, counts.rejected), (20, 20));
    assert_snapshot!(world.query(REJECTS).await, @r#"
    1 | 2 | traded_price | decimal | "15.555" has more than 2 decimals; round it at its source
    2 | 3 | traded_price | decimal | "1e2" is not a decimal number; write digits, and at most one point between them
    3 | 4 | traded_price | decimal | ".5" is not a decimal number; write digits, and at most one point between them
    4 | 5 | traded_price | decimal | "15." is not a decimal number; write digits, and at most one point between them
    5 | 6 | traded_price | decimal | "1234567890123456789.00" has more than 18 digits before the point
    6 | 7 | traded_price | decimal | "1,000.00" is not a decimal number; write digits, and at most one point between them
    7 | 8 | traded_volume | integer | "100.7" is not a whole number; write digits only, with a leading - if it is negative
    8 | 9 | traded_volume | integer | "1_000" is not a whole number; write digits only, with a leading - if it is negative
    9 | 10 | traded_volume | integer | "1e2" is not a whole number; write digits only, with a leading - if it is negative
    10 | 11 | traded_volume | integer | "+5" is not a whole number; write digits only, with a leading - if it is negative
    11 | 12 | traded_volume | integer | " 5" is not a whole number; write digits only, with a leading - if it is negative
    12 | 13 | account_type | integer | "2147483648" does not fit into 32 bits
    13 | 14 | traded_time | timestamp | "2025-12-22T10:30:00+08:00" has an offset; write the time in UTC, with Z or nothing after it
    14 | 15 | traded_time | timestamp | "2025-02-30T10:30:00" has a date that does not exist
    15 | 16 | traded_time | timestamp | "2025-12-22 10:30:00" is not a timestamp; write YYYY-MM-DDTHH:MM:SS, with up to 6 decimals, years 0001 to 9999
    16 | 17 | traded_time | timestamp | "2025-12-22T24:00:00" is not a timestamp; write YYYY-MM-DDTHH:MM:SS, with up to 6 decimals, years 0001 to 9999
    17 | 18 | traded_time | timestamp | "2025-12-22T23:59:60" is not a timestamp; write YYYY-MM-DDTHH:MM:SS, with up to 6 decimals, years 0001 to 9999
    18 | 19 | traded_time | timestamp | "0000-12-22T10:30:00" is not a timestamp; write YYYY-MM-DDTHH:MM:SS, with up to 6 decimals, years 0001 to 9999
    19 | 20 | traded_time | timestamp | "10000-12-22T10:30:00" is not a timestamp; write YYYY-MM-DDTHH:MM:SS, with up to 6 decimals, years 0001 to 9999
    20 | 21 | traded_time | timestamp | "2025-12-22T10:30:00.1234567" is not a timestamp; write YYYY-MM-DDTHH:MM:SS, with up to 6 decimals, years 0001 to 9999
    "#);
}

#[tokio::test]
async fn unusual_forms_that_lose_nothing_are_loaded() {
    let world = with_assets().await;
    let rows = [
        trade(&[
            ("traded_id", "T1"),
            ("traded_price", "15.5000"),
            ("traded_amount", "0000000015500.0"),
            ("traded_volume", "0001000"),
        ]),
        trade(&[
            ("traded_id", "T2"),
            ("traded_time", "2025-12-22T10:30:00.123456Z"),
            ("created_at", "9999-12-31T23:59:59.999999Z"),
        ]),
        trade(&[
            ("traded_id", "T3"),
            ("stock_code", "000001"),
            ("order_remark", "NULL"),
            ("traded_time", "0001-01-01T00:00:00"),
        ]),
    ];
    let report = world.drop_file("incoming/trades/1.csv", trades(&rows)).await;
    assert_eq!(report.counts.unwrap().inserted, 3);
    assert_snapshot!(world.query("select traded_id, traded_price, traded_amount, traded_volume, stock_code, traded_time, created_at, order_remark from trade order by 1").await, @r"
    T1 | 15.50 | 15500.00 | 1000 | 600000 | 2025-12-22 10:30:00+00 | 2025-12-22 10:30:00+00 | r
    T2 | 15.50 | 15500.00 | 1000 | 600000 | 2025-12-22 10:30:00.123456+00 | 9999-12-31 23:59:59.999999+00 | r
    T3 | 15.50 | 15500.00 | 1000 | 000001 | 0001-01-01 00:00:00+00 | 2025-12-22 10:30:00+00 | -
    ");
}

#[tokio::test]
async fn every_rule_of_a_trade_is_checked_and_every_violation_of_a_row_reported() {
    let world = with_assets().await;
    let long = "x".repeat(101);
    let rows = [
        trade(&[("traded_id", "T1"), ("account_type", "4")]),
        trade(&[("traded_id", "T2"), ("stock_code", "AAPL")]),
        trade(&[("traded_id", "T3"), ("stock_code", "AAPL"), ("account_type", "1")]),
        trade(&[("traded_id", "T4"), ("traded_volume", "150"), ("traded_amount", "2325.00")]),
        trade(&[("traded_id", "T5"), ("traded_amount", "15500.01")]),
        trade(&[("traded_id", "T6"), ("traded_price", "0"), ("traded_volume", "-100"), ("traded_amount", "0.00")]),
        trade(&[
            ("traded_id", "T7"),
            ("direction", "50"),
            ("offset_flag", "47"),
            ("strategy_name", ""),
            ("order_remark", &long),
        ]),
        trade(&[
            ("traded_id", ""),
            ("account_id", "123456789012345678901"),
            ("created_at", "null"),
            ("updated_at", "None"),
        ]),
        trade(&[
            ("traded_id", "T9"),
            ("traded_price", "999999999999999999.99"),
            ("traded_volume", "9223372036854775800"),
            ("account_type", "1"),
        ]),
    ];
    let report = world.drop_file("incoming/trades/1.csv", trades(&rows)).await;
    let counts = report.counts.unwrap();
    assert_eq!((counts.read, counts.inserted, counts.rejected, counts.warnings), (9, 1, 8, 1));
    assert_snapshot!(world.query("select record, \"column\", rule, left(message, 80), left(value, 12) from etl.reject order by record, id").await, @r#"
    1 | account_type | allowed | "4" is not one of 1 2 3 5 6 7 11 | 4
    2 | stock_code | six_digit_code | stock_code is not six digits, as account types 2 3 7 11 need | AAPL
    4 | traded_volume | lot_size | traded_volume is not a multiple of 100, as account types 2 3 7 11 need | 150
    5 | traded_amount | amount_is_price_times_volume | traded_amount is not traded_price x traded_volume | 15500.01
    6 | traded_price | above | "0" is not greater than 0 | 0
    6 | traded_volume | above | "-100" is not greater than 0 | -100
    6 | traded_amount | above | "0.00" is not greater than 0 | 0.00
    7 | strategy_name | required | the cell holds no value, but one is required | -
    7 | order_remark | max_length | "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…" has 101 characters, more than 100 | xxxxxxxxxxxx
    7 | direction | allowed | "50" is not one of 0 48 49 | 50
    7 | offset_flag | allowed | "47" is not one of 48 49 50 51 52 53 54 | 47
    8 | account_id | max_length | "123456789012345678901" has 21 characters, more than 20 | 123456789012
    8 | traded_id | required | the cell holds no value, but one is required | -
    8 | created_at | required | the cell holds no value, but one is required | -
    8 | updated_at | required | the cell holds no value, but one is required | -
    9 | traded_amount | amount_is_price_times_volume | traded_amount is not traded_price x traded_volume | 15500.00
    "#);
}

#[tokio::test]
async fn every_rule_of_an_asset_is_checked() {
    let world = World::new().await;
    let rows = "\
account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at
A1,2,1.00,2.00,3.00,6.01,2025-12-22T14:30:00
A2,8,-1.00,-0.01,-3,-4.01,2025-12-22T14:30:00
A3,2,1.00,,3.00,4.00,2025-12-22T14:30:00
A4,2,0.10,0.20,0.00,0.30,2025-12-22T14:30:00
A5,2,999999999999999999.99,999999999999999999.99,0,1.00,2025-12-22T14:30:00
";
    let report = world.drop_file("incoming/assets/1.csv", rows).await;
    let counts = report.counts.unwrap();
    assert_eq!((counts.read, counts.inserted, counts.rejected), (5, 1, 4));
    assert_snapshot!(world.query(REJECTS).await, @r#"
    1 | 2 | total_asset | total_is_sum | total_asset is not cash + frozen_cash + market_value
    2 | 3 | account_type | allowed | "8" is not one of 1 2 3 5 6 7 11
    2 | 3 | cash | min | "-1.00" is less than 0
    2 | 3 | frozen_cash | min | "-0.01" is less than 0
    2 | 3 | market_value | min | "-3" is less than 0
    2 | 3 | total_asset | min | "-4.01" is less than 0
    3 | 4 | frozen_cash | required | the cell holds no value, but one is required
    5 | 6 | total_asset | total_is_sum | total_asset is not cash + frozen_cash + market_value
    "#);
}

#[tokio::test]
async fn of_two_rows_with_one_key_the_newer_wins_and_then_the_later_at_any_batch_size() {
    for batch_size in ["1", "7", "10000"] {
        let world = World::with(&[("LOAD__BATCH_SIZE", batch_size)]).await;
        let rows = "\
account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at
A1,2,1,0,0,1,2025-12-22T14:30:00
A1,2,2,0,0,2,2025-12-22T14:30:01
A1,2,3,0,0,3,2025-12-22T14:30:00
A2,2,1,0,0,1,2025-12-22T14:30:00
A2,2,2,0,0,2,2025-12-22T14:30:00
A3,2,1,0,0,1,2025-12-22T14:30:00
A3,2,9,0,0,1,2025-12-22T15:30:00
";
        let report = world.drop_file("incoming/assets/1.csv", rows).await;
        let counts = report.counts.unwrap();
        assert_eq!((counts.read, counts.inserted, counts.rejected), (7, 3, 4), "batch size {batch_size}");
        assert_eq!(
            world.query("select account_id, cash from asset order by 1").await,
            "A1 | 2.00\nA2 | 2.00\nA3 | 1.00"
        );
        let rejects = world.query(REJECTS).await;
        allow_duplicates! {
            assert_snapshot!(rejects, @r#"
            1 | 2 | account_id | unique | "A1" stands again in line 3, which wins as the newer or later; keep one
            3 | 4 | account_id | unique | "A1" stands again in line 3, which wins as the newer or later; keep one
            4 | 5 | account_id | unique | "A2" stands again in line 6, which wins as the newer or later; keep one
            7 | 8 | total_asset | total_is_sum | total_asset is not cash + frozen_cash + market_value
            "#);
        }
    }
}

#[tokio::test]
async fn an_older_file_never_overwrites_newer_rows_and_an_unchanged_row_is_not_written() {
    let world = with_assets().await;
    let xmin = "select account_id, xmin from asset order by 1";
    let before = world.query(xmin).await;
    let same = world.drop_file("incoming/assets/again.csv", format!("{ASSETS}\n")).await.counts.unwrap();
    assert_eq!((same.unchanged, same.updated), (4, 0));
    assert_eq!(world.query(xmin).await, before);

    let changed = "\
account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at
10000000001,2,1,0,0,1,2025-12-22T14:29:59
10000000002,2,2,0,0,2,2025-12-22T14:25:00
10000000003,3,3,0,0,3,2025-12-22T14:20:01
10000000005,3,5,0,0,5,2020-01-01T00:00:00
";
    let counts = world.drop_file("incoming/assets/changed.csv", changed).await.counts.unwrap();
    assert_eq!((counts.stale, counts.updated, counts.inserted), (1, 2, 1));
    assert_eq!(
        world.query("select account_id, cash from asset order by 1").await,
        "10000000001 | 100000.00\n10000000002 | 2.00\n10000000003 | 3.00\n10000000004 | 80000.00\n10000000005 | 5.00"
    );
}

#[tokio::test]
async fn a_trade_without_its_account_waits_and_is_loaded_once_when_the_account_comes() {
    let world = World::new().await;
    let counts = world.drop_file("incoming/trades/1.csv", TRADES).await.counts.unwrap();
    assert_eq!((counts.read, counts.parked, counts.inserted), (4, 4, 0));
    assert_eq!(world.query("select count(*), count(released_by) from etl.parked").await, "4 | 0");

    // A newer version of the same trade arrives, and waits too.
    let newer =
        TRADES.lines().take(2).collect::<Vec<_>>().join("\n").replace("14:30:00", "14:31:00").replace("策略A", "策略B");
    world.drop_file("incoming/trades/2.csv", newer).await;

    let counts = world.drop_file("incoming/assets/1.csv", ASSETS).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.released, counts.warnings), (4, 5, 2));
    assert_snapshot!(world.query("select load_id, record, key, released_by, outcome, warnings from etl.parked order by 1, 2").await, @r"
    1 | 1 | T20251222000001 | 3 | stale | 0
    1 | 2 | T20251222000002 | 3 | inserted | 0
    1 | 3 | T20251222000003 | 3 | inserted | 1
    1 | 4 | T20251222000004 | 3 | inserted | 1
    2 | 1 | T20251222000001 | 3 | inserted | 0
    ");
    assert_eq!(
        world
            .query("select strategy_name, order_remark, traded_amount from trade where traded_id = 'T20251222000001'")
            .await,
        "策略B | 正常交易 | 15500.00"
    );
    assert_eq!(
        world.query("select id, read, parked, released from etl.load order by id").await,
        "1 | 4 | 4 | 0\n2 | 1 | 1 | 0\n3 | 4 | 0 | 5"
    );
}

#[tokio::test]
async fn statistics_tell_what_the_dataset_asks_for() {
    let world = with_assets().await;
    let text = TRADES.replace(",updated_at\n", ",updated_at,note\n").replace(":00\n", ":00,x\n");
    let report = world.drop_file("incoming/trades/1.csv", text).await;
    assert_snapshot!(serde_json::to_string_pretty(&report.statistics).unwrap(), @r#"
    {
      "by_account_type": {
        "2": 3,
        "3": 1
      },
      "amount_by_strategy": {
        "策略A": "15500.00",
        "趋势跟踪": "85600.00",
        "量化1号": "14150.00",
        "高频策略": "31560.00"
      },
      "traded_volume": 3800,
      "traded_amount": "146810.00",
      "first_trade": "2025-12-22T09:30:00Z",
      "last_trade": "2025-12-22T13:45:00Z",
      "extra_columns": [
        "note"
      ]
    }
    "#);
}
