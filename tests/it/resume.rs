//! Workers that are killed, paused, cut off or out of time: the next worker finishes what they leave.

use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::{Either, select};
use insta::assert_snapshot;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use small_etl::domain::LoadStatus;
use small_etl::error::ErrorKind;
use small_etl::pipeline::Request;
use small_etl::services::Deadline;

use crate::contract::{ASSETS, TRADES};
use crate::support::postgres::Postgres;
use crate::support::proxy::{Fault, Moment, Proxy, Which};
use crate::support::s3::{ReadFault, S3Server};
use crate::world::{World, client, signal};

const HEADER: &str = "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at";
const KEY: &str = "incoming/assets/1.csv";

/// Returns assets A0, A1, …, of which every seventh is broken.
fn assets(rows: usize) -> String {
    let mut file = format!("{HEADER}\n");
    for row in 0..rows {
        let total = if row % 7 == 6 { "2" } else { "1" };
        writeln!(file, "A{row},2,1,0,0,{total},2025-12-22T14:30:00").unwrap();
    }
    file
}

/// Returns what an undisturbed worker makes of these files, loaded one after another.
async fn undisturbed(settings: &[(&str, &str)], files: &[(&str, &str)]) -> String {
    let world = World::with(settings).await;
    for (key, content) in files {
        assert_eq!(world.drop_file(key, *content).await.status, LoadStatus::Loaded, "{key}");
    }
    world.outcome().await
}

/// The rows that a committed batch wrote, each with the transaction that wrote it.
const WRITTEN: &str = "select a.account_id, a.xmin from asset a join etl.load_batch b on b.xid = a.xmin order by 1";

fn all_still_there(before: &str, after: &str) -> bool {
    before.lines().all(|row| after.lines().any(|other| other == row))
}

/// Kills a worker right before one of its messages to Postgres, or right after Postgres has acted on it. Returns
/// whether it was killed before it finished.
async fn kill_at(world: &World, proxy: &Proxy, key: &str, moment: impl Into<Moment>, answered: bool) -> bool {
    let fault = if answered { Fault::CallAnswered } else { Fault::Call };
    let ended = world.signalled_worker(key, proxy, moment, fault, "KILL").finish().await;
    proxy.disarm();
    world.end_leases().await;
    ended.is_none()
}

/// Kills a worker at each of its steps in turn. Returns how many steps there are, and after how many of them some but
/// not all rows of the file were loaded.
async fn kill_at_each_step(answered: bool) -> (usize, usize) {
    let settings = [("LOAD__BATCH_SIZE", "3"), ("LOAD__CONNECTIONS", "1")];
    let trades = TRADES.replace("10000000003", "10000000009");
    let undisturbed = undisturbed(&settings, &[("incoming/trades/0.csv", &trades), (KEY, ASSETS)]).await;
    let world = World::with(&settings).await;
    let proxy = world.proxy();
    world.put("incoming/trades/0.csv", trades.clone()).await;
    world.put(KEY, ASSETS).await;
    let mut partly = 0;
    for step in 1.. {
        world.query("truncate asset, trade, etl.load restart identity cascade").await;
        world.load("incoming/trades/0.csv").await;
        let was_killed = kill_at(&world, &proxy, KEY, (Which::Step, step), answered).await;
        let written = world.query(WRITTEN).await;
        partly += usize::from(written.lines().count() == 3);
        let report = world.load(KEY).await;
        assert!(matches!(report.status, LoadStatus::Loaded | LoadStatus::Duplicate), "step {step}: {report:?}");
        assert_eq!(world.outcome().await, undisturbed, "killed at step {step}");
        let rows = world.query(WRITTEN).await;
        assert!(all_still_there(&written, &rows), "step {step}: a committed row was written again");
        if !was_killed {
            return (step - 1, partly);
        }
    }
    unreachable!("a worker comes to its end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_any_step_leaves_nothing_half_done() {
    let (before, after) = tokio::join!(kill_at_each_step(false), kill_at_each_step(true));
    assert_eq!(before.0, after.0, "the same steps, before and after Postgres has acted on each");
    // After some of the steps, one of the two batches is committed.
    assert!(before.0 > 30 && before.1 > 3 && after.1 > 3, "{before:?} {after:?}");
}

#[derive(Clone, Debug)]
struct Murders {
    batches: usize,
    batch_size: usize,
    /// After how many commits and steps each of the first workers is killed, and whether this is after Postgres has
    /// acted on the last one.
    kills: Vec<(usize, usize, bool)>,
}

/// At the fourth commit of a worker, its first two batches are committed. Until the last batch is committed, some are
/// not.
const FIRST_COMMIT: usize = 4;

fn murders() -> impl Strategy<Value = Murders> {
    (FIRST_COMMIT..12, 2..8_usize).prop_flat_map(|(batches, batch_size)| {
        let kill = (FIRST_COMMIT..=batches, 1..6_usize, any::<bool>());
        let kills = prop::collection::vec(kill, 1..3);
        kills.prop_map(move |kills| Murders { batches, batch_size, kills })
    })
}

#[test]
fn wherever_workers_are_killed_the_load_ends_as_an_undisturbed_one() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&murders(), |Murders { batches, batch_size, kills }| {
        runtime.block_on(async {
            let rows = batches * batch_size;
            let batch_size = batch_size.to_string();
            let settings = [("LOAD__BATCH_SIZE", batch_size.as_str())];
            let file = assets(rows);
            let expected = undisturbed(&settings, &[(KEY, &file)]).await;
            let world = World::with(&settings).await;
            let proxy = world.proxy();
            world.put(KEY, file).await;
            for (nth, (after_commits, n, answered)) in kills.into_iter().enumerate() {
                let moment = Moment { after_commits, which: Which::Step, n };
                let was_killed = kill_at(&world, &proxy, KEY, moment, answered).await;
                // A later worker has less to do, and may finish.
                prop_assert!(was_killed || nth > 0, "the first worker was not killed");
            }
            let written = world.query(WRITTEN).await;
            prop_assert!(!written.is_empty(), "no batch was committed before");
            world.load(KEY).await;
            prop_assert_eq!(world.outcome().await, expected);
            let rows = world.query(WRITTEN).await;
            prop_assert!(all_still_there(&written, &rows), "a committed row was written again");
            Ok(())
        })
    });
    outcome.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_paused_past_its_lease_commits_nothing_more_when_it_wakes() {
    let world =
        World::with(&[("LOAD__BATCH_SIZE", "10"), ("LOAD__LEASE_SECONDS", "1"), ("LOAD__CONNECTIONS", "1")]).await;
    let file = assets(50);
    world.put(KEY, file.clone()).await;
    let proxy = world.proxy();
    // In the middle of the third batch: its transaction is open, and two batches are committed.
    let worker = world.signalled_worker(KEY, &proxy, (Which::CopyData, 5), Fault::Act, "STOP");
    let sleeper = worker.pid();
    let stopped = || std::fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap().contains(") T ");
    while !stopped() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while world.query("select count(*) from etl.load where lease_expires_at < clock_timestamp()").await != "1" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let committed = world.query("select count(*) from etl.load_batch").await;
    assert!(committed != "0" && committed != "5", "{committed} batches");
    let report = world.load(KEY).await;
    assert_eq!((report.status, report.attempt), (LoadStatus::Loaded, Some(2)));
    let before = world.outcome().await;
    let xmin = world.query("select account_id, xmin from asset order by 1").await;
    signal(sleeper, "CONT");
    let told = worker.finish().await.unwrap().unwrap_err();
    assert!(told.contains("another worker has taken over"), "{told}");
    assert_eq!(world.outcome().await, before);
    assert_eq!(world.query("select account_id, xmin from asset order by 1").await, xmin);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_deliveries_of_one_event_two_of_them_at_once_one_loads() {
    let world = World::with(&[("LOAD__CONNECTIONS", "1")]).await;
    let (session, _driver) = client(&world.url).await;
    for round in 1..=3 {
        let key = format!("incoming/assets/{round}.csv");
        world.put(&key, assets(100).replace("\nA", &format!("\n{round}-"))).await;
        // Nothing can write a row, so the worker that loads is still busy when the other one gets its answer.
        session.batch_execute("begin; lock table asset in exclusive mode").await.unwrap();
        let (one, two) = (world.worker(&key, None).finish(), world.worker(&key, None).finish());
        let (one, two) = (pin!(one), pin!(two));
        let (first, other) = match select(one, two).await {
            Either::Left((first, other)) | Either::Right((first, other)) => (first, other),
        };
        assert_eq!(first.unwrap().unwrap()["status"], "in_progress");
        world.wait_for_lock_waiters(1).await;
        session.batch_execute("commit").await.unwrap();
        assert_eq!(other.await.unwrap().unwrap()["status"], "loaded");
        assert_eq!(world.load(&key).await.status, LoadStatus::Duplicate);
    }
    assert_eq!(world.query("select count(*), max(attempt) from etl.load").await, "3 | 1");
    assert_eq!(world.query("select count(*) from asset").await, (3 * 86).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_neither_lost_nor_doubled() {
    let settings = [("LOAD__BATCH_SIZE", "2"), ("LOAD__CONNECTIONS", "1")];
    let trades = "incoming/trades/0.csv";
    let expected = undisturbed(&settings, &[(trades, TRADES), (KEY, ASSETS)]).await;
    let world = World::with(&settings).await;
    let proxy = world.proxy();
    let world = world.behind(&proxy);
    world.put(trades, TRADES).await;
    world.put(KEY, ASSETS).await;
    let mut lost = 0;
    for commit in 1.. {
        world.query("truncate asset, trade, etl.load restart identity cascade").await;
        world.load(trades).await;
        proxy.at(Which::Commit, commit, Fault::CutAnswer);
        let report = world.load(KEY).await;
        assert_eq!((report.status, report.attempt), (LoadStatus::Loaded, Some(1)), "commit {commit}");
        assert_eq!(world.outcome().await, expected, "commit {commit}");
        if proxy.disarm() == 1 {
            break;
        }
        lost += 1;
    }
    assert_eq!(lost, 6, "the claim, two batches, two releases, and the close");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_in_the_middle_of_copy_or_before_commit_costs_nothing_but_time() {
    let settings = [("LOAD__BATCH_SIZE", "10"), ("LOAD__CONNECTIONS", "1")];
    let file = assets(30);
    let expected = undisturbed(&settings, &[(KEY, &file)]).await;
    let world = World::with(&settings).await;
    let proxy = world.proxy();
    let world = world.behind(&proxy);
    world.put(KEY, file).await;
    for which in [Which::CopyData, Which::Commit] {
        for message in 1..=5 {
            world.query("truncate asset, trade, etl.load restart identity cascade").await;
            proxy.at(which, message, Fault::CutBefore);
            assert_eq!(world.load(KEY).await.status, LoadStatus::Loaded);
            assert_eq!(proxy.disarm(), 0, "the fault never happened");
            assert_eq!(world.outcome().await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_stops_in_the_middle_and_starts_again_is_waited_for() {
    let postgres = Arc::new(Postgres::start(&["fsync=off"], |_| {}));
    let world = World::on_servers(
        &postgres,
        Arc::new(S3Server::start()),
        &[("LOAD__BATCH_SIZE", "10"), ("LOAD__CONNECTIONS", "1")],
    )
    .await;
    let file = assets(30);
    let expected = undisturbed(&[("LOAD__BATCH_SIZE", "10")], &[(KEY, &file)]).await;
    let proxy = world.proxy();
    let world = world.behind(&proxy);
    world.put(KEY, file).await;
    let server = Arc::clone(&postgres);
    proxy.at(
        Which::CopyData,
        5,
        Fault::Call(Box::new(move || {
            server.stop();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(2));
                server.start_again();
            });
        })),
    );
    assert_eq!(world.load(KEY).await.status, LoadStatus::Loaded);
    assert_eq!(proxy.disarm(), 0);
    assert_eq!(world.outcome().await, expected);
}

/// Returns a request whose time is over this soon.
fn hasty(world: &World, time: Duration) -> Request {
    Request { deadline: Deadline::before(SystemTime::now() + time, Duration::ZERO), ..world.request(KEY) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terms_of_the_first_claim_stay_in_force() {
    let settings = [("LOAD__BATCH_SIZE", "10"), ("LOAD__CONNECTIONS", "1"), ("LOAD__MAX_REJECTS", "5")];
    let file = assets(30);
    let expected = undisturbed(&settings, &[(KEY, &file)]).await;
    let world = World::with(&settings).await;
    world.put(KEY, file).await;
    world.slow_down(1.2).await;
    let report = world.run(&hasty(&world, Duration::from_secs(3))).await.unwrap();
    assert_eq!(report.status, LoadStatus::Interrupted, "{report:?}");
    let counts = report.counts.unwrap();
    assert!(counts.read == 30 && (1..26).contains(&counts.inserted), "{counts:?}");
    assert_eq!(
        world
            .query("select state, read, inserted, finished_at, lease_expires_at <= clock_timestamp() from etl.load")
            .await,
        format!("interrupted | 30 | {} | - | t", counts.inserted)
    );

    // A new deployment: another batch size, a threshold that this file exceeds, and a rule that every row breaks.
    let folder = crate::support::Scratch::new("definitions");
    let definition =
        include_str!("../../datasets/asset.toml").replace("allowed = [1, 2, 3, 5, 6, 7, 11]", "allowed = [9]");
    std::fs::write(folder.path().join("asset.toml"), definition).unwrap();
    let path = folder.path().to_str().unwrap();
    let world = world.under(&[("LOAD__BATCH_SIZE", "7"), ("LOAD__MAX_REJECTS", "0"), ("DATASETS__PATH", path)]);
    let report = world.load(KEY).await;
    assert_eq!((report.status, report.attempt), (LoadStatus::Loaded, Some(2)));
    assert_eq!(world.outcome().await, expected);
}

/// How far in the future a version may lie is counted from the first claim, whenever the load continues and whatever
/// the settings are then.
#[tokio::test(flavor = "multi_thread")]
async fn what_lay_too_far_in_the_future_at_the_first_claim_does_so_whenever_the_load_goes_on() {
    for (claimed, later, inserted) in [("2", "0", 2), ("0", "100000000", 1)] {
        let world = World::with(&[("LOAD__MAX_FUTURE_SECONDS", claimed)]).await;
        let soon = chrono::Utc::now() + chrono::TimeDelta::milliseconds(1500);
        let soon = soon.format("%Y-%m-%dT%H:%M:%S%.6f");
        world.put(KEY, format!("{HEADER}\nA0,2,1,0,0,1,2025-12-22T14:30:00\nA1,2,1,0,0,1,{soon}\n")).await;
        let proxy = world.proxy();
        let worker = world.signalled_worker(KEY, &proxy, (Which::Commit, 2), Fault::Call, "KILL");
        assert!(worker.finish().await.is_none());
        world.end_leases().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let world = world.under(&[("LOAD__MAX_FUTURE_SECONDS", later)]);
        let report = world.load(KEY).await;
        assert_eq!((report.attempt, report.counts.unwrap().inserted), (Some(2), inserted), "{claimed} seconds");
        let rules = world.query("select rule from etl.reject").await;
        assert_eq!(rules, if inserted == 1 { "future" } else { "" });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_makes_no_progress_three_times_running_has_failed() {
    let world = World::with_own_s3(&[]).await;
    world.put(KEY, assets(30)).await;
    world.s3_server.fault_next_reads((0..3).map(|_| ReadFault::StallBody(10)));
    for attempt in 1..3 {
        let report = world.run(&hasty(&world, Duration::from_secs(1))).await.unwrap();
        assert_eq!((report.status, report.attempt), (LoadStatus::Interrupted, Some(attempt)), "{report:?}");
    }
    let report = world.run(&hasty(&world, Duration::from_secs(1))).await.unwrap();
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("no_progress")));
    assert_eq!(world.load(KEY).await.status, LoadStatus::Duplicate);
    assert_eq!(world.query("select count(*) from asset").await, "0");
    let again = world.run(&Request { again: true, ..world.request(KEY) }).await.unwrap();
    assert_eq!(again.status, LoadStatus::Loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_workers_die_three_times_without_progress_has_failed() {
    let world = World::with(&[("LOAD__CONNECTIONS", "1")]).await;
    let proxy = world.proxy();
    world.put(KEY, assets(30)).await;
    for _ in 0..3 {
        // The first commit is that of the claim; the second is that of the only batch.
        let worker = world.signalled_worker(KEY, &proxy, (Which::Commit, 2), Fault::Call, "KILL");
        assert!(worker.finish().await.is_none());
        world.end_leases().await;
    }
    let report = world.load(KEY).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("no_progress")));
    assert_snapshot!(world.query("select state, read, inserted, withheld from etl.load").await, @"failed | 30 | 0 | 30");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_away_does_not_count_as_no_progress() {
    let world = World::with_own_s3(&[]).await;
    world.put(KEY, assets(30)).await;
    for _ in 0..4 {
        world.s3_server.fault_next_reads((0..4).map(|_| ReadFault::Status(503)));
        assert_eq!(world.try_load(KEY).await.unwrap_err().kind(), ErrorKind::Connection);
    }
    let report = world.load(KEY).await;
    assert_eq!((report.status, report.attempt), (LoadStatus::Loaded, Some(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_interrupts_the_command_line_may_go_on_at_once() {
    let world = World::with(&[("LOAD__BATCH_SIZE", "10"), ("LOAD__CONNECTIONS", "1")]).await;
    let file = assets(50);
    let expected = undisturbed(&[("LOAD__BATCH_SIZE", "10")], &[(KEY, &file)]).await;
    world.put(KEY, file).await;
    world.slow_down(0.3).await;
    for name in ["INT", "TERM"] {
        let worker = world.worker(KEY, None);
        let before: i32 = world.query("select count(*) from etl.load_batch").await.parse().unwrap();
        while world.query("select count(*) from etl.load_batch").await.parse::<i32>().unwrap() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        signal(worker.pid(), name);
        let answer = worker.finish().await.unwrap().unwrap();
        assert_eq!(answer["status"], "interrupted", "{answer}");
    }
    assert_eq!(world.load(KEY).await.status, LoadStatus::Loaded);
    assert_eq!(world.outcome().await, expected);
}
