//! A third dataset: one TOML file and one migration, no Rust.

use insta::assert_snapshot;

use crate::support::Scratch;
use crate::world::{World, settings_for};
use small_etl::data_access::postgres::Database;

const DEFINITION: &str = r#"
name = "quote"
table = "quote"
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
"#;

const MIGRATION: &str = "create table public.quote (
    stock_code text primary key, bid numeric(12, 4), ask numeric(12, 4), seen_at timestamptz not null
);";

const QUOTES: &str = "\
stock_code,bid,ask,seen_at
600000,10.1234,10.2,2025-12-22T14:30:00
60000,10,11,2025-12-22T14:30:00
600001,10,9.99,2025-12-22T14:30:00
600002,n/a,6000,2025-12-22T14:30:00
600003,1,2,2025-12-22T14:30:00
600004,0,2,2025-12-22T14:30:00
";

#[tokio::test]
async fn a_third_dataset_is_one_toml_file_and_one_migration() {
    let folder = Scratch::new("dataset");
    std::fs::create_dir(folder.path().join("migrations")).unwrap();
    std::fs::write(folder.path().join("quote.toml"), DEFINITION).unwrap();
    std::fs::write(folder.path().join("migrations/V4__quote.sql"), MIGRATION).unwrap();
    let path = folder.path().to_str().unwrap();
    let world = World::with(&[("DATASETS__PATH", path)]).await;
    let owner = Database::new(&settings_for(&world.url, &[]).database().unwrap()).unwrap();
    let applied = owner.migrate(Some(&folder.path().join("migrations"))).await.unwrap();
    assert_eq!(applied.iter().map(|migration| migration.name.as_str()).collect::<Vec<_>>(), ["quote"]);

    // The role of ingest may write the new table without a grant of its own.
    let url = world.url.replace("postgres@", "small_etl_ingest@");
    let world = World { database: Database::new(&settings_for(&url, &[]).database().unwrap()).unwrap(), ..world };
    let counts = world.drop_file("incoming/quotes/1.csv", QUOTES).await.counts.unwrap();
    assert_eq!((counts.read, counts.inserted, counts.rejected, counts.warnings), (6, 3, 3, 2));
    assert_snapshot!(world.query("select stock_code, bid, ask from quote order by 1").await, @r"
    600000 | 10.1234 | 10.2000
    600002 | - | 6000.0000
    600003 | 1.0000 | 2.0000
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
    let rows =
        "stock_code,bid,ask,seen_at\n600000,99999999,4000,2025-12-22T14:30:00\n600001,1,0.0001,2025-12-22T14:30:00\n";
    let counts = world.drop_file("incoming/quotes/1.csv", rows).await.counts.unwrap();
    assert_eq!((counts.read, counts.rejected), (2, 1));
    assert_eq!(world.query("select record, rule from etl.reject").await, "1 | spread");
}
