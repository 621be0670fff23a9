//! Records that delete a row: whatever comes in whatever order, the newest row or tombstone of a key decides.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use insta::assert_snapshot;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use small_etl::domain::{Counts, LoadReport, LoadStatus};
use small_etl::error::ErrorKind;
use small_etl::pipeline;

use crate::command_line::{small_etl, text};
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::world::World;

pub const QUOTE: &str = r#"
name = "quote"
table = "quote"
key = "code"
version = "revision"
files = ["incoming/quotes/*"]
null_values = [""]

[tombstone]
column = "op"
values = ["D"]
in_table = false

[[column]]
name = "op"
type = "text"
allowed = ["I", "U", "D"]

[[column]]
name = "code"
type = "text"
required = true
pattern = "[A-Z][0-9]*"

[[column]]
name = "revision"
type = "bigint"
required = true

[[column]]
name = "bid"
type = "integer"
required = true

[[rule]]
id = "bid_is_small"
column = "bid"
check = "bid < 1000"
message = "bid is 1000 or more"

[[statistic]]
id = "rows"
expression = "count(*)"
"#;

pub const QUOTE_TABLE: &str =
    "create table quote (code text primary key, revision bigint not null, bid integer not null)";

/// Rows without a version, whose tombstones stand in the table's own column.
const STOCK: &str = r#"
name = "stock"
table = "stock"
key = ["code", "place"]
version = "arrival"
files = ["incoming/stocks/*"]
null_values = [""]

[tombstone]
column = "state"
values = [0, 9]

[[column]]
name = "code"
type = "text"
required = true

[[column]]
name = "place"
type = "integer"
required = true

[[column]]
name = "state"
type = "integer"

[reference]
column = "code"
dataset = "quote"
"#;

const STOCK_TABLE: &str = "create table stock (code text, place integer, state integer, primary key (code, place))";

async fn world(settings: &[(&str, &str)]) -> (World, Scratch) {
    let folder = Scratch::new("tombstones");
    for (name, text) in [("quote", QUOTE), ("stock", STOCK)] {
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    let path = folder.path().display().to_string();
    let world = World::with(&[settings, &[("DATASETS__PATH", &path)]].concat()).await;
    world.query(&format!("{QUOTE_TABLE}; {STOCK_TABLE}")).await;
    (world, folder)
}

fn quotes(rows: &[&str]) -> String {
    rows.iter().fold("op,code,revision,bid\n".to_owned(), |text, row| text + row + "\n")
}

async fn drop_quotes(world: &World, name: &str, rows: &[&str]) -> LoadReport {
    world.drop_file(&format!("incoming/quotes/{name}.csv"), quotes(rows)).await
}

/// Inserted, updated, removed, unchanged, stale, parked, rejected.
fn figures(report: &LoadReport) -> [i64; 7] {
    assert_eq!(report.status, LoadStatus::Loaded, "{report:?}");
    let counts = report.counts.unwrap();
    assert!(counts.is_balanced() && counts.warnings == 0, "{counts:?}");
    let Counts { inserted, updated, removed, unchanged, stale, parked, rejected, .. } = counts;
    [inserted, updated, removed, unchanged, stale, parked, rejected]
}

const PRESENT: &str = "select code, revision, bid from quote order by 1";
const KEPT: &str = "select dataset, key, version, load_id from etl.tombstone order by 1, 2";

#[tokio::test]
async fn a_tombstone_deletes_its_row_and_an_older_row_is_stale_also_where_none_had_come() {
    let (world, scratch) = world(&[]).await;
    let first = drop_quotes(&world, "1", &["I,A,1,10", "I,B,1,20", "I,C,3,30", ",E,1,50"]).await;
    assert_eq!(figures(&first), [4, 0, 0, 0, 0, 0, 0]);
    // A is deleted, B changes, of C a newer row is there, and X has never come.
    let second = drop_quotes(&world, "2", &["D,A,2,", "U,B,2,21", "D,C,2,", "D,X,5,"]).await;
    assert_eq!(figures(&second), [0, 1, 1, 1, 1, 0, 0]);
    assert_eq!(second.statistics["rows"], 1, "statistics are those of rows");
    assert_eq!(world.query(PRESENT).await, "B | 2 | 21\nC | 3 | 30\nE | 1 | 50");
    assert_eq!(world.query(KEPT).await, "quote | A | 2 | 2\nquote | X | 5 | 2");
    let late = drop_quotes(&world, "3", &["I,A,1,11", "U,X,4,1"]).await;
    assert_eq!(figures(&late), [0, 0, 0, 0, 2, 0, 0]);
    let explained = text(&small_etl(&scratch, &world.variables(), &["explain", "quote", "A"]));
    assert!(explained.contains("load 2 brought a tombstone with version 2, and older rows are stale"), "{explained}");
    assert!(explained.contains("line 2: removed") && explained.contains("line 2: stale"), "{explained}");
    // The same again, an older one, and a newer one.
    let again = drop_quotes(&world, "4", &["D,A,2,", "D,X,4,", "D,B,1,"]).await;
    assert_eq!(figures(&again), [0, 0, 0, 1, 2, 0, 0]);
    let newer = drop_quotes(&world, "5", &["I,A,3,12", "I,X,5,13", "D,E,7,"]).await;
    assert_eq!(figures(&newer), [2, 0, 1, 0, 0, 0, 0], "of two with one version the later load decides");
    assert_eq!(world.query(PRESENT).await, "A | 3 | 12\nB | 2 | 21\nC | 3 | 30\nX | 5 | 13");
    assert_eq!(world.query(KEPT).await, "quote | A | 2 | 4\nquote | E | 7 | 5\nquote | X | 5 | 2");
    assert!(reconcile(&world).await.is_clean());
    assert_eq!(
        world.query("select load_id, removed from etl.load_history order by 1").await,
        "1 | 0\n2 | 1\n3 | 0\n4 | 0\n5 | 1"
    );
}

#[tokio::test]
async fn of_a_tombstone_only_key_version_and_the_column_that_tells_are_checked() {
    let (world, _folder) = world(&[]).await;
    drop_quotes(&world, "1", &["I,A,1,10", "I,B,1,20", "I,C,1,30"]).await;
    let report =
        drop_quotes(&world, "2", &["D,A,2,much", "D,B,2,5000", "D,c,2,1", "D,C,two,1", "X,C,2,1", "U,C,2,5000", "D,C"])
            .await;
    assert_eq!(figures(&report), [0, 0, 2, 0, 0, 0, 5]);
    assert_eq!(world.query(PRESENT).await, "C | 1 | 30");
    assert_snapshot!(world.query("select line, \"column\", rule from etl.reject order by record, id").await, @r"
    4 | code | pattern
    5 | revision | integer
    6 | op | allowed
    7 | bid | bid_is_small
    8 | - | field_count
    ");
    // A mended tombstone is one.
    let rejects = world.get(&world.bucket, "rejects/quote/2.csv").await;
    let mended = rejects.replace(",two,", ",3,");
    let mended: Vec<&str> = mended.lines().filter(|line| line.starts_with('_') || line.contains("D,C,3")).collect();
    let report = world.drop_file("incoming/quotes/3.csv", mended.join("\n")).await;
    assert_eq!(figures(&report), [0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(world.query("select record from etl.open_reject order by 1").await, "3\n5\n6\n7");
}

#[tokio::test]
async fn of_a_row_and_a_tombstone_with_one_key_in_a_file_the_newer_counts() {
    let (world, _folder) = world(&[]).await;
    let report =
        drop_quotes(&world, "1", &["D,A,2,", "I,A,1,1", "I,B,1,1", "D,B,1,", "I,C,1,1", "D,C,1,", "I,C,2,2"]).await;
    assert_eq!(figures(&report), [1, 0, 0, 2, 0, 0, 4]);
    assert_eq!(world.query(PRESENT).await, "C | 2 | 2");
}

/// What one record says of its key: the revision, and the bid of a row.
type Said = (i64, Option<i64>);

fn random_file(random: &mut ChaCha8Rng, keys: usize) -> Vec<(usize, Said)> {
    let mut rows: Vec<(usize, Said)> = Vec::new();
    for key in 0..keys {
        if random.random_bool(0.6) {
            let bid = random.random_bool(0.6).then(|| random.random_range(1..900));
            rows.push((key, (random.random_range(1..5), bid)));
        }
    }
    rows
}

fn as_text(rows: &[(usize, Said)]) -> String {
    let mut text = quotes(&[]);
    for (key, (revision, bid)) in rows {
        match bid {
            Some(bid) => writeln!(text, "U,K{key},{revision},{bid}").unwrap(),
            None => writeln!(text, "D,K{key},{revision},").unwrap(),
        }
    }
    text
}

/// The newest of what the files say; of two with the same revision that of the later claim.
fn model(files: &[Vec<(usize, Said)>]) -> String {
    let mut newest: BTreeMap<String, Said> = BTreeMap::new();
    for (key, said) in files.iter().flatten() {
        let known = newest.entry(format!("K{key}")).or_insert(*said);
        if said.0 >= known.0 {
            *known = *said;
        }
    }
    let rows = newest.iter().filter_map(|(key, (revision, bid))| Some(format!("{key} | {revision} | {}", (*bid)?)));
    rows.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn files_in_any_order_and_of_any_batch_size_end_as_the_model_says() {
    let mut random = ChaCha8Rng::seed_from_u64(24);
    for batch_size in ["1", "7", "10000"] {
        let (world, _folder) = world(&[("LOAD__BATCH_SIZE", batch_size)]).await;
        let mut files: Vec<Vec<(usize, Said)>> = Vec::new();
        for number in 0..6 {
            let file = random_file(&mut random, 24);
            world.put(&format!("incoming/quotes/{number}.csv"), as_text(&file)).await;
            let report = world.load(&format!("incoming/quotes/{number}.csv")).await;
            assert_eq!(report.status, LoadStatus::Loaded);
            assert!(report.counts.unwrap().is_balanced());
            // Each is delivered once more, and changes nothing.
            assert_eq!(world.load(&format!("incoming/quotes/{number}.csv")).await.status, LoadStatus::Duplicate);
            files.push(file);
            assert_eq!(world.query(PRESENT).await, model(&files), "batches of {batch_size}, file {number}");
        }
        assert!(reconcile(&world).await.is_clean());
    }
}

#[tokio::test]
async fn files_that_overlap_and_load_at_once_end_as_one_after_the_other() {
    let mut random = ChaCha8Rng::seed_from_u64(25);
    for round in 0..3 {
        let (world, _folder) = world(&[("LOAD__BATCH_SIZE", "7")]).await;
        let files: Vec<Vec<(usize, Said)>> = (0..3).map(|_| random_file(&mut random, 40)).collect();
        let keys: Vec<String> = (0..3).map(|number| format!("incoming/quotes/{number}.csv")).collect();
        for (key, file) in keys.iter().zip(&files) {
            world.put(key, as_text(file)).await;
        }
        let requests: Vec<_> = keys.iter().map(|key| world.request(key)).collect();
        // Three deliveries of each.
        let runs = (0..9).map(|number| pipeline::run(&world.context, &world.database, &requests[number % 3]));
        for done in futures::future::join_all(runs).await {
            assert!(matches!(
                done.unwrap()[0].status,
                LoadStatus::Loaded | LoadStatus::InProgress | LoadStatus::Duplicate
            ));
        }
        assert!(world.overlaps().await > 0, "round {round}");
        let claimed = world.query("select key from etl.load order by id").await;
        let number = |key: &str| keys.iter().position(|known| known == key).unwrap();
        let claimed: Vec<Vec<(usize, Said)>> = claimed.lines().map(|key| files[number(key)].clone()).collect();
        assert_eq!(world.query(PRESENT).await, model(&claimed), "round {round}");
        assert_eq!(world.query("select count(*) from etl.load where state <> 'loaded'").await, "0");
        assert!(reconcile(&world).await.is_clean());
    }
}

#[tokio::test]
async fn a_load_that_is_killed_anywhere_ends_as_one_that_was_not() {
    let mut random = ChaCha8Rng::seed_from_u64(26);
    let files: Vec<Vec<(usize, Said)>> = (0..2).map(|_| random_file(&mut random, 40)).collect();
    let outcome = "select * from quote order by 1; select dataset, key, version, load_id from etl.tombstone order by 1, 2; \
        select read, inserted, updated, removed, unchanged, stale from etl.load order by id; \
        select i.load_id, n.* from etl.lineage i, unnest(keys, lines, outcomes) n order by 1, 3";
    let (quiet, _folder) = world(&[("LOAD__BATCH_SIZE", "7")]).await;
    for (number, file) in files.iter().enumerate() {
        quiet.drop_file(&format!("incoming/quotes/{number}.csv"), as_text(file)).await;
    }
    let expected = quiet.query(outcome).await;
    for commit in [2, 4, 5] {
        let (world, _folder) = world(&[("LOAD__BATCH_SIZE", "7")]).await;
        world.drop_file("incoming/quotes/0.csv", as_text(&files[0])).await;
        world.put("incoming/quotes/1.csv", as_text(&files[1])).await;
        let proxy = world.proxy();
        let worker =
            world.signalled_worker("incoming/quotes/1.csv", &proxy, (Which::Commit, commit), Fault::Call, "KILL");
        assert!(worker.finish().await.is_none());
        world.end_leases().await;
        assert_eq!(world.load("incoming/quotes/1.csv").await.status, LoadStatus::Loaded);
        assert_eq!(world.query(outcome).await, expected, "killed at commit {commit}");
    }
}

fn stocks(rows: &[&str]) -> String {
    rows.iter().fold("code,place,state\n".to_owned(), |text, row| text + row + "\n")
}

#[tokio::test]
async fn without_a_version_the_later_object_decides_and_tombstones_wait_for_no_reference() {
    let (world, _folder) = world(&[]).await;
    drop_quotes(&world, "1", &["I,A,1,1"]).await;
    let drop = async |name: &str, rows: &[&str]| {
        figures(&world.drop_file(&format!("incoming/stocks/{name}.csv"), stocks(rows)).await)
    };
    assert_eq!(drop("1", &["A,1,5", "A,2,5", "Z,1,5", "Z,2,5"]).await, [2, 0, 0, 0, 0, 2, 0]);
    // Of a row that waits, the table has none, and it is stale when its reference comes.
    assert_eq!(drop("2", &["A,1,0", "Z,1,9", "Q,1,0"]).await, [0, 0, 1, 2, 0, 0, 0]);
    drop_quotes(&world, "2", &["I,Z,1,1"]).await;
    assert_eq!(world.query("select key, outcome from etl.parked order by 1").await, "Z,1 | stale\nZ,2 | inserted");
    assert_eq!(world.query("select * from stock order by 1, 2").await, "A | 2 | 5\nZ | 2 | 5");
    assert_eq!(drop("3", &["A,1,6"]).await, [1, 0, 0, 0, 0, 0, 0]);
    // An earlier object that comes late: its row does not come back, and its tombstone takes nothing away.
    world.query("update etl.load set arrival = arrival + 100").await;
    assert_eq!(drop("0", &["A,1,0", "Q,1,7", "A,3,0"]).await, [0, 0, 0, 1, 1, 1, 0]);
    assert_eq!(world.query("select * from stock order by 1, 2").await, "A | 1 | 6\nA | 2 | 5\nZ | 2 | 5");
}

#[tokio::test]
async fn a_row_that_others_refer_to_is_kept_by_a_foreign_key_and_otherwise_found_at_night() {
    let (world, _folder) = world(&[]).await;
    drop_quotes(&world, "1", &["I,A,1,1", "I,B,1,1"]).await;
    world.drop_file("incoming/stocks/1.csv", stocks(&["A,1,5"])).await;
    world.query("alter table stock add constraint of_quote foreign key (code) references quote").await;
    let report = drop_quotes(&world, "2", &["D,A,2,", "D,B,2,"]).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("constraint_violated")));
    let error = report.error.unwrap();
    assert!(error.contains("rows of table stock refer to it") && error.contains("of_quote"), "{error}");
    assert_eq!(world.query("select count(*) from quote").await, "2", "the batch is whole or not at all");
    world.query("alter table stock drop constraint of_quote").await;
    assert_eq!(figures(&drop_quotes(&world, "3", &["D,A,3,"]).await), [0, 0, 1, 0, 0, 0, 0]);
    let found = reconcile(&world).await;
    assert!(found.discrepancies.iter().any(|found| found.message.contains("refer")), "{:?}", found.discrepancies);
}

#[tokio::test]
async fn the_role_of_ingest_may_delete_only_where_tombstones_are_declared() {
    let (world, folder) = world(&[]).await;
    let may = "select has_table_privilege('small_etl_ingest', 'quote', 'delete')";
    assert_eq!(world.query(may).await, "t");
    let plain = QUOTE.replace("[tombstone]\ncolumn = \"op\"\nvalues = [\"D\"]\nin_table = false\n", "");
    std::fs::write(
        folder.path().join("quote.toml"),
        plain.replace(
            "name = \"op\"\ntype = \"text\"\nallowed = [\"I\", \"U\", \"D\"]",
            "name = \"op\"\ntype = \"ignored\"",
        ),
    )
    .unwrap();
    let world = world.under(&[]);
    world.migrate(None).await;
    assert_eq!(world.query(may).await, "f");
    std::fs::write(folder.path().join("quote.toml"), QUOTE).unwrap();
    let world = world.under(&[]);
    world.put("incoming/quotes/1.csv", quotes(&["D,A,1,"])).await;
    let error = world.try_load("incoming/quotes/1.csv").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.chain().contains("run: grant delete on public.quote to"), "{}", error.chain());
    world.migrate(None).await;
    world.query("create table follower (code text references quote on delete cascade)").await;
    let world = world.under(&[]);
    let error = world.try_load("incoming/quotes/1.csv").await.unwrap_err().chain();
    assert!(error.contains("changes its rows when a row is deleted here"), "{error}");
}
