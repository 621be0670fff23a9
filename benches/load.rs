//! `make bench`: a million trades through the ingest library path, against `psql` copying and upserting the same file
//! unchecked. Both run in turn in one process's time, so that a machine that slows down slows both.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub
)]

#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_s3::primitives::ByteStream;
use serde_json::json;
use small_etl::config::Settings;
use small_etl::data_access::postgres::Database;
use small_etl::data_access::s3::ObjectStore;
use small_etl::domain::{LoadStatus, Location};
use small_etl::pipeline::{self, Request};
use small_etl::sample::{self, SampleOptions};
use support::Scratch;
use support::emulator::Emulator;
use support::postgres::Postgres;
use support::s3::S3Server;
use tokio_postgres::NoTls;

const BUCKET: &str = "bench";
const KEY: &str = "incoming/trades/bench.csv";

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() {
    let (rows, runs) = (number("ROWS", 1_000_000), number("RUNS", 5).max(1));
    let scratch = Scratch::new("bench");
    let postgres = Postgres::start(&["max_wal_size=4GB"], |_| {});
    let s3 = S3Server::start();
    let url = postgres.url("postgres");
    let settings = Settings::from_variables([("DATABASE_URL".to_owned(), url.clone())]).expect("the settings are good");
    let database = Database::new(&settings.database().expect("a URL is set")).expect("the URL is good");
    database.migrate(None).await.expect("migrate");
    let context = small_etl::context::context_on(&settings, Arc::new(ObjectStore::with_config(&s3.config())))
        .expect("the settings are good");
    let (admin, connection) = tokio_postgres::connect(&url, NoTls).await.expect("connect");
    tokio::spawn(connection);

    let options = SampleOptions { rows: 10_000, accounts: 10_000, seed: 1, broken_every: 0 };
    let assets = scratch.path().join("assets.csv");
    sample::assets(&mut File::create(&assets).expect("create a file"), options).expect("make assets");
    let trades = scratch.path().join("trades.csv");
    let mut out = BufWriter::new(File::create(&trades).expect("create a file"));
    sample::trades(&mut out, SampleOptions { rows, ..options }).expect("make trades");
    out.flush().expect("write the trades");
    drop(out);
    let request = Request { dataset: Some("asset".into()), ..Request::new(Location::File(assets)) };
    pipeline::run(&context, &database, &request).await.expect("load the assets");
    let client = s3.client();
    client.create_bucket().bucket(BUCKET).send().await.expect("create the bucket");
    let body = ByteStream::from_path(&trades).await.expect("read the trades");
    client.put_object().bucket(BUCKET).key(KEY).body(body).send().await.expect("put the trades");
    let script = scratch.path().join("upsert.sql");
    std::fs::write(&script, psql_script(&trades.display().to_string())).expect("write the script");

    print_init_time(&url);
    println!(
        "{rows} new trades, {runs} runs of each, in turn, after one to warm up; Postgres with default settings but max_wal_size\n"
    );
    println!("{:>4} {:>14} {:>14} {:>7}", "run", "small-etl", "psql", "ratio");
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=runs {
        empty(&admin).await;
        let started = Instant::now();
        let report = pipeline::run(&context, &database, &Request::new(Location::s3(BUCKET, KEY)))
            .await
            .expect("load the trades");
        let own = started.elapsed().as_secs_f64();
        assert_eq!(report.status, LoadStatus::Loaded);
        assert_eq!(report.counts.map(|counts| counts.inserted), i64::try_from(rows).ok());

        empty(&admin).await;
        let started = Instant::now();
        let status = Command::new("psql")
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(&script)
            .arg(&url)
            .status()
            .expect("run psql");
        let other = started.elapsed().as_secs_f64();
        assert!(status.success(), "psql ended with {status}");
        println!("{run:>4} {own:>12.2} s {other:>12.2} s {:>7.2}", own / other);
        if run == 0 {
            continue;
        }
        ours.push(own);
        theirs.push(other);
        ratios.push(own / other);
    }
    println!();
    for (name, mut figures, unit) in [("small-etl", ours, " s"), ("psql", theirs, " s"), ("ratio", ratios, "")] {
        figures.sort_by(f64::total_cmp);
        let median = figures[figures.len() / 2];
        println!("{name:>10}: median {median:.2}{unit}, from {:.2} to {:.2}", figures[0], figures[figures.len() - 1]);
    }
}

/// How much longer the first call of a sandbox takes than the second, with an event that needs neither S3 nor Postgres. The
/// emulator starts the function with the first call; what it calls `Init Duration` does not hold that.
fn print_init_time(url: &str) {
    let event = json!({"Event": "s3:TestEvent"});
    let mut figures: Vec<f64> = (0..10)
        .map(|_| {
            let variables = [("DATABASE_URL".to_owned(), url.to_owned())];
            let ingest = Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), &variables, Stdio::null());
            let call = || {
                let started = Instant::now();
                assert_eq!(ingest.invoke(&event)["loads"][0]["status"], "skipped");
                started.elapsed().as_secs_f64() * 1000.0
            };
            call() - call()
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    println!(
        "init of ingest under the emulator, 10 sandboxes: median {:.0} ms, from {:.0} to {:.0}\n",
        figures[5], figures[0], figures[9]
    );
}

/// The same state before each run: no trades, no ledger of them, nothing left to write out.
async fn empty(admin: &tokio_postgres::Client) {
    for statement in [
        "truncate trade restart identity",
        "delete from etl.load where dataset = 'trade'",
        "vacuum analyze",
        "checkpoint",
    ] {
        admin.batch_execute(statement).await.expect("empty the tables");
    }
}

/// What people do without us: copy to a temporary table, upsert, all in one transaction.
fn psql_script(file: &str) -> String {
    let columns = "account_id, account_type, traded_id, stock_code, traded_time, traded_price, traded_volume, traded_amount, \
        strategy_name, order_remark, direction, offset_flag, created_at, updated_at";
    let settings: Vec<String> = columns
        .split(", ")
        .filter(|column| *column != "traded_id")
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    format!(
        "begin;\ncreate temporary table incoming (like trade) on commit drop;\n\
         \\copy incoming (id, {columns}) from '{file}' with (format csv, header)\n\
         insert into trade ({columns}) select {columns} from incoming on conflict (traded_id) do update set {};\ncommit;\n",
        settings.join(", ")
    )
}
