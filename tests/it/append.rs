//! Mode `append`: each accepted row of each file is in the table once, whatever comes again.

use insta::assert_snapshot;
use small_etl::domain::{LoadReport, LoadStatus};
use small_etl::error::ErrorKind;
use small_etl::pipeline::Request;

use crate::command_line::{small_etl, text};
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::world::World;

pub const VISIT: &str = r#"
name = "visit"
table = "visit"
mode = "append"
files = ["incoming/visits/*"]
null_values = [""]

[[column]]
name = "page"
type = "text"
required = true

[[column]]
name = "seconds"
type = "integer"

[[rule]]
id = "seconds_are_few"
column = "seconds"
check = "seconds < 1000"
message = "seconds are 1000 or more"
"#;

pub const TABLE: &str = "create table visit (load_id bigint, record bigint, page text not null, seconds integer, primary key (load_id, record))";

async fn world(settings: &[(&str, &str)]) -> (World, Scratch) {
    let folder = Scratch::new("append");
    define(&folder, VISIT);
    let path = folder.path().display().to_string();
    let world = World::with(&[settings, &[("DATASETS__PATH", &path)]].concat()).await;
    world.query(TABLE).await;
    (world, folder)
}

fn define(folder: &Scratch, text: &str) {
    std::fs::write(folder.path().join("visit.toml"), text).unwrap();
}

/// Rows are a page and seconds.
async fn drop_visits(world: &World, name: &str, rows: &[&str]) -> LoadReport {
    let text = rows.iter().fold("page,seconds\n".to_owned(), |text, row| format!("{text}{row}\n"));
    world.drop_file(&format!("incoming/visits/{name}.csv"), text).await
}

async fn again(world: &World, name: &str) -> LoadReport {
    world.run(&Request { again: true, ..world.request(&format!("incoming/visits/{name}.csv")) }).await.unwrap()
}

async fn drop_rejects(world: &World, load: i64, name: &str, mend: impl Fn(&str) -> String) -> LoadReport {
    let rejects = world.get(&world.bucket, &format!("rejects/visit/{load}.csv")).await;
    world.drop_file(&format!("incoming/visits/{name}.csv"), mend(&rejects)).await
}

/// New, changed, unchanged and stale rows, rejected ones, and rows that were deleted.
fn counts(report: &LoadReport) -> (i64, i64, i64, i64, i64, i64) {
    assert_eq!(report.status, LoadStatus::Loaded, "{report:?}");
    let counts = report.counts.unwrap();
    (counts.inserted, counts.updated, counts.unchanged, counts.stale, counts.rejected, counts.deleted)
}

const PRESENT: &str = "select load_id, record, page, seconds from visit order by 1, 2";

#[tokio::test]
async fn every_row_of_every_file_is_there_and_none_is_looked_for() {
    for batch_size in ["1", "2", "10000"] {
        let (world, _folder) = world(&[("LOAD__BATCH_SIZE", batch_size)]).await;
        assert_eq!(counts(&drop_visits(&world, "1", &["a,1", "a,1", "b,"]).await), (3, 0, 0, 0, 0, 0));
        // The same rows in another file are other rows.
        assert_eq!(counts(&drop_visits(&world, "2", &["a,1", "b,1000", "c,3", "a,1"]).await), (3, 0, 0, 0, 1, 0));
        assert_eq!(world.load("incoming/visits/2.csv").await.status, LoadStatus::Duplicate);
        let present = "1 | 1 | a | 1\n1 | 2 | a | 1\n1 | 3 | b | -\n2 | 1 | a | 1\n2 | 3 | c | 3\n2 | 4 | a | 1";
        assert_eq!(world.query(PRESENT).await, present);
        let found = reconcile(&world).await;
        assert!(found.is_clean() && found.rows_checked == 6, "{found:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_loaded_again_brings_the_rows_of_its_earlier_run_up_to_date() {
    let (world, folder) = world(&[("LOAD__BATCH_SIZE", "2")]).await;
    drop_visits(&world, "1", &["a,1", "b,1000", "c,3"]).await;
    drop_visits(&world, "2", &["a,1"]).await;
    assert_eq!(counts(&again(&world, "1").await), (0, 0, 2, 0, 1, 0));
    // Now 3 is too much, and 1000 is not.
    define(&folder, &VISIT.replace("seconds < 1000", "seconds <> 3"));
    let world = world.under(&[]);
    // A row of the file's, as if it had been longer once.
    world
        .query(
            "insert into visit values (1, 4, 'gone', 0); update visit set page = 'A' where load_id = 1 and record = 1",
        )
        .await;
    assert_eq!(counts(&again(&world, "1").await), (1, 1, 0, 0, 1, 1));
    // The row that is a reject by now stays as it was, until it is mended.
    assert_snapshot!(world.query(PRESENT).await, @r"
    1 | 1 | a | 1
    1 | 2 | b | 1000
    1 | 3 | c | 3
    2 | 1 | a | 1
    ");
    assert_snapshot!(world.query("select id, run, origin, inserted, deleted from etl.load order by 1").await, @"
    1 | 0 | - | 2 | 0
    2 | 0 | - | 1 | 0
    3 | 1 | 1 | 0 | 0
    4 | 2 | 1 | 1 | 1
    ");
    assert_eq!(world.query("select record, rule from etl.open_reject").await, "3 | seconds_are_few");
    drop_rejects(&world, 4, "3", |text| text.replace(",3\n", ",30\n")).await;
    assert_eq!(world.query("select count(*), sum(seconds) from visit where load_id = 1").await, "3 | 1031");
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
}

#[tokio::test]
async fn a_mended_row_is_appended_once_however_often_it_comes() {
    let (world, folder) = world(&[]).await;
    drop_visits(&world, "1", &["a,1", "b,1000", "c,x", "d,4,5"]).await;
    assert_eq!(world.query("select record, key from etl.reject order by 1").await, "2 | 1,2\n3 | 1,3\n4 | 1,4");
    let mend = |text: &str| text.replace(",1000\n", ",100\n").replace(",x\n", ",y\n").replace(",4,5\n", ",45\n");
    assert_eq!(counts(&drop_rejects(&world, 1, "2", mend).await), (2, 0, 0, 0, 1, 0));
    // In another file, so that the ledger does not know it.
    assert_eq!(counts(&drop_rejects(&world, 1, "3", |text| mend(text) + "\n").await), (0, 0, 2, 0, 1, 0));
    // The third one needs a second attempt.
    assert_eq!(counts(&drop_rejects(&world, 2, "4", |text| text.replace(",y\n", ",3\n")).await), (1, 0, 0, 0, 0, 0));
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    let present = world.query(PRESENT).await;
    assert_eq!(present, "1 | 1 | a | 1\n1 | 2 | b | 100\n1 | 3 | c | 3\n1 | 4 | d | 45");
    // The file itself once more, when one of its bad rows is good.
    define(&folder, &VISIT.replace("seconds < 1000", "seconds < 2000"));
    let world = world.under(&[]);
    let report = again(&world, "1").await.counts.unwrap();
    assert_eq!((report.inserted, report.rejected), (0, 2));
    assert_eq!(world.query("select count(*) from visit").await, "4");
    assert!(reconcile(&world).await.is_clean());
}

/// What mends a reject of a file that failed is not there a second time when the file is loaded after all.
#[tokio::test]
async fn rows_of_a_file_that_failed_may_be_mended_before_it_is_loaded() {
    let (world, folder) = world(&[]).await;
    define(&folder, &format!("{VISIT}\n[load]\nmax_rejects = 0\n"));
    let world = world.under(&[]);
    assert_eq!(drop_visits(&world, "1", &["a,1", "b,1000"]).await.status, LoadStatus::Failed);
    define(&folder, &VISIT.replace("seconds < 1000", "seconds < 2000"));
    let world = world.under(&[]);
    assert_eq!(counts(&drop_rejects(&world, 1, "2", str::to_owned).await), (1, 0, 0, 0, 0, 0));
    assert_eq!(again(&world, "1").await.counts.unwrap().inserted, 1);
    assert_eq!(world.query(PRESENT).await, "1 | 1 | a | 1\n1 | 2 | b | 1000");
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
}

#[tokio::test]
async fn a_row_that_may_be_in_the_table_already_is_refused() {
    let (world, _folder) = world(&[]).await;
    drop_visits(&world, "1", &["a,x"]).await;
    let twice = |text: &str| {
        let (header, row) = text.split_once('\n').unwrap();
        format!("{header}\n{row}{row}").replace(",x\n", ",5\n")
    };
    let report = drop_rejects(&world, 1, "2", twice).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("malformed")));
    assert!(report.error.unwrap().contains("lines 2 and 3 mend the same row; keep one"));
    // The reject is gone, as retention takes it.
    let rejects = world.get(&world.bucket, "rejects/visit/1.csv").await;
    world.query("delete from etl.reject").await;
    let late = world.drop_file("incoming/visits/3.csv", rejects.replace(",x\n", ",5\n")).await;
    assert!(late.error.unwrap().contains("there is no such reject"));
    assert_eq!(world.query("select count(*) from visit").await, "0");
}

#[tokio::test]
async fn content_that_comes_back_after_another_is_new() {
    let (world, _folder) = world(&[]).await;
    for (rows, inserted) in [("a,1", 1), ("b,2", 1), ("a,1", 1)] {
        assert_eq!(drop_visits(&world, "latest", &[rows]).await.counts.unwrap().inserted, inserted);
        // S3 tells the times of writing in whole seconds.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }
    assert_eq!(world.query("select load_id, page from visit order by 1").await, "1 | a\n2 | b\n3 | a");
    assert_eq!(again(&world, "latest").await.counts.unwrap().unchanged, 1);
    assert_eq!(world.query("select run, origin from etl.load where id = 4").await, "2 | 3");
}

#[tokio::test]
async fn a_row_is_explained_by_its_place() {
    let (world, scratch) = world(&[]).await;
    drop_visits(&world, "1", &["a,1", "b,1000"]).await;
    for arguments in [&["1", "1"][..], &["1,1"]] {
        let explained = text(&small_etl(&scratch, &world.variables(), &[&["explain", "visit"], arguments].concat()));
        assert!(
            explained.contains("its present values come from") && explained.contains("line 2: inserted"),
            "{explained}"
        );
    }
    let bad = text(&small_etl(&scratch, &world.variables(), &["explain", "visit", "1", "2"]));
    assert!(bad.contains("rejects with this key"), "{bad}");
    // Somebody else's row is found at night.
    world.query("insert into visit values (9, 9, 'x', 5000)").await;
    let found = reconcile(&world).await;
    let checks: Vec<&str> = found.discrepancies.iter().map(|found| found.check.as_str()).collect();
    assert_eq!(checks, ["row_count", "seconds_are_few"], "{:?}", found.discrepancies);
}

#[tokio::test]
async fn a_table_that_cannot_take_such_rows_is_refused_before_anything_is_claimed() {
    let (world, _folder) = world(&[]).await;
    world.put("incoming/visits/1.csv", "page,seconds\na,1\n").await;
    for (change, message) in [
        ("revoke delete on visit from small_etl_ingest", "run: grant delete on public.visit"),
        ("alter table visit drop constraint visit_pkey", "the key load_id, record needs a unique index of its own"),
        ("alter table visit drop column record", "column record of table visit must be bigint; it is missing"),
    ] {
        world.query(change).await;
        let error = world.try_load("incoming/visits/1.csv").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.chain().contains(message), "{}", error.chain());
    }
}

/// A row that waits for another table is appended once it has come, and keeps its place.
#[tokio::test]
async fn a_row_may_wait_for_the_row_that_it_refers_to() {
    let (world, folder) = world(&[("LOAD__BATCH_SIZE", "2")]).await;
    std::fs::write(folder.path().join("page.toml"), PAGE).unwrap();
    define(&folder, &format!("{VISIT}\n{REFERENCE}"));
    let world = world.under(&[]);
    world.query("create table page (page text primary key); insert into page values ('a')").await;
    let report = drop_visits(&world, "1", &["a,1", "b,1", "b,1000", "a,2"]).await.counts.unwrap();
    assert_eq!((report.inserted, report.parked, report.rejected), (2, 1, 1));
    let mended = drop_rejects(&world, 1, "2", |text| text.replace(",1000\n", ",3\n")).await.counts.unwrap();
    assert_eq!(mended.parked, 1);
    assert_eq!(world.drop_file("incoming/pages/1.csv", "page\nb\n").await.counts.unwrap().released, 2);
    assert_eq!(world.query(PRESENT).await, "1 | 1 | a | 1\n1 | 2 | b | 1\n1 | 3 | b | 3\n1 | 4 | a | 2");
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    assert_eq!(again(&world, "1").await.counts.unwrap().unchanged, 3);
    assert_eq!(world.query("select count(*) from visit").await, "4");
}

const PAGE: &str = r#"
name = "page"
table = "page"
key = "page"
version = "arrival"
files = ["incoming/pages/*"]

[[column]]
name = "page"
type = "text"
required = true
"#;
const REFERENCE: &str = "[reference]\ncolumn = \"page\"\ndataset = \"page\"\n";

/// Another run of the file has discarded it, and is undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_waited_waits_again_when_a_later_run_of_its_file_is_undone() {
    let (world, folder) = world(&[]).await;
    std::fs::write(folder.path().join("page.toml"), PAGE).unwrap();
    let history = VISIT.replace("mode = \"append\"", "mode = \"append\"\nhistory = \"visit_history\"");
    define(&folder, &format!("{history}\n{REFERENCE}"));
    let world = world.under(&[]);
    world
        .query(
            "create table page (page text primary key); \
             alter table visit add column written_by bigint, add column valid_from timestamptz; \
             create table visit_history (like visit, valid_to timestamptz not null, replaced_by bigint, ended_as text not null)",
        )
        .await;
    assert_eq!(drop_visits(&world, "1", &["a,1", "b,2"]).await.counts.unwrap().parked, 2);
    assert_eq!(again(&world, "1").await.counts.unwrap().parked, 2);
    let said = text(&small_etl(&folder, &world.variables_of_owner(), &["undo", "2"]));
    assert!(said.contains("wait for another row again: 2"), "{said}");
    assert_eq!(world.drop_file("incoming/pages/1.csv", "page\na\nb\n").await.counts.unwrap().released, 2);
    assert_eq!(world.query(PRESENT).await, "1 | 1 | a | 1\n1 | 2 | b | 2");
    assert!(reconcile(&world).await.is_clean());
}

/// Each run discards what waited in the run before, which mends nothing.
#[tokio::test]
async fn a_reject_is_open_as_long_as_its_row_waits_however_often_its_file_is_loaded() {
    let (world, folder) = world(&[]).await;
    std::fs::write(folder.path().join("page.toml"), PAGE).unwrap();
    world.query("create table page (page text primary key); grant all on page to public").await;
    drop_visits(&world, "1", &["a,3000"]).await;
    define(&folder, &format!("{}\n{REFERENCE}", VISIT.split_once("[[rule]]").unwrap().0));
    let world = world.under(&[]);
    let open = "select count(*) from etl.open_reject";
    for _ in 0..3 {
        assert_eq!(again(&world, "1").await.counts.unwrap().parked, 1);
        assert_eq!(world.query(open).await, "1");
    }
    assert_eq!(world.drop_file("incoming/pages/1.csv", "page\na\n").await.counts.unwrap().released, 1);
    assert_eq!(world.query(open).await, "0");
    assert_eq!(world.query(PRESENT).await, "1 | 1 | a | 3000");
}

#[tokio::test]
async fn a_bad_row_of_a_declared_source_fails_alone() {
    let (world, folder) = world(&[]).await;
    define(
        &folder,
        &format!(
            "{VISIT}\n[[source]]\nname = \"text\"\nfiles = [\"incoming/visits/*.dat\"]\n[[source]]\nname = \"lines\"\nfiles = [\"incoming/visits/*.jsonl\"]\nformat = \"json_lines\"\n"
        ),
    );
    let world = world.under(&[]);
    let lines = "{\"page\": \"a\", \"seconds\": 1}\n{\"page\": \"b\", \"seconds\": \"x\"}\n{\"page\": \"c\", \"seconds\": 3000}\n";
    for (load, name, content) in [(1, "1.dat", "page,seconds\na,1\nb,x\nc,3000\n"), (2, "2.jsonl", lines)] {
        let report = world.drop_file(&format!("incoming/visits/{name}"), content).await;
        assert_eq!(counts(&report).0, 1, "{report:?}");
        let rejects = format!("select record, rule, key from etl.reject where load_id = {load} order by 1");
        assert_eq!(world.query(&rejects).await, format!("2 | integer | {load},2\n3 | seconds_are_few | {load},3"));
    }
}
