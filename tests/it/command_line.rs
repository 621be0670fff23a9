//! The command line, as a person or a script runs it.

use std::fs;
use std::process::{Command, Output};

use insta::assert_snapshot;
use serde_json::Value;

use crate::contract::{ASSETS, TRADES};
use crate::migrations;
use crate::support::Scratch;
use crate::world::{World, empty_database, query};

pub fn small_etl(scratch: &Scratch, variables: &[(String, String)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_small-etl"))
        .args(arguments)
        .current_dir(scratch.path())
        .env_remove("DATABASE_URL")
        .envs(variables.iter().cloned())
        .output()
        .unwrap()
}

pub fn text(output: &Output) -> String {
    format!(
        "exit {}\n{}{}",
        output.status.code().unwrap(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn validate_needs_no_database_and_its_exit_code_tells() {
    let scratch = Scratch::new("cli");
    fs::write(scratch.path().join("good.csv"), ASSETS).unwrap();
    fs::write(
        scratch.path().join("bad.csv"),
        ASSETS.replace("305000.00", "305000.001").replace(",2,500000.00", ",9,500000.00"),
    )
    .unwrap();
    fs::write(scratch.path().join("open.csv"), ASSETS.replace("10000000003", "\"10000000003")).unwrap();
    let run = |file: &str| {
        let output = small_etl(&scratch, &[], &["validate", file, "--dataset", "asset"]);
        text(&output).replace(&fs::canonicalize(scratch.path()).unwrap().display().to_string(), "…")
    };
    assert_snapshot!(run("good.csv"), @r"
    exit 0
    …/good.csv: 4 records, 4 accepted, 0 rejected, 0 warnings (dataset asset)
      by_account_type: 1 1, 2 2, 3 1
      cash: 930000.00
      total_asset: 2490000.00
      newest: 2025-12-22T14:30:00Z
    ");
    assert_snapshot!(run("bad.csv"), @r#"
    exit 1
    …/bad.csv: 4 records, 2 accepted, 2 rejected, 0 warnings (dataset asset)
      bad.csv line 2: column total_asset: "305000.001" has more than 2 decimals; round it at its source (rule decimal)
      bad.csv line 3: column account_type: "9" is not one of 1 2 3 5 6 7 11 (rule allowed)
      by_account_type: 1 1, 3 1
      cash: 330000.00
      total_asset: 835000.00
      newest: 2025-12-22T14:20:00Z
    "#);
    assert_snapshot!(run("open.csv"), @r"
    exit 2
    error: …/open.csv line 4: a quote is opened here and never closed; close it, or double it if it is content
    ");
}

#[test]
fn validate_writes_the_rejected_records_with_their_own_bytes() {
    let scratch = Scratch::new("cli");
    fs::write(
        scratch.path().join("bad.csv"),
        ASSETS.replace("305000.00", "305000.001").replace("10000000002", "\"1000\r\n2\"").replace("1350000.00", "1"),
    )
    .unwrap();
    let output = small_etl(
        &scratch,
        &[],
        &["validate", "bad.csv", "--dataset", "asset", "--rejects", "rejects.csv", "--json", "--limit", "1"],
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["status"], &report["rejected"]), (&Value::from("rejects"), &Value::from(2)));
    assert_eq!(report["rejects"].as_array().unwrap().len(), 1);
    assert_snapshot!(fs::read_to_string(scratch.path().join("rejects.csv")).unwrap().replace('\r', "<CR>"), @r#"
    _load_id,_record,_line,_errors,id,account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at
    ,1,2,"total_asset: ""305000.001"" has more than 2 decimals; round it at its source (rule decimal)",1,10000000001,2,100000.00,5000.00,200000.00,305000.001,2025-12-22T14:30:00
    ,2,3,total_asset: total_asset is not cash + frozen_cash + market_value (rule total_is_sum),2,"1000<CR>
    2",2,500000.00,50000.00,800000.00,1,2025-12-22T14:25:00
    "#);
}

#[test]
fn validate_annotates_lines_for_github_and_makes_warnings_errors_on_demand() {
    let scratch = Scratch::new("cli");
    fs::create_dir(scratch.path().join("datasets")).unwrap();
    let definition = include_str!("../../datasets/trade.toml")
        .replace("id = \"lot_size\"", "id = \"lot_size\"\nseverity = \"warning\"");
    fs::write(scratch.path().join("datasets/trade.toml"), definition).unwrap();
    let variables = [("SMALL_ETL__DATASETS__PATH".to_owned(), "datasets".to_owned())];
    let file = TRADES.replace(",15500.00,", ",15500.01,").replace(",500,14150.00", ",550,15565.00");
    fs::write(scratch.path().join("trades.csv"), file).unwrap();
    fs::write(scratch.path().join("open.csv"), TRADES.replace(",600036,", ",\"600036,")).unwrap();
    let run = |arguments: &[&str]| {
        let arguments = [&["validate", "--dataset", "trade"], arguments].concat();
        let place = fs::canonicalize(scratch.path()).unwrap().display().to_string();
        text(&small_etl(&scratch, &variables, &arguments)).replace(&place, "…")
    };
    assert_snapshot!(run(&["trades.csv", "--format", "github"]), @"
    exit 1
    ::error file=trades.csv,line=2,title=amount_is_price_times_volume::column traded_amount: traded_amount is not traded_price x traded_volume
    ::warning file=trades.csv,line=3,title=lot_size::column traded_volume: traded_volume is not a multiple of 100, as account types 2 3 7 11 need
    …/trades.csv: 4 records, 3 accepted, 1 rejected, 1 warnings (dataset trade)
    ");
    assert_snapshot!(run(&["trades.csv", "--format", "github", "--warnings-as-errors", "--rejects", "bad.csv"]), @"
    exit 1
    ::error file=trades.csv,line=2,title=amount_is_price_times_volume::column traded_amount: traded_amount is not traded_price x traded_volume
    ::error file=trades.csv,line=3,title=lot_size::column traded_volume: traded_volume is not a multiple of 100, as account types 2 3 7 11 need
    …/trades.csv: 4 records, 2 accepted, 2 rejected, 0 warnings (dataset trade)
    ");
    assert_eq!(fs::read_to_string(scratch.path().join("bad.csv")).unwrap().lines().count(), 3);
    assert_snapshot!(run(&["open.csv", "--format", "github"]), @"
    exit 2
    ::error file=open.csv,title=malformed::…/open.csv line 4: a quote is opened here and never closed; close it, or double it if it is content
    ");
    let people = run(&["trades.csv"]);
    assert!(
        people.contains("warning: trades.csv line 3: column traded_volume: traded_volume is not a multiple"),
        "{people}"
    );
    let programs: Value =
        serde_json::from_str(run(&["trades.csv", "--format", "json"]).split_once('\n').unwrap().1).unwrap();
    assert_eq!(
        (&programs["warned"][0]["line"], &programs["rejects"][0]["key"]),
        (&3.into(), &"T20251222000001".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_and_load_print_a_report_for_people_and_the_answer_of_ingest_for_programs() {
    let (url, _) = empty_database().await;
    let scratch = Scratch::new("cli");
    let variables = [("DATABASE_URL".to_owned(), url.clone())];
    fs::write(scratch.path().join("assets.csv"), ASSETS.replace("305000.00", "305000.001")).unwrap();
    fs::write(scratch.path().join("trades.csv"), TRADES).unwrap();
    let applied: Vec<String> =
        migrations::all().iter().map(|(number, name)| format!("applied V{number} {name}\n")).collect();
    assert_eq!(text(&small_etl(&scratch, &variables, &["migrate"])), format!("exit 0\n{}", applied.concat()));
    let report = text(&small_etl(&scratch, &variables, &["load", "assets.csv", "--dataset", "asset"]));
    assert!(
        report.contains("assets.csv line 2: column total_asset: \"305000.001\" has more than 2 decimals"),
        "{report}"
    );
    assert!(!report.contains('\u{1b}'), "no colours where nobody sees them");
    let output = small_etl(&scratch, &variables, &["load", "trades.csv", "--dataset", "trade", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["loads"][0]["inserted"], &answer["loads"][0]["parked"]), (&Value::from(2), &Value::from(2)));
    assert!(output.stderr.is_empty(), "no progress bar where nobody sees it");
    assert_eq!(query(&url, "select count(*) from trade").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_reads_objects_from_s3() {
    let world = World::new().await;
    world.put("incoming/assets/1.csv", ASSETS).await;
    let scratch = Scratch::new("cli");
    let address = format!("s3://{}/incoming/assets/1.csv", world.bucket);
    let output = small_etl(&scratch, &world.variables(), &["load", &address]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(world.query("select count(*) from asset").await, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_says_what_is_wrong_with_a_file_that_failed() {
    let world = World::new().await;
    world.put("incoming/assets/1.csv", ASSETS.replace("cash,", "cache,")).await;
    let scratch = Scratch::new("cli");
    let address = format!("s3://{}/incoming/assets/1.csv", world.bucket);
    for status in ["failed", "duplicate"] {
        let output = small_etl(&scratch, &world.variables(), &["load", &address, "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let load = &answer["loads"][0];
        assert_eq!(
            (&load["status"], &load["reason"]),
            (&Value::from(status), &Value::from("missing_column")),
            "{answer}"
        );
        assert_eq!(load["error"], world.query("select error from etl.load").await, "{answer}");
        assert!(load["error"].as_str().unwrap().contains("cash"), "{answer}");
    }
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let scratch = Scratch::new("cli");
    fs::write(scratch.path().join("x.csv"), ASSETS).unwrap();
    let unset = [("SMALL_ETL__LOAD__BATCH_SICE".to_owned(), "1".to_owned())];
    let run = |variables: &[(String, String)], arguments: &[&str]| text(&small_etl(&scratch, variables, arguments));
    assert_snapshot!(run(&[], &["load", "x.csv"]), @r"
    exit 3
    error: no database is configured; set DATABASE_URL to postgres://USER:PASSWORD@HOST:PORT/DATABASE
    ");
    assert_snapshot!(run(&unset, &["migrate"]), @r#"
    exit 3
    error: SMALL_ETL__LOAD__BATCH_SICE: unknown key "load.batch_sice"; did you mean "load.batch_size"?
    "#);
    assert_snapshot!(run(&[], &["validate", "x.csv"]), @r"
    exit 3
    error: x.csv: no dataset claims this path; name one of asset, trade
    ");
    assert_snapshot!(run(&[], &["validate", "x.csv", "--dataset", "assets"]), @r#"
    exit 3
    error: unknown dataset "assets"; did you mean "asset"?
    "#);
    assert_snapshot!(run(&[], &["validate", "nowhere.csv", "--dataset", "asset"]), @r"
    exit 2
    error: nowhere.csv: cannot be read: No such file or directory (os error 2)
    ");
}

#[test]
fn the_rejects_file_never_overwrites_the_file_itself() {
    let scratch = Scratch::new("cli");
    fs::write(scratch.path().join("x.csv"), ASSETS).unwrap();
    let output = small_etl(&scratch, &[], &["validate", "x.csv", "--dataset", "asset", "--rejects", "./x.csv"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(fs::read_to_string(scratch.path().join("x.csv")).unwrap(), ASSETS);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_that_fails_does_not_stop_the_others_and_a_failed_file_is_loaded_again_on_demand() {
    let world = World::new().await;
    let scratch = Scratch::new("cli");
    fs::write(scratch.path().join("assets.csv"), ASSETS).unwrap();
    let run = |arguments: &[&str]| {
        let output = small_etl(&scratch, &world.variables(), arguments);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let statuses: Vec<String> = answer["loads"]
            .as_array()
            .unwrap()
            .iter()
            .map(|load| load["status"].as_str().unwrap().to_owned())
            .collect();
        (output.status.code().unwrap(), statuses.join(" "))
    };
    assert_eq!(run(&["load", "assets.csv", "--dataset", "trade", "--json"]), (2, "failed".into()));
    assert_eq!(run(&["load", "assets.csv", "--dataset", "asset", "--json"]), (2, "duplicate".into()));
    let both = ["load", "nowhere.csv", "assets.csv", "--dataset", "asset", "--again", "--json"];
    assert_eq!(run(&both), (2, "loaded".into()));
    assert_eq!(run(&["load", "assets.csv", "--dataset", "asset", "--json"]), (0, "duplicate".into()));
    assert_eq!(
        world.query("select run, dataset, state from etl.load order by run").await,
        "0 | trade | failed\n1 | asset | loaded"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_finished_or_is_held_is_told_with_what_to_do() {
    let world = World::new().await;
    let scratch = Scratch::new("cli");
    fs::write(scratch.path().join("assets.csv"), ASSETS).unwrap();
    let place = fs::canonicalize(scratch.path()).unwrap().display().to_string();
    let run = |dataset: &str| {
        let output = small_etl(&scratch, &world.variables(), &["load", "assets.csv", "--dataset", dataset]);
        text(&output).replace(&place, "…")
    };
    run("trade");
    assert_snapshot!(run("asset"), @r#"
    exit 2
    duplicate …/assets.csv (load 1, dataset trade): missing_column
      …/assets.csv line 1: the header lacks column traded_id, stock_code, traded_time, traded_price, traded_volume (is it column 6?), traded_amount, strategy_name, order_remark, direction, offset_flag, created_at; add it
      this version was already finished; nothing was written. --again loads it once more
    "#);
    world.query("update etl.load set state = 'loading', finished_at = null, lease_expires_at = clock_timestamp() + interval '41.5 s'").await;
    let held = run("asset");
    assert!(held.contains("the same command continues with the rest in 4"), "{held}");
}

#[test]
fn help_has_examples_and_completions_are_printed() {
    let scratch = Scratch::new("cli");
    assert!(text(&small_etl(&scratch, &[], &["--help"])).contains("Examples:"));
    let complete = r#"source <("$0" completions bash); COMP_WORDS=(small-etl validate --da); COMP_CWORD=2
        complete=$(complete -p small-etl | sed 's/.*-F \([^ ]*\).*/\1/')
        $complete small-etl --da validate; echo "${COMPREPLY[@]}""#;
    let output = Command::new("bash").args(["-c", complete, env!("CARGO_BIN_EXE_small-etl")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "--dataset", "{}", text(&output));
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&small_etl(&scratch, &[], &["completions", shell])).contains("small-etl"));
    }
}
