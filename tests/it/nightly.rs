//! The nightly run finds what lost events, dead workers and changes by hand leave, and repairs what it can.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration,
};
use insta::assert_snapshot;
use serde_json::{Value, json};
use small_etl::domain::{LoadStatus, Location, Sequencer};
use small_etl::error::Result;
use small_etl::pipeline::{self, LoadHere, Request};
use small_etl::services::Deadline;
use small_etl::services::reconciliation::{Cause, FoundFile, Receiver, Reconciliation, Scope};

use crate::contract::{ASSETS, TRADES};
use crate::support::Scratch;
use crate::support::s3::ReadFault;
use crate::world::{World, query};

/// A run over everything that loads in this process what it finds.
pub async fn reconcile(world: &World) -> Reconciliation {
    let deadline = Deadline::default();
    let receiver = LoadHere::new(&world.context, &world.database, deadline.clone());
    let everything = scope(world);
    let run = pipeline::reconcile(&world.context, &world.database, &everything, &receiver, &deadline);
    run.await.expect("the system works")
}

fn scope(world: &World) -> Scope {
    Scope { bucket: Some(world.bucket.clone()), prefix: None }
}

/// Returns, for each file that was found, the cause, the key, and whether it is an old version.
pub fn found(done: &Reconciliation) -> Vec<String> {
    let name = |file: &str| file.rsplit('/').next().unwrap_or_default().to_owned();
    done.files.iter().map(|file| format!("{:?} {}", file.cause, name(&file.file))).collect()
}

#[tokio::test]
async fn a_file_whose_event_was_lost_is_loaded_by_the_next_run() {
    let world = World::new().await.into_ingest_role();
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.put("incoming/trades/lost.csv", TRADES).await;
    world.put("incoming/trades/lost.csv.manifest.json", r#"{"row_count": 4}"#).await;
    world.put("elsewhere/3.csv", TRADES).await;
    let done = reconcile(&world).await;
    assert_eq!((done.compared, done.sent, done.not_sent), (2, 1, 0));
    assert_eq!(found(&done), ["Missing lost.csv"]);
    assert_eq!(world.query("select count(*) from trade").await, "4");
    let again = reconcile(&world).await;
    assert_eq!(
        (again.compared, again.sent, again.loads_checked, again.rows_checked),
        (2, 0, 2, 8),
        "since shortly before the last run two loads ended"
    );
    assert!(again.is_clean(), "{again:?}");
}

#[tokio::test]
async fn a_run_leaves_a_row_in_the_ledger_and_a_report() {
    let world = World::new().await.into_ingest_role();
    world.put("incoming/assets/1.csv", ASSETS).await;
    let done = reconcile(&world).await;
    let row = "select bucket = current_setting('application_name') or prefix is null, state, compared, sent, released, \
        discrepancies, missing_files, report_key, report ->> 'sent', finished_at > started_at from etl.reconciliation";
    assert_eq!(world.query(row).await, "t | done | 1 | 1 | 0 | 0 | 0 | reconciliations/1.html | 1 | t");
    let page = world.get(&world.bucket, done.report_key.as_deref().unwrap()).await;
    assert!(page.contains("everything agrees") && page.contains("incoming/assets/1.csv"), "{page}");
    let noted = "select action, detail ->> 'sent' from etl.audit where action like 'reconc%' order by id";
    assert_snapshot!(query(&world.admin_url(), noted).await, @"
    reconciliation running | 0
    reconciliation done | 1
    ");
}

#[tokio::test]
async fn every_version_is_compared_and_an_older_one_loses_every_tie() {
    let world = World::on_moto(&[]).await;
    // The first and the third of these versions were never reported.
    let older = ASSETS.replace("100000.00,5000.00,200000.00,305000.00", "100001.00,5000.00,200000.00,305001.00");
    world.put("incoming/assets/1.csv", older).await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    let newest = Location::S3 {
        bucket: world.bucket.clone(),
        key: "incoming/assets/1.csv".into(),
        version_id: None,
        etag: None,
        size: None,
        sequencer: Sequencer::of_event("0055AED6DCD90281E5".into()),
        modified: None,
    };
    assert_eq!(world.run(&Request::new(newest)).await.unwrap().status, LoadStatus::Loaded);
    world
        .put(
            "incoming/assets/1.csv",
            ASSETS.replace("T14:30:00", "T15:30:00").replace("100000.00,5000.00,200000.00,305000.00", "1.00,0,0,1.00"),
        )
        .await;
    let done = reconcile(&world).await;
    assert_eq!((done.compared, done.sent), (3, 2));
    assert_eq!(found(&done), ["Changed 1.csv", "Changed 1.csv"]);
    assert_snapshot!(world.query("select id, late, inserted, updated, unchanged, stale from etl.load order by id").await, @"
    1 | f | 4 | 0 | 0 | 0
    2 | t | 0 | 0 | 3 | 1
    3 | f | 0 | 1 | 3 | 0
    ");
    assert_eq!(world.query("select cash from asset where account_id = '10000000001'").await, "1.00");
    assert_eq!(reconcile(&world).await.sent, 0);
}

#[tokio::test]
async fn what_a_dead_worker_left_and_what_could_not_be_read_is_taken_up_again() {
    let world = World::with_own_s3(&[]).await;
    for name in ["dead", "held", "forbidden"] {
        world.put(&format!("incoming/assets/{name}.csv"), ASSETS).await;
    }
    world.drop_file("incoming/assets/failed.csv", "account_id\n").await;
    world.load("incoming/assets/dead.csv").await;
    world.load("incoming/assets/held.csv").await;
    world.query("update etl.load set state = 'loading', finished_at = null, lease_expires_at = clock_timestamp() - interval '1 s' where key like '%dead%'").await;
    world.query("update etl.load set state = 'loading', finished_at = null, lease_expires_at = clock_timestamp() + interval '1 h' where key like '%held%'").await;
    world.s3_server.fault_next_reads([ReadFault::Status(403)]);
    let report = world.load("incoming/assets/forbidden.csv").await;
    assert_eq!(report.reason.as_deref(), Some("forbidden"));
    let done = reconcile(&world).await;
    assert_eq!(found(&done), ["Interrupted dead.csv", "Unreadable forbidden.csv"]);
    assert_snapshot!(world.query("select key, run, state, attempt from etl.load order by key, run").await, @"
    incoming/assets/dead.csv | 0 | loaded | 2
    incoming/assets/failed.csv | 0 | failed | 1
    incoming/assets/forbidden.csv | 0 | failed | 1
    incoming/assets/forbidden.csv | 1 | loaded | 1
    incoming/assets/held.csv | 0 | loading | 1
    ");
    world.end_leases().await;
    assert_eq!(found(&reconcile(&world).await), ["Interrupted held.csv"]);
}

#[tokio::test]
async fn a_run_over_one_prefix_compares_that_alone() {
    let world = World::new().await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    world.put("incoming/trades/2025/1.csv", TRADES).await;
    world.put("incoming/trades/2024/1.csv", TRADES).await;
    let deadline = Deadline::default();
    let receiver = LoadHere::new(&world.context, &world.database, deadline.clone());
    let part = Scope { prefix: Some("incoming/trades/2025/".into()), ..scope(&world) };
    let done = pipeline::reconcile(&world.context, &world.database, &part, &receiver, &deadline).await.unwrap();
    assert_eq!((done.compared, done.sent, done.rows_checked), (1, 1, 0));
    assert_eq!(world.query("select key, parked from etl.load").await, "incoming/trades/2025/1.csv | 4");
}

/// Rows that were parked as good may no longer fit their table if it has changed.
#[tokio::test]
async fn parked_rows_that_do_not_fit_any_more_stop_nobody_and_are_told() {
    let world = World::new().await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    world.query("update etl.parked set content = content - 'strategy_name' where record = 1").await;
    let loaded = world.drop_file("incoming/assets/1.csv", ASSETS).await;
    assert_eq!((loaded.status, loaded.counts.unwrap().released), (LoadStatus::Loaded, 3));
    let told = |done: &Reconciliation| {
        let parked = done.discrepancies.iter().filter(|found| found.check == "parked");
        parked.map(|found| found.message.clone()).collect::<Vec<_>>()
    };
    assert_snapshot!(told(&reconcile(&world).await).join("\n"), @"1 parked rows lack a value that has since become required, and stay parked; complete the column content in etl.parked");

    world.query("update etl.parked set content = content || '{\"strategy_name\": \"x\", \"traded_volume\": \"many\"}' where record = 1").await;
    let loaded = world.drop_file("incoming/assets/2.csv", ASSETS.replace("100000.00", "100000.0")).await;
    assert_eq!((loaded.status, loaded.counts.unwrap().released), (LoadStatus::Loaded, 0));
    let done = reconcile(&world).await;
    assert_snapshot!(told(&done).join("\n"), @"parked rows of trade stay parked, because table trade refuses one of them (Postgres answered SQLSTATE 22P02); correct its content in etl.parked, or the table");
    world.query("update etl.parked set content = content || '{\"traded_volume\": 1000}' where record = 1").await;
    let done = reconcile(&world).await;
    assert_eq!((done.released, told(&done)), (1, Vec::new()));
}

#[tokio::test]
async fn parked_rows_whose_account_came_by_hand_are_released() {
    let world = World::new().await.into_ingest_role();
    let rejected = TRADES.replace(",15500.00,", ",15500.01,");
    world.drop_file("incoming/trades/1.csv", rejected).await;
    world.drop_file("incoming/trades/2.csv", TRADES).await;
    let waiting = reconcile(&world).await;
    assert!(waiting.released == 0 && waiting.oldest_parked_seconds.is_some_and(|age| age > 0.0), "{waiting:?}");
    world
        .query(
            "insert into asset (account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at) \
        select '1000000000' || n, 2, 1, 0, 0, 1, now() from generate_series(1, 3) n",
        )
        .await;
    let done = reconcile(&world).await;
    assert_eq!((done.released, done.oldest_parked_seconds), (7, None));
    assert_snapshot!(world.query("select load_id, record, released_by, outcome from etl.parked order by 1, 2").await, @"
    1 | 2 | 1 | stale
    1 | 3 | 1 | stale
    1 | 4 | 1 | stale
    2 | 1 | 2 | inserted
    2 | 2 | 2 | inserted
    2 | 3 | 2 | inserted
    2 | 4 | 2 | inserted
    ");
    assert_snapshot!(world.query("select id, parked, released, warnings from etl.load order by 1").await, @"
    1 | 3 | 3 | 0
    2 | 4 | 4 | 1
    ");
    // What was wrong in the first file is right in the second.
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    let checks: Vec<&str> = done.discrepancies.iter().map(|found| found.check.as_str()).collect();
    assert_eq!(checks, ["row_count"], "three accounts came by hand");
}

/// Releasing rows looks at rejects load by load, in one transaction.
#[tokio::test]
async fn rows_of_several_loads_are_freed_while_rejects_are_open_and_others_stay_closed() {
    let world = World::new().await.into_ingest_role();
    let lines: Vec<&str> = TRADES.lines().collect();
    let bad = |line: usize| lines[line].replace(".00,", ".01,");
    world.drop_file("incoming/assets/1.csv", ASSETS.lines().take(2).collect::<Vec<_>>().join("\n")).await;
    world.drop_file("incoming/trades/bad.csv", format!("{}\n{}\n{}", lines[0], bad(1), bad(3))).await;
    // It fails to mend one of them and waits for its account. The next one mends that row and waits, too.
    let attempt = format!("_load_id,_record,{}\n2,1,{}\n,,{}", lines[0], bad(1), lines[2]);
    world.drop_file("incoming/trades/attempt.csv", attempt).await;
    world.drop_file("incoming/trades/mended.csv", [lines[0], lines[1], lines[4]].join("\n")).await;
    let rejects = "select distinct load_id, record, state, resolved_by from etl.reject order by 1, 2";
    let before = world.query(rejects).await;
    assert_snapshot!(before, @"
    2 | 1 | resolved | 4
    2 | 2 | open | -
    3 | 1 | resolved | 4
    ");
    world
        .query(
            "insert into asset (account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at) \
        select '1000000000' || n, 2, 1, 0, 0, 1, now() from generate_series(2, 3) n",
        )
        .await;
    assert_eq!(reconcile(&world).await.released, 2);
    assert_eq!(
        world.query("select load_id, record, released_by from etl.parked order by 1").await,
        "3 | 2 | 3\n4 | 2 | 4"
    );
    assert_eq!(world.query(rejects).await, before);
}

/// Without versions, a content that was replaced and then put again is the same version once more.
#[tokio::test]
async fn a_content_that_was_replaced_and_lies_there_again_is_loaded() {
    let world = World::with_own_s3(&[]).await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.query("update etl.load set state = 'superseded', reason = 'superseded'").await;
    let done = reconcile(&world).await;
    assert_eq!(found(&done), ["Unreadable 1.csv"]);
    assert_eq!(world.query("select run, state from etl.load order by run").await, "0 | superseded\n1 | loaded");
    assert_eq!(reconcile(&world).await.sent, 0);
}

#[tokio::test]
async fn an_older_version_that_is_asked_for_by_its_id_once_more_loses_every_tie() {
    let world = World::on_moto(&[]).await;
    for amount in 1..=2 {
        world.put("incoming/assets/1.csv", cash(amount)).await;
    }
    let (_, files) = find(&world).await;
    for file in &files {
        world.run(&Request::new(file.location.clone())).await.unwrap();
    }
    let Location::S3 { bucket, key, version_id, .. } = files[0].location.clone() else { unreachable!() };
    let location = Location::S3 { bucket, key, version_id, etag: None, size: None, sequencer: None, modified: None };
    let again = world.run(&Request { again: true, ..Request::new(location) }).await.unwrap();
    assert_eq!((again.status, again.counts.unwrap().stale), (LoadStatus::Loaded, 1));
    assert_eq!(world.query("select cash from asset").await, "2.00");
}

#[tokio::test]
async fn what_was_changed_by_hand_does_not_agree() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    assert!(reconcile(&world).await.is_clean());
    world.query("delete from trade where traded_id = 'T20251222000004'").await;
    world.query("update trade set traded_amount = 1 where traded_id = 'T20251222000001'").await;
    world.query("alter table trade drop constraint trade_account_id_fkey; delete from asset where account_id = '10000000002'").await;
    world.query("update etl.load set inserted = 3, unchanged = 1, finished_at = clock_timestamp() where id = 1").await;
    let done = reconcile(&world).await;
    let lines: Vec<String> =
        done.discrepancies.iter().map(|found| format!("{}: {}", found.check, found.message)).collect();
    assert_snapshot!(lines.join("\n"), @"
    balance: load 1: its counts differ from those of its batches and parked rows; somebody changed the ledger by hand; look at etl.load_batch and etl.parked of this load
    row_count: table asset has 3 rows, the ledger has inserted 4; rows were added or deleted by something other than a load
    row_count: table trade has 3 rows, the ledger has inserted 4; rows were added or deleted by something other than a load
    reference: 1 rows of table trade refer to no existing asset; the first is T20251222000002
    amount_is_price_times_volume: table trade row T20251222000001: column traded_amount breaks rule amount_is_price_times_volume
    ");
    assert!(!done.is_clean());
    assert_eq!(
        world.query("select discrepancies from etl.reconciliation order by id desc limit 1").await,
        done.discrepancy_count.to_string()
    );
}

/// Returns a folder with the definition of assets that are due at that time.
fn expecting(when: &str) -> Scratch {
    let folder = Scratch::new("expected");
    let text = include_str!("../../datasets/asset.toml");
    let due = format!("expected = \"{when}\"\nfiles =");
    fs::write(folder.path().join("asset.toml"), text.replacen("files =", &due, 1)).unwrap();
    folder
}

#[tokio::test]
async fn a_file_that_the_calendar_expected_and_that_did_not_come_is_missed_until_it_comes() {
    let now = chrono::Utc::now();
    let due = now - chrono::TimeDelta::minutes(90);
    let folder = expecting(&due.format("daily %H:%M UTC").to_string());
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    let missing = reconcile(&world).await.missing_files;
    assert_eq!(
        missing.iter().map(|file| (file.dataset.as_str(), (now - file.due).num_minutes())).collect::<Vec<_>>(),
        [("asset", 90)]
    );
    assert_eq!(reconcile(&world).await.missing_files.len(), 1, "also in the next run");
    world.drop_file("incoming/assets/late.csv", ASSETS).await;
    assert!(reconcile(&world).await.missing_files.is_empty());
    // A day later, the same late file does not count for the next day.
    world.query("update etl.load set started_at = started_at - interval '1 day'").await;
    world.query("update etl.reconciliation_step set since = since - interval '1 day'").await;
    assert_eq!(reconcile(&world).await.missing_files.len(), 1);
    // Of three days without a run, the first had no file, the second had the late one, and the third that of today.
    world.query("update etl.reconciliation_step set since = since - interval '3 days'").await;
    world.drop_file("incoming/assets/today.csv", ASSETS).await;
    let missing = reconcile(&world).await.missing_files;
    assert_eq!(missing.iter().map(|file| (now - file.due).num_hours()).collect::<Vec<_>>(), [49]);
}

#[tokio::test]
async fn a_run_that_fails_says_so_in_its_row() {
    let world = World::new().await;
    let deadline = Deadline::default();
    let receiver = LoadHere::new(&world.context, &world.database, deadline.clone());
    let nowhere = Scope { bucket: Some("no-such-bucket".into()), prefix: Some("incoming/assets/".into()) };
    let error = pipeline::reconcile(&world.context, &world.database, &nowhere, &receiver, &deadline).await.unwrap_err();
    assert!(
        error.chain().contains("list s3://no-such-bucket/incoming/assets/: S3 refused with NoSuchBucket"),
        "{}",
        error.chain()
    );
    assert_eq!(world.query("select state, error is not null from etl.reconciliation").await, "failed | t");
}

/// Keeps what it is given, as a queue does.
#[derive(Default)]
struct Kept(Mutex<Vec<FoundFile>>);

#[async_trait(?Send)]
impl Receiver for Kept {
    async fn take(&self, files: &[FoundFile]) -> Result<u64> {
        self.0.lock().unwrap().extend(files.iter().cloned());
        Ok(0)
    }
}

async fn find(world: &World) -> (Reconciliation, Vec<FoundFile>) {
    let (kept, deadline, everything) = (Kept::default(), Deadline::default(), scope(world));
    let done = pipeline::reconcile(&world.context, &world.database, &everything, &kept, &deadline).await.unwrap();
    (done, kept.0.into_inner().unwrap())
}

/// Returns a file with one account that has this much cash.
fn cash(amount: u32) -> String {
    format!("{}\n1,A1,2,{amount}.00,0,0,{amount}.00,2025-12-22T14:30:00\n", ASSETS.lines().next().unwrap())
}

#[tokio::test]
async fn versions_that_a_queue_delivers_in_any_order_end_as_the_newest() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let world = World::on_moto(&[]).await;
        for amount in 1..=3 {
            world.put("incoming/assets/1.csv", cash(amount)).await;
        }
        // A delete marker is not a version of the object, so none of the versions is the newest.
        world.s3.delete_object().bucket(&world.bucket).key("incoming/assets/1.csv").send().await.unwrap();
        let (_, files) = find(&world).await;
        for index in order {
            assert_eq!(
                world.run(&Request::new(files[index].location.clone())).await.unwrap().status,
                LoadStatus::Loaded
            );
        }
        assert_eq!(world.query("select cash from asset").await, "3.00", "{order:?}");
    }
    // The newest version was loaded before, by a request that named only the key.
    let world = World::on_moto(&[]).await;
    world.put("incoming/assets/1.csv", cash(1)).await;
    world.drop_file("incoming/assets/1.csv", cash(2)).await;
    assert_eq!(reconcile(&world).await.sent, 1);
    assert_eq!(world.query("select cash from asset").await, "2.00");
}

#[tokio::test]
async fn a_row_whose_version_lies_far_in_the_future_is_found_in_its_table() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.query("update asset set updated_at = '9999-12-31' where account_id = '10000000003'").await;
    let found: Vec<_> = reconcile(&world).await.discrepancies.into_iter().map(|found| found.message).collect();
    assert_eq!(found, ["table asset row 10000000003: column updated_at breaks rule future"]);
}

#[tokio::test]
async fn a_content_that_came_back_without_an_event_is_loaded_anew_and_what_lay_there_before_is_not() {
    let world = World::new().await;
    let tell = async |amount, sequencer: &str| {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        world.put("incoming/assets/1.csv", cash(amount)).await;
        let Location::S3 { bucket, key, .. } = world.request("incoming/assets/1.csv").location else { unreachable!() };
        let head = world.s3.head_object().bucket(&bucket).key(key.as_str()).send().await.unwrap();
        let etag = Some(head.e_tag().unwrap().trim_matches('"').to_owned());
        let sequencer = Sequencer::of_event(sequencer.to_owned());
        Request::new(Location::S3 { bucket, key, version_id: None, etag, size: None, sequencer, modified: None })
    };
    let one = tell(1, "01").await;
    world.run(&one).await.unwrap();
    let two = tell(2, "02").await;
    world.run(&two).await.unwrap();
    assert_eq!(reconcile(&world).await.sent, 0);
    tell(1, "lost").await;
    // In a ledger from an earlier version, nothing tells when a content was written.
    world
        .query("create table known as select id, modified_at from etl.load; update etl.load set modified_at = null")
        .await;
    assert_eq!(reconcile(&world).await.sent, 0);
    world.query("update etl.load l set modified_at = k.modified_at from known k where k.id = l.id").await;
    let done = reconcile(&world).await;
    assert_eq!((done.sent, done.causes.get(&Cause::Changed)), (1, Some(&1)));
    assert_eq!(world.query("select cash from asset").await, "1.00");
    assert_eq!(reconcile(&world).await.sent, 0, "once");
}

#[tokio::test]
async fn the_versions_of_one_key_are_listed_from_the_oldest_to_the_newest_over_several_pages() {
    let world = World::on_moto(&[]).await;
    world.put("incoming/assets/0.csv", "x").await;
    for number in 0..1_002 {
        world.put("incoming/assets/1.csv", format!("{number:05}")).await;
    }
    let mut listing = world.context.nightly.store.list(&world.bucket, "incoming/", None);
    let (first, second) = (listing.next_keys().await.unwrap().unwrap(), listing.next_keys().await.unwrap().unwrap());
    assert_eq!((first.len(), second.len(), second[0].len()), (1, 1, 1_002));
    assert!(listing.next_keys().await.unwrap().is_none());
    let oldest =
        world.s3.get_object().bucket(&world.bucket).key("incoming/assets/1.csv").version_id(&second[0][0].version);
    let oldest = oldest.send().await.unwrap().body.collect().await.unwrap().to_vec();
    let newest = second[0][1_001].sequencer_text().unwrap();
    assert_eq!((oldest.as_slice(), &newest[16..]), (b"00000".as_slice(), "000000001001"));
    let mut later = world.context.nightly.store.list(&world.bucket, "incoming/", None);
    let (_, later) = (later.next_keys().await.unwrap(), later.next_keys().await.unwrap().unwrap());
    assert!(later[0][0].sequencer_text().unwrap() > newest, "whatever was deleted between two listings");
}

#[tokio::test]
async fn a_version_from_before_the_bucket_kept_versions_is_read_as_what_it_is() {
    let world = World::on_moto(&[]).await;
    let bucket = format!("{}-old", world.bucket);
    let here = BucketLocationConstraint::EuCentral1;
    let place = CreateBucketConfiguration::builder().location_constraint(here).build();
    world.s3.create_bucket().bucket(&bucket).create_bucket_configuration(place).send().await.unwrap();
    let world = world.with_bucket(bucket);
    world.put("incoming/assets/1.csv", cash(1)).await;
    let versions = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let keep = world.s3.put_bucket_versioning().bucket(&world.bucket).versioning_configuration(versions);
    keep.send().await.unwrap();
    world.put("incoming/assets/1.csv", cash(2)).await;
    assert_eq!(reconcile(&world).await.sent, 2);
    assert_eq!(
        world.query("select state, version_id = 'null' from etl.load order by id").await,
        "loaded | t\nloaded | f"
    );
    assert_eq!(world.query("select cash from asset").await, "2.00");
    assert_eq!(reconcile(&world).await.sent, 0);
    let Location::S3 { bucket, key, .. } = world.request("incoming/assets/1.csv").location else { unreachable!() };
    let version_id = Some("null".to_owned());
    let older = Location::S3 { bucket, key, version_id, etag: None, size: None, sequencer: None, modified: None };
    let report = world.run(&Request::new(older)).await.unwrap();
    assert_eq!((report.status, report.load_id.unwrap().0), (LoadStatus::Duplicate, 1));
}

#[tokio::test]
async fn neither_an_odd_key_nor_a_bucket_that_is_gone_stops_the_run() {
    let world = World::on_moto(&[]).await;
    world.put("incoming/assets/odd +%20é&<.csv", ASSETS).await;
    let gone = Request::new(Location::s3("no-such-bucket", "incoming/assets/1.csv"));
    assert_eq!(world.run(&gone).await.unwrap().reason.as_deref(), Some("not_found"));
    assert_eq!(reconcile(&world).await.sent, 1);
    assert_eq!(world.query("select count(*) from asset").await, "4");
    let deadline = Deadline::default();
    let receiver = LoadHere::new(&world.context, &world.database, deadline.clone());
    let everywhere = Scope::default();
    let done = pipeline::reconcile(&world.context, &world.database, &everywhere, &receiver, &deadline).await.unwrap();
    assert_eq!((done.compared, done.rows_checked), (1, 4));
    assert!(done.discrepancies.iter().all(|found| found.check == "listing"), "{:?}", done.discrepancies);
    assert!(!done.discrepancies.is_empty());
}

#[tokio::test]
async fn what_was_sent_a_moment_ago_is_not_missed_and_a_repetition_is_no_new_file() {
    let due = chrono::Utc::now() - chrono::TimeDelta::minutes(90);
    let folder = expecting(&due.format("daily %H:%M UTC").to_string());
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    let (done, files) = find(&world).await;
    assert_eq!((files.len(), done.missing_files.len()), (1, 0));
    world.load("incoming/assets/1.csv").await;
    world.query("update etl.load set started_at = started_at - interval '3 days'").await;
    world.run(&Request { again: true, ..world.request("incoming/assets/1.csv") }).await.unwrap();
    assert_eq!(reconcile(&world).await.missing_files.len(), 1);
}

#[tokio::test]
async fn a_table_is_checked_as_it_is_whatever_means_null_in_its_files() {
    for null_values in ["[\"a,b\"]", "[\"\\n\"]", "[]"] {
        let folder = Scratch::new("nulls");
        let definition = format!(
            "name = \"note\"\ntable = \"note\"\nkey = \"id\"\nversion = \"at\"\nfiles = [\"notes/*\"]\nnull_values = {null_values}\n\
             [[column]]\nname = \"id\"\ntype = \"integer\"\nrequired = true\n[[column]]\nname = \"text\"\ntype = \"text\"\n\
             [[column]]\nname = \"amount\"\ntype = \"decimal\"\nprecision = 9\nscale = 2\n[[column]]\nname = \"at\"\ntype = \"timestamp\"\nrequired = true\n"
        );
        fs::write(folder.path().join("note.toml"), definition).unwrap();
        let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
        world
            .query("create table note (id integer primary key, text text, amount numeric(9, 2), at timestamptz)")
            .await;
        world
            .query("insert into note values (1, null, null, '2025-12-22'), (2, 'a,b', 1, '2025-12-22'), (3, E'\\\\.\\n\"NULL', 2, '0044-03-15 BC')")
            .await;
        let done = reconcile(&world).await;
        let found: Vec<_> = done.discrepancies.iter().map(|found| found.message.as_str()).collect();
        assert_eq!(
            found,
            [
                "table note has 3 rows, the ledger has inserted 0; rows were added or deleted by something other than a load",
                "table note row 3: column at breaks rule timestamp"
            ],
            "{null_values}"
        );
    }
}

fn small_etl(world: &World, arguments: &[&str]) -> (String, Option<i32>) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_small-etl")).args(arguments).envs(world.variables()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (text.replace(&world.bucket, "b"), output.status.code())
}

#[tokio::test]
async fn the_command_line_does_the_same() {
    let world = World::new().await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    let (text, code) = small_etl(&world, &["reconcile", &format!("s3://{}", world.bucket)]);
    assert_snapshot!(text, @"
    1 versions found, 1 of them to load: 1 loaded, 0 failed, 0 ended otherwise, 0 left
    parked rows released: 0
    rejects files written: 0
    rejects deleted: 0, of which open: 0
    checked 1 loads and 4 rows of tables; discrepancies: 0
    ");
    assert_eq!(code, Some(0));
    world.query("delete from asset where account_id = '10000000004'").await;
    let (text, code) = small_etl(&world, &["reconcile", "--json"]);
    let done: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &done["discrepancies"][0]["check"]), (Some(3), &json!("row_count")));
}

#[tokio::test]
async fn a_backfill_loads_what_lay_there_and_goes_on_where_it_stopped() {
    let world = World::new().await;
    for number in 0..12 {
        let one = format!("{}\n1,{number},2,1,0,0,1,2025-12-22T14:30:00\n", ASSETS.lines().next().unwrap());
        world
            .put(&format!("incoming/assets/{number}.csv"), if number % 5 == 4 { "account_id\n".into() } else { one })
            .await;
    }
    let place = format!("s3://{}/incoming/", world.bucket);
    let (text, code) = small_etl(&world, &["backfill", &place, "--tolerate", "1"]);
    assert!(text.ends_with("error: 2 files failed, more than the 1 that are tolerated\n"), "{text}");
    assert_eq!(code, Some(3));
    let (text, code) = small_etl(&world, &["backfill", &place, "--jobs", "3"]);
    assert!(text.contains("12 versions found") && text.ends_with(" 0 failed, 0 ended otherwise, 0 left\n"), "{text}");
    assert_eq!(code, Some(0));
    assert_eq!(
        world.query("select state, count(*) from etl.load group by 1 order by 1").await,
        "failed | 2\nloaded | 10"
    );
    assert_eq!(world.query("select count(*) from asset").await, "10");
}
