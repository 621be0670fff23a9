//! Rows without a column that tells them apart, and without one that tells the newer of two: their content and the order in which
//! objects arrived decide.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use insta::assert_snapshot;
use rand::seq::SliceRandom as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use small_etl::domain::{LoadReport, LoadStatus, Location, Sequencer};
use small_etl::error::ErrorKind;
use small_etl::pipeline::Request;

use crate::command_line::{small_etl, text};
use crate::killed::lost_worker;
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::world::World;

pub const FLOW: &str = r#"
name = "flow"
table = "flow"
key = "content"
version = "arrival"
files = ["incoming/flows/*"]
null_values = [""]

[[column]]
name = "day"
type = "date"
required = true

[[column]]
name = "amount"
type = "decimal"
precision = 10
scale = 2
required = true

[[column]]
name = "note"
type = "text"

[[rule]]
id = "amount_is_small"
column = "amount"
check = "amount < 1000"
message = "amount is 1000 or more"
"#;

pub const FLOW_TABLE: &str = "create table flow (content_key varchar(84) primary key, day date not null, amount numeric(10, 2) not null, note text)";

pub const HOLDING: &str = r#"
name = "holding"
table = "holding"
key = "code"
version = "arrival"
files = ["incoming/holdings/*"]

[[column]]
name = "code"
type = "text"
required = true

[[column]]
name = "volume"
type = "integer"

[[column]]
name = "owner"
type = "text"

[reference]
column = "owner"
dataset = "owner"
"#;

pub const OWNER: &str = r#"
name = "owner"
table = "owner"
key = "owner_id"
version = "revision"
files = ["incoming/owners/*"]

[[column]]
name = "owner_id"
type = "text"
required = true

[[column]]
name = "revision"
type = "bigint"
required = true
"#;

pub const HOLDING_TABLES: &str = "create table owner (owner_id text primary key, revision bigint not null); \
    create table holding (code text primary key, volume integer, owner text)";

/// A world with these datasets, and the folder of their definitions.
pub async fn world(settings: &[(&str, &str)]) -> (World, Scratch) {
    let folder = Scratch::new("keys");
    for (name, text) in [("flow", FLOW), ("holding", HOLDING), ("owner", OWNER)] {
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    let path = folder.path().display().to_string();
    let world = World::with(&[settings, &[("DATASETS__PATH", &path)]].concat()).await;
    world.query(&format!("{FLOW_TABLE}; {HOLDING_TABLES}")).await;
    (world, folder)
}

/// A file of rows that are a day of January, an amount and a note.
pub fn flows(rows: &[&str]) -> String {
    rows.iter().fold("day,amount,note\n".to_owned(), |text, row| format!("{text}2025-01-{row}\n"))
}

async fn drop_flows(world: &World, name: &str, rows: &[&str]) -> LoadReport {
    world.drop_file(&format!("incoming/flows/{name}.csv"), flows(rows)).await
}

const PRESENT: &str = "select extract(day from day), amount, note, right(content_key, 2) from flow order by 1, 2, 3, 4";

#[tokio::test]
async fn exports_that_overlap_double_no_row_and_repetitions_stay() {
    let (world, _folder) = world(&[]).await;
    let counts = |report: LoadReport| {
        let counts = report.counts.unwrap();
        (counts.inserted, counts.unchanged, counts.updated + counts.stale + counts.rejected)
    };
    assert_eq!(counts(drop_flows(&world, "1", &["01,5,tea", "02,5,tea", "02,5,tea", "03,7,"]).await), (4, 0, 0));
    // The same days once more, in another order and form, and one more of what there is.
    let again = drop_flows(&world, "2", &["03,7.0,", "02,5.00,tea", "02,5,tea", "02,5,tea", "04,1,"]).await;
    assert_eq!(counts(again), (2, 3, 0));
    // Fewer of them take nothing away.
    assert_eq!(counts(drop_flows(&world, "3", &["02,5,tea", "05,1,x"]).await), (1, 1, 0));
    assert_snapshot!(world.query(PRESENT).await, @r"
    1 | 5.00 | tea | -1
    2 | 5.00 | tea | -1
    2 | 5.00 | tea | -2
    2 | 5.00 | tea | -3
    3 | 7.00 | - | -1
    4 | 1.00 | - | -1
    5 | 1.00 | x | -1
    ");
    assert!(reconcile(&world).await.is_clean());
}

/// The key is the same as anybody makes it who follows the documentation.
#[tokio::test]
async fn a_content_key_can_be_made_in_sql() {
    let (world, _folder) = world(&[]).await;
    drop_flows(&world, "1", &["01,5.50,é", "02,100,"]).await;
    let made = "select count(*) from flow where content_key = encode(sha256(convert_to(concat( \
        octet_length(trim_scale(amount)::text) || ':' || trim_scale(amount), octet_length(day::text) || ':' || day, \
        coalesce(octet_length(note) || ':' || note, '-')), 'UTF8')), 'hex') || '-1'";
    assert_eq!(world.query(made).await, "2");
}

#[tokio::test]
async fn a_file_of_any_batch_size_that_is_killed_anywhere_ends_as_one_that_was_not() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let rows: Vec<String> =
        (0..60).map(|_| format!("0{},{},", random.random_range(1..4), random.random_range(998..1003))).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let outcome = "select content_key from flow order by 1; select record, line, key, rule from etl.reject order by 1; \
        select read, inserted, unchanged, rejected from etl.load";
    let (quiet, _folder) = world(&[]).await;
    drop_flows(&quiet, "1", &rows).await;
    let expected = quiet.query(outcome).await;
    for (batch_size, commit) in [("1", 30), ("7", 3), ("7", 8)] {
        let (world, _folder) = world(&[("LOAD__BATCH_SIZE", batch_size)]).await;
        world.put("incoming/flows/1.csv", flows(&rows)).await;
        let proxy = world.proxy();
        let worker =
            world.signalled_worker("incoming/flows/1.csv", &proxy, (Which::Commit, commit), Fault::Call, "KILL");
        assert!(worker.finish().await.is_none());
        world.end_leases().await;
        assert_eq!(world.load("incoming/flows/1.csv").await.status, LoadStatus::Loaded);
        assert_eq!(world.query(outcome).await, expected, "{batch_size}");
    }
}

async fn drop_rejects(world: &World, load: i64, name: &str, mend: impl Fn(&str) -> String) -> LoadReport {
    let rejects = world.get(&world.bucket, &format!("rejects/flow/{load}.csv")).await;
    world.drop_file(&format!("incoming/flows/{name}.csv"), mend(&rejects)).await
}

/// Which copy it is can be told only beside the other rows of its file.
#[tokio::test]
async fn a_row_that_mends_what_the_ledger_does_not_have_is_refused() {
    let (world, folder) = world(&[]).await;
    let failing = format!("{FLOW}\n[load]\nmax_rejects = 1\n");
    std::fs::write(folder.path().join("flow.toml"), &failing).unwrap();
    let world = world.under(&[]);
    let rows = ["01,5,fee", "01,five,fee", "02,six,fee"];
    assert_eq!(drop_flows(&world, "1", &rows).await.reason.as_deref(), Some("too_many_rejects"));
    let mend = |text: &str| text.replace(",five,", ",5,").replace(",six,", ",6,");
    let early = drop_rejects(&world, 1, "2", mend).await;
    assert_eq!(early.status, LoadStatus::Failed);
    assert!(
        early.error.unwrap().contains("Load a file that failed once more, with --again"),
        "its good rows are missing"
    );
    std::fs::write(folder.path().join("flow.toml"), FLOW).unwrap();
    let world = world.under(&[]);
    let again = Request { again: true, ..world.request("incoming/flows/1.csv") };
    assert_eq!(world.run(&again).await.unwrap().counts.unwrap().inserted, 1);
    let run = world.query("select max(id) from etl.load").await.parse().unwrap();
    assert_eq!(drop_rejects(&world, run, "3", mend).await.counts.unwrap().inserted, 2);
    assert_eq!(world.query("select count(*), sum(amount) from flow").await, "3 | 16.00");
    // The reject is gone, as retention takes it.
    let rejects = world.get(&world.bucket, &format!("rejects/flow/{run}.csv")).await;
    world.query("delete from etl.reject").await;
    let late = world.drop_file("incoming/flows/4.csv", mend(&rejects) + "\n").await;
    assert!(late.error.unwrap().contains("there is no such reject"));
    assert_eq!(world.query("select count(*) from flow").await, "3");
}

/// A mended row is one more of its kind, if it was one more in the file that brought it, and stays that one however often it is sent.
#[tokio::test]
async fn a_mended_row_is_the_next_copy_of_the_file_in_which_it_was_bad() {
    let (world, _folder) = world(&[]).await;
    let first = drop_flows(&world, "1", &["01,5,", "01,5,", "01,five,", "01,FIVE,", "02,6,"]).await;
    assert_eq!((first.counts.unwrap().inserted, first.counts.unwrap().rejected), (3, 2));
    assert_eq!(world.query("select count(key) from etl.reject").await, "0", "nobody knows their content");
    let only = |line: &'static str| {
        move |text: &str| {
            let lines = text.lines().filter(|other| other.starts_with("_load_id") || other.contains(line));
            lines.fold(String::new(), |kept, other| kept + other + "\n").replace(&format!(",{line},"), ",5,")
        }
    };
    assert_eq!(drop_rejects(&world, 1, "2", only("FIVE")).await.counts.unwrap().inserted, 1);
    assert_eq!(drop_rejects(&world, 1, "3", only("five")).await.counts.unwrap().inserted, 1);
    // In another file, so that the ledger does not know it.
    let twice = drop_rejects(&world, 1, "4", |text| only("FIVE")(text) + "\n").await.counts.unwrap();
    assert_eq!((twice.inserted, twice.unchanged), (0, 1));
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    // The sender has mended them as well.
    let sender = drop_flows(&world, "5", &["01,5,", "01,5,", "01,5,", "01,5,", "02,6,"]).await.counts.unwrap();
    assert_eq!((sender.inserted, sender.unchanged), (0, 5));
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test]
async fn a_row_that_is_good_by_now_keeps_its_number() {
    let (world, folder) = world(&[]).await;
    drop_flows(&world, "1", &["01,5,", "01,1000,", "01,1000,"]).await;
    let keys = world.query("select key from etl.reject order by record").await;
    assert!(keys.lines().next().unwrap().ends_with("-1") && keys.ends_with("-2"), "{keys}");
    std::fs::write(folder.path().join("flow.toml"), FLOW.replace("amount < 1000", "amount < 2000")).unwrap();
    let world = world.under(&[]);
    let second =
        |text: &str| text.split_inclusive('\n').enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
    assert_eq!(drop_rejects(&world, 1, "2", second).await.counts.unwrap().inserted, 1);
    assert_eq!(world.query("select content_key from flow where amount = 1000").await, keys.lines().last().unwrap());
    assert_eq!(world.query("select record from etl.open_reject").await, "2");
    // The whole file once more.
    let again = drop_flows(&world, "3", &["01,5,", "01,1000,", "01,1000,"]).await.counts.unwrap();
    assert_eq!((again.inserted, again.unchanged), (1, 2));
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
}

#[tokio::test]
async fn two_rows_that_mend_the_same_one_are_refused() {
    let (world, _folder) = world(&[]).await;
    drop_flows(&world, "1", &["01,five,"]).await;
    let twice = |text: &str| {
        let (header, row) = text.split_once('\n').unwrap();
        format!("{header}\n{row}{row}").replace(",five,", ",5,")
    };
    let report = drop_rejects(&world, 1, "2", twice).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("malformed")));
    assert!(report.error.as_ref().unwrap().contains("lines 2 and 3 have the same content"), "{report:?}");
    assert_eq!(world.query("select count(*) from flow").await, "0");
}

#[tokio::test]
async fn a_content_key_is_explained_and_one_that_somebody_spoilt_is_found_at_night() {
    let (world, scratch) = world(&[]).await;
    drop_flows(&world, "1", &["01,5,tea", "01,5,tea", "01,1000,x"]).await;
    let key = world.query("select max(content_key) from flow").await;
    let explained = text(&small_etl(&scratch, &world.variables(), &["explain", "flow", &key]));
    assert!(
        explained.contains("its present values come from") && explained.contains("line 3: inserted"),
        "{explained}"
    );
    let bad = world.query("select key from etl.reject").await;
    let explained = text(&small_etl(&scratch, &world.variables(), &["explain", "flow", &bad]));
    assert!(explained.contains("rejects with this key"), "{explained}");
    assert!(reconcile(&world).await.is_clean());
    world.query(&format!("update flow set amount = 6 where content_key = '{key}'")).await;
    let found = reconcile(&world).await;
    let found: Vec<(&str, &str)> =
        found.discrepancies.iter().map(|found| (found.check.as_str(), found.message.as_str())).collect();
    assert_eq!(
        found,
        [("content_key", format!("table flow row {key}: column content_key breaks rule content_key").as_str())]
    );
}

#[tokio::test]
async fn another_list_of_columns_is_refused_while_the_table_has_rows() {
    let (world, folder) = world(&[]).await;
    drop_flows(&world, "1", &["01,5,tea"]).await;
    let change =
        |from: &str, to: &str| std::fs::write(folder.path().join("flow.toml"), FLOW.replace(from, to)).unwrap();
    change("version =", "content = [\"day\", \"amount\"]\nversion =");
    let world = world.under(&[]);
    world.put("incoming/flows/2.csv", flows(&["02,5,tea"])).await;
    let error = world.try_load("incoming/flows/2.csv").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_snapshot!(error.chain(), @"dataset flow: the content key covers amount (decimal), day (date), but for the rows of table flow it covered amount (decimal), day (date), note (text); let `content` name just those columns, or give the rows new keys with `small-etl rekey flow`");
    // More decimals, and other rules, change no key.
    change("precision = 10\nscale = 2", "precision = 12\nscale = 4");
    let wide = world.under(&[]);
    wide.query("alter table flow alter amount type numeric(12, 4)").await;
    let counts = drop_flows(&wide, "3", &["01,5.0000,tea", "02,5.0001,"]).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.unchanged), (1, 1));
    change("version =", "content = [\"day\", \"amount\"]\nversion =");
    let emptied = wide.under(&[]);
    emptied.query("truncate flow").await;
    assert_eq!(emptied.load("incoming/flows/2.csv").await.counts.unwrap().inserted, 1);
}

/// A holding of each of these codes with this volume.
pub fn holdings(codes: &[&str], volume: usize, owner: &str) -> String {
    codes.iter().fold("code,volume,owner\n".to_owned(), |text, code| format!("{text}{code},{volume},{owner}\n"))
}

const NOON: &str = "2025-12-22T12:00:00Z";

pub fn seconds_after_noon(seconds: i64) -> DateTime<Utc> {
    NOON.parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(seconds)
}

/// The request of an object, as a listing finds it that says when it was written.
pub async fn written(world: &World, name: &str, at: DateTime<Utc>) -> Request {
    let key = format!("incoming/holdings/{name}.csv");
    let head = world.s3.head_object().bucket(&world.bucket).key(&key).send().await.unwrap();
    let etag = head.e_tag().map(|etag| etag.trim_matches('"').to_owned());
    Request::new(located(world, key, at, (None, etag), None))
}

/// The request of a version of an object, as an event tells of it.
fn version(world: &World, name: &str, at: DateTime<Utc>, (version_id, sequencer): (&str, &str)) -> Request {
    let key = format!("incoming/holdings/{name}.csv");
    Request::new(located(
        world,
        key,
        at,
        (Some(version_id.to_owned()), None),
        Sequencer::of_event(sequencer.to_owned()),
    ))
}

fn located(
    world: &World,
    key: String,
    at: DateTime<Utc>,
    (version_id, etag): (Option<String>, Option<String>),
    sequencer: Option<Sequencer>,
) -> Location {
    let (bucket, modified) = (world.bucket.clone(), Some(at));
    Location::S3 { bucket, key: key.into(), version_id, etag, size: None, sequencer, modified }
}

pub async fn put_holdings(world: &World, name: &str, text: String) {
    world.put(&format!("incoming/holdings/{name}.csv"), text).await;
}

#[tokio::test]
async fn the_row_of_the_object_that_was_written_later_stays_in_whatever_order_they_come() {
    let (world, _folder) = world(&[]).await;
    for (name, codes, volume) in
        [("old", &["A", "B", "C"][..], 1), ("new", &["B", "C", "D"], 2), ("between", &["C", "A"], 3)]
    {
        put_holdings(&world, name, holdings(codes, volume, "")).await;
    }
    let load = async |name: &str, seconds: i64| {
        let counts =
            world.run(&written(&world, name, seconds_after_noon(seconds)).await).await.unwrap().counts.unwrap();
        (counts.inserted, counts.updated, counts.stale)
    };
    assert_eq!(load("new", 20).await, (3, 0, 0));
    assert_eq!(load("old", 0).await, (1, 0, 2));
    assert_eq!(load("between", 10).await, (0, 1, 1));
    assert_eq!(world.query("select code, volume from holding order by 1").await, "A | 3\nB | 2\nC | 2\nD | 2");
    assert!(reconcile(&world).await.is_clean());
    // Of two that were written in the same second the one that is claimed later.
    put_holdings(&world, "same", holdings(&["D"], 4, "")).await;
    assert_eq!(load("same", 20).await, (0, 1, 0));
    // What was written long ago and is loaded once more stays where it was.
    let again = Request { again: true, ..written(&world, "old", seconds_after_noon(0)).await };
    assert_eq!(world.run(&again).await.unwrap().counts.unwrap().stale, 3);
    // A clock that is wrong makes no object the last one for ever.
    put_holdings(&world, "future", holdings(&["D"], 5, "")).await;
    assert_eq!(load("future", 1_000_000_000).await, (0, 1, 0));
    put_holdings(&world, "now", holdings(&["D"], 6, "")).await;
    assert_eq!(
        world.load("incoming/holdings/now.csv").await.counts.unwrap().updated + 1,
        2,
        "S3 tells when it was written"
    );
}

/// S3 orders the versions of one object by their sequencers, whatever it says of their times.
#[tokio::test]
async fn versions_of_one_object_keep_the_order_of_their_sequencers() {
    let (world, _folder) = world(&[]).await;
    let world = world.keeping_versions().await;
    let put = async |name: &str, volume: usize| {
        let body = holdings(&["A"], volume, "").into_bytes().into();
        let put = world.s3.put_object().bucket(&world.bucket).key(format!("incoming/holdings/{name}.csv")).body(body);
        put.send().await.unwrap().version_id.unwrap()
    };
    let (first, second, other) = (put("1", 1).await, put("1", 2).await, put("2", 3).await);
    let at = seconds_after_noon;
    // The upload of the first version began late and ended early.
    let load = async |request: Request| world.run(&request).await.unwrap().counts.unwrap();
    let second = load(version(&world, "1", at(0), (&second, "0B"))).await;
    assert_eq!(second.inserted, 1);
    assert_eq!(load(version(&world, "1", at(30), (&first, "0A"))).await.stale, 1);
    assert_eq!(load(version(&world, "2", at(10), (&other, "01"))).await.updated, 1);
    assert_eq!(world.query("select volume from holding").await, "3");
}

#[tokio::test]
async fn a_load_that_goes_on_after_a_later_object_has_come_overwrites_nothing_of_it() {
    let (world, _folder) = world(&[("LOAD__BATCH_SIZE", "1"), ("LOAD__CONNECTIONS", "1")]).await;
    put_holdings(&world, "1", holdings(&["A", "B", "C"], 1, "")).await;
    let proxy = world.proxy();
    let worker = world.signalled_worker("incoming/holdings/1.csv", &proxy, (Which::Commit, 3), Fault::Call, "KILL");
    assert!(worker.finish().await.is_none());
    put_holdings(&world, "2", holdings(&["A", "B", "D"], 2, "")).await;
    let later = written(&world, "2", Utc::now()).await;
    assert_eq!(world.run(&later).await.unwrap().counts.unwrap().updated, 1);
    // It was written before both, and the rows that the first one still has to bring must not be overwritten by it.
    put_holdings(&world, "0", holdings(&["C", "D", "E"], 0, "")).await;
    assert_eq!(
        world.run(&written(&world, "0", seconds_after_noon(0)).await).await.unwrap().counts.unwrap().inserted,
        2
    );
    world.end_leases().await;
    let counts = world.load("incoming/holdings/1.csv").await.counts.unwrap();
    assert_eq!((counts.inserted, counts.updated, counts.stale), (1, 1, 1));
    assert_eq!(world.query("select code, volume from holding order by 1").await, "A | 2\nB | 2\nC | 1\nD | 2\nE | 0");
}

/// Objects of random times, claimed in a random order, some at once, some left and taken up again: the end is that of one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_order_and_the_overlap_the_last_object_of_each_key_stays() {
    let (mut deaths, mut overlaps) = (0, 0);
    for seed in 0..6 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let batch_size = ["1", "2", "7"][usize::try_from(seed % 3).unwrap()];
        let (world, _folder) = world(&[("LOAD__BATCH_SIZE", batch_size), ("LOAD__CONNECTIONS", "2")]).await;
        let codes = ["A", "B", "C", "D", "E", "F", "G", "H"];
        let (mut last, mut objects) = (BTreeMap::new(), Vec::new());
        let mut seconds: Vec<i64> = (0..9).collect();
        for number in &seconds {
            let some: Vec<&str> = codes.iter().copied().filter(|_| random.random_ratio(1, 2)).collect();
            // Equal values, so that rows are found unchanged as well.
            let volume = random.random_range(0..3);
            put_holdings(&world, &number.to_string(), holdings(&some, volume, "")).await;
            last.extend(some.iter().map(|code| (*code, volume)));
        }
        seconds.shuffle(&mut random);
        for number in &seconds {
            objects.push(written(&world, &number.to_string(), seconds_after_noon(*number)).await);
        }
        for requests in objects.chunks(3) {
            // A worker of the first is lost on its way.
            deaths += i32::from(lost_worker(&world, &requests[0], (Which::Commit, 2), Fault::Call).await);
            world.end_leases().await;
            let all = requests
                .iter()
                .map(|request| async { while world.run(request).await.unwrap().status == LoadStatus::InProgress {} });
            futures::future::join_all(all).await;
        }
        let expected = last.iter().fold(String::new(), |mut lines, (code, volume)| {
            let _ = writeln!(lines, "{code} | {volume}");
            lines
        });
        assert_eq!(
            world.query("select code, volume from holding order by 1").await,
            expected.trim_end(),
            "seed {seed}"
        );
        assert_eq!(world.query("select count(*) from etl.load where state = 'loaded'").await, "9");
        overlaps += world.overlaps().await;
    }
    assert!(deaths > 9 && overlaps > 9, "{deaths} of 18, {overlaps}");
}

#[tokio::test]
async fn of_parked_rows_that_of_the_later_object_is_released_and_the_others_are_stale() {
    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
        let (world, _folder) = world(&[]).await;
        for number in order {
            put_holdings(&world, &number.to_string(), holdings(&["A"], number, "O1")).await;
            let counts = world
                .run(&written(&world, &number.to_string(), seconds_after_noon(i64::try_from(number).unwrap())).await)
                .await
                .unwrap()
                .counts
                .unwrap();
            assert_eq!(counts.parked, 1);
        }
        let owner = "owner_id,revision\nO1,7\n";
        assert_eq!(world.drop_file("incoming/owners/1.csv", owner).await.counts.unwrap().released, 3);
        assert_eq!(world.query("select volume from holding").await, "3", "{order:?}");
        assert_eq!(
            world.query("select outcome, count(*) from etl.parked group by 1 order by 1").await,
            "inserted | 1\nstale | 2"
        );
        // A row that waits is older than one of a later object that does not.
        put_holdings(&world, "4", holdings(&["A"], 4, "O2")).await;
        world.run(&written(&world, "4", seconds_after_noon(4)).await).await.unwrap();
        put_holdings(&world, "5", holdings(&["A"], 5, "O1")).await;
        world.run(&written(&world, "5", seconds_after_noon(5)).await).await.unwrap();
        world.drop_file("incoming/owners/2.csv", "owner_id,revision\nO2,1\n").await;
        assert_eq!(world.query("select volume from holding").await, "5", "{order:?}");
        assert!(reconcile(&world).await.is_clean());
    }
}

/// A number tells the newer row as a time does, also of rows that wait.
#[tokio::test]
async fn a_version_may_be_a_number() {
    let (world, _folder) = world(&[]).await;
    let load = async |name: &str, revision: &str| {
        let text = format!("owner_id,revision\nO1,{revision}\n");
        let counts = world.drop_file(&format!("incoming/owners/{name}.csv"), text).await.counts.unwrap();
        (counts.inserted, counts.updated, counts.stale)
    };
    assert_eq!(load("1", "9").await, (1, 0, 0));
    assert_eq!(load("2", "10").await, (0, 1, 0));
    assert_eq!(load("3", "-1").await, (0, 0, 1));
    assert_eq!(world.query("select revision from owner").await, "10");
    assert!(reconcile(&world).await.is_clean());
}

/// The rows of a file that comes now win over those of any load from before.
#[tokio::test]
async fn a_dataset_may_go_from_arrival_to_a_version_column() {
    let (world, folder) = world(&[]).await;
    put_holdings(&world, "1", holdings(&["A"], 1, "")).await;
    world.run(&written(&world, "1", Utc::now()).await).await.unwrap();
    std::fs::write(
        folder.path().join("holding.toml"),
        HOLDING.replace("\"arrival\"", "\"volume\"").replace("\"integer\"", "\"integer\"\nrequired = true"),
    )
    .unwrap();
    let world = world.under(&[]);
    put_holdings(&world, "2", "code,volume,owner\nA,1,O1\n".to_owned()).await;
    world.drop_file("incoming/owners/1.csv", "owner_id,revision\nO1,1\n").await;
    let counts = world.load("incoming/holdings/2.csv").await.counts.unwrap();
    assert_eq!((counts.updated, counts.stale), (1, 0));
}
