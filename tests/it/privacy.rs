//! Cells are in the tables, in rejects and in what is made of them, and never in a log or an error.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use small_etl::pipeline::Request;

use crate::contract::{ASSETS, TRADES};
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::support::postgres::Postgres;
use crate::support::s3::S3Server;
use crate::world::{World, query};

/// Stands in every kind of cell: one that is loaded, one that breaks a rule, a key, a reference.
const CANARY: &str = "canary7261";
/// The same for numbers.
const NUMBER: &str = "72617261";

/// Files that meet every way in which a cell may go wrong, and their manifests.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let header = TRADES.lines().next().unwrap();
    let trade = |key: &str, account: &str, price: &str, remark: &str| {
        format!(
            "1,{account},2,{key},600000,2025-12-22T10:30:00,{price},{NUMBER}00,{price},{CANARY},{remark},0,48,2025-12-22T10:30:00,2025-12-22T14:30:00\n"
        )
    };
    let good = |key: &str, account: &str| {
        trade(key, account, &format!("{NUMBER}00"), CANARY)
            .replace(&format!(",{NUMBER}00,{NUMBER}00,{NUMBER}00,"), &format!(",1.00,{NUMBER}00,{NUMBER}00.00,"))
    };
    let account = |key: &str, kind: &str| format!("1,{key},{kind},{NUMBER},0,0,{NUMBER},2025-12-22T14:30:00\n");
    let assets = ASSETS.lines().next().unwrap();
    let malformed = format!("{header}\n{CANARY},{CANARY}\n1,\"{CANARY}\"{CANARY},2\n");
    let mut bad_text = format!("{header}\n{}", trade("T3", CANARY, "1", CANARY)).into_bytes();
    bad_text.extend_from_slice(format!("1,{CANARY}\0\u{e9},").as_bytes());
    bad_text.extend_from_slice(b"\xff\n");
    vec![
        ("incoming/assets/1.csv", format!("{assets}\n{}{}", account(CANARY, "2"), account("A2", CANARY)).into_bytes()),
        // The table itself refuses this one: an error of the database with the cell in its text.
        ("incoming/assets/refused.csv", format!("{assets}\n{}", account("refused", "2")).into_bytes()),
        (
            "incoming/trades/good.csv",
            format!("{header}\n{}{}", good(CANARY, CANARY), good(&format!("{CANARY}2"), &format!("{CANARY}9")))
                .into_bytes(),
        ),
        (
            "incoming/trades/bad.csv",
            format!(
                "{header}\n{}{}",
                trade(CANARY, "", CANARY, CANARY),
                trade(&CANARY.repeat(9), CANARY, CANARY, &CANARY.repeat(20))
            )
            .into_bytes(),
        ),
        ("incoming/trades/twice.csv", format!("{header}\n{0}{0}", good(CANARY, CANARY)).into_bytes()),
        ("incoming/trades/malformed.csv", malformed.into_bytes()),
        ("incoming/trades/text.csv", bad_text),
        ("incoming/trades/open.csv", format!("{header}\n1,\"{CANARY}\n{CANARY}").into_bytes()),
        (
            "incoming/trades/sums.csv",
            format!("{header}\n{}{}", trade("S1", CANARY, CANARY, CANARY), trade("S2", CANARY, "1", "")).into_bytes(),
        ),
        (
            "incoming/trades/sums.csv.manifest.json",
            format!("{{\"sums\": {{\"traded_price\": \"{CANARY}\"}}}}").into_bytes(),
        ),
        ("incoming/trades/odd.csv", format!("{header}\n{}", good("O1", CANARY)).into_bytes()),
        ("incoming/trades/odd.csv.manifest.json", format!("{{\"{CANARY}\": ").into_bytes()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cell_is_in_a_log_line_or_an_error() {
    let world = World::with(&[("LOAD__LEASE_SECONDS", "2")]).await;
    world.query("alter table asset add constraint not_refused check (account_id <> 'refused')").await;
    let mut said = String::new();
    let scratch = Scratch::new("privacy");
    for (key, content) in files() {
        world.put(key, content.clone()).await;
        fs::write(scratch.path().join(key.replace('/', "-")), content).unwrap();
    }
    let keys: Vec<&str> = files().iter().map(|(key, _)| *key).filter(|key| !key.contains("manifest")).collect();
    let log = scratch.path().join("ingest.log");
    let mut variables = world.variables();
    variables.push(("RUST_LOG".into(), "trace".into()));
    let ingest =
        Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), &variables, File::create(&log).unwrap().into());
    for key in &keys {
        let answer = ingest.invoke(&json!({"bucket": world.bucket, "key": key}));
        // An answer holds statistics, which a dataset asks for; an error holds nothing of the kind.
        said.push_str(&answer["errorMessage"].to_string());
    }
    drop(ingest);
    said.push_str(&fs::read_to_string(&log).unwrap());
    for format in ["text", "json"] {
        for key in &keys {
            let command = |arguments: &[&str]| {
                let output = Command::new(env!("CARGO_BIN_EXE_small-etl"))
                    .args(arguments)
                    .current_dir(scratch.path())
                    .envs(variables.iter().cloned())
                    .env("SMALL_ETL__LOG__FORMAT", format)
                    .output()
                    .unwrap();
                String::from_utf8_lossy(&output.stderr).into_owned()
            };
            let dataset = if key.contains("assets") { "asset" } else { "trade" };
            said.push_str(&command(&["load", &format!("s3://{}/{key}", world.bucket), "--again"]));
            said.push_str(&command(&["validate", &key.replace('/', "-"), "--dataset", dataset]));
        }
    }
    said.push_str(&world.query("select reason, error from etl.load").await);
    let lines = said.lines().count();
    assert!(lines > 60, "only {lines} lines were said");
    assert!(said.contains("not_refused") && said.contains("manifest_malformed"), "the faults did not happen: {said}");
    for canary in [CANARY, NUMBER] {
        let found: Vec<&str> = said.lines().filter(|line| line.contains(canary)).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
    // They were there to be told.
    let kept = world.query("select count(*) from etl.reject where position('canary7261'::bytea in raw) > 0").await;
    assert!(kept.parse::<i64>().unwrap() > 5, "{kept}");
    assert!(world.get(&world.bucket, "rejects/trade/4.csv").await.contains(CANARY));
}

/// A server says in its own language where an error comes from. What the author of a trigger writes is kept all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_another_language_tells_no_cell_either() {
    // `C` itself is never translated.
    let postgres = Postgres::speaking("de", &["fsync=off", "lc_messages=C.UTF-8"], |_| {});
    let world = World::on_servers(&postgres, Arc::new(S3Server::start()), &[]).await;
    for (state, has_rows, reason) in [
        ("42501", false, "no_progress"),
        ("42501", true, "no_progress"),
        ("55000", true, "no_progress"),
        ("28000", true, "trigger_refused"),
        ("3D000", true, "trigger_refused"),
        ("ZX001", false, "trigger_refused"),
        ("ZX001", true, "trigger_refused"),
    ] {
        query(&world.url, "truncate asset cascade; drop trigger if exists deny on asset").await;
        let key = format!("incoming/assets/{state}-{has_rows}.csv");
        if has_rows {
            world.drop_file(&key, ASSETS).await;
        }
        let raise = format!("raise '%', repeat(new.cash::text, 2) using errcode = '{state}'");
        query(
            &world.url,
            &format!(
                "create or replace function deny() returns trigger language plpgsql as $$ begin {raise}; end $$; \
                 create trigger deny before insert or update on asset for each row execute function deny()"
            ),
        )
        .await;
        world
            .put(
                &key,
                ASSETS
                    .replace("T14:", "T15:")
                    .replace("100000.00,5000.00,200000.00,305000.00", "72617261,0,0,72617261"),
            )
            .await;
        let mut said = String::new();
        let report = loop {
            match world.run(&Request { again: true, ..world.request(&key) }).await {
                Ok(report) => break report,
                Err(error) => said.push_str(&error.chain()),
            }
        };
        assert_eq!(report.reason.as_deref(), Some(reason), "{state}: {report:?}");
        said.push_str(&report.error.unwrap());
        assert!(said.contains(state) && !said.contains(NUMBER), "{state}: {said}");
    }
    // It does speak another one.
    query(&world.url, "drop trigger deny on asset; create table say (what text); create function say() returns void language plpgsql as $$ \
        declare context text; begin raise 'x'; exception when others then get stacked diagnostics context = pg_exception_context; insert into say values (context); end $$; select say()").await;
    assert!(query(&world.url, "select what from say").await.starts_with("PL/pgSQL-Funktion say() Zeile "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nightly_run_enforces_the_retention_of_rejects() {
    let world = World::with(&[("REJECTS__RETENTION_DAYS", "30")]).await;
    world.drop_file("incoming/assets/1.csv", ASSETS.replace("305000.00", CANARY)).await;
    world.query("update etl.load set finished_at = finished_at - interval '31 days'").await;
    let world = world.into_ingest_role();
    let ingest =
        Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), &world.variables(), std::process::Stdio::null());
    let event: Value = serde_json::from_str(include_str!("../../events/reconcile.json")).unwrap();
    let answer = ingest.invoke(&event);
    assert_eq!(answer["reconciled"]["rejects_deleted"], 1, "{answer}");
    assert_eq!(world.query("select count(*) from etl.reject").await, "0");
    assert!(
        world.s3.list_objects_v2().bucket(&world.bucket).prefix("rejects/").send().await.unwrap().contents().is_empty()
    );
}
