//! A load that is undone gives back what was there before, where no later load has touched it.

use insta::assert_snapshot;
use serde_json::Value;
use small_etl::domain::LoadStatus;
use small_etl::pipeline::Request;

use crate::command_line::{small_etl, text};
use crate::contract::ASSETS;
use crate::history::{drop_prices, orders, prices, world};
use crate::killed::killed_as_owner;
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::world::World;

/// The variables of a process of the owner of the tables.
/// What `undo` says as the owner of the tables.
pub fn undo(world: &World, scratch: &Scratch, arguments: &[&str]) -> String {
    text(&small_etl(scratch, &world.variables_of_owner(), &[&["undo"], arguments].concat()))
}

const PRESENT: &str = "select code, revision, bid, written_by from price order by 1";
const KEPT: &str =
    "select code, revision, bid, written_by, replaced_by, ended_as from price_history order by replaced_by, code";

#[tokio::test]
async fn an_undo_gives_back_what_no_later_load_has_touched_and_lists_the_rest() {
    let (world, scratch) = world(&[("LOAD__BATCH_SIZE", "2")]).await;
    drop_prices(&world, "1", &["I,A,1,10", "I,B,1,20", "I,C,1,30", "I,D,1,40", "I,E,1,50", "I,F,1,60"]).await;
    drop_prices(
        &world,
        "2",
        &["U,A,2,11", "U,B,2,21", "D,C,2,", "D,D,2,", "I,G,2,70", "I,H,2,80", "U,F,2,61", "D,X,9,"],
    )
    .await;
    // B changes again, D comes back, H goes, F is the same.
    drop_prices(&world, "3", &["U,B,3,22", "I,D,3,41", "D,H,3,", "U,F,2,61"]).await;
    let before = format!("{PRESENT}; {KEPT}; select id, state from etl.load; select * from etl.tombstone");
    let state = world.query(&before).await;
    let planned = undo(&world, &scratch, &["2", "--dry-run"]);
    assert_eq!(world.query(&before).await, state, "a plan writes nothing");
    assert_snapshot!(planned.replace(&world.bucket, "b"), @"
    exit 0
    load 2, dataset price, s3://b/incoming/prices/2.csv
    rows that would get back their earlier values: 1
    rows that would be deleted, because they were not there before: 1
    rows that would be given back, because the load had deleted them: 1
    rows that would stay as they are: 4
      B: load 3 has written it since
      D: load 3 has written it since
      F: load 3 has brought the same since
      H: load 3 has deleted it since
    nothing was written; run it without --dry-run
    ");
    let done = undo(&world, &scratch, &["2", "--json"]);
    let done: Value = serde_json::from_str(done.lines().nth(1).unwrap()).unwrap();
    assert_eq!((done["undone_by"].as_i64(), done["rows"]["kept"].as_i64()), (Some(4), Some(4)));
    assert_snapshot!(world.query(PRESENT).await, @"
    A | 1 | 10 | 1
    B | 3 | 22 | 3
    C | 1 | 30 | 1
    D | 3 | 41 | 3
    E | 1 | 50 | 1
    F | 2 | 61 | 2
    ");
    assert_snapshot!(world.query(KEPT).await, @"
    A | 1 | 10 | 1 | 2 | updated
    B | 1 | 20 | 1 | 2 | updated
    C | 1 | 30 | 1 | 2 | removed
    D | 1 | 40 | 1 | 2 | removed
    F | 1 | 60 | 1 | 2 | updated
    B | 2 | 21 | 2 | 3 | updated
    H | 2 | 80 | 2 | 3 | removed
    A | 2 | 11 | 2 | 4 | undone
    G | 2 | 70 | 2 | 4 | undone
    ");
    assert_eq!(
        world.query("select read, inserted, updated, removed, stale from etl.load where id = 4; select key, version, load_id from etl.tombstone order by 1").await,
        "7 | 1 | 1 | 1 | 4\nH | 3 | 3"
    );
    // Twice is nothing to do.
    let again = undo(&world, &scratch, &["2"]);
    assert!(again.contains("load 4 has undone it before; there is nothing to do"), "{again}");
    assert_eq!(world.query("select count(*) from etl.load").await, "4");
    assert!(reconcile(&world).await.is_clean());
    let status = text(&small_etl(&scratch, &world.variables(), &["status"]));
    assert!(status.contains("undo of load 2"), "{status}");
    let explained = text(&small_etl(&scratch, &world.variables(), &["explain", "price", "A"]));
    assert!(explained.contains("load 4 undo of load 2: updated"), "{explained}");
    // The version of X is forgotten, and what is older than what was undone counts again.
    assert_eq!(drop_prices(&world, "5", &["I,X,1,1", "U,A,1,12"]).await.counts.unwrap().inserted, 1);
    // The file of the load can be loaded once more.
    let again = Request { again: true, ..world.request("incoming/prices/2.csv") };
    assert_eq!(world.run(&again).await.unwrap().counts.unwrap().updated, 1);
}

#[tokio::test]
async fn loads_are_undone_one_after_the_other_from_the_last() {
    let (world, scratch) = world(&[]).await;
    let mut states = Vec::new();
    for (name, rows) in [
        ("1", &["I,A,1,10", "I,B,1,20"][..]),
        ("2", &["U,A,2,11", "D,B,2,", "I,C,2,30"]),
        ("3", &["D,A,3,", "I,B,3,21", "U,C,3,31"]),
        ("4", &["I,A,4,12", "D,B,4,", "U,C,4,32"]),
    ] {
        states.push(world.query(PRESENT).await);
        drop_prices(&world, name, rows).await;
    }
    for load in ["4", "3", "2", "1"] {
        let said = undo(&world, &scratch, &[load]);
        assert!(said.starts_with("exit 0") && !said.contains("stayed"), "{said}");
        assert_eq!(world.query(PRESENT).await, states.pop().unwrap(), "load {load}: {said}");
    }
    assert!(reconcile(&world).await.is_clean());
    let said = undo(&world, &scratch, &["5"]);
    assert!(
        said.contains("load 5 has undone load 4; to have the rows of load 4 again, load its file with --again"),
        "{said}"
    );
}

#[tokio::test]
async fn an_undo_that_is_killed_is_finished_by_the_next_one() {
    for commit in 1..=3 {
        let (world, scratch) = world(&[("LOAD__BATCH_SIZE", "2")]).await;
        drop_prices(&world, "1", &["I,A,1,10", "I,B,1,20", "I,C,1,30"]).await;
        drop_prices(&world, "2", &["U,A,2,11", "D,B,2,", "I,E,2,40"]).await;
        let code = killed_as_owner(&world, &["undo", "2"], scratch.path(), (Which::Commit, commit), Fault::Call).await;
        world.end_leases().await;
        let said = undo(&world, &scratch, &["2"]);
        assert!(code.is_none() && said.starts_with("exit 0"), "killed at commit {commit} ({code:?}): {said}");
        assert_eq!(world.query("select code, bid from price order by 1").await, "A | 10\nB | 20\nC | 30");
        assert_eq!(
            world.query("select state, read, inserted, updated, removed from etl.load where bucket = 'undo://'").await,
            "loaded | 3 | 1 | 1 | 1"
        );
        assert_eq!(world.query("select count(*) from price_history").await, "4", "killed at commit {commit}");
        assert!(reconcile(&world).await.is_clean());
    }
}

#[tokio::test]
async fn rows_that_wait_are_discarded_and_a_row_that_others_refer_to_stays() {
    let (world, scratch) = world(&[]).await;
    drop_prices(&world, "1", &["I,A,1,10", "I,B,1,20"]).await;
    world.drop_file("incoming/orders/1.csv", orders(&["A,1,5", "Q,1,6"])).await;
    let said = undo(&world, &scratch, &["1"]);
    assert!(said.contains("A: rows of order refer to it") && said.contains("not there before: 1"), "{said}");
    let said = undo(&world, &scratch, &["2"]);
    assert!(said.contains("wait for another row and were discarded: 1"), "{said}");
    drop_prices(&world, "2", &["I,Q,1,10"]).await;
    assert_eq!(world.query("select count(*) from orders").await, "0");
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test]
async fn a_load_that_failed_halfway_can_be_undone_and_a_mended_reject_is_open_again() {
    let (world, scratch) = world(&[]).await;
    drop_prices(&world, "1", &["I,A,1,10", "I,B,2,-1"]).await;
    assert_eq!(world.query("select key, state from etl.reject").await, "B | open");
    drop_prices(&world, "2", &["I,B,2,1"]).await;
    assert_eq!(world.query("select key, state from etl.reject").await, "B | resolved");
    assert!(undo(&world, &scratch, &["2"]).starts_with("exit 0"));
    assert_eq!(world.query("select key, state from etl.reject").await, "B | open");
    world.query("alter table price add constraint small check (bid < 100)").await;
    let world = world.under(&[("LOAD__BATCH_SIZE", "1"), ("LOAD__CONNECTIONS", "1")]);
    let report = world.drop_file("incoming/prices/3.csv", prices(&["U,A,3,11", "I,C,3,500"])).await;
    assert_eq!(report.status, LoadStatus::Failed);
    assert_eq!(world.query("select bid from price").await, "11");
    let said = undo(&world, &scratch, &["4"]);
    assert!(said.contains("got back their earlier values: 1"), "{said}");
    assert_eq!(world.query("select bid from price").await, "10");
}

#[tokio::test]
async fn what_cannot_be_undone_is_refused_with_a_reason() {
    let (world, scratch) = world(&[]).await;
    drop_prices(&world, "1", &["I,A,1,10"]).await;
    let said = text(&small_etl(&scratch, &world.variables(), &["undo", "1"]));
    assert!(
        said.starts_with("exit 3")
            && said.contains("may not undo loads of dataset price")
            && said.contains("run it as the owner"),
        "{said}"
    );
    let said = undo(&world, &scratch, &["7"]);
    assert!(said.contains("there is no load 7"), "{said}");
    world.query("update etl.load set state = 'interrupted', finished_at = null").await;
    let said = undo(&world, &scratch, &["1"]);
    assert!(said.contains("load 1 has not ended; let it end first"), "{said}");
    world.query("update etl.load set state = 'loaded', finished_at = now()").await;
    // Rows from before the history.
    world.query("update price set written_by = null, valid_from = null").await;
    let said = undo(&world, &scratch, &["1"]);
    assert!(said.contains("table price_history knows none of the 1 rows that it wrote"), "{said}");
    let plain = World::new().await;
    plain.drop_file("incoming/assets/1.csv", ASSETS).await;
    let said = undo(&plain, &scratch, &["1"]);
    assert!(said.starts_with("exit 3") && said.contains("dataset asset keeps no history"), "{said}");
}
