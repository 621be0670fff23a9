//! `make demo`: the main job with real components, from an empty folder to a report.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::path::PathBuf;

use aws_sdk_s3::primitives::ByteStream;
use serde_json::{Value, json};
use small_etl::sample::{self, SampleOptions};
use support::Scratch;
use support::emulator::Emulator;
use support::postgres::Postgres;
use support::s3::S3Server;
use tokio_postgres::NoTls;

const BUCKET: &str = "small-etl-demo";
const ACCOUNTS: u64 = 1_000;
const TRADES: u64 = 100_000;

#[tokio::main]
async fn main() {
    let scratch = Scratch::new("demo");
    step("starting a Postgres of its own in a scratch folder");
    let postgres = Postgres::start(&[], |_| {});
    step("starting an S3 server");
    let s3 = S3Server::start();
    let client = s3.client();
    client.create_bucket().bucket(BUCKET).send().await.expect("create the bucket");

    let mut variables = s3.variables();
    variables.push(("SMALL_ETL_ENV".into(), "prod".into()));
    variables.push(("DATABASE_URL".into(), postgres.url("postgres")));
    let log = |name: &str| File::create(scratch.path().join(name)).expect("create a log");

    step("invoking the migrate function under the Lambda emulator, as the owner of the schema");
    let migrate = Emulator::start(&function("migrate"), &variables, log("migrate.log").into());
    println!("  {}", migrate.invoke(&json!({})));
    drop(migrate);

    step("invoking the ingest function with S3 events, as the role small_etl_ingest");
    let ingest_url = postgres.url("postgres").replace("postgres@", "small_etl_ingest@");
    variables.push(("DATABASE_URL".into(), ingest_url));
    let ingest = Emulator::start(&function("ingest"), &variables, log("ingest.log").into());
    let (database, connection) = tokio_postgres::connect(&postgres.url("postgres"), NoTls).await.expect("connect");
    tokio::spawn(connection);

    let mut assets = Vec::new();
    let options = SampleOptions { rows: ACCOUNTS, accounts: ACCOUNTS, seed: 1, broken_every: 200 };
    sample::assets(&mut assets, options).expect("make assets");
    let mut trades = Vec::new();
    sample::trades(&mut trades, SampleOptions { rows: TRADES, broken_every: 9_000, ..options }).expect("make trades");
    let mut good_trades = Vec::new();
    sample::trades(&mut good_trades, SampleOptions { rows: TRADES, broken_every: 0, ..options }).expect("make trades");
    let mut corrected = Vec::new();
    sample::assets(&mut corrected, SampleOptions { broken_every: 0, ..options }).expect("make assets");

    for (explanation, key, content) in [
        ("assets, one in 200 broken", "incoming/assets/2025-12-22.csv", Some(assets)),
        (
            "trades, one in 9,000 broken; the trades of rejected accounts wait",
            "incoming/trades/2025-12-22.csv",
            Some(trades),
        ),
        ("the same event again", "incoming/trades/2025-12-22.csv", None),
        (
            "the assets again, corrected; the waiting trades are released",
            "incoming/assets/2025-12-22-corrected.csv",
            Some(corrected),
        ),
    ] {
        if let Some(content) = content {
            let put = client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(content));
            put.send().await.expect("put the file");
        }
        let head = client.head_object().bucket(BUCKET).key(key).send().await.expect("look at the file");
        let mut event: Value =
            serde_json::from_str(include_str!("../events/s3-put.json")).expect("events/s3-put.json is JSON");
        let object = &mut event["Records"][0]["s3"]["object"];
        object["key"] = json!(key);
        object["eTag"] = json!(head.e_tag().unwrap_or_default().trim_matches('"'));
        object["size"] = json!(head.content_length());
        // This server keeps no versions.
        object["versionId"] = Value::Null;
        let answer = ingest.invoke(&event);
        let Some(load) = answer["loads"].get(0) else { panic!("the function failed: {answer}") };
        print_report(explanation, load, &database).await;
    }

    step("mending the rejects file of the trades, and putting it where files arrive");
    let good_trades = String::from_utf8(good_trades).expect("trades are text");
    let key = drop_mended_trades(&client, &good_trades).await;
    let answer = ingest.invoke(&json!({"bucket": BUCKET, "key": key}));
    let Some(load) = answer["loads"].get(0) else { panic!("the function failed: {answer}") };
    print_report("the rejected trades, mended", load, &database).await;

    step("what Postgres contains now");
    for (what, sql) in [
        ("assets", "select count(*)::text from asset"),
        ("trades", "select count(*)::text from trade"),
        (
            "rejected rows waiting to be mended: accounts whose lines were too broken to have a key",
            "select count(*)::text from etl.open_reject",
        ),
        ("rows still parked", "select count(*)::text from etl.parked where released_by is null"),
        (
            "loads whose sum is wrong",
            "select count(*)::text from etl.load where read <> inserted + updated + unchanged + stale + parked + rejected + withheld",
        ),
    ] {
        let count: String = database.query_one(sql, &[]).await.expect("count rows").get(0);
        println!("  {count:>8} {what}");
    }
    if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        let report = scratch.path().join("report.html");
        let object =
            client.get_object().bucket(BUCKET).key("rejects/trade/2.html").send().await.expect("get the report");
        let page = object.body.collect().await.expect("read the report").to_vec();
        std::fs::write(&report, page).expect("write the report");
        step("left running until Ctrl-C: look at the report, at the ledger, and load files of your own");
        println!("  report of the trades: file://{}", report.display());
        println!("  psql {} -c 'table etl.load_history'", postgres.url("postgres"));
        println!("  export DATABASE_URL={}", postgres.url("postgres"));
        for (name, value) in s3.variables() {
            println!("  export {name}={value}");
        }
        println!("  small-etl load s3://{BUCKET}/incoming/…    logs: {}", scratch.path().display());
        tokio::signal::ctrl_c().await.expect("wait for Ctrl-C");
    }
    step("stopping the servers and removing the scratch folders");
}

/// Returns the key of the mended file.
async fn drop_mended_trades(client: &aws_sdk_s3::Client, good: &str) -> &'static str {
    const KEY: &str = "incoming/trades/2025-12-22-mended.csv";
    let object =
        client.get_object().bucket(BUCKET).key("rejects/trade/2.csv").send().await.expect("get the rejects file");
    let bytes = object.body.collect().await.expect("read the rejects file").to_vec();
    let rejects = String::from_utf8(bytes).expect("the rejects file is text");
    for line in rejects.lines().take(2) {
        println!("  {line}");
    }
    let put = client.put_object().bucket(BUCKET).key(KEY).body(ByteStream::from(mend(&rejects, good).into_bytes()));
    put.send().await.expect("put the mended file");
    KEY
}

/// Does what a person would do: corrects the cells and leaves the four columns before them alone.
fn mend(rejects: &str, good: &str) -> String {
    let good: Vec<&str> = good.lines().collect();
    let lines = rejects.lines().enumerate().map(|(index, line)| {
        let cells: Vec<&str> = line.splitn(3, ',').collect();
        match cells[1].parse::<usize>() {
            Ok(record) if index > 0 => format!("{},{record},,,{}", cells[0], good[record]),
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn step(what: &str) {
    println!("\n==> {what}");
}

/// The Lambda binary that was built next to this program.
fn function(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program is known");
    own.ancestors().nth(2).expect("the target folder").join(name)
}

async fn print_report(explanation: &str, load: &Value, database: &tokio_postgres::Client) {
    println!(
        "\n{}: {} ({explanation})",
        load["key"].as_str().unwrap_or_default(),
        load["status"].as_str().unwrap_or_default()
    );
    if load["status"] == "duplicate" {
        println!("  load {} has this version already; nothing was written", load["load_id"]);
        return;
    }
    let number = |name: &str| load[name].as_i64().unwrap_or_default();
    let outcomes =
        ["read", "inserted", "updated", "unchanged", "stale", "parked", "rejected", "withheld", "warnings", "released"];
    println!("  {}", outcomes.map(|name| format!("{name:>9}")).join(" "));
    println!("  {}", outcomes.map(|name| format!("{:>9}", number(name))).join(" "));
    let elapsed = number("elapsed_ms").max(1);
    println!("  {elapsed} ms, {} rows/s", number("read") * 1000 / elapsed);
    let sql = "select line, coalesce(\"column\", '(record)') as place, message, rule from etl.reject where load_id = $1 order by record, id limit 5";
    for row in database.query(sql, &[&number("load_id")]).await.expect("read the rejects") {
        let (line, place, message, rule): (i64, String, String, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        println!("  reject in line {line}, {place}: {message} (rule {rule})");
    }
    for (name, value) in load["statistics"].as_object().into_iter().flatten() {
        println!("  {name}: {value}");
    }
}
