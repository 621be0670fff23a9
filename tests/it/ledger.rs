//! The ledger: one load for each version of an object, a balance that the database enforces, and checkpoints that
//! commit with their rows.

use std::time::{Duration, Instant};

use insta::assert_snapshot;
use small_etl::domain::{LoadStatus, Location};
use small_etl::error::ErrorKind;
use small_etl::pipeline::Request;

use crate::contract::{ASSETS, TRADES};
use crate::support::Scratch;
use crate::world::{World, client};

#[tokio::test]
async fn the_same_object_again_is_a_duplicate_and_writes_nothing() {
    let world = World::new().await;
    let first = world.drop_file("incoming/assets/1.csv", ASSETS).await;
    let everything = "select (select count(*) from asset), (select string_agg(xmin::text, ',' order by id) from asset), \
        (select string_agg(xmin::text, ',' order by id) from etl.load), (select count(*) from etl.load_batch)";
    let before = world.query(everything).await;
    let second = world.load("incoming/assets/1.csv").await;
    assert_eq!((second.status, second.load_id), (LoadStatus::Duplicate, first.load_id));
    assert_eq!(world.query(everything).await, before);
}

#[tokio::test]
async fn a_file_that_failed_is_a_duplicate_with_its_reason() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", "").await;
    let again = world.load("incoming/assets/1.csv").await;
    assert_eq!((again.status, again.reason.as_deref()), (LoadStatus::Duplicate, Some("empty")));
}

#[tokio::test]
async fn a_changed_object_under_the_same_key_is_a_load_of_its_own() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    let report = world.drop_file("incoming/assets/1.csv", ASSETS.replace("14:30:00", "14:30:01")).await;
    assert_eq!((report.status, report.counts.unwrap().updated), (LoadStatus::Loaded, 1));
}

#[tokio::test]
async fn every_batch_leaves_a_checkpoint_and_their_sum_is_the_load() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "3")]).await;
    let content =
        format!("{ASSETS}5,,2,1,0,0,1,2025-12-22T14:30:00\n6,10000000001,2,1,0,0,1,2020-12-22T14:30:00\n7,x\n");
    let report = world.drop_file("incoming/assets/1.csv", content).await;
    assert!(report.counts.unwrap().is_balanced());
    assert_snapshot!(world.query("select batch, first_record, last_record, inserted, updated, unchanged, stale, parked, rejected, warnings from etl.load_batch order by 1").await, @r"
    0 | 1 | 3 | 3 | 0 | 0 | 0 | 0 | 0 | 0
    1 | 4 | 6 | 1 | 0 | 0 | 0 | 0 | 2 | 0
    2 | 7 | 7 | 0 | 0 | 0 | 0 | 0 | 1 | 0
    ");
    assert_snapshot!(world.query("select state, batch_size, attempt, read, inserted, updated, unchanged, stale, parked, rejected, withheld, warnings, released from etl.load").await, @"loaded | 3 | 1 | 7 | 4 | 0 | 0 | 0 | 0 | 3 | 0 | 0 | 0");
}

/// Checks that a constraint of the database refuses a change.
async fn refuses(world: &World, change: &str) {
    let (client, _driver) = client(&world.url).await;
    let error = client.execute(change, &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "23514", "{change}");
}

#[tokio::test]
async fn the_database_refuses_a_load_whose_sum_is_wrong() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    for change in [
        "read = read + 1",
        "inserted = inserted - 1",
        "withheld = 1, read = read + 1",
        "state = 'failed'",
        "finished_at = null",
    ] {
        refuses(&world, &format!("update etl.load set {change}")).await;
    }
}

#[tokio::test]
async fn the_database_refuses_a_batch_whose_sum_is_wrong() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    for change in
        ["last_record = last_record + 1", "inserted = inserted - 1", "removed = 1", "stale = 1", "rejected = 1"]
    {
        refuses(&world, &format!("update etl.load_batch set {change}")).await;
    }
}

#[tokio::test]
async fn the_definition_in_force_is_kept_with_the_load() {
    let world = World::new().await;
    world.drop_file("incoming/trades/1.csv", TRADES).await;
    let kept = world.query("select d.definition from etl.load l join etl.dataset d on d.version = l.dataset_version and d.name = l.dataset").await;
    assert_eq!(kept, include_str!("../../datasets/trade.toml"));
}

#[tokio::test]
async fn a_load_that_another_worker_holds_is_answered_in_progress_and_taken_over_once_its_lease_ends() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "2")]).await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    // The state that a worker leaves which died after its first batch.
    world
        .query(
            "update etl.load set state = 'loading', finished_at = null, lease_expires_at = clock_timestamp() + interval '1 hour'; \
             delete from etl.load_batch where batch = 1; delete from asset where account_id > '10000000002'",
        )
        .await;
    // If the committed batch were written again, this row would come back.
    world.query("delete from asset where account_id = '10000000001'").await;
    assert_eq!(world.load("incoming/assets/1.csv").await.status, LoadStatus::InProgress);
    assert_eq!(world.query("select count(*) from asset").await, "1");

    world.query("update etl.load set lease_expires_at = clock_timestamp()").await;
    let report = world.load("incoming/assets/1.csv").await;
    let counts = report.counts.unwrap();
    assert_eq!((report.status, report.attempt, counts.inserted), (LoadStatus::Loaded, Some(2), 4));
    assert_eq!(
        world.query("select account_id from asset order by 1").await,
        "10000000002\n10000000003\n10000000004",
        "a committed batch is not written again"
    );
}

#[tokio::test]
async fn a_worker_without_the_token_commits_nothing() {
    let world = World::new().await;
    // Every insert into asset gives the lease to another worker, as if this one had slept past its end.
    world
        .query(
            "create function steal() returns trigger language plpgsql as $$ begin \
                 update etl.load set lease_token = lease_token + 1; return null; end $$; \
             create trigger steal after insert on asset for each statement execute function steal()",
        )
        .await;
    world.put("incoming/assets/1.csv", format!("{ASSETS}5,x\n")).await;
    let error = world.try_load("incoming/assets/1.csv").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    let written = "select (select count(*) from asset), (select count(*) from etl.load_batch), (select count(*) from etl.reject), (select state from etl.load)";
    assert_eq!(world.query(written).await, "0 | 0 | 0 | loading");
}

#[tokio::test]
async fn too_many_rejects_fail_the_file_with_nothing_written_but_the_rejects() {
    let world = World::with(&[("LOAD__MAX_REJECTS", "50"), ("LOAD__BATCH_SIZE", "70")]).await;
    let file = |bad: usize| {
        let rows =
            (0..1000).map(|row| format!("A{row},2,1,0,0,{},2025-12-22T14:30:00\n", if row < bad { 2 } else { 1 }));
        format!(
            "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at\n{}",
            rows.collect::<String>()
        )
    };
    let report = world.drop_file("incoming/assets/51.csv", file(51)).await;
    let counts = report.counts.unwrap();
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("too_many_rejects")));
    assert_eq!((counts.read, counts.rejected, counts.withheld), (1000, 51, 949));
    assert_eq!(world.query("select (select count(*) from asset), (select count(*) from etl.reject)").await, "0 | 51");

    let counts = world.drop_file("incoming/assets/50.csv", file(50)).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.rejected, counts.withheld), (950, 50, 0));
}

#[tokio::test]
async fn by_default_a_file_with_more_than_a_million_bad_records_fails_and_the_first_million_are_kept() {
    let (world, scratch) = (World::new().await, Scratch::new("ledger"));
    let (path, header) = (scratch.path().join("assets.csv"), ASSETS.lines().next().unwrap());
    std::fs::write(&path, format!("{header}\n{}", "x\n".repeat(1_000_002))).unwrap();
    // A file on this machine leaves no rejects file, which would take time.
    let request = Request { dataset: Some("asset".into()), ..Request::new(Location::File(path)) };
    let report = world.run(&request).await.unwrap();
    let counts = report.counts.unwrap();
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("too_many_rejects")));
    assert_eq!((counts.read, counts.rejected, counts.withheld), (1_000_002, 1_000_000, 2));
    let error = report.error.unwrap();
    assert!(
        error.contains("1000002 of 1000002 records are rejected, more than load.max_rejects = 1000000 allows"),
        "{error}"
    );
    assert!(error.ends_with("and the first 1000000 rejects are kept"), "{error}");
    assert_eq!(world.query("select count(*), max(record) from etl.reject").await, "1000000 | 1000000");
}

#[tokio::test]
async fn a_share_of_rejects_over_the_limit_fails_the_file() {
    for (rate, status) in [("0.2", LoadStatus::Loaded), ("0.19", LoadStatus::Failed)] {
        let world = World::with(&[("LOAD__MAX_REJECT_RATE", rate)]).await;
        let report = world.drop_file("incoming/assets/1.csv", format!("{ASSETS}5,x\n")).await;
        assert_eq!(report.status, status, "1 of 5 rejected, {rate} allowed");
    }
}

#[tokio::test]
async fn a_pooled_connection_that_went_silent_in_its_sleep_is_replaced_and_not_waited_for() {
    let world = World::new().await;
    let proxy = world.proxy();
    let world = world.behind(&proxy);
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    proxy.freeze_all();
    let started = Instant::now();
    let counts = world.drop_file("incoming/assets/2.csv", format!("{ASSETS}\n")).await.counts.unwrap();
    assert_eq!(counts.unchanged, 4);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_pooled_connection_that_died_in_its_sleep_is_replaced() {
    let world = World::new().await;
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'small-etl' and datname = current_database()").await;
    assert_eq!(world.drop_file("incoming/assets/2.csv", format!("{ASSETS}\n")).await.counts.unwrap().unchanged, 4);
}
