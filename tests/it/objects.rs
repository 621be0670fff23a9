//! Objects that break off, stall, or are replaced, missing, forbidden, empty or huge, and objects with versions.

use std::time::{Duration, Instant, SystemTime};

use insta::assert_snapshot;
use small_etl::domain::{LoadId, LoadReport, LoadStatus, Location, Sequencer};
use small_etl::error::ErrorKind;
use small_etl::pipeline::{self, LoadHere, Request};
use small_etl::services::Deadline;
use small_etl::services::reconciliation::Scope;

use crate::contract::ASSETS;
use crate::returned::cash;
use crate::support::Scratch;
use crate::support::s3::ReadFault;
use crate::world::World;

const KEY: &str = "incoming/assets/1.csv";
const HEADER: &str = "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at";

/// Returns about a megabyte, so that it arrives in more than one piece.
fn large() -> String {
    let rows = (0..20_000).map(|row| format!("A{row},2,1.00,0.00,0.00,1.00,2025-12-22T14:30:00\n"));
    format!("{HEADER}\n{}", rows.collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_resumed_by_range() {
    let world = World::with_own_s3(&[]).await;
    world.s3_server.fault_next_reads([ReadFault::Short(300_000), ReadFault::Reset(100_000), ReadFault::None]);
    let report = world.drop_file(KEY, large()).await;
    assert_eq!((report.status, report.counts.unwrap().inserted), (LoadStatus::Loaded, 20_000));
    let ranges: Vec<_> = world.s3_server.reads().into_iter().map(|(_, range)| range).collect();
    let from = |range: &Option<String>| {
        let range = range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        range.unwrap_or(0_u64)
    };
    // A reset may overtake bytes that are still on their way.
    assert_eq!((ranges.len(), from(&ranges[0]), from(&ranges[1])), (3, 0, 300_000), "{ranges:?}");
    assert!((300_000..=400_000).contains(&from(&ranges[2])), "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stalls_or_is_busy_is_asked_again() {
    let world = World::with_own_s3(&[]).await;
    world.s3_server.fault_next_reads([
        ReadFault::Status(503),
        ReadFault::StallHeaders,
        ReadFault::StallBody(300_000),
        ReadFault::Status(500),
    ]);
    let started = Instant::now();
    let report = world.drop_file(KEY, large()).await;
    assert_eq!((report.status, report.counts.unwrap().inserted), (LoadStatus::Loaded, 20_000));
    assert_eq!(world.s3_server.reads().len(), 5);
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
}

/// S3 answers 400 if a session token has expired. That is not the fault of the file, however often it happens.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_have_expired_do_not_fail_the_file() {
    let world = World::with_own_s3(&[]).await;
    world.put(KEY, large()).await;
    for _ in 0..4 {
        world.s3_server.fault_next_reads([ReadFault::Status(400)]);
        let error = world.try_load(KEY).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.chain().contains("are the credentials still valid?"), "{}", error.chain());
    }
    assert_eq!(world.load(KEY).await.status, LoadStatus::Loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_whole_is_an_error_and_the_next_delivery_loads_it() {
    let world = World::with_own_s3(&[]).await;
    world.s3_server.fault_next_reads((0..4).map(|_| ReadFault::Short(0)));
    world.put(KEY, large()).await;
    assert_eq!(world.try_load(KEY).await.unwrap_err().kind(), ErrorKind::Connection);
    assert_eq!(world.query("select state, lease_expires_at <= clock_timestamp() from etl.load").await, "loading | t");
    assert_eq!(world.load(KEY).await.status, LoadStatus::Loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_while_it_is_read_is_superseded_and_the_newer_one_loads_by_its_own_event() {
    for broken_off in [false, true] {
        let world = World::with_own_s3(&[]).await;
        let newer = large().replace(",1.00,0.00", ",2.00,0.00").replace(",1.00,2025", ",2.00,2025");
        world.put(KEY, large()).await;
        if broken_off {
            world.s3_server.fault_next_reads([ReadFault::Short(300_000)]);
        }
        world.s3_server.fault_next_reads([ReadFault::Replace(newer.into())]);
        let report = world.load(KEY).await;
        assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Superseded, Some("superseded")));
        assert_eq!(world.query("select count(*) from asset").await, "0");

        let report = world.load(KEY).await;
        assert_eq!((report.status, report.counts.unwrap().inserted), (LoadStatus::Loaded, 20_000));
        assert_eq!(
            world.query("select state, read = withheld, inserted from etl.load order by id").await,
            "superseded | t | 0\nloaded | f | 20000"
        );
        assert_eq!(world.query("select distinct cash from asset").await, "2.00");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_goes_on_when_its_object_is_replaced_withholds_the_rest() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "3")]).await;
    world.drop_file(KEY, ASSETS).await;
    let etag = world.query("select version from etl.load").await;
    // The state that a worker leaves which died after its first batch.
    world
        .query(
            "update etl.load set state = 'loading', finished_at = null, lease_expires_at = clock_timestamp(); \
             delete from etl.load_batch where batch = 1; delete from asset where account_id = '10000000004'",
        )
        .await;
    world.put(KEY, ASSETS.replace("14:30:00", "14:30:01")).await;
    let Location::S3 { bucket, key, .. } = world.request(KEY).location else { panic!() };
    let location =
        Location::S3 { bucket, key, version_id: None, etag: Some(etag), size: None, sequencer: None, modified: None };
    let report = world.run(&Request::new(location)).await.unwrap();
    assert_eq!(report.status, LoadStatus::Superseded);
    assert_snapshot!(world.query("select state, read, inserted, withheld from etl.load").await, @"superseded | 4 | 3 | 1");
}

/// Every object that cannot be loaded ends as a row of the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn missing_forbidden_empty_and_huge_objects_end_in_a_ledger_row_that_says_so() {
    let world = World::with_own_s3(&[]).await;
    let known = |key: &str, size| Location::S3 {
        bucket: world.bucket.clone(),
        key: format!("incoming/assets/{key}").into(),
        version_id: None,
        etag: Some("0123".into()),
        size,
        sequencer: None,
        modified: None,
    };
    world.put("incoming/assets/empty.csv", "").await;
    world.put("incoming/assets/header.csv", format!("{HEADER}\n")).await;
    let load = async |location| world.run(&Request::new(location)).await.unwrap();
    let mut reports: Vec<LoadReport> = Vec::new();
    reports.push(load(world.request("incoming/assets/gone-before-it-was-looked-at.csv").location).await);
    reports.push(load(known("gone-before-it-was-read.csv", None)).await);
    world.s3_server.fault_next_reads([ReadFault::Status(403)]);
    reports.push(load(known("forbidden.csv", None)).await);
    reports.push(load(world.request("incoming/assets/empty.csv").location).await);
    reports.push(load(known("huge.csv", Some(1 << 60))).await);
    assert!(reports.iter().all(|report| report.status == LoadStatus::Failed), "{reports:?}");
    assert_eq!(load(world.request("incoming/assets/header.csv").location).await.status, LoadStatus::Loaded);
    let ledger = "select split_part(key, '/', 3), state, reason, read, \
        regexp_replace(replace(error, bucket, 'BUCKET'), 'folder has \\d+', 'folder has N') from etl.load order by id";
    assert_snapshot!(world.query(ledger).await, @r"
    gone-before-it-was-looked-at.csv | failed | not_found | 0 | s3://BUCKET/incoming/assets/gone-before-it-was-looked-at.csv: the object or this version of it does not exist
    gone-before-it-was-read.csv | failed | not_found | 0 | s3://BUCKET/incoming/assets/gone-before-it-was-read.csv: the object or this version of it does not exist
    forbidden.csv | failed | forbidden | 0 | s3://BUCKET/incoming/assets/forbidden.csv: reading is forbidden, or it is missing and listing the bucket is forbidden; allow s3:GetObject and s3:ListBucket
    empty.csv | failed | empty | 0 | s3://BUCKET/incoming/assets/empty.csv: the file is empty; not even a header is there
    huge.csv | failed | too_large | 0 | s3://BUCKET/incoming/assets/huge.csv: the file has 1099511627776 MB, but the disk of the temporary folder has N; make it larger, or set stage.temp_folder; on AWS, LargeFiles=fargate leaves such files to a larger machine
    header.csv | loaded | - | 0 | -
    ");
}

/// A full disk fails the worker and not the file, but not forever.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_fills_the_disk_has_failed_after_three_workers() {
    let world = World::new().await;
    world.put(KEY, large()).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let output = std::process::Command::new("sh")
            // Files of more than 512 kB cannot be written.
            .args(["-c", r#"trap '' XFSZ; ulimit -f 512; exec "$0" "$@""#, env!("CARGO_BIN_EXE_small-etl"), "load"])
            .args([&format!("s3://{}/{KEY}", world.bucket), "--json"])
            .envs(world.variables())
            .output()
            .unwrap();
        answers.push(
            String::from_utf8_lossy(if output.stdout.len() > 20 { &output.stdout } else { &output.stderr })
                .into_owned(),
        );
    }
    assert!(answers[..2].iter().all(|answer| answer.contains("File too large")), "{answers:?}");
    assert!(answers[2].contains(r#""status":"failed","reason":"no_progress""#), "{answers:?}");
    let error = world.query("select error from etl.load").await;
    assert!(
        error.contains("3 workers in a row ended without committing anything") && error.contains("File too large"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_loaded_and_an_older_one_that_comes_later_corrects_nothing() {
    let world = World::on_moto(&[("LOAD__BATCH_SIZE", "2")]).await;
    let put = async |content: String| {
        let put = world.s3.put_object().bucket(&world.bucket).key(KEY).body(content.into_bytes().into());
        put.send().await.unwrap().version_id.unwrap()
    };
    // The same times of update with other values: only the order of the versions tells which row is right.
    let older = put(ASSETS.replace("100000.00,5000.00", "1.00,104999.00")).await;
    let newer = put(ASSETS.to_owned()).await;
    let load = async |version: &str, sequencer: &str| {
        let Location::S3 { bucket, key, .. } = world.request(KEY).location else { panic!() };
        let (version_id, sequencer) = (Some(version.to_owned()), Sequencer::of_event(sequencer.to_owned()));
        world
            .run(&Request::new(Location::S3 {
                bucket,
                key,
                version_id,
                etag: None,
                size: None,
                sequencer,
                modified: None,
            }))
            .await
            .unwrap()
    };
    // The shorter sequencer is padded with zeros on the right, and letters may be upper or lower case.
    assert_eq!(load(&newer, "0055AED6DCD9").await.counts.unwrap().inserted, 4);
    let late = load(&older, "0055aed6dcd8ff").await;
    let counts = late.counts.unwrap();
    assert_eq!((late.status, counts.unchanged, counts.stale, counts.updated), (LoadStatus::Loaded, 3, 1, 0));
    assert_eq!(world.query("select cash from asset where account_id = '10000000001'").await, "100000.00");

    // In the right order, the newer version wins.
    world.query("truncate asset, trade, etl.load restart identity cascade").await;
    load(&older, "0055aed6dcd8ff").await;
    assert_eq!(load(&newer, "0055AED6DCD9").await.counts.unwrap().updated, 1);
    assert_eq!(world.query("select cash from asset where account_id = '10000000001'").await, "100000.00");

    // The same if it was loaded by name before its event arrived.
    world.query("truncate asset, trade, etl.load restart identity cascade").await;
    world.load(KEY).await;
    assert_eq!(load(&newer, "0055AED6DCD9").await.status, LoadStatus::Duplicate);
    assert_eq!(load(&older, "0055aed6dcd8ff").await.counts.unwrap().updated, 0);
}

/// The newer version is claimed first, but its worker is overtaken by that of the older one.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_that_overtakes_the_newer_one_corrects_nothing_either() {
    let world = World::on_moto(&[("LOAD__BATCH_SIZE", "1"), ("LOAD__CONNECTIONS", "1")]).await;
    let put = async |content: String| {
        let put = world.s3.put_object().bucket(&world.bucket).key(KEY).body(content.into_bytes().into());
        put.send().await.unwrap().version_id
    };
    let older = put(ASSETS.replace("002,2,", "002,5,").replace("003,3,", "003,5,").replace("004,1,", "004,5,")).await;
    let newer = put(ASSETS.to_owned()).await;
    let request = |version_id: &Option<String>, sequencer: &str| {
        let Location::S3 { bucket, key, .. } = world.request(KEY).location else { panic!() };
        let (version_id, sequencer) = (version_id.clone(), Sequencer::of_event(sequencer.to_owned()));
        Request::new(Location::S3 { bucket, key, version_id, etag: None, size: None, sequencer, modified: None })
    };
    world.slow_down(1.2).await;
    let deadline = Deadline::before(SystemTime::now() + Duration::from_secs(3), Duration::ZERO);
    let hasty = Request { deadline, ..request(&newer, "02") };
    assert_eq!(world.run(&hasty).await.unwrap().status, LoadStatus::Interrupted);
    world.query("drop trigger slow on etl.load_batch").await;
    let counts = world.run(&request(&older, "01")).await.unwrap().counts.unwrap();
    assert!(counts.inserted > 0 && counts.updated == 0, "{counts:?}");
    let counts = world.run(&request(&newer, "02")).await.unwrap().counts.unwrap();
    assert!(counts.updated > 0 && counts.stale == 0, "{counts:?}");
    let types = "select string_agg(account_type::text, ' ' order by account_id) from asset";
    assert_eq!(world.query(types).await, "2 2 3 1");
    assert_eq!(world.query("select late from etl.load order by id").await, "f\nt");
}

/// The newest version, which is claimed first, does not have the row. Of the two older ones the newer wins, in any
/// order.
#[tokio::test(flavor = "multi_thread")]
async fn of_versions_that_come_late_the_newer_one_wins() {
    for order in [[2, 1, 0], [2, 0, 1], [0, 2, 1], [1, 2, 0]] {
        let world = World::on_moto(&[]).await;
        let mut requests = Vec::new();
        for (number, content) in [cash(1), cash(2), cash(3).replace("A1", "A2")].into_iter().enumerate() {
            let put = world.s3.put_object().bucket(&world.bucket).key(KEY).body(content.into_bytes().into());
            let version_id = put.send().await.unwrap().version_id;
            let Location::S3 { bucket, key, .. } = world.request(KEY).location else { panic!() };
            let (sequencer, etag, size, modified) = (Sequencer::of_event(format!("0{number}")), None, None, None);
            requests.push(Request::new(Location::S3 { bucket, key, version_id, etag, size, sequencer, modified }));
        }
        for index in order {
            world.run(&requests[index]).await.unwrap();
        }
        let rows = "select account_id, cash from asset order by 1";
        assert_eq!(world.query(rows).await, "A1 | 2.00\nA2 | 3.00", "{order:?}");
    }
}

/// Spark, Hadoop and consoles leave such files beside their data, where every key belongs to a dataset.
#[tokio::test]
async fn what_programs_leave_beside_data_is_skipped_and_not_missed() {
    let world = World::new().await;
    let markers = [
        "_SUCCESS",
        "._SUCCESS.crc",
        ".1.csv.crc",
        "1.csv.crc",
        "_committed_17",
        "_temporary/0/1.csv",
        ".DS_Store",
        "day_$folder$",
    ];
    for name in markers {
        world.put(&format!("incoming/assets/{name}"), ASSETS).await;
        let report = world.load(&format!("incoming/assets/{name}")).await;
        assert_eq!(report.status, LoadStatus::Skipped, "{name}");
        assert!(report.reason.unwrap().starts_with("a hidden file or a marker"), "{name}");
    }
    world.drop_file("incoming/assets/_1.csv", ASSETS).await;
    let deadline = Deadline::default();
    let receiver = LoadHere::new(&world.context, &world.database, deadline.clone());
    let scope = Scope { bucket: Some(world.bucket.clone()), prefix: None };
    let done = pipeline::reconcile(&world.context, &world.database, &scope, &receiver, &deadline).await.unwrap();
    assert_eq!((done.compared, done.sent), (1, 0), "they are not sent again every night");
    assert_eq!(world.query("select key from etl.load").await, "incoming/assets/_1.csv");

    // An earlier program took such a file for data and did not finish it.
    world
        .query("update etl.load set key = 'incoming/assets/_SUCCESS', state = 'interrupted', finished_at = null")
        .await;
    let done = pipeline::reconcile(&world.context, &world.database, &scope, &receiver, &deadline).await.unwrap();
    assert_eq!((done.compared, done.sent), (2, 2));
    assert_eq!(
        world.query("select distinct key, state from etl.load order by 1").await,
        "incoming/assets/_1.csv | loaded\nincoming/assets/_SUCCESS | loaded"
    );

    // A request that names the dataset means the file.
    let request = Request { dataset: Some("asset".into()), ..world.request("incoming/assets/.1.csv.crc") };
    assert_eq!(world.run(&request).await.unwrap().counts.unwrap().unchanged, 4);
}

#[tokio::test]
async fn a_bucket_may_have_any_name_that_a_bucket_can_have() {
    let world = World::with_own_s3(&[]).await;
    world.s3.create_bucket().bucket("file").send().await.unwrap();
    let world = world.with_bucket("file".into());
    let report = world.drop_file(KEY, ASSETS.replace("305000.00", "305000.001")).await;
    let key = report.rejects_key.expect("its rejects go where it lies");
    assert!(world.get("file", &key).await.contains("305000.001"));
    world.put("incoming/assets/2.csv", ASSETS).await;
    let deadline = Deadline::default();
    let receiver = LoadHere::new(&world.context, &world.database, deadline.clone());
    let everything = Scope::default();
    let run = pipeline::reconcile(&world.context, &world.database, &everything, &receiver, &deadline).await.unwrap();
    assert_eq!((run.compared, run.sent), (2, 1));
    let page = small_etl::services::report::page(&world.database, LoadId(1)).await.unwrap();
    assert!(page.contains("s3://file/incoming/assets/1.csv"));
}

#[tokio::test]
async fn a_key_may_be_as_long_as_s3_allows() {
    let folder = Scratch::new("long");
    let definition = include_str!("../../datasets/asset.toml");
    let rule = "[manifest]\nrequired = true\nwait_seconds = 600\n";
    std::fs::write(folder.path().join("asset.toml"), format!("{definition}\n{rule}")).unwrap();
    for length in [1010, 1011, 1024] {
        let (prefix, name) = ("incoming/assets/", "x.csv");
        let folders = "012345678/".chars().cycle().take(length - prefix.len() - name.len());
        let key = format!("{prefix}{}{name}", folders.collect::<String>());
        let world = World::with_own_s3(&[]).await;
        world.s3_server.place(&world.bucket, &key, ASSETS);
        assert_eq!(world.load(&key).await.status, LoadStatus::Loaded, "{length}");
        let needs = world.under(&[("DATASETS__PATH", folder.path().to_str().unwrap())]);
        let deadline = Deadline::before(SystemTime::now() + Duration::from_mins(1), Duration::ZERO);
        let again = Request { again: true, deadline, ..needs.request(&key) };
        let report = needs.run(&again).await.unwrap();
        if length == 1010 {
            assert_eq!(report.status, LoadStatus::Interrupted, "one may come");
        } else {
            assert_eq!(report.reason.as_deref(), Some("manifest_missing"));
            assert!(report.error.unwrap().ends_with("give the file a shorter key"));
        }
    }
}

#[tokio::test]
async fn a_key_that_the_ledger_cannot_hold_is_skipped() {
    let world = World::new().await;
    for (key, flaw) in [
        ("incoming/assets/a\0.csv".to_owned(), "NUL"),
        (format!("incoming/assets/{}", "x".repeat(1010)), "1,024 bytes"),
    ] {
        let report = world.load(&key).await;
        assert_eq!(report.status, LoadStatus::Skipped);
        assert!(report.reason.unwrap().contains(flaw));
    }
}
