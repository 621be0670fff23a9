//! Sources whose files hold values with types: JSON lines and Parquet, there and back.

use std::fs;
use std::sync::Arc;

use insta::assert_snapshot;
use parquet::arrow::ArrowWriter;
use small_etl::arrow::array::{ArrayRef, Decimal128Array, StringArray, TimestampMillisecondArray};
use small_etl::arrow::datatypes::{Field, Schema};
use small_etl::arrow::record_batch::RecordBatch;
use small_etl::domain::{LoadReport, LoadStatus};

use crate::support::Scratch;
use crate::world::World;

/// A deal, as an interface of a broker and as a lake tell it: under other names, with local times, a map, and a day in the key.
const DEAL: &str = r#"
name = "deal"
table = "deal"
key = "deal_id"
version = "known_at"

[[column]]
name = "deal_id"
type = "text"
required = true

[[column]]
name = "amount"
type = "decimal"
precision = 20
scale = 2
required = true

[[column]]
name = "side"
type = "integer"

[[column]]
name = "traded_at"
type = "timestamp"

[[column]]
name = "more"
type = "json"

[[column]]
name = "known_at"
type = "timestamp"
required = true
"#;
const COLUMNS: &str = r#"
[[source.column]]
name = "deal_id"
header = "id"
[[source.column]]
name = "amount"
header = "sum"
[[source.column]]
name = "side"
header = "kind"
map = { Buy = 48, Sell = 49 }
[[source.column]]
name = "traded_at"
header = "time"
form = "%Y-%m-%d %H:%M:%S"
[[source.column]]
name = "more"
optional = true
[[source.column]]
name = "known_at"
from = "key"
pattern = '_(\d{8})\.'
form = "%Y%m%d"
"#;
const TABLE: &str = "create table deal (deal_id text primary key, amount numeric(20, 2) not null, side integer, \
    traded_at timestamptz, more jsonb, known_at timestamptz not null)";
const ROWS: &str = "select deal_id, amount, side, traded_at at time zone 'UTC', more, known_at at time zone 'UTC' from deal order by 1";

async fn world(folder: &Scratch, format: &str) -> World {
    let source = format!(
        "[[source]]\nname = \"broker\"\nfiles = [\"incoming/deals/**\"]\nformat = \"{format}\"\nzone = \"Asia/Shanghai\"\nthousands = \",\"\n"
    );
    fs::write(folder.path().join("deal.toml"), format!("{DEAL}{source}{COLUMNS}")).unwrap();
    let world = World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap())]).await;
    world.query(TABLE).await;
    world
}

async fn text_of(world: &World, key: &str) -> String {
    let object = world.s3.get_object().bucket(&world.bucket).key(key).send().await.unwrap();
    String::from_utf8(object.body.collect().await.unwrap().to_vec()).unwrap()
}

fn summary(report: &LoadReport) -> (LoadStatus, Option<&str>, i64, i64, i64) {
    let counts = report.counts.unwrap_or_default();
    (report.status, report.reason.as_deref(), counts.read, counts.inserted, counts.rejected)
}

#[tokio::test]
async fn json_lines_are_read_as_their_source_declares_and_their_rejects_come_back_as_csv() {
    let folder = Scratch::new("typed");
    let world = world(&folder, "json_lines").await;
    let lines = concat!(
        r#"{"id": "D1", "sum": 15500.5, "kind": "Buy", "time": "2025-12-22 09:31:05", "more": {"fee": 1.50}}"#,
        "\n",
        r#"{"kind": "Sell", "sum": "1,234.50", "id": "D2"}"#,
        "\n\n",
        r#"{"id": "D3", "sum": 10.799, "kind": "Short", "time": "2025-12-22 25:00:00", "more": ["a"], "colour": 1}"#,
        "\n",
        r#"{"id": "D4", "sum": null, "more": "text"}"#,
        "\n",
        r#"["D5"]"#,
        "\n",
    );
    let report = world.drop_file("incoming/deals/a_20251222.jsonl", lines).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 5, 2, 3), "{:?}", report.error);
    assert_snapshot!(world.query(ROWS).await, @r#"
    D1 | 15500.50 | 48 | 2025-12-22 01:31:05 | {"fee": 1.50} | 2025-12-21 16:00:00
    D2 | 1234.50 | 49 | - | - | 2025-12-21 16:00:00
    "#);
    assert_snapshot!(world.query("select record, line, rule, \"column\", value, key from etl.reject order by id").await, @r"
    3 | 4 | decimal | amount | 10.799 | D3
    3 | 4 | map | side | Short | D3
    3 | 4 | form | traded_at | 2025-12-22 25:00:00 | D3
    4 | 5 | required | amount | - | D4
    5 | 6 | json | - | - | -
    ");
    let places = "select bool_and(substr(convert_to($$TEXT$$, 'UTF8'), byte_offset::int + 1, byte_length::int) = raw) from etl.reject";
    assert_eq!(world.query(&places.replace("TEXT", lines)).await, "t");
    let rejects = text_of(&world, "rejects/deal/1.csv").await;
    assert_snapshot!(rejects, @r#"
    _load_id,_record,_line,_source,_errors,_key,_cells,id,sum,kind,time,more
    1,3,4,broker,"amount: ""10.799"" has more than 2 decimals; round it at its source (rule decimal); side: ""Short"" is not a value that the map lists (rule map); traded_at: ""2025-12-22 25:00:00"" has a date or time that does not exist (form %Y-%m-%d %H:%M:%S) (rule form)",incoming/deals/a_20251222.jsonl,tlttl,D3,10.799,Short,2025-12-22 25:00:00,"[""a""]"
    1,4,5,broker,"amount: the cell holds no value, but one is required (rule required)",incoming/deals/a_20251222.jsonl,tzzzl,D4,,,,"""text"""
    1,5,6,broker,"the line is not a JSON object whose members come once each, are no more than 16384, and have texts, numbers, true, false or null for columns; write one object in a line (rule json)",incoming/deals/a_20251222.jsonl,,"[""D5""]"
    "#);

    // Mended in a text editor: a number stays one, the null has become a text, and the line that is no object is left out.
    let mended = rejects
        .replace("Short", "Sell")
        .replace("25:00:00", "15:00:00")
        .replace(",10.799,", ",10.79,")
        .replace(",D4,,", ",D4,\"2,000.00\",");
    let mended: Vec<&str> = mended.lines().filter(|line| !line.contains("[\"\"D5\"\"]")).collect();
    let report = world.drop_file("incoming/deals/mended.csv", mended.join("\n") + "\n").await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 2, 2, 0), "{:?}", report.error);
    assert_snapshot!(world.query(ROWS).await, @r#"
    D1 | 15500.50 | 48 | 2025-12-22 01:31:05 | {"fee": 1.50} | 2025-12-21 16:00:00
    D2 | 1234.50 | 49 | - | - | 2025-12-21 16:00:00
    D3 | 10.79 | 49 | 2025-12-22 07:00:00 | ["a"] | 2025-12-21 16:00:00
    D4 | 2000.00 | - | - | "text" | 2025-12-21 16:00:00
    "#);
    assert_eq!(world.query("select count(*) from etl.reject where state = 'open'").await, "1");
}

#[tokio::test]
async fn a_member_that_no_object_has_fails_the_file_and_a_misspelled_one_is_no_null() {
    let folder = Scratch::new("typed");
    let world = world(&folder, "json_lines").await;
    let report =
        world.drop_file("incoming/deals/a_20251222.jsonl", "{\"id\": \"D1\", \"sum\": 1, \"kind\": \"Buy\"}\n").await;
    assert_eq!(report.reason.as_deref(), Some("missing_column"));
    let error = report.error.unwrap();
    assert!(error.contains("no object has \"time\"") && error.contains("optional = true"), "{error}");
    assert_eq!(world.query("select count(*) from deal").await, "0");
}

fn parquet(rows: &[(&str, i128, &str, Option<i64>)]) -> Vec<u8> {
    let amounts = Decimal128Array::from_iter_values(rows.iter().map(|row| row.1)).with_precision_and_scale(20, 4);
    let columns: [(&str, ArrayRef); 4] = [
        ("time", Arc::new(rows.iter().map(|row| row.3).collect::<TimestampMillisecondArray>())),
        ("id", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)))),
        ("sum", Arc::new(amounts.unwrap())),
        ("kind", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2)))),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, values)| Field::new(*name, values.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), None).unwrap();
    let batch = RecordBatch::try_new(schema, columns.map(|(_, values)| values).to_vec()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn parquet_is_read_as_its_source_declares_and_its_rejects_come_back_as_csv() {
    let folder = Scratch::new("typed");
    let world = world(&folder, "parquet").await;
    // 2025-12-22T09:31:05.250 on the clock of the broker.
    let time = 1_766_395_865_250;
    let file = parquet(&[
        ("D1", 155_000_000, "Buy", Some(time)),
        ("D2", 12_345, "Sell", None),
        ("D3", 107_900, "Short", Some(time)),
    ]);
    let report = world.drop_file("incoming/deals/a_20251222.parquet", file).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 3, 1, 2), "{:?}", report.error);
    assert_snapshot!(world.query(ROWS).await, @r"
    D1 | 15500.00 | 48 | 2025-12-22 01:31:05.25 | - | 2025-12-21 16:00:00
    ");
    assert_snapshot!(world.query("select record, line, rule, \"column\", value, byte_offset from etl.reject order by id").await, @r"
    2 | 2 | decimal | amount | 1.2345 | -
    3 | 3 | map | side | Short | -
    ");
    let rejects = text_of(&world, "rejects/deal/1.csv").await;
    assert_snapshot!(rejects, @r#"
    _load_id,_record,_line,_source,_errors,_key,_cells,time,id,sum,kind
    1,2,2,broker,"amount: ""1.2345"" has more than 2 decimals; round it at its source (rule decimal)",incoming/deals/a_20251222.parquet,ztlt,,D2,1.2345,Sell
    1,3,3,broker,"side: ""Short"" is not a value that the map lists (rule map)",incoming/deals/a_20251222.parquet,dtlt,2025-12-22T09:31:05.250,D3,10.7900,Short
    "#);
    let mended = rejects.replace("Short", "Sell").replace(",1.2345,", ",1.23,");
    let report = world.drop_file("incoming/deals/mended.csv", mended).await;
    assert_eq!(summary(&report), (LoadStatus::Loaded, None, 2, 2, 0), "{:?}", report.error);
    assert_snapshot!(world.query(ROWS).await, @r"
    D1 | 15500.00 | 48 | 2025-12-22 01:31:05.25 | - | 2025-12-21 16:00:00
    D2 | 1.23 | 49 | - | - | 2025-12-21 16:00:00
    D3 | 10.79 | 49 | 2025-12-22 01:31:05.25 | - | 2025-12-21 16:00:00
    ");
    assert_eq!(world.query("select count(*) from etl.reject where state = 'open'").await, "0");
}
