//! Copies of rows with content keys: which number a row gets when other loads of its object have given numbers before, and when several
//! parts of one object have the same row.

use std::time::Duration;

use small_etl::domain::{LoadReport, LoadStatus};
use small_etl::error::ErrorKind;
use small_etl::pipeline::Request;

use crate::keys::{FLOW, FLOW_TABLE, flows};
use crate::nightly::reconcile;
use crate::object_parts::{archive, workbook};
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::world::{World, signal};

const PARTS: &str = r#"
[[source]]
name = "days"
files = ["incoming/days/*.zip"]
member = "*.csv"

[[source]]
name = "book"
files = ["incoming/days/*.xlsx"]
format = "xlsx"
sheet = "*"
"#;

/// A world with the dataset `flow`, whose amounts may be null, and which also reads members and sheets.
async fn world(settings: &[(&str, &str)]) -> (World, Scratch) {
    let folder = Scratch::new("copies");
    define(&folder, |text| text);
    let path = folder.path().display().to_string();
    let world = World::with(&[settings, &[("DATASETS__PATH", &path)]].concat()).await;
    world.query(&FLOW_TABLE.replace("amount numeric(10, 2) not null", "amount numeric(10, 2)")).await;
    (world, folder)
}

fn define(folder: &Scratch, change: impl Fn(String) -> String) {
    let text = FLOW.replace("scale = 2\nrequired = true", "scale = 2");
    std::fs::write(folder.path().join("flow.toml"), change(text + PARTS)).unwrap();
}

async fn drop_flows(world: &World, name: &str, rows: &[&str]) -> LoadReport {
    world.drop_file(&format!("incoming/flows/{name}.csv"), flows(rows)).await
}

/// Sends the record with this number of the rejects of a load, mended.
async fn mend(world: &World, (load, record): (i64, i64), name: &str, from: &str, to: &str) -> Request {
    let rejects = world.get(&world.bucket, &format!("rejects/flow/{load}.csv")).await;
    let (header, rows) = rejects.split_once('\n').unwrap();
    let row = rows.lines().find(|row| row.starts_with(&format!("{load},{record},"))).unwrap();
    let key = format!("incoming/flows/{name}.csv");
    world.put(&key, format!("{header}\n{}\n", row.replace(from, to))).await;
    world.request(&key)
}

const COUNTED: &str = "select day, amount, note, count(*) from flow group by 1, 2, 3 order by 1, 2, 3";

#[tokio::test]
async fn a_file_that_is_loaded_again_takes_no_number_that_a_mended_row_of_it_has() {
    let (world, folder) = world(&[]).await;
    drop_flows(&world, "1", &["01,x,fee", "01,-,fee", "01,?,fee"]).await;
    let mended = mend(&world, (1, 3), "2", ",?,", ",,").await;
    assert_eq!(world.run(&mended).await.unwrap().counts.unwrap().inserted, 1);
    // From now on the second record can be read, and has the same content.
    define(&folder, |text| text.replace("null_values = [\"\"]", "null_values = [\"\", \"-\"]"));
    let world = world.under(&[]);
    let again = Request { again: true, ..world.request("incoming/flows/1.csv") };
    let counts = world.run(&again).await.unwrap().counts.unwrap();
    assert_eq!((counts.inserted, counts.unchanged, counts.rejected), (1, 0, 2));
    let run = world.query("select max(id) from etl.load").await.parse().unwrap();
    let last = mend(&world, (run, 1), "3", ",x,", ",,").await;
    assert_eq!(world.run(&last).await.unwrap().counts.unwrap().inserted, 1);
    assert_eq!(world.query(COUNTED).await, "2025-01-01 | - | fee | 3");
    // Each row keeps its number from now on, also the one that can be read as it was mended.
    define(&folder, |text| text.replace("null_values = [\"\"]", "null_values = [\"\", \"-\", \"?\"]"));
    let world = world.under(&[]);
    for request in [&again, &mended, &last, &again] {
        let request = Request { again: true, ..request.clone() };
        assert_eq!(world.run(&request).await.unwrap().counts.unwrap().inserted, 0);
    }
    assert_eq!(world.query(COUNTED).await, "2025-01-01 | - | fee | 3");
    // A line that is good by now settles its reject, although nobody knew its content.
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    assert!(reconcile(&world).await.is_clean());
}

const ZIP: &str = "incoming/days/1.zip";

/// Two members and two sheets that share rows, and have some twice.
const MEMBERS: [(&str, &[&str]); 2] =
    [("a.csv", &["01,5,fee", "01,5,fee", "01,7,tea"]), ("b.csv", &["01,7,tea", "01,5,fee", "01,9,x", "01,7,tea"])];

const ALL: &str = "2025-01-01 | 5.00 | fee | 3\n2025-01-01 | 7.00 | tea | 3\n2025-01-01 | 9.00 | x | 1";

fn members() -> Vec<u8> {
    let texts = MEMBERS.map(|(name, rows)| (name, flows(rows)));
    archive(&texts.each_ref().map(|(name, text)| (*name, text.as_str())))
}

fn part(world: &World, name: &str) -> Request {
    Request { parts: vec![name.to_owned()], ..world.request(ZIP) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_stands_in_two_parts_of_an_object_is_two_rows_in_whatever_order_they_come() {
    for order in [["a.csv", "b.csv"], ["b.csv", "a.csv"]] {
        let (world, _folder) = world(&[]).await;
        world.put(ZIP, members()).await;
        for name in order {
            world.run(&part(&world, name)).await.unwrap();
        }
        assert_eq!(world.query(COUNTED).await, ALL, "{order:?}");
        // However often a part comes again, and whatever else has the same rows.
        for name in ["a.csv", "b.csv", "a.csv"] {
            let counts = world.run(&Request { again: true, ..part(&world, name) }).await.unwrap().counts.unwrap();
            assert_eq!(counts.unchanged, counts.read, "{order:?} {name}");
        }
        let other = drop_flows(&world, "1", &["01,5,fee", "01,5,fee", "01,5,fee", "01,5,fee"]).await.counts.unwrap();
        assert_eq!((other.inserted, other.unchanged), (1, 3));
        assert!(reconcile(&world).await.is_clean());
    }
    let (world, _folder) = world(&[]).await;
    let texts = MEMBERS.map(|(name, rows)| (name, flows(rows)));
    let book = workbook(&texts.each_ref().map(|(name, text)| (*name, text.as_str())));
    world.put("incoming/days/1.xlsx", book).await;
    world.load_parts("incoming/days/1.xlsx").await;
    assert_eq!(world.query(COUNTED).await, ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_of_one_part_is_mended_as_the_next_copy_of_all_parts() {
    let (world, _folder) = world(&[]).await;
    let members = [("a.csv", flows(&["01,5,fee"])), ("b.csv", flows(&["01,five,fee"]))];
    world.put(ZIP, archive(&members.each_ref().map(|(name, text)| (*name, text.as_str())))).await;
    // The other part comes after the row was mended.
    for order in [["a.csv", "b.csv"], ["b.csv", "a.csv"]] {
        world.query("truncate flow, etl.load restart identity cascade").await;
        world.run(&part(&world, order[0])).await.unwrap();
        if order[0] == "a.csv" {
            world.run(&part(&world, "b.csv")).await.unwrap();
        }
        let load = world.query("select id from etl.load where part = 'b.csv'").await.parse().unwrap();
        let mended = mend(&world, (load, 1), order[0], ",five,", ",5,").await;
        assert_eq!(world.run(&mended).await.unwrap().counts.unwrap().inserted, 1);
        world.load_parts(ZIP).await;
        assert_eq!(world.query(COUNTED).await, "2025-01-01 | 5.00 | fee | 2", "{order:?}");
    }
}

/// What a worker has counted and not committed is not in the ledger when the next part comes.
#[tokio::test(flavor = "multi_thread")]
async fn parts_are_counted_together_wherever_the_worker_of_one_is_killed() {
    let (world, _folder) = world(&[("LOAD__BATCH_SIZE", "1")]).await;
    let proxy = world.proxy();
    world.put(ZIP, members()).await;
    let mut killed = 0;
    for commit in 3..11 {
        world.query("truncate flow, etl.load restart identity cascade").await;
        let worker = world.signalled_worker(ZIP, &proxy, (Which::Commit, commit), Fault::CallAnswered, "KILL");
        killed += i32::from(worker.finish().await.is_none() && proxy.disarm() == 0);
        world.end_leases().await;
        world.run(&part(&world, "b.csv")).await.unwrap();
        world.load_parts(ZIP).await;
        assert_eq!(world.query("select count(*) from etl.load where state = 'loaded'").await, "2");
        assert_eq!(world.query(COUNTED).await, ALL, "killed at commit {commit}");
    }
    assert_eq!(killed, 8);
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_taken_for_dead_commits_nothing_that_the_next_part_does_not_know() {
    let (world, _folder) = world(&[("LOAD__BATCH_SIZE", "1"), ("LOAD__CONNECTIONS", "1")]).await;
    let proxy = world.proxy();
    world.put(ZIP, members()).await;
    let worker = world.signalled_worker(ZIP, &proxy, (Which::Commit, 4), Fault::Call, "STOP");
    let pid = worker.pid();
    while world.query("select count(*) from etl.load_batch").await != "1" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // While it counts as alive, the other part waits, and so do rows that mend what it loads.
    assert_eq!(world.run(&part(&world, "b.csv")).await.unwrap().status, LoadStatus::InProgress);
    world.end_leases().await;
    assert_eq!(world.run(&part(&world, "b.csv")).await.unwrap().status, LoadStatus::Loaded);
    signal(pid, "CONT");
    let ended = worker.finish().await.unwrap();
    assert!(ended.as_ref().is_err_and(|error| error.contains("another worker has taken over")), "{ended:?}");
    world.end_leases().await;
    world.load_parts(ZIP).await;
    assert_eq!(world.query(COUNTED).await, ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_mend_a_file_wait_while_it_is_loaded_again() {
    let (world, _folder) = world(&[]).await;
    drop_flows(&world, "1", &["01,five,fee", "01,5,fee"]).await;
    let mended = mend(&world, (1, 1), "2", ",five,", ",5,").await;
    // A worker has begun to load the file once more.
    world
        .query(
            "insert into etl.load (bucket, key, version, run, dataset, dataset_version, batch_size, lease_token, lease_expires_at) \
             select bucket, key, version, 1, dataset, dataset_version, batch_size, nextval('etl.lease_token'), \
                 clock_timestamp() + interval '1 hour' from etl.load where id = 1",
        )
        .await;
    let error = world.run(&mended).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.chain().contains("that load 2 is loading; send them again"), "{}", error.chain());
    world.end_leases().await;
    assert_eq!(world.run(&mended).await.unwrap().counts.unwrap().inserted, 1);
    assert_eq!(world.query(COUNTED).await, "2025-01-01 | 5.00 | fee | 2");
}
