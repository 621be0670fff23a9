//! A third dataset: one TOML file and one migration, no Rust.

use std::fmt::Write as _;

use insta::assert_snapshot;

use crate::command_line::{small_etl, text};
use crate::support::Scratch;
use crate::world::{World, client, settings_for};
use small_etl::data_access::postgres::Database;

pub const DEFINITION: &str = r#"
name = "quote"
table = "order"
key = "stock_code"
version = "seen_at"
files = ["incoming/quotes/*.csv"]
null_values = ["", "n/a"]

[[column]]
name = "stock_code"
type = "text"
required = true
pattern = "[0-9]{6}"

[[column]]
name = "bid"
type = "decimal"
precision = 12
scale = 4
min = "0.0001"

[[column]]
name = "ask"
type = "decimal"
precision = 12
scale = 4
max = 5000
severity = { max = "warning" }

[[column]]
name = "desc"
type = "text"

[[column]]
name = "seen_at"
type = "timestamp"
required = true

[[rule]]
id = "spread"
column = "ask"
check = "ask >= bid"
message = "ask is less than bid"

[[rule]]
id = "narrow"
severity = "warning"
column = "ask"
when = "bid > 0"
check = "ask / bid < 2"
message = "ask is twice the bid or more"

[[statistic]]
id = "quotes"
expression = "count(*)"

[[statistic]]
id = "fifth_power"
expression = "max(ask * ask * ask * ask * ask)"
"#;

// Keywords work as names of a table and of a column.
pub const MIGRATION: &str = "create table public.\"order\" (
    stock_code text primary key, bid numeric(12, 4), ask numeric(12, 4), \"desc\" text, seen_at timestamptz not null
);";

pub const QUOTES: &str = "\
stock_code,bid,ask,desc,seen_at
600000,10.1234,10.2,x,2025-12-22T14:30:00
60000,10,11,x,2025-12-22T14:30:00
600001,10,9.99,x,2025-12-22T14:30:00
600002,n/a,6000,NULL,2025-12-22T14:30:00
600003,1,2,,2025-12-22T14:30:00
600004,0,2,x,2025-12-22T14:30:00
";

#[tokio::test]
async fn a_third_dataset_is_one_toml_file_and_one_migration() {
    let folder = Scratch::new("dataset");
    std::fs::create_dir(folder.path().join("migrations")).unwrap();
    std::fs::write(folder.path().join("quote.toml"), DEFINITION).unwrap();
    let migration =
        format!("{MIGRATION} create table public.note (note text); create table public.counter (n serial);");
    std::fs::write(folder.path().join("migrations/V1__quote.sql"), migration).unwrap();
    let path = folder.path().to_str().unwrap();
    let world = World::with(&[("DATASETS__PATH", path)]).await;
    let owner = Database::new(&settings_for(&world.url, &[]).database().unwrap()).unwrap();
    let applied = owner.migrate(Some(&folder.path().join("migrations")), &world.context.datasets).await.unwrap();
    assert_eq!(applied.iter().map(|migration| migration.name.as_str()).collect::<Vec<_>>(), ["quote"]);

    // The role of ingest may write the new table without another grant, and no other table of the migration.
    let report = world.drop_file("incoming/quotes/1.csv", QUOTES).await;
    let counts = report.counts.unwrap();
    assert_eq!((counts.read, counts.inserted, counts.rejected, counts.warnings), (6, 3, 3, 2));
    let (session, _driver) = client(&world.login).await;
    for statement in [
        "insert into note values ('x')",
        "select from note",
        "select nextval('counter_n_seq')",
        "insert into own_schema_history values (2)",
        "delete from \"order\"",
        "update \"order\" set stock_code = '600009'",
    ] {
        let error = session.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code().unwrap().code(), "42501", "{statement}");
    }
    let statistics = serde_json::json!({"quotes": 3, "fifth_power": {"out_of_range": true}, "extra_columns": []});
    assert_eq!(report.statistics, statistics);
    assert_snapshot!(world.query("select stock_code, bid, ask, \"desc\" from \"order\" order by 1").await, @r"
    600000 | 10.1234 | 10.2000 | x
    600002 | - | 6000.0000 | NULL
    600003 | 1.0000 | 2.0000 | -
    ");
    assert_snapshot!(world.query("select line, \"column\", rule, message from etl.reject order by record").await, @r#"
    3 | stock_code | pattern | "60000" does not match [0-9]{6}
    4 | ask | spread | ask is less than bid
    7 | bid | min | "0" is less than 0.0001
    "#);
}

#[tokio::test]
async fn a_rule_that_raises_is_a_violation_of_its_row_and_not_of_the_query() {
    let folder = Scratch::new("dataset");
    let definition = DEFINITION.replace(
        "check = \"ask >= bid\"",
        "check = \"cast(ask * 1000000000000000000000000000000 as decimal(38, 4)) * bid >= 0\"",
    );
    std::fs::write(folder.path().join("quote.toml"), definition).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(MIGRATION).await;
    let rows = "stock_code,bid,ask,desc,seen_at\n600000,99999999,4000,,2025-12-22T14:30:00\n600001,1,0.0001,,2025-12-22T14:30:00\n";
    let counts = world.drop_file("incoming/quotes/1.csv", rows).await.counts.unwrap();
    assert_eq!((counts.read, counts.rejected), (2, 1));
    assert_eq!(world.query("select record, rule from etl.reject").await, "1 | spread");
}

#[tokio::test]
async fn a_comment_in_an_expression_changes_nothing() {
    let folder = Scratch::new("dataset");
    let definition = DEFINITION
        .replace("check = \"ask >= bid\"", "check = \"ask >= bid -- or somebody errs\"")
        .replace("when = \"bid > 0\"", "when = \"\"\"-- where there is one\nbid > 0 -- )\"\"\"")
        .replace("expression = \"count(*)\"", "expression = \"count(*) /* of all */ -- rows\"");
    std::fs::write(folder.path().join("quote.toml"), definition).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(MIGRATION).await;
    let report = world.drop_file("incoming/quotes/1.csv", QUOTES).await;
    let counts = report.counts.unwrap();
    assert_eq!((counts.read, counts.inserted, counts.rejected, counts.warnings), (6, 3, 3, 2));
    assert_eq!(report.statistics["quotes"], 3);
}

#[tokio::test]
async fn the_rows_without_a_value_are_a_group_of_their_own() {
    let folder = Scratch::new("dataset");
    let statistic = "[[statistic]]\nid = \"by_desc\"\nexpression = \"count(*)\"\ngroup_by = \"desc\"\n";
    std::fs::write(folder.path().join("quote.toml"), format!("{DEFINITION}{statistic}")).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(MIGRATION).await;
    let row = |code: u32, desc: &str| format!("{code},1,2,{desc},2025-12-22T14:30:00\n");
    let rows = [row(600_000, ""), row(600_001, "null"), row(600_002, "null"), row(600_003, "x")].concat();
    let report = world.drop_file("incoming/quotes/1.csv", format!("stock_code,bid,ask,desc,seen_at\n{rows}")).await;
    assert_eq!(report.statistics["by_desc"], serde_json::json!({"null": 1, "\"null\"": 2, "x": 1}));
}

#[tokio::test]
async fn who_starts_the_program_is_warned_of_datasets_that_claim_the_same_keys() {
    let (folder, scratch) = (Scratch::new("dataset"), Scratch::new("overlap"));
    std::fs::write(scratch.path().join("assets.csv"), crate::contract::ASSETS).unwrap();
    let said = |files: &str| {
        let definition = DEFINITION.replace("[\"incoming/quotes/*.csv\"]", files);
        std::fs::write(folder.path().join("quote.toml"), definition).unwrap();
        let path = ("SMALL_ETL__DATASETS__PATH".to_owned(), folder.path().display().to_string());
        text(&small_etl(&scratch, &[path], &["validate", "assets.csv", "--dataset", "asset"]))
    };
    let warned = said("[\"incoming/*/2025/*.csv\"]");
    assert!(warned.starts_with("exit 0"), "{warned}");
    for part in ["WARN", "two datasets claim the same keys", "asset", "quote", "incoming/assets/2025/"] {
        assert!(warned.contains(part), "{part} is not in {warned}");
    }
    assert!(!said("[\"incoming/quotes/*.csv\"]").contains("WARN"));
}

#[tokio::test]
async fn a_key_that_no_index_holds_is_a_reject_like_any_other() {
    let folder = Scratch::new("dataset");
    let definition = DEFINITION.replace("pattern = \"[0-9]{6}\"\n", "");
    std::fs::write(folder.path().join("quote.toml"), definition).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(MIGRATION).await;
    // Different characters, because Postgres would compress repeated ones.
    let key = |length: u32| (0..length).filter_map(|n| char::from_u32(0x1_0000 + n * 31 % 0x7000)).collect::<String>();
    let rows = [660, 661].map(|length| format!("{},1,2,,2025-12-22T14:30:00\n", key(length)));
    let file = format!("stock_code,bid,ask,desc,seen_at\n{}", rows.concat());
    let counts = world.drop_file("incoming/quotes/1.csv", file).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.rejected), (1, 1));
    assert_eq!(world.query("select record, \"column\", rule from etl.reject").await, "2 | stock_code | max_length");
}

const DESK: &str = r#"
name = "desk"
table = "desk"
key = "desk_id"
version = "seen_at"
files = ["incoming/desks/*"]
[[column]]
name = "desk_id"
type = "bigint"
required = true
[[column]]
name = "seen_at"
type = "timestamp"
required = true
"#;

const FILL: &str = r#"
name = "fill"
table = "fill"
key = "record"
version = "seen_at"
files = ["incoming/fills/*"]
[[column]]
name = "record"
type = "integer"
required = true
[[column]]
name = "desk_id"
type = "bigint"
[[column]]
name = "plan"
type = "decimal"
precision = 10
scale = 3
[[column]]
name = "seen_at"
type = "timestamp"
required = true
[reference]
column = "desk_id"
dataset = "desk"
warn_unless = [{ id = "seen_together", column = "seen_at", equals = "seen_at" }]
"#;

const SLIP: &str = r#"
name = "slip"
table = "slip"
key = "id"
version = "seen_at"
files = ["incoming/slips/*"]
[[column]]
name = "id"
type = "bigint"
required = true
[[column]]
name = "fill"
type = "integer"
required = true
[[column]]
name = "seen_at"
type = "timestamp"
required = true
[reference]
column = "fill"
dataset = "fill"
"#;

#[tokio::test]
async fn a_rule_that_cannot_run_is_told_before_anything_is_claimed() {
    for (from, to, expected) in [
        ("pattern = \"[0-9]{6}\"", "pattern = \"[0-9\"", "missing ]"),
        ("check = \"ask >= bid\"", "check = \"seen_at > 5\"", "Cannot compare"),
    ] {
        let folder = Scratch::new("dataset");
        std::fs::write(folder.path().join("quote.toml"), DEFINITION.replace(from, to)).unwrap();
        let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
        world.put("incoming/quotes/1.csv", QUOTES).await;
        let error = world.try_load("incoming/quotes/1.csv").await.unwrap_err();
        assert!(error.to_string().starts_with("dataset quote: a rule or pattern is wrong"), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(world.query("select count(*) from etl.load").await, "0");
    }
}

#[tokio::test]
async fn columns_may_bear_any_name_that_the_generated_sql_uses_itself() {
    let names =
        ["rank", "winner", "x", "g", "s", "t", "r", "c", "record", "plan", "inserted", "key", "written", "candidate"];
    let mut definition = String::from(
        "name = \"odd\"\ntable = \"odd\"\nkey = \"id\"\nversion = \"seen_at\"\nfiles = [\"incoming/odd/*\"]\n",
    );
    for (name, kind) in [("id", "text"), ("seen_at", "timestamp"), ("desk_id", "bigint")] {
        write!(definition, "[[column]]\nname = \"{name}\"\ntype = \"{kind}\"\nrequired = true\n").unwrap();
    }
    for name in names {
        write!(definition, "[[column]]\nname = \"{name}\"\ntype = \"integer\"\n").unwrap();
    }
    definition.push_str("[reference]\ncolumn = \"desk_id\"\ndataset = \"desk\"\n[[statistic]]\nid = \"sums\"\nexpression = \"sum(x)\"\ngroup_by = \"g\"\n");
    let folder = Scratch::new("dataset");
    std::fs::write(folder.path().join("desk.toml"), DESK).unwrap();
    std::fs::write(folder.path().join("odd.toml"), definition).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    let columns: String = names.map(|name| format!(", \"{name}\" integer")).concat();
    world
        .query(&format!(
            "create table desk (desk_id bigint primary key, seen_at timestamptz not null); \
             create table odd (id text primary key, seen_at timestamptz not null, desk_id bigint not null{columns})"
        ))
        .await;
    let row = |id: &str, time: &str, number: usize| {
        format!("{id},2025-12-22T14:30:{time},7{}\n", format!(",{number}").repeat(names.len()))
    };
    let file = format!(
        "id,seen_at,desk_id,{}\n{}{}{}",
        names.join(","),
        row("A", "00", 2),
        row("A", "01", 1),
        row("B", "00", 2)
    );
    let report = world.drop_file("incoming/odd/1.csv", file).await;
    assert_eq!(report.counts.map(|counts| (counts.parked, counts.rejected)), Some((2, 1)));
    assert_eq!(report.statistics["sums"], serde_json::json!({"1": 1, "2": 2}));
    assert_eq!(
        world.query("select message from etl.reject").await,
        "\"A\" stands again in line 3, which wins as the newer or later; keep one"
    );
    world.drop_file("incoming/desks/1.csv", "desk_id,seen_at\n7,2025-12-22T14:30:00\n").await;
    assert_eq!(world.query("select id, rank, x, candidate from odd order by 1").await, "A | 1 | 1 | 1\nB | 2 | 2 | 2");
}

#[tokio::test]
async fn keys_need_not_be_text_and_a_reference_may_be_null() {
    let folder = Scratch::new("dataset");
    std::fs::write(folder.path().join("desk.toml"), DESK).unwrap();
    std::fs::write(folder.path().join("fill.toml"), FILL).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world
        .query(
            "create table desk (desk_id bigint primary key, seen_at timestamptz not null); \
             create table fill (record integer primary key, desk_id bigint references desk, plan numeric, seen_at timestamptz not null)",
        )
        .await;
    let fills = "record,desk_id,plan,seen_at\n1,7,1.5,2025-12-22T14:30:00\n2,,2.5,2025-12-22T14:30:00.000001\n";
    let counts = world.drop_file("incoming/fills/1.csv", fills).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.parked, counts.warnings), (1, 1, 0));
    let counts =
        world.drop_file("incoming/desks/1.csv", "desk_id,seen_at\n7,2025-12-22T14:30:00\n").await.counts.unwrap();
    assert_eq!((counts.inserted, counts.released), (1, 1));
    assert_eq!(
        world.query("select * from fill order by 1").await,
        "1 | 7 | 1.500 | 2025-12-22 14:30:00+00\n2 | - | 2.500 | 2025-12-22 14:30:00.000001+00"
    );
}

/// A load that continues may release rows of its own, for which other rows wait.
#[tokio::test]
async fn what_waits_for_rows_that_were_freed_late_is_freed_with_them() {
    let folder = Scratch::new("dataset");
    for (name, definition) in [("desk", DESK), ("fill", FILL), ("slip", SLIP)] {
        std::fs::write(folder.path().join(name).with_extension("toml"), definition).unwrap();
    }
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world
        .query(
            "create table desk (desk_id bigint primary key, seen_at timestamptz not null); \
             create table fill (record integer primary key, desk_id bigint, plan numeric, seen_at timestamptz not null); \
             create table slip (id bigint primary key, fill integer not null, seen_at timestamptz not null)",
        )
        .await;
    world.drop_file("incoming/slips/1.csv", "id,fill,seen_at\n9,1,2025-12-22T14:30:00\n").await;
    world.drop_file("incoming/fills/1.csv", "record,desk_id,plan,seen_at\n1,7,,2025-12-22T14:30:00\n").await;
    world
        .query(
            "update etl.load set state = 'loading', finished_at = null, lease_expires_at = clock_timestamp() where id = 2; \
             insert into desk values (7, now())",
        )
        .await;
    let report = world.load("incoming/fills/1.csv").await;
    assert_eq!((report.attempt, report.counts.unwrap().released), (Some(2), 2));
    assert_eq!(world.query("select id, fill from slip").await, "9 | 1");
}

#[tokio::test]
async fn a_table_that_would_round_or_cut_is_refused_before_anything_is_claimed() {
    let folder = Scratch::new("dataset");
    std::fs::write(folder.path().join("quote.toml"), DEFINITION).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(&MIGRATION.replace("ask numeric(12, 4)", "ask numeric(12, 2)")).await;
    world.put("incoming/quotes/1.csv", QUOTES).await;
    let error = world.try_load("incoming/quotes/1.csv").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "dataset quote: column ask of table order must be numeric(12, 4) or wider; it is numeric(12,2)"
    );
    for (change, message) in [
        (
            ("ask numeric(12, 4)", "ask numeric(12, 4) not null"),
            "dataset quote: table order: column ask is not null, but optional in the dataset; make one like the other",
        ),
        (
            ("timestamptz not null", "timestamptz not null, id int generated always as identity, desk text not null"),
            "dataset quote: table order: column desk is not null and has no default, but the dataset has no such column",
        ),
        (
            ("primary key", "not null"),
            "dataset quote: table order: the key stock_code needs a unique index of its own; run: create unique index on public.\"order\" (stock_code)",
        ),
    ] {
        world.query(&format!("drop table \"order\"; {}", MIGRATION.replace(change.0, change.1))).await;
        assert_eq!(world.try_load("incoming/quotes/1.csv").await.unwrap_err().to_string(), message);
    }
    assert_eq!(world.query("select count(*) from etl.load").await, "0");
}

/// Returns the code block of `docs/datasets.md` that begins with this line.
fn documented_block(first_line: &str) -> String {
    let page = include_str!("../../docs/datasets.md");
    let start = page.find(first_line).expect("the page has this block");
    page[start..].split("```").next().expect("the block ends").to_owned()
}

#[tokio::test]
async fn the_documented_dataset_works_as_it_stands() {
    let folder = Scratch::new("dataset");
    std::fs::write(folder.path().join("quote.toml"), documented_block("# mine/datasets/quote.toml")).unwrap();
    std::fs::write(folder.path().join("V1__quote.sql"), documented_block("-- mine/migrations/V1__quote.sql")).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.migrate(Some(folder.path())).await;
    let quotes = "stock_code,bid,seen_at\n600000,0,2025-12-22T14:30:00\n600001,10000,2025-12-22T14:30:00\n6,1,2025-12-22T14:30:00\n";
    let counts = world.drop_file("incoming/quotes/1.csv", quotes).await.counts.unwrap();
    assert_eq!((counts.inserted, counts.rejected, counts.warnings), (1, 2, 1));
    assert_eq!(world.query("select rule from etl.reject order by record").await, "round_lot\npattern");
}
