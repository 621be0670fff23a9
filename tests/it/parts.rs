//! Pipelines by configuration: parts that settings choose, parts of your own, several loaders, JSON lines.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use insta::assert_snapshot;
use serde_json::json;
use small_etl::async_trait;
use small_etl::config::Settings;
use small_etl::data_access::postgres::Database;
use small_etl::data_access::s3::ObjectStore;
use small_etl::domain::LoadStatus;
use small_etl::error::{Error, ErrorKind, Result};
use small_etl::services::parts::PartSettings;
use small_etl::services::{LoadWork, Loader, Loading, Parts};

use crate::command_line::{small_etl, text};
use crate::contract::{ASSETS, TRADES};
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::support::proxy::{Fault, Which};
use crate::world::World;

/// Writes settings into a folder of their own.
pub fn config(scratch: &Scratch, settings: &str) -> PathBuf {
    let folder = scratch.path().join("settings");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("test.toml"), settings).unwrap();
    folder
}

/// Packs bytes as `gzip` does.
pub fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut archive = GzEncoder::new(Vec::new(), Compression::fast());
    archive.write_all(bytes).unwrap();
    archive.finish().unwrap()
}

/// Returns the example program with an extractor, a validator and a loader of its own.
fn own_parts() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_small-etl")).with_file_name("examples").join("own_parts");
    assert!(program.exists(), "{} is missing; run `make programs`", program.display());
    program
}

/// Returns settings with its parts for trades. The loader writes to the folder `out` in the scratch folder.
fn own_settings(scratch: &Scratch) -> PathBuf {
    let out = scratch.path().join("out");
    fs::create_dir_all(&out).unwrap();
    let settings = format!(
        r#"
        [[pipeline.trade.extractor]]
        type = "semicolons"
        files = ["**/*.txt"]
        comment = '#'
        [[pipeline.trade.extractor]]
        type = "s3_csv"
        [[pipeline.trade.validator]]
        type = "duckdb"
        [[pipeline.trade.validator]]
        type = "desk_limits"
        most = {{ 10000000001 = 1500, 10000000003 = 300 }}
        [[pipeline.trade.loader]]
        type = "postgresql"
        [[pipeline.trade.loader]]
        type = "folder"
        path = "{}"
        "#,
        out.display()
    );
    config(scratch, &settings)
}

/// Returns the files that the loader of the example has written, with their content.
fn delivered(scratch: &Scratch) -> String {
    let mut files: Vec<_> =
        fs::read_dir(scratch.path().join("out")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let show =
        |file: &PathBuf| format!("{}\n{}", file.file_name().unwrap().display(), fs::read_to_string(file).unwrap());
    files.iter().map(show).collect()
}

#[test]
fn what_settings_choose_wrongly_fails_at_the_start_with_the_nearest() {
    let scratch = Scratch::new("parts");
    fs::write(scratch.path().join("assets.csv"), ASSETS).unwrap();
    let run = |settings: &str| {
        let folder = config(&scratch, settings);
        let variables = [("SMALL_ETL_ENV", "test"), ("SMALL_ETL_CONFIG", folder.to_str().unwrap())];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        text(&small_etl(&scratch, &variables, &["validate", "assets.csv", "--dataset", "asset"]))
    };
    assert_snapshot!(run("[[pipeline.trade.loader]]\ntype = \"postgres\""), @r#"
    exit 3
    error: pipeline.trade.loader: unknown loader "postgres"; did you mean "postgresql"?
    "#);
    assert_snapshot!(run("[[pipeline.trades.loader]]\ntype = \"postgresql\""), @r#"
    exit 3
    error: pipeline: unknown dataset "trades"; did you mean "trade"?
    "#);
    assert!(run("[[pipeline.trade.loaders]]\ntype = \"postgresql\"").contains("unknown field `loaders`"));
    assert_snapshot!(run("[[pipeline.asset.extractor]]\ntype = \"s3_csv\"\nfiles = [\"**/*.gz\"]").split(": ").last().unwrap(), @"no extractor of its dataset reads this key; widen its files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_parts_of_its_own_reads_checks_and_delivers_with_them() {
    let scratch = Scratch::new("parts");
    let mut world = World::new().await;
    (world.config, world.program) = (Some(own_settings(&scratch)), own_parts());
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.put("incoming/trades/1.txt", format!("# of the desk\n{}", TRADES.replace(',', ";"))).await;
    let report = world.worker("incoming/trades/1.txt", None).finish().await.unwrap().unwrap();
    assert_eq!((&report["status"], &report["inserted"]), (&json!("loaded"), &json!(3)), "{report}");
    assert_snapshot!(world.query("select record, line, \"column\", rule, message, value from etl.reject").await, @"3 | 4 | traded_volume | desk_limit | the desk may not trade this much at once; ask for a higher limit | 2000");
    assert_snapshot!(world.query("select loader, rows from etl.delivery").await, @"folder | 3");
    let content = delivered(&scratch);
    assert_eq!(content.lines().count(), 4, "{content}");
    assert!(content.contains(",T20251222000001,600000,2025-12-22T10:30:00,15.50,1000,15500.00,策略A,"), "{content}");
    let output = Command::new(own_parts())
        .args(["validate", &format!("s3://{}/incoming/trades/1.txt", world.bucket), "--dataset", "trade", "--json"])
        .envs(world.variables())
        .output();
    let checked: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!((&checked["accepted"], &checked["rejects"][0]["rule"]), (&json!(3), &json!("desk_limit")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_program_is_the_lambda_function() {
    let scratch = Scratch::new("parts");
    let mut world = World::new().await;
    world.config = Some(own_settings(&scratch));
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.put("incoming/trades/1.csv", TRADES).await;
    let log = fs::File::create(scratch.path().join("log")).unwrap();
    let ingest = Emulator::start(&own_parts(), &world.variables(), log.into());
    let answer = ingest.invoke(&json!({ "bucket": world.bucket, "key": "incoming/trades/1.csv" }));
    let counts = &answer["loads"][0];
    assert_eq!((&counts["inserted"], &counts["rejected"]), (&json!(3), &json!(1)), "{answer}");
    assert_eq!(delivered(&scratch).lines().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_two_loaders_is_followed_by_one_that_doubles_nothing() {
    let scratch = Scratch::new("parts");
    let mut world = World::with(&[("LOAD__BATCH_SIZE", "2"), ("LOAD__CONNECTIONS", "1")]).await;
    (world.config, world.program) = (Some(own_settings(&scratch)), own_parts());
    world.drop_file("incoming/assets/1.csv", ASSETS).await;
    world.put("incoming/trades/1.csv", TRADES).await;
    let proxy = world.proxy();
    let (mut killed, mut undelivered) = (0, 0);
    // The first steps are covered by other tests. After the last batch the loaders run.
    for step in 12.. {
        world.query("truncate trade, etl.load restart identity cascade").await;
        for file in fs::read_dir(scratch.path().join("out")).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        let worker = world.signalled_worker("incoming/trades/1.csv", &proxy, (Which::Step, step), Fault::Call, "KILL");
        let was_killed = worker.finish().await.is_none();
        proxy.disarm();
        world.end_leases().await;
        let waiting = "select count(*) from etl.load_batch where not exists (select from etl.delivery)";
        undelivered += i32::from(was_killed && world.query(waiting).await == "2");
        world.worker("incoming/trades/1.csv", None).finish().await.unwrap().unwrap();
        let ledger = world.query("select state, inserted, rejected from etl.load").await;
        assert_eq!(ledger, "loaded | 3 | 1", "killed at step {step}");
        assert_eq!(world.query("select loader, rows from etl.delivery").await, "folder | 3", "killed at step {step}");
        let content = delivered(&scratch);
        assert_eq!((content.lines().count(), content.matches(".csv").count()), (4, 1), "step {step}: {content}");
        if !was_killed {
            break;
        }
        killed += 1;
    }
    assert!(killed > 5 && undelivered > 0, "{killed} steps, {undelivered} between the loaders");
}

/// Counts its calls. The first few of them fail.
struct Counting {
    calls: Arc<AtomicU32>,
    fails: u32,
}

#[async_trait]
impl Loader for Counting {
    async fn load(&self, _: &Database, _: &LoadWork) -> Result<Loading> {
        if self.calls.fetch_add(1, Ordering::Relaxed) < self.fails {
            return Err(Error::new(ErrorKind::Connection, "the other place is away"));
        }
        Ok(Loading::Done)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_ends_when_every_loader_has_had_it_once() {
    let scratch = Scratch::new("parts");
    let mut world = World::new().await;
    let loaders =
        ["postgresql", "steady", "away"].map(|name| format!("[[pipeline.asset.loader]]\ntype = \"{name}\"\n"));
    world.config = Some(config(&scratch, &loaders.concat()));
    let calls = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
    let counting = |which: usize, fails| {
        let calls = Arc::clone(&calls[which]);
        move |_: &PartSettings<'_>| Ok(Arc::new(Counting { calls: Arc::clone(&calls), fails }) as Arc<dyn Loader>)
    };
    let parts = Parts::default().with_loader("steady", counting(0, 0)).with_loader("away", counting(1, 1));
    let settings = Settings::from_variables(world.variables()).unwrap();
    let store = Arc::new(ObjectStore::with_config(&world.s3_server.config()));
    world.context = small_etl::start::context_on(&settings, &parts, store).unwrap();
    world.put("incoming/assets/1.csv", ASSETS).await;
    assert_eq!(world.try_load("incoming/assets/1.csv").await.unwrap_err().kind(), ErrorKind::Connection);
    let ledger = "select state, (select string_agg(loader, ' ' order by loader) from etl.delivery), (select count(*) from asset) from etl.load";
    assert_snapshot!(world.query(ledger).await, @"loading | steady | 4");
    assert_eq!(world.load("incoming/assets/1.csv").await.status, LoadStatus::Loaded);
    assert_snapshot!(world.query(ledger).await, @"loaded | away steady | 4");
    assert_eq!(calls.map(|calls| calls.load(Ordering::Relaxed)), [1, 2]);
}

const JSON_LINES: &str = r#"{"account_id":"10000000001","account_type":2,"cash":100000.00,"frozen_cash":5000.00,"market_value":200000.00,"total_asset":305000.00,"updated_at":"2025-12-22T14:30:00","desk":{"id":1}}
{"account_id":"10000000002","account_type":2,"cash":500000.001,"frozen_cash":50000.00,"market_value":800000.00,"total_asset":1350000.00,"updated_at":"2025-12-22T14:25:00"}

[{"account_id":"10000000003"}]
{"account_id":"10000000004","account_type":1,"cash":{"CNY":80000},"frozen_cash":1,"market_value":1,"total_asset":1,"updated_at":"2025-12-22T14:15:00"}
{"account_id":"10000000005","account_id":"10000000006"}
{"account_id":"1000000\u00007","account_type":null,"cash":1,"frozen_cash":1,"market_value":1,"total_asset":3,"updated_at":"2025-12-22T14:15:00"}
{"account_id":"10000000008","account_type":1,"cash":1e2,"frozen_cash":0.10,"market_value":0.2,"total_asset":100.30,"updated_at":"2025-12-22 14:15:00"
{"account_id":"10000000009","account_type":1,"cash":80000.00,"frozen_cash":10000.00,"market_value":120000.00,"total_asset":210000.00,"updated_at":"2025-12-22T14:15:00"}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_are_loaded_line_by_line_and_a_bad_one_is_explained() {
    let scratch = Scratch::new("parts");
    let mut world = World::new().await;
    world.config = Some(config(
        &scratch,
        "[[pipeline.asset.extractor]]\ntype = \"s3_json_lines\"\nfiles = [\"**/*.jsonl*\"]\n\
         [[pipeline.asset.extractor]]\ntype = \"s3_csv\"\n",
    ));
    world.put("incoming/assets/1.jsonl", JSON_LINES).await;
    let report = world.worker("incoming/assets/1.jsonl", None).finish().await.unwrap().unwrap();
    assert_eq!(report["status"], "loaded", "{report}");
    assert_snapshot!(world.query("select account_id, cash, total_asset from asset order by 1").await, @"
    10000000001 | 100000.00 | 305000.00
    10000000009 | 80000.00 | 210000.00
    ");
    assert_snapshot!(world.query("select record, line, coalesce(\"column\", '-'), rule, value from etl.reject order by id").await, @"
    2 | 2 | cash | decimal | 500000.001
    3 | 4 | - | json | -
    4 | 5 | - | json | -
    5 | 6 | - | json | -
    6 | 7 | account_id | unprintable | 1000000\\x007
    6 | 7 | account_type | required | -
    7 | 8 | - | json | -
    ");
    world.put("incoming/assets/2.jsonl.gz", packed(JSON_LINES.as_bytes())).await;
    let report = world.worker("incoming/assets/2.jsonl.gz", None).finish().await.unwrap().unwrap();
    assert_eq!((&report["read"], &report["unchanged"]), (&json!(8), &json!(2)), "{report}");
    // A rejects file is always CSV, whatever the form of its file: it is mended and loaded like any other.
    let mend = world.query("select convert_from(raw, 'UTF8') from etl.reject where record = 2 limit 1").await;
    let header = world.query("select convert_from(header, 'UTF8') from etl.load limit 1").await;
    world.put("incoming/assets/mended.csv", format!("{header}\n{}\n", mend.replace("500000.001", "500000"))).await;
    let report = world.worker("incoming/assets/mended.csv", None).finish().await.unwrap().unwrap();
    assert_eq!((&report["status"], &report["inserted"]), (&json!("loaded"), &json!(1)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nightly_run_checks_tables_whatever_their_rows_came_as() {
    let scratch = Scratch::new("parts");
    let mut world = World::on_moto(&[]).await;
    world.config = Some(config(&scratch, "[[pipeline.asset.extractor]]\ntype = \"s3_json_lines\"\n"));
    world.put("incoming/assets/1.jsonl", JSON_LINES.lines().next().unwrap()).await;
    let place = format!("s3://{}", world.bucket);
    let reconciled = text(&small_etl(&scratch, &world.variables(), &["reconcile", &place, "--json"]));
    assert!(reconciled.starts_with("exit 0"), "{reconciled}");
    assert!(reconciled.contains(r#""rows_checked":1,"#), "{reconciled}");
}

#[test]
fn a_program_with_parts_of_its_own_is_short_and_needs_only_what_the_crate_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/own_parts");
    let text = fs::read_to_string(folder.join("main.rs")).unwrap();
    let main = text.split("#[tokio::main]\n").nth(1).unwrap();
    assert_eq!(main.lines().count(), 7, "{main}");
    let modules: Vec<&str> = include_str!("../../src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert!(modules.len() > 8, "{modules:?}");
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(text.contains("small_etl::"), "{text}");
        for module in &modules {
            assert!(
                !text.contains(&format!("small_etl::{module}")) && !text.contains(&format!(" {module}::")),
                "{module}: {text}"
            );
        }
    }
}
