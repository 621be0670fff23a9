//! Parquet, in and out: written and read by another program.

use std::fs;
use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;
use serde_json::json;

use crate::contract::ASSETS;
use crate::parts::{config, packed};
use crate::support::Scratch;
use crate::support::moto::installation;
use crate::world::World;

/// Runs Python with pyarrow in a folder and returns what it prints.
pub fn python(folder: &Path, script: &str) -> String {
    let prelude = "import pyarrow as pa, pyarrow.parquet as pq\nfrom decimal import Decimal\nfrom datetime import datetime, timezone\n";
    let output = Command::new("python3")
        .args(["-c", &format!("{prelude}{script}")])
        .current_dir(folder)
        .env("PYTHONPATH", installation())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two assets, of which the second is broken, with types that CSV does not have.
const ASSETS_IN_PYTHON: &str = r#"
def table(cash=pa.decimal128(20, 2), moment=pa.timestamp("ms", "Asia/Shanghai"), times=None):
    utc = timezone.utc
    times = times or [datetime(2025, 12, 22, 14, 30, 0, 250000, utc), datetime(2025, 12, 22, 14, 25, tzinfo=utc)]
    amount = lambda text: float(text) if cash == pa.float64() else Decimal(text)
    return pa.table({
        "desk": pa.array([[1], [2]]),
        "total_asset": pa.array(["305000.00", "1.00"]),
        "account_id": pa.array(["10000000001", "10000000002"]).dictionary_encode(),
        "account_type": pa.array([2, 2], pa.int8()),
        "cash": pa.array([amount("100000.00"), amount("2.00")], cash),
        "frozen_cash": pa.array([Decimal("5000.0"), Decimal("0.5")], pa.decimal128(9, 1)),
        "market_value": pa.array([200000, 0], pa.uint32()),
        "updated_at": pa.array(times, moment),
    })
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_parquet_file_is_loaded_by_the_names_of_its_columns_without_loss() {
    let scratch = Scratch::new("lake");
    let mut world = World::new().await;
    world.config = Some(config(&scratch, "[[pipeline.asset.extractor]]\ntype = \"s3_parquet\"\n"));
    let load_content = async |name: &str, content: Vec<u8>| {
        let key = format!("incoming/assets/{name}");
        world.put(&key, content).await;
        world.worker(&key, None).finish().await.unwrap().unwrap()
    };
    let load = async |name: &str, table: &str| {
        python(scratch.path(), &format!("{ASSETS_IN_PYTHON}\npq.write_table({table}, where=\"{name}\")"));
        load_content(name, fs::read(scratch.path().join(name)).unwrap()).await
    };
    let report = load("good.parquet", "table()").await;
    assert_eq!(
        (&report["status"], &report["statistics"]["extra_columns"]),
        (&json!("loaded"), &json!(["desk"])),
        "{report}"
    );
    assert_snapshot!(world.query("select account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at from asset").await, @"10000000001 | 2 | 100000.00 | 5000.00 | 200000.00 | 305000.00 | 2025-12-22 14:30:00.25+00");
    assert_snapshot!(world.query("select record, line, rule, convert_from(raw, 'UTF8') from etl.reject").await, @"2 | 2 | total_is_sum | 1.00,10000000002,2,2.00,0.5,0,2025-12-22T14:25:00Z");
    let report = load("float.parquet", "table(cash=pa.float64())").await;
    assert_eq!((&report["status"], &report["reason"]), (&json!("failed"), &json!("malformed")));
    let error = world.query("select error from etl.load where id = 2").await;
    assert!(
        error.ends_with("float.parquet: column cash is Float64, which cannot be read as decimal without loss; write it as DECIMAL, an integer or a string"),
        "{error}"
    );
    let nanoseconds = r#"table(moment=pa.timestamp("ns"), times=[1766413800000000001, 1766413800000001000])"#;
    let report = load("nanoseconds.parquet", nanoseconds).await;
    assert_eq!((&report["status"], &report["rejected"]), (&json!("loaded"), &json!(2)), "{report}");
    let rejected = "select record, rule, value from etl.reject where load_id = 3 order by id";
    assert_snapshot!(world.query(rejected).await, @"
    1 | timestamp | 2025-12-22T14:30:00.000000001Z
    2 | total_is_sum | 1.00
    ");
    let good = fs::read(scratch.path().join("good.parquet")).unwrap();
    let report = load_content("cut.parquet", good[..900].to_vec()).await;
    let error = world.query("select error from etl.load where id = 4").await;
    assert!(error.contains("cut.parquet: this is not a Parquet file, or it is cut off"), "{error} {report}");
    let report = load_content("good.parquet.gz", packed(&good)).await;
    assert_eq!((&report["status"], &report["unchanged"]), (&json!("loaded"), &json!(1)), "{report}");
}

/// A table of good assets with these times in INT96.
const INT96_IN_PYTHON: &str = r#"
from datetime import timedelta
def table(times, resolution, version=None, mark=None):
    one = [Decimal("1.00")] * len(times)
    columns = {name: pa.array(one, pa.decimal128(20, 2)) for name in ["cash", "frozen_cash", "market_value"]}
    columns["total_asset"] = pa.array([Decimal("3.00")] * len(times), pa.decimal128(20, 2))
    columns["account_id"] = pa.array([f"A{n}" for n in range(len(times))])
    columns["account_type"] = pa.array([2] * len(times), pa.int32())
    columns["updated_at"] = pa.array(times, pa.timestamp(resolution))
    metadata = {}
    if version: metadata["org.apache.spark.version"] = version
    if mark: metadata["org.apache.spark.legacyINT96"] = ""
    return pa.table(columns).replace_schema_metadata(metadata or None)
def write(name, *arguments):
    pq.write_table(table(*arguments), where=name, use_deprecated_int96_timestamps=True)
"#;

/// Some writers make one for an empty table, or for an empty batch among others.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_rows_that_is_empty_is_no_damage() {
    let scratch = Scratch::new("lake");
    let mut world = World::new().await;
    world.config = Some(config(&scratch, "[[pipeline.asset.extractor]]\ntype = \"s3_parquet\"\n"));
    for (name, read) in [("none.parquet", 0), ("between.parquet", 4)] {
        let write =
            if read == 0 { "w.write_table(t[:0])" } else { "w.write_table(t); w.write_table(t[:0]); w.write_table(t)" };
        let script =
            format!("{ASSETS_IN_PYTHON}\nt = table()\nwith pq.ParquetWriter('{name}', t.schema) as w: {write}");
        python(scratch.path(), &script);
        world.put(&format!("incoming/assets/{name}"), fs::read(scratch.path().join(name)).unwrap()).await;
        let report = world.worker(&format!("incoming/assets/{name}"), None).finish().await.unwrap().unwrap();
        assert_eq!((&report["status"], &report["read"]), (&json!("loaded"), &json!(read)), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_in_int96_is_read_to_the_nanosecond_in_every_year() {
    let scratch = Scratch::new("lake");
    let mut world = World::with(&[("LOAD__MAX_FUTURE_SECONDS", "315576000000")]).await;
    world.config = Some(config(&scratch, "[[pipeline.asset.extractor]]\ntype = \"s3_parquet\"\n"));
    let load = async |name: &str, arguments: &str| {
        python(scratch.path(), &format!("{INT96_IN_PYTHON}\nwrite('{name}', {arguments})"));
        world.put(&format!("incoming/assets/{name}"), fs::read(scratch.path().join(name)).unwrap()).await;
        world.worker(&format!("incoming/assets/{name}"), None).finish().await.unwrap().unwrap()
    };
    let loaded = async || world.query("select account_id, updated_at from asset order by account_id").await;
    let rejected = async || world.query("select record, rule, value from etl.reject order by id").await;
    // Times beyond what 64 bits of nanoseconds can hold, just before 1970, and the last microsecond of a day.
    let times = "[datetime(2262, 5, 1, 1, 2, 3, 4), datetime(9999, 12, 31, 23, 59, 59, 999999), \
        datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(1900, 1, 1), datetime(1899, 12, 31, 23, 59, 59), None]";
    let report = load("micro.parquet", &format!("{times}, 'us'")).await;
    assert_eq!((&report["inserted"], &report["rejected"]), (&json!(4), &json!(2)), "{report}");
    assert_snapshot!(loaded().await, @"
    A0 | 2262-05-01 01:02:03.000004+00
    A1 | 9999-12-31 23:59:59.999999+00
    A2 | 1969-12-31 23:59:59.999999+00
    A3 | 1900-01-01 00:00:00+00
    ");
    // It is not known in which calendar these days were counted.
    assert_snapshot!(rejected().await, @"
    5 | timestamp | 1899-12-31T23:59:59Z of an old calendar
    6 | required | -
    ");
    world.query("truncate etl.reject; delete from asset").await;
    let report = load("nano.parquet", "[1766413800000000001, 1766413800000001000, -1], 'ns'").await;
    assert_eq!((&report["inserted"], &report["rejected"]), (&json!(1), &json!(2)), "{report}");
    assert_snapshot!(rejected().await, @"
    1 | timestamp | 2025-12-22T14:30:00Z + 1 ns
    3 | timestamp | 1969-12-31T23:59:59.999999Z + 999 ns
    ");
    world.query("delete from asset").await;
    for (name, version, inserted) in
        [("new", "'3.5.1'", 1), ("old", "'2.4.8'", 0), ("older", "'3.0.2'", 0), ("marked", "'3.5.1', True", 0)]
    {
        let report = load(&format!("{name}.parquet"), &format!("[datetime(1600, 2, 29)], 'us', {version}")).await;
        assert_eq!(report["inserted"], inserted, "{name}: {report}");
        world.query("delete from asset").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parquet_file_that_cannot_be_read_says_what_to_change() {
    let scratch = Scratch::new("lake");
    let mut world = World::new().await;
    world.config = Some(config(&scratch, "[[pipeline.asset.extractor]]\ntype = \"s3_parquet\"\n"));
    let error = async |name: &str, table: &str| {
        let script = format!("{ASSETS_IN_PYTHON}\npq.write_table({table}, where=\"{name}.parquet\")");
        python(scratch.path(), &script);
        let key = format!("incoming/assets/{name}.parquet");
        world.put(&key, fs::read(scratch.path().join(format!("{name}.parquet"))).unwrap()).await;
        world.worker(&key, None).finish().await.unwrap().unwrap();
        let error = world.query("select reason, error from etl.load order by id desc limit 1").await;
        error.replace(&format!("s3://{}/incoming/assets/", world.bucket), "")
    };
    let renamed = r#"table().rename_columns({"frozen_cash": "frozencash"})"#;
    assert_snapshot!(error("lacking", renamed).await, @"missing_column | lacking.parquet: the file lacks column frozen_cash (is it column 6?); add it");
    assert_snapshot!(error("other", r#"pa.table({"a": [1]})"#).await, @"missing_column | other.parquet: none of the columns of dataset asset is named; it needs account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at");
    assert_snapshot!(error("twice", r#"table().append_column("cash", table()["cash"])"#).await, @r#"duplicate_column | twice.parquet: columns 5 and 9 are both called "cash"; remove or rename one"#);
    assert_snapshot!(error("packed", r#"table(), compression="brotli""#).await, @"malformed | packed.parquet: column total_asset is compressed with Brotli, which is not supported; write it with Snappy, Zstandard, gzip or LZ4");
    let nested = r#"table().set_column(4, "cash", pa.array([{"a": 1}] * 2))"#;
    assert_snapshot!(error("nested", nested).await, @"malformed | nested.parquet: column cash is nested, which cannot be read as decimal without loss; write it as DECIMAL, an integer or a string");
    let wide = r#"pa.table({f"c{n}": [1] for n in range(16385)})"#;
    assert_snapshot!(error("wide", wide).await, @"malformed | wide.parquet: the file has 16385 columns, counting nested ones, more than the limit of 16384; leave some out");
    let large = r#"table().set_column(2, "account_id", pa.array(["x" * 300_000_000] * 2)), use_dictionary=False, compression="zstd""#;
    assert_snapshot!(error("large", large).await, @"malformed | large.parquet: the largest pages of its columns need 573 MiB together, more than the limit of 512 MiB; write smaller pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_loaded_lies_in_the_lake_as_another_program_reads_it() {
    let scratch = Scratch::new("lake");
    let mut world = World::with(&[("LOAD__BATCH_SIZE", "2")]).await;
    let settings = "[[pipeline.asset.loader]]\ntype = \"postgresql\"\n[[pipeline.asset.loader]]\ntype = \"parquet\"\nprefix = \"lake/asset/\"\n";
    world.config = Some(config(&scratch, settings));
    world.put("incoming/assets/1.csv", ASSETS.replace("305000.00", "305000.001")).await;
    let report = world.worker("incoming/assets/1.csv", None).finish().await.unwrap().unwrap();
    assert_eq!(report["status"], "loaded", "{report}");
    let day = world.query("select to_char(started_at, 'YYYY-MM-DD') from etl.load").await;
    let listed = world.s3.list_objects_v2().bucket(&world.bucket).prefix("lake/").send().await.unwrap();
    let keys: Vec<&str> = listed.contents().iter().map(|object| object.key().unwrap()).collect();
    assert_eq!(keys, [format!("lake/asset/date={day}/1.parquet")]);
    assert_eq!(world.query("select loader, rows from etl.delivery").await, "parquet | 3");
    let object = world.s3.get_object().bucket(&world.bucket).key(keys[0]).send().await.unwrap();
    fs::write(scratch.path().join("1.parquet"), object.body.collect().await.unwrap().into_bytes()).unwrap();
    let read = python(
        scratch.path(),
        "table = pq.read_table('1.parquet', partitioning=None)\nprint(table.schema)\nfor row in table.to_pylist(): print(*row.values())",
    );
    assert_snapshot!(read, @"
    account_id: string
    account_type: int32
    cash: decimal128(20, 2)
    frozen_cash: decimal128(20, 2)
    market_value: decimal128(20, 2)
    total_asset: decimal128(20, 2)
    updated_at: timestamp[us, tz=UTC]
    10000000002 2 500000.00 50000.00 800000.00 1350000.00 2025-12-22 14:25:00+00:00
    10000000003 3 250000.00 75000.00 300000.00 625000.00 2025-12-22 14:20:00+00:00
    10000000004 1 80000.00 10000.00 120000.00 210000.00 2025-12-22 14:15:00+00:00
    ");
}

const EVENT: &str = r#"
name = "event"
table = "event"
key = "id"
version = "seen_at"
files = ["incoming/events/*"]
[[column]]
name = "id"
type = "uuid"
required = true
[[column]]
name = "small"
type = "smallint"
[[column]]
name = "day"
type = "date"
[[column]]
name = "at"
type = "time"
[[column]]
name = "flag"
type = "boolean"
[[column]]
name = "ratio"
type = "double"
[[column]]
name = "half"
type = "double"
[[column]]
name = "local"
type = "local_timestamp"
[[column]]
name = "large"
type = "decimal"
precision = 38
scale = 10
[[column]]
name = "doc"
type = "json"
[[column]]
name = "seen_at"
type = "timestamp"
required = true
"#;

/// Types that another program writes natively and not as texts.
const EVENTS_IN_PYTHON: &str = r#"
import uuid
from datetime import date, time
def table(**other):
    seen, local = datetime(2025, 12, 22, 14, 30, tzinfo=timezone.utc), datetime(2025, 12, 22, 14, 30, 0, 250000)
    ids = [uuid.UUID("123e4567-e89b-12d3-a456-426614174000").bytes, uuid.UUID(int=7).bytes]
    columns = {
        "id": pa.ExtensionArray.from_storage(pa.uuid(), pa.array(ids, pa.binary(16))),
        "small": pa.array([-7, 40000], pa.int32()),
        "day": pa.array([date(2024, 2, 29), None], pa.date32()),
        "at": pa.array([time(14, 30, 0, 250000), time(0, 0)], pa.time64("us")),
        "flag": pa.array([True, False]),
        "ratio": pa.array([1.9e-4, 1e300]),
        "half": pa.array([0.1, 2.5], pa.float32()),
        "local": pa.array([local, local], pa.timestamp("ms")),
        "large": pa.array([Decimal("9999999999999999999999999999.0123456789"), Decimal("1")], pa.decimal128(38, 10)),
        "doc": pa.array(['{"b": 1.50, "a": []}', "[]"]),
        "seen_at": pa.array([seen, seen], pa.timestamp("us", "UTC")),
    }
    return pa.table({**columns, **other})
"#;

#[tokio::test(flavor = "multi_thread")]
async fn dates_booleans_floats_and_what_else_parquet_has_load_into_columns_of_those_types() {
    let scratch = Scratch::new("lake");
    fs::create_dir(scratch.path().join("datasets")).unwrap();
    fs::write(scratch.path().join("datasets/event.toml"), EVENT).unwrap();
    let mut world = World::with(&[("DATASETS__PATH", scratch.path().join("datasets").to_str().unwrap())]).await;
    world.config = Some(config(&scratch, "[[pipeline.event.extractor]]\ntype = \"s3_parquet\"\n"));
    world
        .query(
            "create table event (id uuid primary key, small smallint, day date, at time, flag boolean, ratio double precision, \
             half double precision, local timestamp, large numeric(38, 10), doc jsonb, seen_at timestamptz not null)",
        )
        .await;
    let load = async |name: &str, table: &str| {
        python(scratch.path(), &format!("{EVENTS_IN_PYTHON}\npq.write_table({table}, where=\"{name}\")"));
        let key = format!("incoming/events/{name}");
        world.put(&key, fs::read(scratch.path().join(name)).unwrap()).await;
        world.worker(&key, None).finish().await.unwrap().unwrap()
    };
    let report = load("good.parquet", "table()").await;
    assert_eq!((&report["inserted"], &report["rejected"]), (&json!(1), &json!(1)), "{report}");
    // A float becomes the double with the same value.
    assert_snapshot!(world.query("select * from event").await, @r#"123e4567-e89b-12d3-a456-426614174000 | -7 | 2024-02-29 | 14:30:00.25 | t | 0.00019 | 0.10000000149011612 | 2025-12-22 14:30:00.25 | 9999999999999999999999999999.0123456789 | {"a": [], "b": 1.50} | 2025-12-22 14:30:00+00"#);
    assert_snapshot!(world.query("select \"column\", rule, value from etl.reject").await, @"small | integer | 40000");
    for (column, values) in [
        ("id", "pa.array([b'0123456789abcdef'] * 2, pa.binary(16))"),
        ("day", "pa.array([1, 2], pa.int32())"),
        ("flag", "pa.array([0, 1], pa.int8())"),
        ("ratio", "pa.array([1, 2], pa.int64())"),
        ("local", "pa.array([0, 1], pa.timestamp('us', 'UTC'))"),
    ] {
        let report = load(&format!("{column}.parquet"), &format!("table({column}={values})")).await;
        let error = world.query("select error from etl.load order by id desc limit 1").await;
        assert_eq!(report["status"], "failed", "{column}: {report}");
        assert!(
            error.contains(&format!("column {column} is ")) && error.contains("without loss; write it as"),
            "{error}"
        );
    }
}
