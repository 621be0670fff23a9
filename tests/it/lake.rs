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

/// Runs Python with pyarrow in a folder, and returns what it prints.
fn python(folder: &Path, script: &str) -> String {
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

/// Two assets, of which the second is broken, with types that no CSV has.
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
        error.ends_with("float.parquet: column cash is Float64, which is no decimal without loss; write it as DECIMAL, an integer or a string"),
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
    assert!(error.contains("cut.parquet: this is no Parquet file, or it is cut off"), "{error} {report}");
    load("int96.parquet", "table(), use_deprecated_int96_timestamps=True").await;
    let error = world.query("select error from etl.load where id = 5").await;
    assert!(error.contains("int96.parquet: column updated_at is Timestamp"), "{error}");
    let report = load_content("good.parquet.gz", packed(&good)).await;
    assert_eq!((&report["status"], &report["unchanged"]), (&json!("loaded"), &json!(1)), "{report}");
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
