//! The cost of what loads, people and nights do follows the work, and not all that was ever loaded.

#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use small_etl::data_access::postgres::Release;
use small_etl::domain::{LoadId, LoadStatus};

use crate::contract::{ASSETS, TRADES};
use crate::support::postgres::Postgres;
use crate::support::s3::S3Server;
use crate::world::{World, client};

/// Every statement that the program runs leaves its plan in the log of the server, with the time it took and the pages that it touched.
const EXPLAINED: [&str; 11] = [
    "fsync=off",
    "max_wal_size=4GB",
    "shared_buffers=512MB",
    "session_preload_libraries=auto_explain",
    "auto_explain.log_min_duration=0",
    "auto_explain.log_format=json",
    "auto_explain.log_analyze=on",
    "auto_explain.log_buffers=on",
    "auto_explain.log_timing=off",
    "auto_explain.log_verbose=on",
    "auto_explain.log_nested_statements=on",
];

/// The tables that grow with files and rows.
const GROWING: [&str; 6] = ["load", "load_batch", "lineage", "reject", "parked", "resubmission"];

const OPERATIONS: [&str; 11] = [
    "load a file of a dataset with open rejects",
    "load a file of another dataset",
    "free an old parked row at night",
    "look at a page of parked rows",
    "find the oldest parked row",
    "show the status",
    "show the newest loads",
    "check the balance of a day",
    "look for rejects files of a day",
    "look for rejects whose time is over",
    "list the buckets",
];

/// A ledger with so many loads, on a server of its own.
struct Ledger {
    world: World,
    log: PathBuf,
    _server: Postgres,
}

impl Ledger {
    async fn of(loads: u64) -> Self {
        let server = Postgres::start(&EXPLAINED, |_| {});
        let world = World::on_servers(&server, Arc::new(S3Server::start()), &[]).await;
        // What waits in the first load is freed later.
        assert_eq!(world.drop_file("incoming/trades/old.csv", TRADES).await.counts.unwrap().parked, 4);
        let (session, driver) = client(&world.url).await;
        session.batch_execute("set auto_explain.log_min_duration = -1").await.unwrap();
        for statement in include_str!("scale/ledger.sql").replace(":loads", &loads.to_string()).split(";\n") {
            session.batch_execute(statement).await.unwrap();
        }
        drop(session);
        driver.await.unwrap();
        let log = server.folder.join("log");
        Self { world, log, _server: server }
    }

    /// Does an operation; each time is another one of its kind.
    async fn operate(&self, operation: &str, time: usize) {
        let (world, database) = (&self.world, &self.world.database);
        let trade = world.context.datasets.get("trade").unwrap();
        let (since, all) = (Utc::now() - TimeDelta::hours(20), LoadId(0));
        match operation {
            "load a file of a dataset with open rejects" => {
                let file = TRADES.replace("1000000000", "A").replace("T20251222", &format!("N{time}")).replacen(
                    ",15500.00,",
                    ",15500.01,",
                    1,
                );
                let report = world.drop_file(&format!("incoming/trades/{time}.csv"), file).await;
                let counts = report.counts.unwrap();
                assert_eq!((report.status, counts.inserted, counts.rejected), (LoadStatus::Loaded, 3, 1));
            }
            "load a file of another dataset" => {
                let file = ASSETS.replace("1000000000", &format!("N{time}"));
                assert_eq!(
                    world.drop_file(&format!("incoming/assets/{time}.csv"), file).await.counts.unwrap().inserted,
                    4
                );
            }
            "free an old parked row at night" => {
                let arrived = format!(
                    "insert into asset (account_id, account_type, cash, frozen_cash, market_value, total_asset, updated_at) \
                     values ('1000000000{}', 2, 1, 0, 0, 1, now())",
                    time + 1
                );
                world.query(&arrived).await;
                let page = database.waiting_page(trade, None, 1_000).await.unwrap().unwrap();
                let released = database.release_waiting(trade, &page, 10_000).await.unwrap();
                assert!(matches!(released, Release::Rows(1..)));
            }
            "look at a page of parked rows" => {
                let page = database.waiting_page(trade, Some("M"), 1_000).await.unwrap().unwrap();
                assert_eq!(page.rows, 1_000);
                assert!(matches!(database.release_waiting(trade, &page, 10_000).await.unwrap(), Release::Rows(0)));
                assert_eq!(database.incomplete_parked(trade, &page).await.unwrap(), 0);
            }
            "find the oldest parked row" => assert!(database.oldest_parked().await.unwrap().is_some()),
            "show the status" => assert_eq!(database.status(None, 20).await.unwrap().loads.len(), 20),
            "show the newest loads" => {
                world.query("select * from etl.load_history order by load_id desc limit 20").await;
            }
            "check the balance of a day" => {
                let (wrong, checked, _) = database.unbalanced_loads(Some(since), all, 100_000).await.unwrap();
                assert!(wrong.is_empty() && (1_000..1_100).contains(&checked), "{wrong:?} {checked}");
            }
            "look for rejects files of a day" => {
                database.pending_rejects(true, Some(since), all, 10_000).await.unwrap();
            }
            "look for rejects whose time is over" => {
                database.expired_rejects(365, Some(since), all, 10_000).await.unwrap();
            }
            "list the buckets" => assert_eq!(database.buckets().await.unwrap().len(), 2),
            _ => unreachable!("{operation}"),
        }
    }

    /// What the statements of an operation cost the server.
    async fn cost(&self, operation: &str, time: usize) -> Cost {
        let before = fs::metadata(&self.log).unwrap().len();
        self.operate(operation, time).await;
        let log = fs::read(&self.log).unwrap();
        Cost::of(&String::from_utf8_lossy(&log[usize::try_from(before).unwrap()..]))
    }
}

#[derive(Debug, Default)]
struct Cost {
    milliseconds: f64,
    pages: u64,
    /// The statement that touched most pages, with their number.
    costliest: (u64, String),
    /// The indexes that were used to read growing tables.
    indexes: BTreeSet<String>,
    /// Statements that read all of a growing table, or nearly so by an index.
    scans: BTreeMap<String, String>,
}

impl Cost {
    /// Adds up the plans in a log.
    fn of(log: &str) -> Self {
        let mut cost = Self::default();
        let mut lines = log.lines().peekable();
        while let Some(line) = lines.next() {
            let Some((_, rest)) = line.split_once("LOG:  duration: ") else { continue };
            let Some((milliseconds, "plan:")) = rest.split_once(" ms  ") else { continue };
            let mut json = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
                json.push_str(line);
            }
            let plan: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
            cost.milliseconds += milliseconds.parse::<f64>().unwrap();
            let statement = plan["Query Text"].as_str().unwrap_or_default();
            let touched =
                ["Shared Hit Blocks", "Shared Read Blocks"].iter().filter_map(|name| plan["Plan"][name].as_u64());
            let pages = touched.sum();
            cost.pages += pages;
            if pages > cost.costliest.0 {
                cost.costliest = (pages, format!("{statement}\n{json}"));
            }
            cost.add(&plan["Plan"], statement);
        }
        assert!(cost.milliseconds > 0.0, "no plan was logged");
        cost
    }

    fn add(&mut self, node: &Value, statement: &str) {
        if node["Actual Loops"].as_u64() == Some(0) {
            return;
        }
        let (kind, table) = (node["Node Type"].as_str().unwrap(), node["Relation Name"].as_str().unwrap_or_default());
        let in_vain =
            node["Rows Removed by Filter"].as_f64().unwrap_or(0.0) * node["Actual Loops"].as_f64().unwrap_or(1.0);
        if (kind == "Seq Scan" || in_vain > 2_000.0) && node["Schema"] == "etl" && GROWING.contains(&table) {
            self.scans.insert(table.into(), statement.chars().take(300).collect());
        }
        if let Some(index) = node["Index Name"].as_str()
            && GROWING.iter().any(|table| index.starts_with(table))
        {
            self.indexes.insert(index.to_owned());
        }
        for inner in node["Plans"].as_array().into_iter().flatten() {
            self.add(inner, statement);
        }
    }
}

/// The indexes that each operation may look at; which of them, the planner decides by what it knows of the tables.
const INDEXES: [(&str, &[&str]); 11] = [
    (
        "load a file of a dataset with open rejects",
        &[
            "lineage_pkey",
            "load_batch_pkey",
            "load_bucket_key_version_part_run_key",
            "load_by_arrival",
            "load_by_end",
            "load_pkey",
            "parked_by_releasing_load",
            "parked_pkey",
            "parked_waiting",
            "parked_waiting_by_key",
            "reject_by_key",
            "reject_by_load",
            "reject_later",
            "reject_open",
            "resubmission_load_id_line_key",
        ],
    ),
    (
        "load a file of another dataset",
        &[
            "lineage_pkey",
            "load_batch_pkey",
            "load_bucket_key_version_part_run_key",
            "load_by_arrival",
            "load_by_end",
            "load_pkey",
            "parked_by_key",
            "parked_by_releasing_load",
            "parked_waiting",
            "parked_waiting_by_key",
            "reject_by_key",
            "reject_by_load",
            "reject_open",
            "resubmission_load_id_line_key",
        ],
    ),
    (
        "free an old parked row at night",
        &[
            "load_bucket_key_version_part_run_key",
            "load_pkey",
            "parked_by_releasing_load",
            "parked_pkey",
            "parked_waiting",
            "reject_by_key",
            "reject_open",
            "resubmission_load_id_line_key",
        ],
    ),
    ("look at a page of parked rows", &["load_pkey", "parked_waiting"]),
    ("find the oldest parked row", &["parked_since"]),
    (
        "show the status",
        &["load_by_end", "load_by_start", "load_pkey", "parked_pkey", "parked_since", "reject_later", "reject_open"],
    ),
    ("show the newest loads", &["load_pkey", "parked_pkey", "reject_later", "reject_open"]),
    (
        "check the balance of a day",
        &["load_batch_pkey", "load_by_end", "load_pkey", "parked_by_releasing_load", "parked_expired", "parked_pkey"],
    ),
    ("look for rejects files of a day", &["load_by_end", "reject_by_load"]),
    ("look for rejects whose time is over", &["load_by_end", "parked_expired", "reject_by_load"]),
    ("list the buckets", &["load_bucket_key_version_part_run_key"]),
];

/// Whatever a load, a person or a night asks of the ledger, it looks at indexes for what concerns it.
#[tokio::test(flavor = "multi_thread")]
async fn no_operation_reads_a_table_of_the_ledger_as_a_whole() {
    assert_eq!(INDEXES.map(|(operation, _)| operation), OPERATIONS);
    let ledger = Ledger::of(20_000).await;
    let mut strange = Vec::new();
    for (operation, indexes) in INDEXES {
        let cost = ledger.cost(operation, 0).await;
        assert!(!cost.indexes.is_empty(), "{operation}");
        let others: Vec<String> = cost.indexes.into_iter().filter(|index| !indexes.contains(&index.as_str())).collect();
        if !cost.scans.is_empty() || !others.is_empty() {
            strange.push((operation, cost.scans, others));
        }
    }
    assert!(strange.is_empty(), "{strange:#?}");
}

/// `make scale`: the ledger of 5 million loads with 100 million rows, 10 million open rejects and a million parked rows, or `SCALE` of it, and a
/// tenth of that.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "make scale: it generates ledgers of many gigabytes"]
async fn an_operation_costs_the_same_with_ten_times_the_history() {
    let scale: f64 = std::env::var("SCALE")
        .ok()
        .filter(|text| !text.is_empty())
        .map_or(1.0, |text| text.parse().expect("SCALE is a number"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of loads")]
    let loads = [scale * 500_000.0, scale * 5_000_000.0].map(|loads| loads as u64);
    let mut costs = Vec::new();
    for loads in loads {
        println!("generating a ledger of {loads} loads");
        let ledger = Ledger::of(loads).await;
        println!("{}", ledger.world.query("select pg_size_pretty(pg_database_size(current_database()))").await);
        let mut least = Vec::new();
        for operation in OPERATIONS {
            let (mut milliseconds, mut pages, mut costliest) = (f64::MAX, u64::MAX, String::new());
            for time in 0..3 {
                let cost = ledger.cost(operation, time).await;
                (milliseconds, pages) = (milliseconds.min(cost.milliseconds), pages.min(cost.pages));
                costliest = cost.costliest.1;
            }
            println!("{operation}: {milliseconds:.1} ms, {pages} pages");
            least.push((milliseconds, pages, costliest));
        }
        costs.push(least);
    }
    println!(
        "| operation | ms at a tenth | ms | ratio | pages at a tenth | pages |\n| --- | --- | --- | --- | --- | --- |"
    );
    let mut slower = Vec::new();
    for (operation, (small, large)) in OPERATIONS.iter().zip(costs[0].iter().zip(&costs[1])) {
        let ratio = large.0 / small.0;
        println!("| {operation} | {:.1} | {:.1} | {ratio:.2} | {} | {} |", small.0, large.0, small.1, large.1);
        // A machine that does something else may be slow for a few milliseconds.
        if large.0 > small.0 * 1.3 + 10.0 || large.1 > small.1 * 13 / 10 + 100 {
            slower.push(format!("{operation}; of its statements this one looks at most pages:\n{}", large.2));
        }
    }
    assert!(slower.is_empty(), "these take longer the longer the history is: {}", slower.join("\n"));
}
