//! Control totals: a file and the manifest beside it.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use small_etl::domain::{LoadReport, LoadStatus, Location};
use small_etl::pipeline::Request;

use crate::command_line::{small_etl, text};
use crate::contract::ASSETS;
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::support::s3::ReadFault;
use crate::world::World;

const KEY: &str = "incoming/assets/1.csv";
const MANIFEST: &str = "incoming/assets/1.csv.manifest.json";

fn hash(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// Puts the manifest and then the file, and loads the file.
async fn load(world: &World, manifest: &Value, content: impl Into<Vec<u8>>) -> LoadReport {
    world.put(MANIFEST, manifest.to_string()).await;
    world.drop_file(KEY, content).await
}

/// Returns a folder with the datasets of the program, changed so that assets need a manifest within this many seconds.
fn required(seconds: u32) -> Scratch {
    let scratch = Scratch::new("manifest");
    let definition = include_str!("../../datasets/asset.toml");
    let rule = format!("[manifest]\nrequired = true\nwait_seconds = {seconds}\n");
    fs::write(scratch.path().join("asset.toml"), format!("{definition}\n{rule}")).unwrap();
    scratch
}

async fn world_that_requires(seconds: u32) -> (World, Scratch) {
    let folder = required(seconds);
    let path = folder.path().display().to_string();
    (World::with(&[("DATASETS__PATH", &path)]).await, folder)
}

#[tokio::test]
async fn a_file_that_is_what_its_manifest_says_is_loaded_and_says_what_was_compared() {
    let world = World::new().await;
    let packed = zstd::encode_all(ASSETS.as_bytes(), 1).unwrap();
    let manifest = json!({
        "row_count": 4, "sums": {"cash": "930000.00", "account_type": 8, "total_asset": 2_490_000.0},
        "sha256": hash(&packed).to_uppercase(),
    });
    let report = load(&world, &manifest, packed.clone()).await;
    assert_eq!((report.status, report.counts.unwrap().inserted), (LoadStatus::Loaded, 4));
    assert_eq!(
        report.statistics["manifest"],
        json!({
            "row_count": "4", "sha256": hash(&packed), "sum of account_type": "8", "sum of cash": "930000",
            "sum of total_asset": "2490000",
        })
    );
    // Bad rows are part of what was sent, too.
    let bad = ASSETS.replace("305000.00", "305000.001");
    let manifest = json!({"row_count": 4, "sums": {"total_asset": "2490000.001"}});
    assert_eq!(load(&world, &manifest, bad).await.counts.unwrap().rejected, 1);
}

#[tokio::test]
async fn a_file_that_is_not_what_its_manifest_says_fails_with_both_figures_and_nothing_is_written() {
    let world = World::new().await;
    let bad = ASSETS.replace("100000.00", "1e").replace(",200000.00", ",x");
    let manifest =
        json!({"row_count": 5, "sums": {"cash": "930000.00", "market_value": 1_320_000}, "sha256": "0".repeat(64)});
    let report = load(&world, &manifest, bad.clone()).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("manifest_mismatch")));
    assert_snapshot!(report.error.unwrap().replace(&world.bucket, "b").replace(&hash(bad.as_bytes()), "HASH").replace(&"0".repeat(64), "OTHER"), @"s3://b/incoming/assets/1.csv: row_count: the manifest says 5, the file has 4; sha256: the manifest says OTHER, the file has HASH; sum of cash: the manifest says 930000, the file has 830000, not counting 1 cells that are not numbers; sum of market_value: the manifest says 1320000, the file has 1220000, not counting 1 cells that are not numbers; nothing was loaded");
    assert_eq!(world.query("select count(*) from asset").await, "0");
    assert_eq!(world.query("select read, withheld from etl.load").await, "4 | 4");
    let unusable = [
        ("{", "manifest_malformed"),
        (r#"{"row_count": 4, "rows": 4}"#, "manifest_malformed"),
        (r#"{"sums": {"updated_at": 4}}"#, "manifest_malformed"),
        (r#"{"sha256": "00"}"#, "manifest_malformed"),
        ("{}", "manifest_malformed"),
    ];
    for (number, (text, reason)) in unusable.into_iter().enumerate() {
        world.put(MANIFEST, text).await;
        let report = world.drop_file(KEY, format!("{ASSETS}{}", "\n".repeat(number))).await;
        assert_eq!(report.reason.as_deref(), Some(reason), "{text}");
    }
    assert_eq!(world.query("select count(*) from asset").await, "0");
}

#[tokio::test]
async fn sums_are_exact_and_what_is_no_number_does_not_count() {
    let world = World::new().await;
    world.drop_file("incoming/assets/0.csv", ASSETS).await;
    let (manifest, key) = ("incoming/trades/1.csv.manifest.json", "incoming/trades/1.csv");
    let row = |id: &str, price: &str, volume: &str, amount: &str| {
        format!(
            "10000000004,1,{id},X,2025-12-22T10:30:00,{price},{volume},{amount},s,,0,48,2025-12-22T10:30:00,2025-12-22T14:30:00\n"
        )
    };
    let header = "account_id,account_type,traded_id,stock_code,traded_time,traded_price,traded_volume,traded_amount,\
        strategy_name,order_remark,direction,offset_flag,created_at,updated_at";
    let large = row("T1", "0.01", "9000000000000000000", "90000000000000000.00");
    let file = format!("{header}\n{large}{}", large.replace(",T1,", ",T2,"));
    world
        .put(manifest, r#"{"sums": {"traded_volume": 18000000000000000000, "traded_amount": "180000000000000000"}}"#)
        .await;
    let report = world.drop_file(key, file.clone()).await;
    assert_eq!((report.status, report.counts.unwrap().inserted), (LoadStatus::Loaded, 2), "{:?}", report.error);
    // As floating-point numbers, the two would be the same.
    world.put(manifest, r#"{"sums": {"traded_amount": "180000000000000000.01"}}"#).await;
    let report = world.drop_file(key, format!("{file}\n")).await;
    assert_eq!(report.reason.as_deref(), Some("manifest_mismatch"), "{report:?}");

    let odd =
        [row("T3", "1e2", " 5", "+3"), row("T4", "1_0", "5.6", "1,0"), row("T5", "0.1234567891", "7", "1.00")].concat();
    world.put(manifest, r#"{"sums": {"traded_price": "0.123456789", "traded_volume": 8, "traded_amount": 2}}"#).await;
    let report = world.drop_file(key, format!("{header}\n{odd}")).await;
    assert_snapshot!(report.error.unwrap().replace(&world.bucket, "b"), @"s3://b/incoming/trades/1.csv: sum of traded_price: the manifest says 0.123456789, the file has 0.1234567891, not counting 1 cells that are not numbers; sum of traded_volume: the manifest says 8, the file has 7, not counting 1 cells that are not numbers; sum of traded_amount: the manifest says 2, the file has 1, not counting 1 cells that are not numbers; nothing was loaded");
}

#[tokio::test]
async fn a_manifest_is_no_file_of_its_dataset() {
    let world = World::new().await;
    let report = world.drop_file(MANIFEST, "{}").await;
    assert_eq!(report.status, LoadStatus::Skipped);
    assert_eq!(world.query("select count(*) from etl.load").await, "0");
}

#[tokio::test]
async fn a_required_manifest_is_waited_for() {
    let (world, _folder) = world_that_requires(30).await;
    let started = Instant::now();
    let (report, ()) = tokio::join!(world.drop_file(KEY, ASSETS), async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(world.query("select state, read from etl.load").await, "loading | 0");
        world.put(MANIFEST, r#"{"row_count": 4}"#).await;
    });
    assert_eq!((report.status, report.counts.unwrap().inserted), (LoadStatus::Loaded, 4));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_file_whose_manifest_does_not_come_in_time_fails() {
    let (world, _folder) = world_that_requires(2).await;
    let started = Instant::now();
    let report = world.drop_file(KEY, ASSETS).await;
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert_eq!(report.reason.as_deref(), Some("manifest_missing"));
    assert_snapshot!(report.error.unwrap().replace(&world.bucket, "b"), @"s3://b/incoming/assets/1.csv: dataset asset requires a manifest and there is none; put it beside the file as incoming/assets/1.csv.manifest.json, and load the file with --again if it has failed because of this");
    assert_eq!(world.query("select count(*) from asset").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_leaves_the_waiting_to_the_queue_and_the_manifest_itself_wakes_the_load() {
    let folder = required(600);
    let path = folder.path().display().to_string();
    let world = World::on_moto(&[("DATASETS__PATH", &path)]).await;
    let (sqs, queue) = world.queue().await;
    let mut variables = world.variables();
    variables.push(("SMALL_ETL__QUEUE__URL".into(), queue.clone()));
    let ingest = Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), &variables, Stdio::null());
    world.put(KEY, ASSETS).await;
    let event = |key: &str| json!({"bucket": world.bucket, "key": key});
    for _ in 0..4 {
        // It may wait for a long time; that is not a lack of progress.
        let answer = ingest.invoke(&event(KEY));
        assert_eq!(answer["loads"][0]["status"], "interrupted", "{answer}");
    }
    let waiting = "ApproximateNumberOfMessagesDelayed";
    let request = sqs.get_queue_attributes().queue_url(&queue).attribute_names(waiting.into());
    let attributes = request.send().await.unwrap().attributes.unwrap();
    assert_eq!(attributes[&waiting.into()], "4", "messages come later, and not at once");
    world.put(MANIFEST, r#"{"row_count": 4}"#).await;
    let answer = ingest.invoke(&event(MANIFEST));
    assert_eq!(answer["loads"][0]["status"], "loaded", "{answer}");
    assert_eq!((&answer["loads"][0]["key"], &answer["loads"][0]["inserted"]), (&json!(KEY), &json!(4)));
    assert_eq!(ingest.invoke(&event(MANIFEST))["loads"][0]["status"], "skipped");
}

#[test]
fn validate_compares_a_local_file_with_its_manifest() {
    let (scratch, folder) = (Scratch::new("manifest"), required(600));
    let run = |variables: &[(&str, &str)]| {
        let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let output = small_etl(&scratch, &variables, &["validate", "assets.csv", "--dataset", "asset"]);
        text(&output).replace(&fs::canonicalize(scratch.path()).unwrap().display().to_string(), "…")
    };
    fs::write(scratch.path().join("assets.csv"), ASSETS).unwrap();
    assert!(run(&[]).starts_with("exit 0"));
    let path = folder.path().display().to_string();
    assert_snapshot!(run(&[("SMALL_ETL__DATASETS__PATH", &path)]), @"
    exit 2
    error: …/assets.csv: dataset asset requires a manifest and there is none; put it beside the file as …/assets.csv.manifest.json, and load the file with --again if it has failed because of this
    ");
    fs::write(scratch.path().join("assets.csv.manifest.json"), r#"{"row_count": 3}"#).unwrap();
    assert_snapshot!(run(&[]), @"
    exit 2
    error: …/assets.csv: row_count: the manifest says 3, the file has 4; nothing was loaded
    ");
    fs::write(scratch.path().join("assets.csv.manifest.json"), r#"{"row_count": 4}"#).unwrap();
    assert_snapshot!(run(&[("SMALL_ETL__DATASETS__PATH", &path)]), @"
    exit 0
    …/assets.csv: 4 records, 4 accepted, 0 rejected, 0 warnings (dataset asset)
      by_account_type: 1 1, 2 2, 3 1
      cash: 930000.00
      total_asset: 2490000.00
      newest: 2025-12-22T14:30:00Z
      manifest: row_count 4
    ");
}

/// Returns this many accounts, with names that only this file has.
fn accounts(count: usize, name: &str) -> String {
    let rows = (0..count).map(|row| format!("1,{name}{row},2,1.00,0.00,0.00,1.00,2025-12-22T14:30:00\n"));
    format!("{}\n{}", ASSETS.lines().next().unwrap(), rows.collect::<String>())
}

fn rows(count: usize) -> String {
    json!({ "row_count": count }).to_string()
}

/// Waits a second, because S3 reports times in whole seconds.
async fn a_second() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

/// Writes the file or its manifest and returns the version.
async fn write(world: &World, key: &str, content: String) -> String {
    let put = world.s3.put_object().bucket(&world.bucket).key(key).body(content.into_bytes().into());
    put.send().await.unwrap().version_id.expect("the bucket keeps versions")
}

/// Loads that version of the file.
async fn load_version(world: &World, version_id: &str, again: bool) -> LoadReport {
    let Location::S3 { bucket, key, .. } = world.request(KEY).location else { panic!("it lies in S3") };
    let (version_id, etag, size, sequencer, modified) = (Some(version_id.to_owned()), None, None, None, None);
    let location = Location::S3 { bucket, key, version_id, etag, size, sequencer, modified };
    world.run(&Request { again, ..Request::new(location) }).await.unwrap()
}

/// A backlog: all versions are there before the first of them is loaded.
#[tokio::test]
async fn each_version_of_a_file_is_compared_with_the_manifest_that_lay_there_when_it_was_written() {
    for pause in [true, false] {
        let world = World::on_moto(&[]).await;
        let mut versions = Vec::new();
        for count in 1..=3 {
            write(&world, MANIFEST, rows(count)).await;
            if pause {
                a_second().await;
            }
            versions.push(write(&world, KEY, accounts(count, "A")).await);
            if pause {
                a_second().await;
            }
        }
        for (version, count) in versions.iter().zip(1..) {
            let report = load_version(&world, version, false).await;
            assert_eq!((report.status, report.error), (LoadStatus::Loaded, None), "version {count}, pause {pause}");
            assert_eq!(report.statistics["manifest"], json!({ "row_count": count.to_string() }));
        }
    }
}

#[tokio::test]
async fn each_version_of_a_file_is_compared_with_the_manifest_that_followed_it() {
    let world = World::on_moto(&[]).await;
    let mut versions = Vec::new();
    for count in 1..=3 {
        versions.push(write(&world, KEY, accounts(count, "A")).await);
        a_second().await;
        write(&world, MANIFEST, rows(count)).await;
        a_second().await;
    }
    for (version, count) in versions.iter().zip(1..) {
        let report = load_version(&world, version, false).await;
        assert_eq!((report.status, report.error), (LoadStatus::Loaded, None), "version {count}");
        assert_eq!(report.statistics["manifest"], json!({ "row_count": count.to_string() }));
    }
}

#[tokio::test]
async fn a_version_that_breaks_its_manifest_fails_unless_that_was_corrected_before_the_next_version_or_somebody_mends_it()
 {
    let world = World::on_moto(&[]).await;
    write(&world, MANIFEST, rows(5)).await;
    a_second().await;
    let first = write(&world, KEY, accounts(4, "A")).await;
    a_second().await;
    write(&world, MANIFEST, rows(4)).await;
    a_second().await;
    let second = write(&world, KEY, accounts(4, "B")).await;
    for version in [&first, &second] {
        assert_eq!(load_version(&world, version, false).await.status, LoadStatus::Loaded);
    }

    // Corrected after the next version had arrived: then the correction belongs to that one.
    let world = World::on_moto(&[]).await;
    write(&world, MANIFEST, rows(5)).await;
    a_second().await;
    let first = write(&world, KEY, accounts(4, "A")).await;
    a_second().await;
    write(&world, MANIFEST, rows(2)).await;
    a_second().await;
    let second = write(&world, KEY, accounts(2, "B")).await;
    a_second().await;
    assert_eq!(load_version(&world, &second, false).await.status, LoadStatus::Loaded);
    for again in [false, true] {
        let report = load_version(&world, &first, again).await;
        assert_eq!(report.reason.as_deref(), Some("manifest_mismatch"));
        let error = report.error.unwrap().replace(&world.bucket, "b");
        if !again {
            assert_snapshot!(error, @"s3://b/incoming/assets/1.csv: row_count: the manifest says 5, the file has 4; nothing was loaded");
        }
    }
    write(&world, MANIFEST, rows(4)).await;
    assert_eq!(load_version(&world, &first, true).await.status, LoadStatus::Loaded);
    assert_eq!(load_version(&world, &second, true).await.reason.as_deref(), Some("manifest_mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_replaced_while_it_was_read_is_not_at_fault_for_the_manifest_of_another() {
    let world = World::with_own_s3(&[]).await;
    world.put(MANIFEST, rows(2)).await;
    world.s3_server.fault_next_reads([ReadFault::ReplaceAfterwards(accounts(2, "B").into_bytes())]);
    let report = world.drop_file(KEY, accounts(1, "A")).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Superseded, Some("superseded")));
    assert_eq!(world.load(KEY).await.status, LoadStatus::Loaded);
    assert_eq!(world.query("select state from etl.load order by id").await, "superseded\nloaded");
    // A file that was not replaced has failed for what it is.
    world.put(MANIFEST, rows(2)).await;
    let report = world.drop_file(KEY, accounts(1, "C")).await;
    assert_eq!(report.reason.as_deref(), Some("manifest_mismatch"));
}
