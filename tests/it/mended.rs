//! A row that mends a reject is a part of the file in which it was bad: an older file and a newer one treat it as if it had been good there.

use small_etl::domain::{Counts, LoadStatus};
use small_etl::pipeline::Request;

use crate::keys::{OWNER, put_holdings, seconds_after_noon, written};
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::world::World;

const COLUMNS: &str = r#"
[[column]]
name = "s"
type = "text"
required = true

[[column]]
name = "k"
type = "text"
required = true

[[column]]
name = "v"
type = "integer"
max = 5

[[column]]
name = "t"
type = "bigint"

[[column]]
name = "p"
type = "text"

[reference]
column = "p"
dataset = "owner"
"#;

const HEADER: &str = "s,k,v,t,p,op";

const TOMBSTONE: &str =
    "[tombstone]\ncolumn = \"op\"\nvalues = [\"D\"]\nin_table = false\n[[column]]\nname = \"op\"\ntype = \"text\"\n";

const BY_ARRIVAL: &str = "key = \"k\"\nversion = \"arrival\"";
const BY_TIME: &str = "key = \"k\"\nversion = \"t\"";
const REPLACED: &str = "mode = \"replace\"\nkey = [\"s\", \"k\"]\nreplace_by = \"s\"";

/// A world whose only rule is that `v` is at most 5.
async fn world(options: &str) -> (World, Scratch) {
    let folder = Scratch::new("mended");
    let op = if options.contains("replace") { "[[column]]\nname = \"op\"\ntype = \"ignored\"\n" } else { TOMBSTONE };
    // A version is required.
    let columns =
        COLUMNS.replace("bigint\"\n", if options == BY_TIME { "bigint\"\nrequired = true\n" } else { "bigint\"\n" });
    let files = "files = [\"incoming/holdings/*\"]\nnull_values = [\"\"]";
    let definition = format!("name = \"holding\"\ntable = \"holding\"\n{files}\n{options}\n{op}{columns}");
    std::fs::write(folder.path().join("holding.toml"), definition).unwrap();
    std::fs::write(folder.path().join("owner.toml"), OWNER).unwrap();
    let path = folder.path().display().to_string();
    let world = World::with(&[("DATASETS__PATH", &path), ("LOAD__BATCH_SIZE", "2")]).await;
    let unique = if options.contains("[\"s\"") { "s, k" } else { "k" };
    world
        .query(&format!(
            "create table owner (owner_id text primary key, revision bigint not null); \
             create table holding (s text, k text, v integer, t bigint, p text, gone boolean not null default false, unique ({unique}))"
        ))
        .await;
    (world, folder)
}

/// Fills rows up with empty cells.
fn text<'a>(header: &str, rows: impl Iterator<Item = (String, &'a str)>) -> String {
    rows.fold(format!("{header}{HEADER}\n"), |text, (place, row)| {
        let missing = HEADER.matches(',').count() - row.matches(',').count();
        format!("{text}{place}{row}{}\n", ",".repeat(missing))
    })
}

async fn run(world: &World, name: &str, seconds: i64, again: bool) -> Counts {
    let request = Request { again, ..written(world, name, seconds_after_noon(seconds)).await };
    let report = world.run(&request).await.unwrap();
    assert_eq!(report.status, LoadStatus::Loaded, "{report:?}");
    report.counts.unwrap()
}

/// Loads a file that was written so many seconds after noon.
async fn load(world: &World, name: &str, seconds: i64, rows: &[&str]) -> Counts {
    put_holdings(world, name, text("", rows.iter().map(|row| (String::new(), *row)))).await;
    run(world, name, seconds, false).await
}

/// Loads a file of mended rows, each with the load and the record that it mends.
async fn mend(world: &World, name: &str, seconds: i64, rows: &[(i64, i64, &str)]) -> Counts {
    let rows = rows.iter().map(|(load, record, row)| (format!("{load},{record},"), *row));
    put_holdings(world, name, text("_load_id,_record,", rows)).await;
    run(world, name, seconds, false).await
}

async fn bring_owner(world: &World, owner: &str) {
    world.drop_file(&format!("incoming/owners/{owner}.csv"), format!("owner_id,revision\n{owner},1\n")).await;
}

async fn present(world: &World) -> String {
    world.query("select string_agg(s || k || v, ' ' order by s, k) from holding where not gone").await
}

#[tokio::test]
async fn a_mended_tombstone_deletes_a_row_of_an_older_file_and_none_of_a_newer_one() {
    let (world, _folder) = world(BY_ARRIVAL).await;
    load(&world, "0", 1, &["x,a,1"]).await;
    load(&world, "1", 2, &["x,,,,,D", "x,,,,,D"]).await;
    load(&world, "2", 3, &["x,b,4"]).await;
    let counts = mend(&world, "m", 9, &[(2, 1, "x,a,,,,D"), (2, 2, "x,b,,,,D")]).await;
    assert_eq!((counts.removed, counts.stale), (1, 1));
    assert_eq!(present(&world).await, "xb4");
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test]
async fn a_mended_tombstone_that_is_kept_ranks_with_the_file_in_which_it_was_bad() {
    let (world, _folder) = world(BY_ARRIVAL).await;
    load(&world, "1", 2, &["x,,,,,D", "x,,,,,D", "x,,,,,D"]).await;
    load(&world, "7", 7, &["x,c,,,,D"]).await;
    let mended = [(1, 1, "x,a,,,,D"), (1, 2, "x,b,,,,D"), (1, 3, "x,c,,,,D")];
    assert_eq!(mend(&world, "m", 9, &mended).await.unchanged, 3);
    assert_eq!(load(&world, "0", 1, &["x,a,1"]).await.stale, 1, "an older row is stale");
    assert_eq!(load(&world, "5", 5, &["x,b,2"]).await.inserted, 1, "a newer row is not");
    assert_eq!(load(&world, "6", 6, &["x,c,3"]).await.stale, 1, "the tombstone of a newer file stays");
    assert_eq!(load(&world, "8", 8, &["x,c,4"]).await.inserted, 1);
    assert_eq!(present(&world).await, "xb2 xc4");
}

#[tokio::test]
async fn a_file_that_is_loaded_again_keeps_the_rows_that_mended_its_rejects() {
    for options in ["", "\nmax_delete_rate = 0.1"] {
        let (world, _folder) = world(&format!("{REPLACED}{options}")).await;
        load(&world, "0", 5, &["A,c,5"]).await;
        bring_owner(&world, "X").await;
        load(&world, "1", 10, &["A,b,1", "A,b,2", "A,c,9", "A,d,9,,X", "A,e,9,,W"]).await;
        mend(&world, "m1", 15, &[(3, 1, "A,a,1"), (3, 3, "A,c,1"), (3, 5, "A,e,1,,W")]).await;
        assert_eq!(present(&world).await, "Aa1 Ab2 Ac1");
        assert_eq!(run(&world, "1", 10, true).await.deleted, 0, "{options}");
        assert_eq!(present(&world).await, "Aa1 Ab2 Ac1");
        // Also one that names the first run, and one that waits.
        assert_eq!(mend(&world, "m2", 16, &[(3, 4, "A,d,1,,X")]).await.inserted, 1);
        bring_owner(&world, "W").await;
        assert_eq!(present(&world).await, "Aa1 Ab2 Ac1 Ad1 Ae1");
        assert_eq!(world.query("select count(*) from etl.open_reject where key <> 'A,e'").await, "0");
        assert!(reconcile(&world).await.is_clean());
        if options.is_empty() {
            assert_eq!(load(&world, "2", 20, &["A,b,2"]).await.deleted, 4, "a newer file does not have them");
        }
    }
}

#[tokio::test]
async fn an_older_file_deletes_no_mended_row_of_a_newer_one() {
    for options in ["", "\ndeleted = \"gone\""] {
        let (world, _folder) = world(&format!("{REPLACED}{options}")).await;
        load(&world, "0", 5, &["B,z,5"]).await;
        load(&world, "1", 20, &["A,a,1", "B,b,9"]).await;
        mend(&world, "m", 25, &[(2, 2, "B,b,3")]).await;
        assert_eq!(load(&world, "2", 10, &["B,c,1"]).await.deleted, 1);
        assert_eq!(present(&world).await, "Aa1 Bb3 Bc1", "{options}");
        assert_eq!(load(&world, "3", 30, &["B,c,1"]).await.deleted, 1);
        assert_eq!(present(&world).await, "Aa1 Bc1", "a newer file deletes it");
        assert!(reconcile(&world).await.is_clean());
    }
}

#[tokio::test]
async fn a_mended_row_that_waits_does_not_come_into_a_scope_that_a_newer_file_has_replaced() {
    let (world, _folder) = world(REPLACED).await;
    bring_owner(&world, "Y").await;
    load(&world, "1", 1, &["A,a,9,,X", "A,z,1,,Y"]).await;
    assert_eq!(mend(&world, "m", 30, &[(2, 1, "A,a,3,,X")]).await.parked, 1);
    assert_eq!(load(&world, "2", 20, &["A,b,1,,Y"]).await.deleted, 1);
    bring_owner(&world, "X").await;
    assert_eq!(present(&world).await, "Ab1");
    assert_eq!(world.query("select outcome from etl.parked").await, "stale");
}

#[tokio::test]
async fn a_row_that_waits_goes_on_waiting_where_a_newer_file_may_not_delete_it() {
    // The record without a key may be any row, and the reject with its key is this row.
    for (bad, left) in [("A,,1", "Aa1 Ab1 Ac1"), ("A,a,9", "Aa1 Ab1")] {
        let (world, _folder) = world(REPLACED).await;
        assert_eq!(load(&world, "1", 10, &["A,a,1,,X", "A,c,1,,X"]).await.parked, 2);
        load(&world, "2", 20, &["A,b,1", bad]).await;
        bring_owner(&world, "X").await;
        assert_eq!(present(&world).await, left, "{bad}");
        assert!(reconcile(&world).await.is_clean());
    }
}

#[tokio::test]
async fn a_row_that_moves_between_scopes_ends_where_its_last_file_has_it_in_whatever_order_they_come() {
    let files = [("P", 5, &["B,k,1"][..]), ("Q", 10, &["A,k,2", "A,z,2"]), ("R", 20, &["A,z,3"])];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (world, _folder) = world("mode = \"replace\"\nkey = \"k\"\nreplace_by = \"s\"").await;
        for (name, seconds, rows) in order.map(|nth| files[nth]) {
            load(&world, name, seconds, rows).await;
        }
        assert_eq!(present(&world).await, "Az3", "{order:?}");
    }
}
