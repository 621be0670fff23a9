//! The two Lambda binaries under a Lambda runtime emulator.

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};

use crate::contract::{ASSETS, TRADES};
use crate::migrations;
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::world::{World, empty_database, query};

pub const INGEST: &str = env!("CARGO_BIN_EXE_ingest");
const MIGRATE: &str = env!("CARGO_BIN_EXE_migrate");

pub fn start(function: &str, variables: &[(String, String)]) -> (Emulator, Scratch) {
    let scratch = Scratch::new("function");
    let log = File::create(scratch.path().join("log")).unwrap();
    (Emulator::start(Path::new(function), variables, log.into()), scratch)
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Returns the fixture with this bucket, key and `ETag` instead of its own, and without a version.
pub async fn notification(world: &World, key: &str) -> Value {
    let head = world.s3.head_object().bucket(&world.bucket).key(key).send().await.unwrap();
    let mut event = fixture("s3-put");
    let s3 = &mut event["Records"][0]["s3"];
    s3["bucket"]["name"] = json!(world.bucket);
    s3["object"]["key"] = json!(key.replace(' ', "+"));
    s3["object"]["eTag"] = json!(head.e_tag().unwrap().trim_matches('"'));
    s3["object"]["size"] = json!(head.content_length());
    // The bucket of the fixture keeps versions, and this one does not.
    s3["object"].as_object_mut().unwrap().remove("versionId");
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_applies_the_schema_and_then_finds_nothing_to_do() {
    let (url, _) = empty_database().await;
    let (migrate, _log) = start(MIGRATE, &[("DATABASE_URL".into(), url.clone())]);
    assert_eq!(migrate.invoke(&json!({}))["applied"].as_array().unwrap().len(), migrations::all().len());
    assert_eq!(migrate.invoke(&json!({})), json!({"applied": []}));
    assert_eq!(query(&url, "select count(*) from asset").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_answers_field_for_field() {
    let world = World::new().await;
    world.put("incoming/assets/1 a.csv", ASSETS).await;
    world.put("incoming/trades/1.csv", format!("{TRADES}5,x\n")).await;
    let (ingest, _log) = start(INGEST, &world.variables());
    let assets = ingest.invoke(&notification(&world, "incoming/assets/1 a.csv").await);
    assert_eq!(assets["loads"][0]["inserted"], 4, "{assets}");

    let event = notification(&world, "incoming/trades/1.csv").await;
    let mut answer = ingest.invoke(&event);
    let load = &mut answer["loads"][0];
    assert!(load["elapsed_ms"].as_u64().is_some_and(|elapsed| elapsed > 0));
    assert_eq!(load["version"], event["Records"][0]["s3"]["object"]["eTag"]);
    for unpredictable in ["elapsed_ms", "version", "bucket"] {
        load[unpredictable] = json!("…");
    }
    insta::assert_snapshot!(serde_json::to_string(&answer).unwrap(), @r#"{"loads":[{"load_id":2,"bucket":"…","key":"incoming/trades/1.csv","version":"…","dataset":"trade","source":null,"part":"","status":"loaded","reason":null,"error":null,"attempt":1,"read":5,"inserted":4,"updated":0,"removed":0,"unchanged":0,"stale":0,"parked":0,"rejected":1,"withheld":0,"warnings":2,"released":0,"deleted":0,"rejects_key":"rejects/trade/2.csv","elapsed_ms":"…","statistics":{"by_account_type":{"2":3,"3":1},"amount_by_strategy":{"策略A":"15500.00","趋势跟踪":"85600.00","量化1号":"14150.00","高频策略":"31560.00"},"traded_volume":3800,"traded_amount":"146810.00","first_trade":"2025-12-22T09:30:00Z","last_trade":"2025-12-22T13:45:00Z","extra_columns":[]}}]}"#);
    assert_eq!(ingest.invoke(&event)["loads"][0]["status"], "duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_of_event_is_answered() {
    let world = World::new().await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    let (ingest, _log) = start(INGEST, &world.variables());
    let mut bridge = fixture("eventbridge-object-created");
    bridge["detail"] = json!({"bucket": {"name": world.bucket}, "object": {"key": "incoming/assets/1.csv"}});
    let mut schedule = fixture("schedule");
    schedule["detail"] = json!({"bucket": world.bucket, "key": "incoming/assets/1.csv"});
    let direct = json!({"bucket": world.bucket, "key": "incoming/assets/1.csv"});
    let notification = notification(&world, "incoming/assets/1.csv").await;
    let statuses: Vec<Value> = [&bridge, &schedule, &direct, &notification]
        .map(|event| ingest.invoke(event)["loads"][0]["status"].clone())
        .to_vec();
    assert_eq!(statuses, ["loaded", "duplicate", "duplicate", "duplicate"]);
    assert_eq!(ingest.invoke(&fixture("s3-test-event"))["loads"][0]["status"], "skipped");
    let unknown = ingest.invoke(&json!({"hello": "world"}));
    assert_eq!(unknown["errorType"], "configuration");
    assert!(unknown["errorMessage"].as_str().unwrap().contains("Object Created"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_answered_with_the_messages_that_must_come_again() {
    let world = World::new().await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    world.put("incoming/assets/2.csv", "").await;
    world.put("incoming/assets/held.csv", ASSETS).await;
    world.load("incoming/assets/held.csv").await;
    world.query("update etl.load set state = 'loading', finished_at = null, lease_expires_at = clock_timestamp() + interval '1 hour'").await;
    let message = |id: &str, key: &str| {
        let body = json!({"bucket": world.bucket, "key": key}).to_string();
        json!({"eventSource": "aws:sqs", "messageId": id, "body": body, "attributes": {}, "messageAttributes": {}})
    };
    let event = json!({"Records": [
        message("loaded", "incoming/assets/1.csv"), message("failed", "incoming/assets/2.csv"),
        message("skipped", "elsewhere/1.csv"), message("held", "incoming/assets/held.csv"),
    ]});
    let (ingest, _log) = start(INGEST, &world.variables());
    assert_eq!(ingest.invoke(&event), json!({"batchItemFailures": [{"itemIdentifier": "held"}]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_an_error_that_aws_retries() {
    let world = World::new().await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    let mut variables = world.variables();
    variables.push(("DATABASE_URL".into(), format!("postgres://u:canary@127.0.0.1:{}/d", crate::support::free_port())));
    let (ingest, scratch) = start(INGEST, &variables);
    let answer = ingest.invoke(&json!({"bucket": world.bucket, "key": "incoming/assets/1.csv"}));
    assert_eq!(answer["errorType"], "connection", "{answer}");
    let log = std::fs::read_to_string(scratch.path().join("log")).unwrap();
    assert!(!answer.to_string().contains("canary") && !log.contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_can_be_checked_without_being_loaded() {
    let world = World::new().await;
    world.put("incoming/assets/1.csv", ASSETS.replace("305000.00", "305000.01")).await;
    world.put("incoming/assets/2.csv", "account_id\n").await;
    let (ingest, _log) = start(INGEST, &world.variables());
    let check = |key: &str| {
        ingest.invoke(&json!({"bucket": world.bucket, "key": key, "validate_only": true}))["validated"].clone()
    };
    let answer = check("incoming/assets/1.csv");
    assert_eq!((&answer["status"], &answer["read"], &answer["accepted"]), (&json!("rejects"), &json!(4), &json!(3)));
    assert_eq!((&answer["rejects"][0]["line"], &answer["rejects"][0]["rule"]), (&json!(2), &json!("total_is_sum")));
    // Lambda does not accept an answer of more than six megabytes.
    let long = "x".repeat(100_000);
    let bad: Vec<_> = (0..150).map(|number| format!("{number},{long},2,1,0,0,1,2025-12-22T14:30:00\n")).collect();
    world.put("incoming/assets/3.csv", format!("{}\n{}", ASSETS.lines().next().unwrap(), bad.concat())).await;
    let answer = check("incoming/assets/3.csv");
    assert!(
        answer["rejected"] == 150 && answer["rejects"].as_array().is_some_and(|shown| !shown.is_empty()),
        "{answer}"
    );
    let answer = check("incoming/assets/2.csv");
    assert_eq!((&answer["status"], &answer["reason"]), (&json!("unusable"), &json!("missing_column")));
    assert_eq!(world.query("select count(*) from etl.load").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_version_is_loaded_once_more_on_demand() {
    let world = World::new().await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    let (ingest, _log) = start(INGEST, &world.variables());
    let event = |again: bool| json!({"bucket": world.bucket, "key": "incoming/assets/1.csv", "again": again});
    let statuses = [false, false, true, true].map(|again| ingest.invoke(&event(again))["loads"][0]["status"].clone());
    assert_eq!(statuses, ["loaded", "duplicate", "loaded", "loaded"]);
    assert_eq!(world.query("select run, unchanged from etl.load order by run").await, "0 | 0\n1 | 4\n2 | 4");
}
