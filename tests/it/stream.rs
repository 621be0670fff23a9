//! The source `kafka`: what an event source mapping delivers is landed and loaded, each record once, and a bad record
//! blocks nothing.

use std::fs::File;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::parts::config;
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::world::World;

/// Creates a world that takes the topic `assets`, and the function there.
async fn taking(scratch: &Scratch, form: &str) -> (World, Emulator) {
    let mut world = World::on_moto(&[]).await;
    let settings = format!(
        "[[pipeline.asset.extractor]]\ntype = \"kafka\"\ntopics = [\"assets\"]\nprefix = \"incoming/assets/kafka/\"\n\
         bucket = \"{}\"\n{form}\n[[pipeline.asset.extractor]]\ntype = \"s3_csv\"\n",
        world.bucket
    );
    world.config = Some(config(scratch, &settings));
    let ingest = function(scratch, &world.variables());
    (world, ingest)
}

fn function(scratch: &Scratch, variables: &[(String, String)]) -> Emulator {
    let log = File::create(scratch.path().join("log")).unwrap();
    Emulator::start(env!("CARGO_BIN_EXE_ingest").as_ref(), variables, log.into())
}

/// Returns an asset whose number is its offset.
fn asset(offset: u64) -> String {
    format!(
        "{{\"account_id\":\"{offset:011}\",\"account_type\":2,\"cash\":1.50,\n\"frozen_cash\":1,\"market_value\":1,\
         \"total_asset\":3.50,\"updated_at\":\"2025-12-22T14:30:00\"}}"
    )
}

fn record(partition: u32, offset: u64, value: Option<&[u8]>) -> Value {
    let value = value.map(|value| BASE64_STANDARD.encode(value));
    json!({"topic": "assets", "partition": partition, "offset": offset, "timestamp": -1, "timestampType": "NO_TIMESTAMP_TYPE",
        "value": value, "headers": [{"traced": [-1, 200]}]})
}

fn batch(offsets: RangeInclusive<u64>) -> Value {
    let records: Vec<Value> = offsets.map(|offset| record(0, offset, Some(asset(offset).as_bytes()))).collect();
    json!({"eventSource": "aws:kafka", "records": {"assets-0": records}})
}

fn statuses(answer: &Value) -> String {
    let loads = answer["loads"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let status = |load: &Value| {
        let (_, name) = load["key"].as_str().unwrap().split_once("/kafka/").unwrap();
        format!("{name} {}\n", load["status"].as_str().unwrap())
    };
    loads.iter().map(status).collect::<String>().replace("00000000000000000", "~")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_comes_again_or_overlaps_loads_each_record_once() {
    let scratch = Scratch::new("stream");
    let (world, ingest) = taking(&scratch, "form = \"json_lines\"").await;
    assert_snapshot!(statuses(&ingest.invoke(&batch(0..=9))), @"assets/0/~009-~000.jsonl loaded");
    assert_snapshot!(statuses(&ingest.invoke(&batch(0..=9))), @"assets/0/~009-~000.jsonl duplicate");
    assert_snapshot!(statuses(&ingest.invoke(&batch(5..=14))), @"
    assets/0/~009-~000.jsonl duplicate
    assets/0/~014-~010.jsonl loaded
    ");
    assert_snapshot!(statuses(&ingest.invoke(&batch(20..=21))), @"assets/0/~021-~020.jsonl loaded");
    // From the beginning once more, as if the mapping had been created again.
    assert_snapshot!(statuses(&ingest.invoke(&batch(0..=24))), @"
    assets/0/~009-~000.jsonl duplicate
    assets/0/~014-~010.jsonl duplicate
    assets/0/~019-~015.jsonl loaded
    assets/0/~021-~020.jsonl duplicate
    assets/0/~024-~022.jsonl loaded
    ");
    assert_snapshot!(statuses(&ingest.invoke(&batch(3..=3))), @"assets/0/~009-~000.jsonl duplicate");
    // Another cluster has other records.
    let mut other = batch(0..=0);
    other["eventSourceArn"] = json!("arn:aws:kafka:eu-central-1:1:cluster/b/7");
    assert_snapshot!(statuses(&ingest.invoke(&other)), @"7/assets/0/~000-~000.jsonl loaded");
    let sums = "select sum(read), sum(inserted), (select count(*) from asset) from etl.load where key not like '%/7/%'";
    assert_eq!(world.query(sums).await, "25 | 25 | 25");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_is_a_reject_and_blocks_nothing() {
    let scratch = Scratch::new("stream");
    let (world, ingest) = taking(&scratch, "form = \"json_lines\"").await;
    let records = [
        record(0, 6, Some(b"\x1f\x8b\x08 looks like an archive")),
        record(0, 7, Some(asset(7).as_bytes())),
        record(0, 8, None),
        record(0, 9, Some(b"")),
        record(0, 10, Some(asset(10).replace("2025", "20\n25").as_bytes())),
        record(0, 11, Some(b"\xff\xfe\x00")),
        record(0, 12, Some(asset(12).as_bytes())),
    ];
    let other = [record(1, 7, Some(asset(13).as_bytes()))];
    let answer =
        ingest.invoke(&json!({"eventSource": "SelfManagedKafka", "records": {"assets-0": records, "assets-1": other}}));
    assert_snapshot!(statuses(&answer), @"
    assets/0/~012-~006.jsonl loaded
    assets/1/~007-~007.jsonl loaded
    ");
    assert_snapshot!(world.query("select account_id from asset order by 1").await, @"
    00000000007
    00000000012
    00000000013
    ");
    assert_snapshot!(world.query("select record, line, rule from etl.reject order by record").await, @"
    1 | 1 | json
    3 | 3 | json
    4 | 4 | json
    5 | 5 | json
    6 | 6 | json
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_csv_swallows_none_of_those_behind_it() {
    let scratch = Scratch::new("stream");
    let columns = "form = \"csv\"\ncolumns = [\"account_id\", \"account_type\", \"cash\", \"frozen_cash\", \"market_value\", \"total_asset\", \"updated_at\"]";
    let (world, ingest) = taking(&scratch, columns).await;
    let row = |id: u32| format!("{id},2,1,1,1,3,2025-12-22T14:30:00");
    let values =
        [row(1), "\"2,2,1,1,1,3".into(), format!("{}\n{}", row(3), row(4)), String::new(), format!("{}\r\n", row(5))];
    let records: Vec<Value> =
        (0..).zip(&values).map(|(offset, value)| record(0, offset, Some(value.as_bytes()))).collect();
    let answer = ingest.invoke(&json!({"eventSource": "aws:kafka", "records": {"assets-0": records}}));
    assert_snapshot!(statuses(&answer), @"assets/0/~004-~000.csv loaded");
    assert_snapshot!(world.query("select account_id from asset order by 1").await, @"
    1
    5
    ");
    assert_snapshot!(world.query("select record, rule from etl.reject order by record").await, @"
    2 | field_count
    3 | field_count
    4 | field_count
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_landed_and_not_loaded_is_loaded_with_the_next_batch_or_at_night() {
    let scratch = Scratch::new("stream");
    let (world, ingest) = taking(&scratch, "form = \"json_lines\"").await;
    let away = [("DATABASE_URL".to_owned(), "postgres://u@127.0.0.1:1/none".to_owned())];
    let variables: Vec<_> = world.variables().into_iter().chain(away).collect();
    let unlucky = function(&scratch, &variables);
    // This is an error, so that the mapping delivers the batch once more.
    assert_eq!(unlucky.invoke(&batch(0..=3))["errorType"], "connection");
    assert_eq!(world.query("select count(*) from etl.load").await, "0");
    assert_snapshot!(statuses(&ingest.invoke(&batch(0..=5))), @"
    assets/0/~003-~000.jsonl loaded
    assets/0/~005-~004.jsonl loaded
    ");
    assert_eq!(unlucky.invoke(&batch(6..=7))["errorType"], "connection");
    let night = ingest.invoke(&json!({"reconcile": {"bucket": world.bucket}}));
    assert_eq!(night["reconciled"]["sent"], 1, "{night}");
    assert_eq!(world.query("select count(*) from asset").await, "8");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_nobody_takes_is_an_error_that_says_so() {
    let scratch = Scratch::new("stream");
    let (_world, ingest) = taking(&scratch, "form = \"json_lines\"").await;
    let mut event = batch(0..=0);
    event["records"]["assets-0"][0]["topic"] = json!("orders");
    let answer = ingest.invoke(&event);
    let message = answer["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("topic orders partition 0: no pipeline takes it"), "{message}");
}
