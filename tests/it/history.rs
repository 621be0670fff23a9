//! Rows as they were before a load overwrote or deleted them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use insta::assert_snapshot;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use small_etl::domain::{LoadReport, LoadStatus};
use small_etl::error::ErrorKind;
use small_etl::pipeline::{self, Request};

use crate::command_line::{small_etl, text};
use crate::nightly::reconcile;
use crate::support::Scratch;
use crate::support::proxy::{Fault, Which};
use crate::world::{World, moto};

pub const PRICE: &str = r#"
name = "price"
table = "price"
history = "price_history"
key = "code"
version = "revision"
files = ["incoming/prices/*"]
null_values = [""]

[tombstone]
column = "op"
values = ["D"]
in_table = false

[[column]]
name = "op"
type = "text"

[[column]]
name = "code"
type = "text"
required = true

[[column]]
name = "revision"
type = "bigint"
required = true

[[column]]
name = "bid"
type = "integer"
min = 0
"#;

/// A dataset without a version and without tombstones, whose rows wait for a price.
const ORDER: &str = r#"
name = "order"
table = "orders"
history = "old.orders"
key = ["code", "number"]
version = "arrival"
files = ["incoming/orders/*"]

[[column]]
name = "code"
type = "text"
required = true

[[column]]
name = "number"
type = "integer"
required = true

[[column]]
name = "volume"
type = "integer"

[reference]
column = "code"
dataset = "price"
"#;

pub const PRICE_TABLES: &str = "create table price (code text primary key, revision bigint not null, bid integer, written_by bigint, valid_from timestamptz); \
    create table price_history (code text not null, revision bigint not null, bid integer, written_by bigint, valid_from timestamptz, \
        replaced_by bigint not null, valid_to timestamptz not null, ended_as text not null)";
const ORDER_TABLES: &str = "create table orders (code text, number integer, volume integer, written_by bigint, valid_from timestamptz, primary key (code, number)); \
    create schema old; create table old.orders (code text, number integer, volume integer, written_by bigint, valid_from timestamptz, \
        replaced_by bigint not null, valid_to timestamptz not null, ended_as text not null)";

pub async fn world(settings: &[(&str, &str)]) -> (World, Scratch) {
    let folder = Scratch::new("history");
    for (name, text) in [("price", PRICE), ("order", ORDER)] {
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    let path = folder.path().display().to_string();
    let world = World::with(&[settings, &[("DATASETS__PATH", &path)]].concat()).await;
    world.query(&format!("{PRICE_TABLES}; {ORDER_TABLES}")).await;
    (world, folder)
}

pub fn prices(rows: &[&str]) -> String {
    rows.iter().fold("op,code,revision,bid\n".to_owned(), |text, row| text + row + "\n")
}

pub async fn drop_prices(world: &World, name: &str, rows: &[&str]) -> LoadReport {
    let report = world.drop_file(&format!("incoming/prices/{name}.csv"), prices(rows)).await;
    assert_eq!(report.status, LoadStatus::Loaded, "{report:?}");
    report
}

pub fn orders(rows: &[&str]) -> String {
    rows.iter().fold("code,number,volume\n".to_owned(), |text, row| text + row + "\n")
}

#[tokio::test]
async fn a_row_that_is_overwritten_or_deleted_is_kept_with_the_loads_that_wrote_and_replaced_it() {
    let (world, _folder) = world(&[]).await;
    drop_prices(&world, "1", &["I,A,1,10", "I,B,1,20", "I,C,1,30", "I,E,1,"]).await;
    // One changes, one is the same, one is deleted, one is older.
    drop_prices(&world, "2", &["U,A,2,11", "I,B,1,20", "D,C,2,", "U,E,0,5"]).await;
    drop_prices(&world, "3", &["U,A,3,12", "D,A,2,"]).await;
    assert_snapshot!(world.query("select code, revision, bid, written_by, replaced_by, ended_as from price_history order by valid_to, code").await, @"
    A | 1 | 10 | 1 | 2 | updated
    C | 1 | 30 | 1 | 2 | removed
    A | 2 | 11 | 2 | 3 | updated
    ");
    assert_snapshot!(world.query("select code, revision, bid, written_by from price order by 1").await, @"
    A | 3 | 12 | 3
    B | 1 | 20 | 1
    E | 1 | - | 1
    ");
    assert_eq!(world.query(GAPS).await, "0");
    assert!(reconcile(&world).await.is_clean());
}

/// Rows of the history that end at another moment than the next row of their key begins, or before they begin.
const GAPS: &str = "with held as ( \
        select code, valid_from, valid_to, ended_as from price_history union all select code, valid_from, null, null from price), \
    next as (select *, lead(valid_from) over (partition by code order by valid_from, valid_to nulls last) as following from held) \
    select count(*) from next where valid_from > valid_to or valid_from is null or ended_as = 'updated' and following is distinct from valid_to \
        or following < valid_to";

#[tokio::test]
async fn a_row_that_waited_is_that_of_its_own_load_and_what_it_replaces_is_kept() {
    let (world, _folder) = world(&[]).await;
    drop_prices(&world, "1", &["I,A,1,1"]).await;
    world.drop_file("incoming/orders/1.csv", orders(&["A,1,5", "B,1,6"])).await;
    world.drop_file("incoming/orders/2.csv", orders(&["B,1,7", "A,1,8"])).await;
    drop_prices(&world, "2", &["I,B,1,1"]).await;
    assert_eq!(world.query("select code, volume, written_by from orders order by 1").await, "A | 8 | 3\nB | 7 | 3");
    assert_eq!(
        world.query("select code, volume, written_by, replaced_by, ended_as from old.orders").await,
        "A | 5 | 2 | 3 | updated"
    );
    assert!(reconcile(&world).await.is_clean());
}

/// The query of docs/history.md.
fn as_of(at: &str) -> String {
    let page = include_str!("../../docs/history.md");
    let query = page.split("`as_of.sql`:\n\n```sql\n").nth(1).unwrap().split("```").next().unwrap();
    query.replace(":'at'", &format!("'{at}'"))
}

#[tokio::test]
async fn the_query_of_the_page_shows_the_table_as_it_was_after_each_load() {
    let mut random = ChaCha8Rng::seed_from_u64(31);
    for batch_size in ["1", "7", "10000"] {
        let (world, _folder) = world(&[("LOAD__BATCH_SIZE", batch_size)]).await;
        let (mut model, mut moments) = (BTreeMap::<usize, (i64, Option<i64>)>::new(), Vec::new());
        for number in 0..5 {
            let mut text = prices(&[]);
            for key in 0..25 {
                if random.random_bool(0.5) {
                    continue;
                }
                let (revision, bid) = (random.random_range(1..6), random.random_range(0..900));
                let removes = random.random_bool(0.3);
                writeln!(text, "{},K{key:02},{revision},{bid}", if removes { "D" } else { "U" }).unwrap();
                let known = model.entry(key).or_insert((0, None));
                if revision >= known.0 {
                    *known = (revision, (!removes).then_some(bid));
                }
            }
            let report = world.drop_file(&format!("incoming/prices/{number}.csv"), text).await;
            assert_eq!(report.status, LoadStatus::Loaded);
            let rows = model.iter().filter_map(|(key, (_, bid))| Some(format!("K{key:02} | {}", (*bid)?)));
            moments.push((world.query("select clock_timestamp()").await, rows.collect::<Vec<_>>().join("\n")));
        }
        for (at, rows) in moments {
            assert_eq!(world.query(&as_of(&at)).await, rows, "batches of {batch_size} at {at}");
        }
        assert_eq!(world.query(GAPS).await, "0");
        let kept = "select (select sum(updated + removed) from etl.load) - (select count(*) from price_history)";
        assert_eq!(world.query(kept).await, "0");
    }
}

#[tokio::test]
async fn loads_that_meet_and_loads_that_are_killed_leave_no_gap_and_no_row_twice() {
    let (world, _folder) = world(&[("LOAD__BATCH_SIZE", "7")]).await;
    let file = |revision: i64, from: usize| {
        (from..from + 30).fold(prices(&[]), |text, key| text + &format!("U,K{key:02},{revision},{revision}\n"))
    };
    let keys: Vec<String> = (0..4).map(|number| format!("incoming/prices/{number}.csv")).collect();
    for (key, (revision, from)) in keys.iter().zip([(1, 0), (2, 10), (2, 5), (3, 20)]) {
        world.put(key, file(revision, from)).await;
    }
    let requests: Vec<_> = keys.iter().map(|key| world.request(key)).collect();
    let runs = requests.iter().map(|request| pipeline::run(&world.context, &world.database, request));
    for done in futures::future::join_all(runs).await {
        assert_eq!(done.unwrap()[0].status, LoadStatus::Loaded);
    }
    world.put("incoming/prices/5.csv", file(4, 0)).await;
    let proxy = world.proxy();
    let worker = world.signalled_worker("incoming/prices/5.csv", &proxy, (Which::Commit, 4), Fault::Call, "KILL");
    assert!(worker.finish().await.is_none());
    world.end_leases().await;
    assert_eq!(world.load("incoming/prices/5.csv").await.status, LoadStatus::Loaded);
    assert_eq!(world.query(GAPS).await, "0");
    let kept = "select (select sum(updated) from etl.load) - (select count(*) from price_history)";
    assert_eq!(world.query(kept).await, "0");
    assert!(reconcile(&world).await.is_clean());
}

#[tokio::test]
async fn what_is_missing_for_a_history_is_said_before_a_file_is_claimed() {
    let (mut world, _folder) = world(&[]).await;
    world.put("incoming/prices/1.csv", prices(&["I,A,1,1"])).await;
    world.query("drop table price_history; alter table price drop column written_by, drop column valid_from").await;
    let mut creation = String::new();
    for (said, repair) in [
        (
            "must say who wrote a row and since when it holds; run: alter table \"public\".\"price\" add column written_by bigint",
            "alter table price add column written_by bigint, add column valid_from timestamptz",
        ),
        (
            "table \"public\".\"price_history\" is missing; run its migration: create table",
            "create table price_history (code text, revision bigint, written_by bigint, valid_from timestamptz, replaced_by bigint, \
                valid_to timestamptz, ended_as text)",
        ),
        (
            "lacks columns; run: alter table \"public\".\"price_history\" add column bid integer",
            "alter table price_history add column bid bigint",
        ),
        (
            "column bid of table \"public\".\"price_history\" must be integer, as in table \"public\".\"price\"; it is bigint",
            "alter table price_history alter bid type integer; alter table price_history alter bid set not null",
        ),
        (
            "run: alter table \"public\".\"price_history\" alter bid drop not null",
            "alter table price_history alter bid drop not null; alter table price_history add reason text not null",
        ),
        (
            "column reason of table \"public\".\"price_history\" is not null and has no default, and nothing fills it",
            "alter table price_history drop reason; revoke all on price_history from small_etl_ingest",
        ),
        ("may not add rows to table", "grant insert on price_history to small_etl_ingest"),
    ] {
        world = world.under(&[]);
        let error = world.try_load("incoming/prices/1.csv").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.chain().contains(said), "{}", error.chain());
        creation.extend(error.chain().split("run its migration: ").nth(1));
        world.query(repair).await;
        if repair.contains("drop reason") {
            // A table that is created is granted what it needs.
            world.query("revoke all on price_history from small_etl_ingest").await;
        }
    }
    assert_eq!(world.query("select count(*) from etl.load").await, "0");
    let world = world.under(&[]);
    assert_eq!(world.load("incoming/prices/1.csv").await.status, LoadStatus::Loaded);
    world.query(&format!("drop table price_history; {creation}")).await;
    let world = world.under(&[]);
    assert_eq!(world.drop_file("incoming/prices/2.csv", prices(&["U,A,2,1"])).await.counts.unwrap().updated, 1);
}

#[tokio::test]
async fn the_role_of_ingest_may_only_add_to_a_history() {
    let (world, _folder) = world(&[]).await;
    let may = |what: &str| format!("select has_table_privilege('small_etl_ingest', 'price_history', '{what}')");
    for (what, granted) in [("insert", "t"), ("select", "f"), ("update", "f"), ("delete", "f"), ("truncate", "f")] {
        assert_eq!(world.query(&may(what)).await, granted, "{what}");
    }
    assert_eq!(world.query("select has_table_privilege('small_etl_ingest', 'orders', 'delete')").await, "f");
}

/// Rows of which a part is secret.
const MEMBER: &str = r#"
name = "member"
table = "member"
history = "member_history"
mode = "replace"
key = ["club", "code"]
replace_by = "club"
files = ["incoming/members/*"]

[[column]]
name = "club"
type = "integer"
required = true

[[column]]
name = "code"
type = "text"
required = true

[[column]]
name = "tax_number"
type = "text"
encrypt = true
"#;

const MEMBER_TABLES: &str = "create table member (club integer, code text, tax_number bytea, written_by bigint, valid_from timestamptz, primary key (club, code)); \
    create table member_history (club integer, code text, tax_number bytea, written_by bigint, valid_from timestamptz, \
        replaced_by bigint not null, valid_to timestamptz not null, ended_as text not null)";

#[tokio::test]
async fn encrypted_columns_stay_encrypted_in_a_history_and_rows_that_a_file_lacks_go_into_it() {
    let folder = Scratch::new("history");
    std::fs::write(folder.path().join("member.toml"), MEMBER).unwrap();
    let key = moto().kms().create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    let path = folder.path().display().to_string();
    let world = World::on_moto(&[("DATASETS__PATH", &path), ("ENCRYPTION__KMS_KEY", &key)]).await;
    world.query(MEMBER_TABLES).await;
    let drop = async |name: &str, rows: &str| {
        let text = format!("club,code,tax_number\n{rows}");
        let key = format!("incoming/members/{name}.csv");
        world.put(&key, text).await;
        // Another process, which may use the key.
        world.worker(&key, None).finish().await.unwrap().unwrap()
    };
    drop("1", "1,A,canary-1\n1,B,canary-2\n2,C,canary-3\n").await;
    let bytes = "select code, tax_number from member order by 1";
    let before = world.query(bytes).await;
    let counts = drop("2", "1,A,canary-4\n").await;
    assert_eq!((counts["updated"].as_i64(), counts["deleted"].as_i64()), (Some(1), Some(1)), "{counts}");
    assert_eq!(
        world.query("select code, written_by, replaced_by, ended_as from member_history order by 1").await,
        "A | 1 | 2 | updated\nB | 1 | 2 | deleted"
    );
    let kept = world.query("select code, tax_number from member_history order by 1").await;
    assert!(before.starts_with(&kept), "{kept}");
    let clear = "select count(*) from member_history where encode(tax_number, 'escape') like '%canary%'";
    assert_eq!(world.query(clear).await, "0");
    // Only a role that may use the key can read the values that were given back.
    let mut owner = world.variables();
    owner.push(("DATABASE_URL".into(), world.admin_url()));
    let said = text(&small_etl(&folder, &owner, &["undo", "2"]));
    assert!(said.starts_with("exit 0"), "{said}");
    assert_eq!(world.query(bytes).await, before);
    let said = text(&small_etl(&folder, &world.variables(), &["decrypt", "member"]));
    assert!(said.contains("\"1,A\",canary-1\n\"1,B\",canary-2\n\"2,C\",canary-3\n"), "{said}");
}

#[tokio::test]
async fn rows_that_a_second_run_of_an_appended_file_changes_or_lacks_go_into_the_history() {
    let folder = Scratch::new("history");
    let text = "name = \"visit\"\ntable = \"visit\"\nhistory = \"visit_history\"\nmode = \"append\"\nfiles = [\"incoming/visits/*\"]\n\
        [[column]]\nname = \"page\"\ntype = \"text\"\nrequired = true\n";
    std::fs::write(folder.path().join("visit.toml"), text).unwrap();
    let path = folder.path().display().to_string();
    let world = World::with(&[("DATASETS__PATH", &path)]).await;
    let columns = "load_id bigint, record bigint, page text, written_by bigint, valid_from timestamptz";
    world
        .query(&format!(
            "create table visit ({columns}, primary key (load_id, record)); \
             create table visit_history ({columns}, replaced_by bigint not null, valid_to timestamptz not null, ended_as text not null)"
        ))
        .await;
    world.drop_file("incoming/visits/1.csv", "page\na\nb\nc\n").await;
    // As if the file had been longer once, and its first row another one.
    world
        .query("update visit set page = 'A' where record = 1; insert into visit values (1, 4, 'gone', 1, now())")
        .await;
    let again = Request { again: true, ..world.request("incoming/visits/1.csv") };
    let counts = world.run(&again).await.unwrap().counts.unwrap();
    assert_eq!((counts.updated, counts.unchanged, counts.deleted), (1, 2, 1));
    assert_eq!(
        world.query("select record, page, written_by, replaced_by, ended_as from visit_history order by 1").await,
        "1 | A | 1 | 2 | updated\n4 | gone | 1 | 2 | deleted"
    );
}
