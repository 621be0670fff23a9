//! Mode `replace`: a file is the whole truth for its scope. `modes` shows that the order of files does not matter.

use small_etl::domain::{LoadReport, LoadStatus};
use small_etl::pipeline::Request;

use crate::command_line::{small_etl, text};
use crate::nightly::reconcile;
use crate::object_parts::archive;
use crate::support::Scratch;
use crate::world::World;

const POSITION: &str = r#"
name = "position"
table = "position"
mode = "replace"
key = ["account", "code"]
replace_by = "account"
files = ["incoming/positions/*"]
null_values = [""]

[[column]]
name = "account"
type = "integer"
required = true

[[column]]
name = "code"
type = "text"
required = true

[[column]]
name = "price"
type = "decimal"
precision = 10
scale = 2
max = 99

[[column]]
name = "owner"
type = "text"

[reference]
column = "owner"
dataset = "owner"
"#;

const OWNER: &str = r#"
name = "owner"
table = "owner"
key = "owner_id"
version = "arrival"
files = ["incoming/owners/*"]

[[column]]
name = "owner_id"
type = "text"
required = true
"#;

const TABLES: &str = "create table owner (owner_id text primary key); \
    create table position (account integer, code text, price numeric(12, 4), owner text, gone boolean not null default false, primary key (account, code))";

async fn world(options: &str) -> (World, Scratch) {
    let folder = Scratch::new("replace");
    define(&folder, options);
    std::fs::write(folder.path().join("owner.toml"), OWNER).unwrap();
    let path = folder.path().display().to_string();
    let world = World::with(&[("DATASETS__PATH", &path), ("LOAD__BATCH_SIZE", "2")]).await;
    world.query(TABLES).await;
    (world, folder)
}

fn define(folder: &Scratch, options: &str) {
    let text = POSITION.replace("null_values", &format!("{options}\nnull_values"));
    std::fs::write(folder.path().join("position.toml"), text).unwrap();
}

async fn drop_positions(world: &World, name: &str, rows: &[&str]) -> LoadReport {
    let text = rows.iter().fold("account,code,price,owner\n".to_owned(), |text, row| format!("{text}{row}\n"));
    world.drop_file(&format!("incoming/positions/{name}.csv"), text).await
}

/// New, changed and unchanged rows, rejected and parked ones, and rows that were deleted.
fn counts(report: &LoadReport) -> (i64, i64, i64, i64, i64, i64) {
    assert_eq!(report.status, LoadStatus::Loaded, "{report:?}");
    let counts = report.counts.unwrap();
    assert!(counts.is_balanced(), "{counts:?}");
    (counts.inserted, counts.updated, counts.unchanged, counts.rejected, counts.parked, counts.deleted)
}

const PRESENT: &str = "select account, code, price from position where not gone order by 1, 2";
const BALANCE: &str = "select load_id, scopes, rows_before, inserted, deleted, elsewhere, rows_after, kept, array_to_string(deleted_keys, ';') as keys from etl.replacement order by 1";

#[tokio::test]
async fn what_a_file_does_not_have_is_gone_from_its_scopes_and_explained() {
    let (world, scratch) = world("").await;
    assert_eq!(counts(&drop_positions(&world, "1", &["1,A,1,", "1,B,2,", "2,A,3,"]).await), (3, 0, 0, 0, 0, 0));
    // The table prints more decimals than the file has.
    assert_eq!(counts(&drop_positions(&world, "2", &["1,A,1.00,", "1,C,4,", "1,D,5,"]).await), (2, 0, 1, 0, 0, 1));
    assert_eq!(world.query(PRESENT).await, "1 | A | 1.0000\n1 | C | 4.0000\n1 | D | 5.0000\n2 | A | 3.0000");
    let balance = world.query(BALANCE).await;
    assert_eq!(balance, "1 | {1,2} | 0 | 3 | 0 | 0 | 3 | - | \n2 | {1} | 2 | 2 | 1 | 0 | 3 | - | 1,B");
    assert_eq!(world.query("select load_id, deleted from etl.load_history order by 1").await, "1 | 0\n2 | 1");
    let explained = text(&small_etl(&scratch, &world.variables(), &["explain", "position", "1", "B"]));
    for part in ["no such row in the table", "line 3: inserted", "2.csv: deleted ", "because the file does not have it"]
    {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    assert!(reconcile(&world).await.is_clean());
    // The row comes back.
    assert_eq!(counts(&drop_positions(&world, "3", &["1,B,2,"]).await), (1, 0, 0, 0, 0, 3));
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test]
async fn rows_may_be_flagged_instead() {
    let (world, scratch) = world("deleted = \"gone\"").await;
    drop_positions(&world, "1", &["1,A,1,", "1,B,2,", "2,A,3,"]).await;
    assert_eq!(counts(&drop_positions(&world, "2", &["1,A,1,"]).await), (0, 0, 1, 0, 0, 1));
    assert_eq!(
        world.query("select account, code, gone from position order by 1, 2").await,
        "1 | A | f\n1 | B | t\n2 | A | f"
    );
    // What is flagged is not flagged again, and comes back with its values.
    assert_eq!(counts(&drop_positions(&world, "3", &["1,A,1,", ""]).await), (0, 0, 1, 0, 0, 0));
    let explained = text(&small_etl(&scratch, &world.variables(), &["explain", "position", "1", "B"]));
    assert!(explained.contains("its present values come from") && explained.contains("2.csv: deleted "), "{explained}");
    assert!(!explained.contains("another program"), "{explained}");
    assert_eq!(counts(&drop_positions(&world, "4", &["1,A,1,", "1,B,2,"]).await), (0, 1, 1, 0, 0, 0));
    assert_eq!(world.query("select count(*) from position where gone").await, "0");
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test]
async fn rejected_and_parked_rows_count_as_present_and_an_unreadable_key_keeps_all() {
    let (world, _folder) = world("").await;
    drop_positions(&world, "1", &["1,A,1,", "1,B,2,", "1,C,3,", "2,A,1,"]).await;
    assert_eq!(counts(&drop_positions(&world, "2", &["1,A,100,", "1,B,2,O1", "1,D,1,"]).await), (1, 0, 0, 1, 1, 1));
    assert_eq!(world.query(PRESENT).await, "1 | A | 1.0000\n1 | B | 2.0000\n1 | D | 1.0000\n2 | A | 1.0000");
    // Its account cannot be read, so that it may be any row.
    assert_eq!(counts(&drop_positions(&world, "3", &["1,A,2,", "x,B,2,"]).await), (0, 1, 0, 1, 0, 0));
    assert_eq!(world.query("select kept from etl.replacement order by load_id desc limit 1").await, "unreadable_key");
    assert_eq!(world.query("select count(*) from position").await, "4");
    // A file of rejects is a part of the file in which they were bad.
    let rejects = world.get(&world.bucket, "rejects/position/3.csv").await;
    let mended = world.drop_file("incoming/positions/4.csv", rejects.replace(",x,", ",1,")).await;
    assert_eq!(mended.counts.unwrap().deleted, 0);
    assert_eq!(world.query("select count(*) from position").await, "4");
    // What waited in the second file is stale by now.
    drop_positions(&world, "5", &["1,A,2,"]).await;
    world.drop_file("incoming/owners/1.csv", "owner_id\nO1\n").await;
    assert_eq!(world.query(PRESENT).await, "1 | A | 2.0000\n2 | A | 1.0000");
    assert_eq!(world.query("select outcome from etl.parked").await, "stale");
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test]
async fn a_mended_row_of_an_older_file_does_not_come_back_into_a_scope_that_a_newer_one_has_replaced() {
    let (world, _folder) = world("").await;
    assert_eq!(counts(&drop_positions(&world, "1", &["1,A,1,", "1,B,200,", "2,A,300,"]).await), (1, 0, 0, 2, 0, 0));
    assert_eq!(counts(&drop_positions(&world, "2", &["1,A,2,"]).await), (0, 1, 0, 0, 0, 0));
    let rejects = world.get(&world.bucket, "rejects/position/1.csv").await;
    let mended = rejects.replace(",200,", ",20,").replace(",300,", ",30,");
    let mended = world.drop_file("incoming/positions/3.csv", mended).await.counts.unwrap();
    // No newer file has replaced the second account.
    assert_eq!((mended.inserted, mended.stale), (1, 1));
    assert_eq!(world.query(PRESENT).await, "1 | A | 2.0000\n2 | A | 30.0000");
    assert_eq!(world.query("select count(*) from etl.open_reject").await, "0");
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test]
async fn a_file_that_lacks_too_many_rows_fails_before_anything_is_written() {
    let (world, folder) = world("max_delete_rate = 0.5").await;
    drop_positions(&world, "1", &["1,A,1,", "1,B\\\\,2,", "1,C,3,", "1,D,4,", "2,A,1,"]).await;
    let report = drop_positions(&world, "2", &["1,A,9,"]).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("too_many_deletes")));
    let error = report.error.unwrap();
    assert!(
        error.contains("does not have 3 of the 4 rows of its scope, more than max_delete_rate = 0.5 allows"),
        "{error}"
    );
    assert_eq!(world.query("select count(*), sum(price) from position").await, "5 | 11.0000");
    assert_eq!(world.query("select count(*) from etl.load_batch where load_id = 2").await, "0");
    // Rejects are present. Half of the rows may go.
    assert_eq!(counts(&drop_positions(&world, "3", &["1,A,9,", "1,B\\\\,200,"]).await), (0, 1, 0, 1, 0, 2));
    define(&folder, "max_delete_rate = 1.0");
    let world = world.under(&[]);
    let again = Request { again: true, ..world.request("incoming/positions/2.csv") };
    assert_eq!(world.run(&again).await.unwrap().status, LoadStatus::Loaded);
}

#[tokio::test]
async fn an_empty_file_deletes_nothing_unless_its_definition_says_so() {
    let source = "\n[[source]]\nname = \"broker\"\nfiles = [\"incoming/sent/*\"]\n[[source.column]]\nname = \"account\"\nfrom = \"key\"\npattern = '_(\\d+)\\.csv$'\n\
        [[source.column]]\nname = \"code\"\n[[source.column]]\nname = \"price\"\n[[source.column]]\nname = \"owner\"\n";
    for (options, left) in [("", "3"), ("empty = \"delete\"", "1")] {
        let (world, folder) = world("").await;
        let text = std::fs::read_to_string(folder.path().join("position.toml")).unwrap();
        let text = text.replace("files = [\"incoming/positions/*\"]", options) + source;
        std::fs::write(folder.path().join("position.toml"), text).unwrap();
        let world = world.under(&[]);
        for (key, rows) in [("a_1", "A,1,\nB,2,\n"), ("a_2", "A,1,\n"), ("b_1", "")] {
            let report =
                world.drop_file(&format!("incoming/sent/{key}.csv"), format!("code,price,owner\n{rows}")).await;
            assert_eq!(report.status, LoadStatus::Loaded, "{report:?}");
        }
        assert_eq!(world.query("select count(*) from position").await, left, "{options}");
        assert!(reconcile(&world).await.is_clean());
    }
    // The whole table needs nobody who tells its scope.
    let (world, folder) = world("").await;
    let text = std::fs::read_to_string(folder.path().join("position.toml")).unwrap();
    std::fs::write(folder.path().join("position.toml"), text.replace("replace_by = \"account\"", "empty = \"delete\""))
        .unwrap();
    let world = world.under(&[]);
    drop_positions(&world, "1", &["1,A,1,", "2,B,2,"]).await;
    // Bad records are no reason to delete anything.
    assert_eq!(counts(&drop_positions(&world, "2", &["1,X,1000,"]).await), (0, 0, 0, 1, 0, 0));
    assert_eq!(counts(&drop_positions(&world, "3", &[]).await), (0, 0, 0, 0, 0, 2));
}

#[tokio::test]
async fn a_row_that_something_else_needs_fails_the_file_that_lacks_it() {
    let (world, _folder) = world("").await;
    drop_positions(&world, "1", &["1,A,1,", "1,B,2,"]).await;
    world.query("create table held (account integer, code text, foreign key (account, code) references position); insert into held values (1, 'B')").await;
    let report = drop_positions(&world, "2", &["1,A,3,"]).await;
    assert_eq!((report.status, report.reason.as_deref()), (LoadStatus::Failed, Some("constraint_violated")));
    assert_eq!(world.query(PRESENT).await, "1 | A | 3.0000\n1 | B | 2.0000", "what was committed stays");
    world.query("drop table held").await;
    let again = Request { again: true, ..world.request("incoming/positions/2.csv") };
    assert_eq!(world.run(&again).await.unwrap().counts.unwrap().deleted, 1);
    assert!(reconcile(&world).await.is_clean());
}

/// The query of the docs for readers who must not see a scope while it changes.
#[tokio::test]
async fn a_reader_may_ask_for_whole_states_only() {
    let docs = include_str!("../../docs/modes.md");
    let query = docs.split("```sql").find(|part| part.contains("not exists")).unwrap().split("```").next().unwrap();
    let (world, _folder) = world("").await;
    drop_positions(&world, "1", &["1,A,1,", "1,B,2,"]).await;
    assert_eq!(world.query(query).await.lines().count(), 2);
    // The state after the first batch of a second file.
    world.query("update etl.replacement set ended_at = null").await;
    assert_eq!(world.query(query).await, "");
}

/// What one part does not have, the others may.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_one_object_take_nothing_away_from_each_other() {
    let source = "[[source]]\nname = \"days\"\nfiles = [\"incoming/days/*.zip\"]\nmember = \"*.csv\"\n";
    for (scope, second, rows) in [
        ("replace_by = \"account\"", "2,x,3,\n", "1x 1y 2x"),
        ("replace_by = \"account\"", "1,z,3,\n", "1x 1y"),
        ("", "2,x,3,\n", "1x 1y"),
    ] {
        let (world, folder) = world("").await;
        let text = POSITION.replace("replace_by = \"account\"", scope) + source;
        std::fs::write(folder.path().join("position.toml"), text).unwrap();
        let world = world.under(&[]);
        let header = "account,code,price,owner\n";
        let zip = archive(&[("a.csv", &format!("{header}1,x,1,\n1,y,2,\n")), ("b.csv", &format!("{header}{second}"))]);
        world.put("incoming/days/1.zip", zip).await;
        let reports = world.load_parts("incoming/days/1.zip").await;
        assert_eq!(world.query("select string_agg(account || code, ' ' order by 1) from position").await, rows);
        if rows == "1x 1y" {
            let error = reports[1].error.as_deref().unwrap();
            assert!(error.contains("its part \"b.csv\" has rows of the same scope as its part \"a.csv\""), "{error}");
        }
        // Both are replaced by the next object.
        let zip = archive(&[("a.csv", &format!("{header}1,x,1,\n")), ("b.csv", &format!("{header}2,z,1,\n"))]);
        world.put("incoming/days/2.zip", zip).await;
        world.load_parts("incoming/days/2.zip").await;
        let rows = if scope.is_empty() { "1x" } else { "1x 2z" };
        assert_eq!(world.query("select string_agg(account || code, ' ' order by 1) from position").await, rows);
    }
}
