//! `rekey`: the rows of a table get the content keys that another list of columns gives them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use insta::assert_snapshot;
use rand::seq::SliceRandom as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use small_etl::domain::LoadReport;
use small_etl::error::ErrorKind;
use small_etl::pipeline::Request;

use crate::command_line::{small_etl, text};
use crate::keys::{FLOW, flows, world};
use crate::killed::killed_as_owner;
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::types::case::{Case, world_of, write_definitions};
use crate::world::World;

/// The keys cover these columns.
const DAYS_AND_AMOUNTS: &str = "content = [\"day\", \"amount\"]\nversion =";

fn define(folder: &Scratch, content: &str) {
    std::fs::write(folder.path().join("flow.toml"), FLOW.replace("version =", content)).unwrap();
}

/// A world whose keys cover these columns.
async fn covering(content: &str, settings: &[(&str, &str)]) -> (World, Scratch) {
    let (world, folder) = world(settings).await;
    define(&folder, content);
    (world.under(&[]), folder)
}

async fn drop_flows(world: &World, name: &str, rows: &[&str]) -> LoadReport {
    world.drop_file(&format!("incoming/flows/{name}.csv"), flows(rows)).await
}

/// What `rekey flow` says as the owner of the table.
fn rekey(world: &World, scratch: &Scratch, arguments: &[&str]) -> String {
    text(&small_etl(scratch, &world.variables_of_owner(), &[&["rekey", "flow"], arguments].concat()))
}

/// The keys that SQL makes of days and amounts, or of all columns, each once for each row.
fn made(covers_notes: bool) -> String {
    let note = if covers_notes { ", coalesce(octet_length(note) || ':' || note, '-')" } else { "" };
    format!(
        "select count(*) from flow where left(content_key, 64) <> encode(sha256(convert_to(concat( \
             octet_length(trim_scale(amount)::text) || ':' || trim_scale(amount), octet_length(day::text) || ':' || day{note}), 'UTF8')), 'hex'); \
         select count(*) from (select left(content_key, 64), count(*) as rows, min(substr(content_key, 66)::int) as least, \
             max(substr(content_key, 66)::int) as most from flow group by 1) h where least <> 1 or most <> rows"
    )
}

const PRESENT: &str = "select extract(day from day), amount, note, right(content_key, 2) from flow order by 1, 2, 3, 4";

#[tokio::test]
async fn rows_get_their_new_keys_and_what_comes_again_neither_doubles_nor_loses_one() {
    let (world, folder) = covering("version =", &[]).await;
    drop_flows(&world, "1", &["01,5,tea", "01,5,cake", "02,5,tea", "02,5,tea", "03,7,"]).await;
    define(&folder, DAYS_AND_AMOUNTS);
    let before = format!("{PRESENT}; select keys from etl.lineage; select count(*) from etl.load");
    let state = world.query(&before).await;
    let world = world.under(&[]);
    assert_snapshot!(rekey(&world, &folder, &["--dry-run"]), @"
    exit 0
    dataset flow: the key covered amount (decimal), day (date), note (text)
    now it covers amount (decimal), day (date)
    rows that would get another key: 5 of 5
    nothing was written; run it without --dry-run
    ");
    assert_eq!(world.query(&before).await, state, "a plan writes nothing");
    let done = rekey(&world, &folder, &["--json"]);
    let done: Value = serde_json::from_str(done.lines().nth(1).unwrap()).unwrap();
    assert_eq!((done["load_id"].as_i64(), done["rows"]["changed"].as_i64()), (Some(2), Some(5)));
    assert_eq!(world.query(&made(false)).await, "0\n0");
    assert_snapshot!(world.query(PRESENT).await, @"
    1 | 5.00 | cake | -2
    1 | 5.00 | tea | -1
    2 | 5.00 | tea | -1
    2 | 5.00 | tea | -2
    3 | 7.00 | - | -1
    ");
    assert!(rekey(&world, &folder, &[]).contains("there is nothing to do"));
    let (status, key) = (
        text(&small_etl(&folder, &world.variables(), &["status"])),
        "select max(content_key) from flow where day = '2025-01-02'",
    );
    assert!(status.contains("rekey of dataset flow"), "{status}");
    let explained = text(&small_etl(&folder, &world.variables(), &["explain", "flow", &world.query(key).await]));
    assert!(explained.contains("line 5: inserted") || explained.contains("line 4: inserted"), "{explained}");
    // The same days once more, one row with another note, and one more of what there is.
    let counts = drop_flows(&world, "2", &["01,5,tea", "01,5,pie", "02,5,tea", "02,5,tea", "02,5,tea", "03,7,"])
        .await
        .counts
        .unwrap();
    assert_eq!((counts.inserted, counts.updated, counts.unchanged), (1, 1, 4));
    let counts = drop_flows(&world, "3", &["01,5,tea", "02,5,tea"]).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.unchanged), (0, 2));
    let night = reconcile(&world).await;
    assert!(night.is_clean(), "{night:?}");
    // And back to all columns: each row is there with the values of the last file that brought it.
    define(&folder, "version =");
    let world = world.under(&[]);
    let said = rekey(&world, &folder, &[]);
    assert!(said.contains("rows that got another key: 6 of 6"), "{said}");
    assert_eq!(world.query(&made(true)).await, "0\n0");
    let counts = drop_flows(&world, "4", &["01,5,tea", "01,5,pie", "02,5,tea", "02,5,tea", "02,5,tea", "03,7,"])
        .await
        .counts
        .unwrap();
    assert_eq!((counts.inserted, counts.unchanged), (0, 6));
    assert!(reconcile(&world).await.is_clean());
}

/// Exports are windows of what really happened, by whole days, and each may have the rows of a day in another order.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_rekey_exports_that_overlap_are_the_same_rows_as_if_the_list_had_never_been_another() {
    for seed in 0..8 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let narrows = seed % 2 == 0;
        let lists = if narrows { ["version =", DAYS_AND_AMOUNTS] } else { [DAYS_AND_AMOUNTS, "version ="] };
        let (world, folder) =
            covering(lists[0], &[("LOAD__BATCH_SIZE", ["1", "7", "10000"][(seed % 3) as usize])]).await;
        let happened: Vec<(u32, String)> = (0..30)
            .map(|_| {
                let day = random.random_range(1..8);
                (day, format!("0{day},{},{}", random.random_range(1..3), ["", "a", "b"][random.random_range(0..3)]))
            })
            .collect();
        let mut export = |from: u32, to: u32| {
            let mut rows: Vec<&str> =
                happened.iter().filter(|(day, _)| (from..=to).contains(day)).map(|(_, row)| row.as_str()).collect();
            rows.shuffle(&mut random);
            flows(&rows)
        };
        for (nth, (from, to)) in [(1, 3), (2, 5), (4, 5), (1, 4)].into_iter().enumerate() {
            world.drop_file(&format!("incoming/flows/{nth}.csv"), export(from, to)).await;
        }
        define(&folder, lists[1]);
        let world = world.under(&[]);
        let said = rekey(&world, &folder, &[]);
        assert!(said.starts_with("exit 0"), "seed {seed}: {said}");
        assert_eq!(world.query(&made(!narrows)).await, "0\n0", "seed {seed}");
        for (nth, (from, to)) in [(3, 6), (1, 7), (5, 7)].into_iter().enumerate() {
            let counts =
                world.drop_file(&format!("incoming/flows/later{nth}.csv"), export(from, to)).await.counts.unwrap();
            let new = |(day, _): &&(u32, String)| (if nth == 0 { 6..=6 } else { 7..=7 }).contains(day);
            let new = if nth == 2 { 0 } else { happened.iter().filter(new).count() };
            assert_eq!(counts.inserted, i64::try_from(new).unwrap(), "seed {seed}, export {nth}");
        }
        let mut rows: BTreeMap<String, usize> = BTreeMap::new();
        for (_, row) in &happened {
            *rows.entry(row.clone()).or_default() += 1;
        }
        let expected = rows.iter().fold(String::new(), |mut text, (row, count)| {
            let _ = writeln!(text, "{row} | {count}");
            text
        });
        let present = "select line, count(*) from ( \
                select to_char(day, 'DD') || ',' || trim_scale(amount) || ',' || coalesce(note, '') as line from flow) f \
            group by line order by line collate \"C\"";
        assert_eq!(world.query(present).await, expected.trim_end(), "seed {seed}");
        let night = reconcile(&world).await;
        assert!(night.is_clean(), "seed {seed}: {night:?}");
    }
}

#[tokio::test]
async fn rows_that_would_have_been_one_are_refused_and_nothing_is_changed() {
    let (world, folder) = covering("version =", &[]).await;
    drop_flows(&world, "1", &["01,5,tea", "02,6,x"]).await;
    // The sender has written the note otherwise.
    drop_flows(&world, "2", &["01,5,Tea", "02,6,x"]).await;
    define(&folder, DAYS_AND_AMOUNTS);
    let world = world.under(&[]);
    let state = world.query(PRESENT).await;
    let first = world.query("select min(content_key) from flow where amount = 5").await;
    let said = rekey(&world, &folder, &[]);
    assert_snapshot!(said.replace(&first, "KEY"), @"
    exit 3
    error: dataset flow: table flow has 1 rows more than it would have under the new key, for 1 contents (the first keys: KEY): they are equal in amount (decimal), day (date), and no file had them together. Which of them to keep is not known; leave `content` at amount (decimal), day (date), note (text), or empty the table and load its files with --again
    ");
    assert_eq!(world.query(PRESENT).await, state);
    assert_eq!(world.query("select count(*) from etl.load").await, "2");
    // A file that has both really has two rows.
    define(&folder, "version =");
    let world = world.under(&[]);
    drop_flows(&world, "3", &["01,5,Tea", "01,5,tea"]).await;
    define(&folder, DAYS_AND_AMOUNTS);
    let world = world.under(&[]);
    assert!(rekey(&world, &folder, &[]).starts_with("exit 0"));
    // The other way round: of two rows with one content, each was written by another file.
    drop_flows(&world, "4", &["01,5,Tea"]).await;
    drop_flows(&world, "5", &["01,5,cake", "01,5,Tea"]).await;
    drop_flows(&world, "6", &["01,5,Tea"]).await;
    assert_eq!(world.query("select count(*) from flow where note = 'Tea'").await, "2");
    define(&folder, "version =");
    let world = world.under(&[]);
    let said = rekey(&world, &folder, &["--dry-run"]);
    assert!(said.contains("has 1 rows more than it would have under the new key"), "{said}");
}

/// A worker that was started before knows nothing of the new keys.
#[tokio::test]
async fn after_a_rekey_no_worker_writes_keys_of_the_old_form() {
    let (old, folder) = covering("version =", &[]).await;
    drop_flows(&old, "1", &["01,5,tea"]).await;
    define(&folder, DAYS_AND_AMOUNTS);
    assert!(rekey(&old, &folder, &[]).starts_with("exit 0"));
    old.put("incoming/flows/2.csv", flows(&["01,5,tea", "02,5,tea"])).await;
    let error = old.try_load("incoming/flows/2.csv").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.chain().contains("small-etl rekey flow"), "{}", error.chain());
    assert_eq!(old.query("select count(*), count(*) filter (where state = 'loaded') from etl.load").await, "2 | 2");
    let new = old.under(&[]);
    assert_eq!(new.load("incoming/flows/2.csv").await.counts.unwrap().inserted, 1);
}

#[tokio::test]
async fn a_load_that_has_not_ended_keeps_the_rows_from_getting_new_keys_and_the_other_way_round() {
    let (old, folder) = covering("version =", &[("LOAD__BATCH_SIZE", "1"), ("LOAD__CONNECTIONS", "1")]).await;
    drop_flows(&old, "1", &["01,5,tea"]).await;
    old.put("incoming/flows/2.csv", flows(&["01,5,tea", "02,5,tea", "03,5,tea"])).await;
    let proxy = old.proxy();
    let worker = old.signalled_worker("incoming/flows/2.csv", &proxy, (Which::Commit, 3), Fault::Call, "KILL");
    assert!(worker.finish().await.is_none());
    define(&folder, DAYS_AND_AMOUNTS);
    let said = rekey(&old, &folder, &[]);
    assert!(said.starts_with("exit 3") && said.contains("load 2 has not ended"), "{said}");
    old.end_leases().await;
    old.load("incoming/flows/2.csv").await;
    assert!(rekey(&old, &folder, &[]).starts_with("exit 0"));
    assert_eq!(old.query(&made(false)).await, "0\n0");
}

/// What mends a reject, and what a reject is found by, follows the rows.
#[tokio::test]
async fn mended_rows_keep_their_place_and_open_rejects_their_row() {
    for lists in [["version =", DAYS_AND_AMOUNTS], [DAYS_AND_AMOUNTS, "version ="]] {
        let (world, folder) = covering(lists[0], &[]).await;
        drop_flows(&world, "1", &["01,5,tea", "01,five,tea", "01,1000,x", "01,FIVE,tea"]).await;
        let rejects = world.get(&world.bucket, "rejects/flow/1.csv").await;
        let only = |line: &str| {
            let lines = rejects.lines().filter(|other| other.starts_with("_load_id") || other.contains(line));
            lines.fold(String::new(), |kept, other| kept + other + "\n").replace(&format!(",{line},"), ",5,")
        };
        assert_eq!(world.drop_file("incoming/flows/2.csv", only("five")).await.counts.unwrap().inserted, 1);
        define(&folder, lists[1]);
        let world = world.under(&[]);
        let said = rekey(&world, &folder, &[]);
        assert!(said.contains("that only a mended row resolves from then on, and no later file: 1"), "{said}");
        assert_eq!(world.query("select substr(content_key, 65) from flow order by 1").await, "-1\n-2");
        // The same row once more, in another file, and the one that was not mended yet.
        let counts = world.drop_file("incoming/flows/3.csv", only("five") + "\n").await.counts.unwrap();
        assert_eq!((counts.inserted, counts.unchanged), (0, 1));
        assert_eq!(world.drop_file("incoming/flows/4.csv", only("FIVE")).await.counts.unwrap().inserted, 1);
        // The file of the rejects once more.
        let again = Request { again: true, ..world.request("incoming/flows/1.csv") };
        let counts = world.run(&again).await.unwrap().counts.unwrap();
        assert_eq!((counts.inserted, counts.unchanged, counts.rejected), (0, 1, 3));
        let sender = drop_flows(&world, "5", &["01,5,tea", "01,5,tea", "01,5,tea"]).await.counts.unwrap();
        assert_eq!((sender.inserted, sender.unchanged), (0, 3));
        let night = reconcile(&world).await;
        assert!(night.is_clean(), "{night:?}");
    }
}

#[tokio::test]
async fn a_column_that_no_file_has_told_yet_is_refused_until_the_files_are_loaded_again() {
    let (world, folder) = covering("content = [\"amount\", \"day\", \"note\"]\nversion =", &[]).await;
    drop_flows(&world, "1", &["01,5,tea", "01,5,tea"]).await;
    // The sender adds a column; the old list stays.
    let wider = |content: &str| {
        let more = "[[column]]\nname = \"shop\"\ntype = \"text\"\n\n[[rule]]";
        let text = FLOW.replace("[[rule]]", more).replace("version =", content);
        std::fs::write(folder.path().join("flow.toml"), text).unwrap();
    };
    wider("content = [\"amount\", \"day\", \"note\"]\nversion =");
    let world = world.under(&[]);
    world.query("alter table flow add shop text").await;
    world.migrate(None).await;
    wider("version =");
    let world = world.under(&[]);
    let said = rekey(&world, &folder, &[]);
    assert!(
        said.starts_with("exit 3") && said.contains("the new key covers shop, and no file has told that of 2 rows"),
        "{said}"
    );
    wider("content = [\"amount\", \"day\", \"note\"]\nversion =");
    let world = world.under(&[]);
    world.drop_file("incoming/flows/2.csv", "day,amount,note,shop\n2025-01-01,5,tea,A\n2025-01-01,5,tea,B\n").await;
    wider("version =");
    let world = world.under(&[]);
    let said = rekey(&world, &folder, &[]);
    assert!(said.starts_with("exit 0"), "{said}");
    let counts =
        world.drop_file("incoming/flows/3.csv", "day,amount,note,shop\n2025-01-01,5,tea,B\n2025-01-01,5,tea,A\n").await;
    assert_eq!(counts.counts.unwrap().unchanged, 2);
    // What a file wrote in another type is not known.
    let text = std::fs::read_to_string(folder.path().join("flow.toml")).unwrap();
    let text = text
        .replace("type = \"decimal\"\nprecision = 10\nscale = 2", "type = \"text\"")
        .replace("amount < 1000", "true");
    std::fs::write(folder.path().join("flow.toml"), text).unwrap();
    world.query("alter table flow alter amount type text").await;
    let said = rekey(&world, &folder, &[]);
    assert!(said.contains("column amount was of type decimal") && said.contains("and is text now"), "{said}");
}

#[tokio::test]
async fn what_cannot_get_new_keys_is_refused_with_a_reason() {
    let (world, folder) = covering("version =", &[]).await;
    assert!(rekey(&world, &folder, &[]).contains("there is nothing to do"));
    drop_flows(&world, "1", &["01,5,tea"]).await;
    let said = text(&small_etl(&folder, &world.variables_of_owner(), &["rekey", "owner"]));
    assert!(said.contains("only the keys that the program makes of the content of rows"), "{said}");
    define(&folder, DAYS_AND_AMOUNTS);
    let world = world.under(&[]);
    let said = text(&small_etl(&folder, &world.variables(), &["rekey", "flow"]));
    assert!(said.starts_with("exit 3") && said.contains("run it as their owner"), "{said}");
    world.query("alter table flow alter amount type numeric; update flow set amount = 5.001").await;
    let said = rekey(&world, &folder, &[]);
    assert!(said.contains("has a value that the definition does not allow"), "{said}");
    world.query("update flow set amount = 5").await;
    assert!(rekey(&world, &folder, &[]).starts_with("exit 0"));
    for (load, reason) in
        [("1", "has given the rows of dataset flow other keys since"), ("2", "run `small-etl rekey flow`")]
    {
        let said = text(&small_etl(&folder, &world.variables_of_owner(), &["undo", load]));
        assert!(said.starts_with("exit 3") && said.contains(reason), "{said}");
    }
}

/// Keys may change places: the hash of one list may be that of another, with other columns of the same values.
#[tokio::test]
async fn a_row_may_get_the_key_that_another_row_had() {
    let (world, folder) = covering("content = [\"note\"]\nversion =", &[]).await;
    drop_flows(&world, "1", &["01,5,6", "02,6,5", "03,7,5"]).await;
    define(&folder, "content = [\"amount\"]\nversion =");
    let world = world.under(&[]);
    let said = rekey(&world, &folder, &[]);
    assert!(said.starts_with("exit 0"), "{said}");
    assert_snapshot!(world.query(PRESENT).await, @"
    1 | 5.00 | 6 | -1
    2 | 6.00 | 5 | -1
    3 | 7.00 | 5 | -1
    ");
    assert_eq!(drop_flows(&world, "2", &["01,5,6", "02,6,5", "03,7,5"]).await.counts.unwrap().unchanged, 3);
    assert!(reconcile(&world).await.is_clean());
}

/// Runs `rekey flow` and kills it before or after its step of that number. Returns its exit code, if it has ended before.
async fn killed_rekey(world: &World, folder: &Scratch, step: usize) -> Option<i32> {
    let fault = if step.is_multiple_of(2) { Fault::CallAnswered } else { Fault::Call };
    killed_as_owner(world, &["rekey", "flow"], folder.path(), (Which::Step, step), fault).await
}

/// If a rekey was killed before it changed anything, files may still be loaded under the old list. The next rekey has the last word all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_rekey_that_was_killed_and_overtaken_holds_for_what_comes_after_it() {
    let (old, folder) = covering("version =", &[]).await;
    drop_flows(&old, "1", &["01,5,tea"]).await;
    define(&folder, DAYS_AND_AMOUNTS);
    let claims = "select count(*) from etl.load where bucket = 'rekey://'";
    for step in (1..).step_by(3) {
        assert_eq!(killed_rekey(&old, &folder, step).await, None, "killed at step {step}");
        if old.query(claims).await == "1" {
            break;
        }
    }
    old.end_leases().await;
    assert_eq!(drop_flows(&old, "2", &["02,5,tea"]).await.counts.unwrap().inserted, 1);
    let said = rekey(&old, &folder, &[]);
    assert!(said.starts_with("exit 0"), "{said}");
    let rekeys = "select state, read, id = (select max(id) from etl.load) from etl.load where bucket = 'rekey://'";
    assert_eq!(old.query(rekeys).await, "loaded | 2 | t");
    old.put("incoming/flows/3.csv", flows(&["01,5,tea"])).await;
    assert!(old.try_load("incoming/flows/3.csv").await.unwrap_err().chain().contains("small-etl rekey flow"));
    let new = old.under(&[]);
    assert_eq!(drop_flows(&new, "4", &["01,5,tea", "02,5,tea"]).await.counts.unwrap().unchanged, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rekey_that_is_killed_has_changed_nothing_or_everything_and_is_finished_by_the_next_one() {
    let mut ended = false;
    for step in (1..).step_by(9) {
        let (world, folder) = covering("version =", &[]).await;
        drop_flows(&world, "1", &["01,5,tea", "01,5,cake", "02,5,tea", "02,five,tea"]).await;
        define(&folder, DAYS_AND_AMOUNTS);
        let world = world.under(&[]);
        let code = killed_rekey(&world, &folder, step).await;
        let (narrow, wide) = (world.query(&made(false)).await, world.query(&made(true)).await);
        assert!(narrow == "0\n0" || wide == "0\n0", "killed at step {step}: {narrow}, {wide}");
        world.end_leases().await;
        let said = rekey(&world, &folder, &[]);
        assert!(said.starts_with("exit 0"), "killed at step {step} ({code:?}): {said}");
        assert_eq!(world.query(&made(false)).await, "0\n0", "killed at step {step}");
        let rekeys = "select state, read, unchanged from etl.load where bucket = 'rekey://' order by id";
        assert_eq!(world.query(rekeys).await, "loaded | 3 | 3", "killed at step {step}");
        let counts = drop_flows(&world, "2", &["01,5,tea", "01,5,cake", "02,5,tea"]).await.counts.unwrap();
        assert_eq!(counts.unchanged, 3, "killed at step {step}");
        if code == Some(0) {
            ended = step > 40;
            break;
        }
    }
    assert!(ended, "it ended too early for the steps to mean anything");
}

/// The values of every registered type, printed by Postgres and read again, make the key that a file of them makes.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_every_type_get_the_keys_that_their_files_would_give_them() {
    let (scratch, cases) = (Scratch::new("rekey"), Case::all());
    let by_content = |case: &Case, content: &str| {
        let text = case.definition("", "").replace("key = \"id\"", &format!("key = \"content\"{content}"));
        assert!(text.contains("\"content\""));
        text
    };
    let narrow = "\ncontent = [\"id\"]";
    let world = world_of(&cases, &scratch, |case| by_content(case, narrow), None).await;
    for case in &cases {
        let name = &case.name;
        world
            .query(&format!(
                "drop table {name}; create table {name} (id text, v {}, seen_at timestamptz, content_key text unique)",
                case.samples.column
            ))
            .await;
        let mut rows = case.values();
        rows.push(("s".into(), None));
        case.drop(&world, "1.csv", &rows).await;
    }
    write_definitions(&cases, &scratch, |case| by_content(case, ""));
    let world = world.under(&[]);
    for case in &cases {
        let name = &case.name;
        let said = text(&small_etl(&scratch, &world.variables_of_owner(), &["rekey", name]));
        assert!(said.starts_with("exit 0"), "{name}: {said}");
        let mut rows = case.values();
        rows.push(("s".into(), None));
        let counts = case.drop(&world, "2.csv", &rows).await.counts.unwrap();
        assert_eq!((counts.unchanged, counts.inserted), (counts.read, 0), "{name}: {counts:?}");
    }
    let night = reconcile(&world).await;
    assert!(night.is_clean(), "{night:?}");
}

#[tokio::test]
async fn rows_that_wait_keep_the_others_from_getting_new_keys() {
    let (world, folder) = covering("version =", &[]).await;
    let waiting = |content: &str| {
        let text = FLOW.replace("version =", content) + "\n[reference]\ncolumn = \"note\"\ndataset = \"owner\"\n";
        std::fs::write(folder.path().join("flow.toml"), text).unwrap();
    };
    waiting("version =");
    let world = world.under(&[]);
    world.drop_file("incoming/owners/0.csv", "owner_id,revision\ntea,1\n").await;
    assert_eq!(drop_flows(&world, "1", &["01,5,tea", "01,5,cake", "01,5,cake"]).await.counts.unwrap().parked, 2);
    waiting(DAYS_AND_AMOUNTS);
    let world = world.under(&[]);
    let said = rekey(&world, &folder, &[]);
    assert!(said.starts_with("exit 3") && said.contains("2 rows wait for rows of another dataset"), "{said}");
    assert_eq!(
        world.drop_file("incoming/owners/1.csv", "owner_id,revision\ncake,1\n").await.counts.unwrap().released,
        2
    );
    let said = rekey(&world, &folder, &[]);
    assert!(said.contains("rows that got another key: 3 of 3"), "{said}");
    assert_eq!(world.query(&made(false)).await, "0\n0");
    assert_eq!(drop_flows(&world, "2", &["01,5,cake", "01,5,tea", "01,5,cake"]).await.counts.unwrap().inserted, 0);
    let night = reconcile(&world).await;
    assert!(night.is_clean(), "{night:?}");
}

/// Nothing is in the table yet that would tell which list its keys cover.
#[tokio::test]
async fn two_loads_that_are_under_way_at_once_have_keys_of_one_form() {
    let (old, folder) = covering("version =", &[]).await;
    old.put("incoming/flows/1.csv", flows(&["01,5,tea"])).await;
    let proxy = old.proxy();
    let worker = old.signalled_worker("incoming/flows/1.csv", &proxy, (Which::Commit, 2), Fault::Call, "KILL");
    assert!(worker.finish().await.is_none());
    assert_eq!(old.query("select state from etl.load; select count(*) from flow").await, "loading\n0");
    define(&folder, DAYS_AND_AMOUNTS);
    let old = old.under(&[]);
    old.put("incoming/flows/2.csv", flows(&["01,5,tea"])).await;
    let error = old.try_load("incoming/flows/2.csv").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.chain().contains("for load 1, which has not ended, it covers"), "{}", error.chain());
    // The first one ends as it began.
    old.end_leases().await;
    assert_eq!(old.load("incoming/flows/1.csv").await.counts.unwrap().inserted, 1);
    assert_eq!(old.query(&made(true)).await, "0\n0");
}
