//! Cells are in the tables, in rejects and in what is made from those, and never in a log or an error. The names of
//! columns in a file may be cells as well.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use small_etl::pipeline::Request;

use crate::command_line::{small_etl, text};
use crate::contract::{ASSETS, TRADES};
use crate::lake::python;
use crate::memory::DEAL;
use crate::object_parts::workbook;
use crate::parts::config;
use crate::support::Scratch;
use crate::support::emulator::Emulator;
use crate::support::postgres::Postgres;
use crate::support::s3::S3Server;
use crate::world::{World, moto, query};

/// A value for every kind of cell: one that is loaded, one that breaks a rule, a key, a reference.
const CANARY: &str = "canary7261";
/// The same for numbers.
const NUMBER: &str = "72617261";

/// Files that show every way in which a cell can be wrong, and their manifests.
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
        // The table itself refuses this one: the database reports an error with the cell in its text.
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

/// What leaves the program while it works on some files.
struct Said {
    /// Logs, with the metrics in them, and errors.
    logs: String,
    /// The answers of `ingest` and of `load`.
    answers: String,
    /// What `validate` shows to the person who runs it.
    validated: String,
}

/// Lets every program work on these files, with as much in its log as possible.
async fn everything_said(world: &World, scratch: &Scratch, files: &[(&str, Vec<u8>)]) -> Said {
    let (mut said, mut answers, mut validated) = (String::new(), String::new(), String::new());
    for (key, content) in files {
        world.put(key, content.clone()).await;
        fs::write(scratch.path().join(key.replace('/', "-")), content).unwrap();
    }
    let keys: Vec<&str> = files.iter().map(|(key, _)| *key).filter(|key| !key.contains("manifest")).collect();
    let log = scratch.path().join("ingest.log");
    let mut variables = world.variables();
    variables.push(("RUST_LOG".into(), "trace".into()));
    let ingest =
        Emulator::start(Path::new(env!("CARGO_BIN_EXE_ingest")), &variables, File::create(&log).unwrap().into());
    for key in &keys {
        let answer = ingest.invoke(&json!({"bucket": world.bucket, "key": key}));
        // An answer contains statistics, which a dataset asks for. An error contains nothing of the kind.
        said.push_str(&answer["errorMessage"].to_string());
        answers.push_str(&answer.to_string());
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
                [output.stdout, output.stderr].map(|out| String::from_utf8_lossy(&out).into_owned())
            };
            let dataset = if key.contains("assets") { "asset" } else { "trade" };
            let [answer, errors] = command(&["load", &format!("s3://{}/{key}", world.bucket), "--again", "--json"]);
            answers.push_str(&answer);
            said.push_str(&errors);
            let [answer, errors] = command(&["validate", &key.replace('/', "-"), "--dataset", dataset, "--json"]);
            validated.push_str(&answer);
            said.push_str(&errors);
        }
    }
    Said { logs: said, answers, validated }
}

/// A name for columns in a file, in places where names may be cells.
const NAME: &str = "canary8152";

/// Files whose header, keys or manifest contain what no dataset declares.
fn files_with_names(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let header = ASSETS.lines().next().unwrap();
    let (first, rest) = ASSETS.split_once('\n').unwrap();
    let long = format!("{}{NAME}", "x".repeat(63));
    let lacking = header.replace("frozen_cash", &format!("frozen_{NAME}"));
    let broken = rest.replace("305000.00", "1");
    let object = |members: &str| {
        format!(
            "{{\"account_id\":\"J1\",\"account_type\":2,\"cash\":1,\"frozen_cash\":1,\"market_value\":1,\"total_asset\":3,{members}}}\n"
        )
    };
    let complete = format!("\"updated_at\":\"2025-12-22T14:30:00\",\"{long}\":1");
    let script = format!(
        "id = pa.array(['P1'])\n\
         pq.write_table(pa.table({{'account_id': id, 'frozen_{NAME}': id}}), 'lacking.parquet')\n\
         names = '{header}'.split(',')[1:]\n\
         table = pa.table({{name: id if name != 'cash' else pa.array([{{'{NAME}': 1}}]) for name in names}})\n\
         pq.write_table(table, 'nested.parquet')\n\
         twice = pa.table([id] * 10, names=names + ['{long}', '{NAME}', '{NAME}'])\n\
         pq.write_table(twice.select(range(8)), 'long.parquet')\n\
         pq.write_table(pa.table([id] * 3, names=['account_id', '{NAME}', '{NAME}']), 'twice.parquet')\n\
         pq.write_table(twice.select(range(8)), 'packed.parquet', compression='brotli')\n"
    );
    python(folder, &script);
    let parquet = |name: &str| fs::read(folder.join(name)).unwrap();
    let cut = || parquet("lacking.parquet")[..200].to_vec();
    let mut files = vec![
        ("incoming/assets/headerless.csv", format!("1,{NAME},{NAME},3\n{rest}").into_bytes()),
        ("incoming/assets/lacking.csv", format!("{lacking},{NAME},{NAME}\n{rest}").into_bytes()),
        ("incoming/assets/return.csv", format!("{first},note\r{NAME},2,{NAME}\r").into_bytes()),
        ("incoming/assets/nul.csv", format!("{first},{NAME}\0\n{rest}").into_bytes()),
        ("incoming/assets/open.csv", format!("{first},\"{NAME}\n{rest}").into_bytes()),
        ("incoming/assets/semicolons.csv", format!("{};{NAME}\n", header.replace(',', ";")).into_bytes()),
        ("incoming/assets/endless.csv", format!("{first},{}\n", NAME.repeat(200_000)).into_bytes()),
        ("incoming/assets/wide.csv", format!("{first}{}\n{rest}", format!(",{NAME}").repeat(16_384)).into_bytes()),
        (
            "incoming/assets/long.csv",
            format!("{first},{long},{long}2\n{}", broken.replace('\n', ",1,2\n")).into_bytes(),
        ),
        ("incoming/assets/twice.csv", format!("{first},{long},{long}\n").into_bytes()),
        (
            "incoming/assets/empty.jsonl",
            format!("{{\"{NAME}\":1}}\n{{\"account_id\":\"J2\",\"{NAME}\":2}}\n").into_bytes(),
        ),
        ("incoming/assets/complete.jsonl", object(&complete).into_bytes()),
        ("incoming/assets/broken.jsonl", format!("{{\"{NAME}\":1,\"{NAME}\":2}}\n\"{NAME}\"\n").into_bytes()),
        ("incoming/assets/cut.parquet", cut()),
    ];
    for name in ["lacking", "nested", "long", "twice", "packed"] {
        let key: &str = format!("incoming/assets/{name}.parquet").leak();
        files.push((key, parquet(&format!("{name}.parquet"))));
    }
    let manifests = [
        "{\"NAME\": 4}",
        "{\"sums\": {\"NAME\": 4}}",
        "{\"sums\": {\"cash\": \"NAME\"}}",
        "{\"sha256\": \"NAME\"}",
        "{\"row_count\": \"NAME\"}",
        "NAME",
    ];
    for (nth, manifest) in manifests.into_iter().enumerate() {
        let (key, beside) =
            (format!("incoming/assets/m{nth}.csv"), format!("incoming/assets/m{nth}.csv.manifest.json"));
        // Each is a different file.
        files.push((key.leak(), format!("{ASSETS}{}", "\n".repeat(nth)).into_bytes()));
        files.push((beside.leak(), manifest.replace("NAME", NAME).into_bytes()));
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_dataset_declares_leaves_by_its_position_or_in_63_characters() {
    let scratch = Scratch::new("privacy");
    let mut world = World::on_moto(&[]).await;
    let bus = world.bucket.clone();
    aws_sdk_eventbridge::Client::new(&moto().config()).create_event_bus().name(&bus).send().await.unwrap();
    world = world.under(&[("EVENTS__BUS", &bus)]);
    world.config = Some(config(
        &scratch,
        "[[pipeline.asset.extractor]]\ntype = \"s3_parquet\"\nfiles = [\"**/*.parquet\", \"*.parquet\"]\n\
         [[pipeline.asset.extractor]]\ntype = \"s3_json_lines\"\nfiles = [\"**/*.jsonl\", \"*.jsonl\"]\n\
         [[pipeline.asset.extractor]]\ntype = \"s3_csv\"\n",
    ));
    let files = files_with_names(scratch.path());
    let Said { logs: said, answers, validated } = everything_said(&world, &scratch, &files).await;
    let mut left = vec![("a log or an error", said), ("an answer", answers)];
    let tables =
        "select table_name from information_schema.tables where table_schema = 'etl' and table_type = 'BASE TABLE'";
    for table in world.query(tables).await.lines().filter(|table| *table != "reject") {
        let rows = world.query(&format!("select to_jsonb(t) from etl.\"{table}\" t")).await;
        left.push((table.to_owned().leak(), rows));
    }
    // The faults happened, and were reported elsewhere than in a reject.
    let reasons = world.query("select distinct reason from etl.load order by 1").await;
    assert_eq!(reasons, "duplicate_column\nmalformed\nmanifest_malformed\nmissing_column\n-");
    let events = world.query("select count(*) > 20 from etl.outbox where detail ->> 'error' <> ''").await;
    assert_eq!(events, "t");
    assert!(left.iter().any(|(_, text)| text.contains("is it column 5?")));
    // Bytes are written as hexadecimal digits.
    for canary in [NAME.to_owned(), hex::encode(NAME)] {
        for (place, text) in &left {
            let found: Vec<&str> = text.lines().filter(|line| line.contains(&canary)).collect();
            assert!(found.is_empty(), "{place}: {found:#?}");
        }
    }
    // The person who asks about a file sees it, and a reject is stored completely.
    assert!(validated.contains(&format!("column 5 is called \\\"frozen_{NAME}\\\"")), "{validated}");
    assert_eq!(
        world.query("select count(*) > 0 from etl.reject where position('canary8152'::bytea in raw) > 0").await,
        "t"
    );
}

const BOOKS: &str = r#"
[[source]]
name = "book"
files = ["incoming/deal/*.xlsx"]
format = "xlsx"
sheet = "Deals"

[[source]]
name = "pages"
files = ["incoming/page/*.xlsx"]
format = "xlsx"
sheet = "Page *"
"#;

/// The same for files that a `[[source]]` reads, and for what is outside of their tables, such as names of sheets.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_source_reads_leaves_by_its_position_or_in_63_characters() {
    let scratch = Scratch::new("privacy");
    fs::write(scratch.path().join("deal.toml"), format!("{DEAL}{BOOKS}")).unwrap();
    let path = scratch.path().display().to_string();
    let world = World::with(&[("DATASETS__PATH", &path)]).await;
    world.query("create table deal (k text primary key, v integer)").await;
    let long = format!("{}{NAME}", "x".repeat(63));
    let files = [
        ("deal/unknown.csv", format!("_load_id,_record,_line,_source,_errors,k,v\n1,1,2,{NAME},x,Q1,1\n").into_bytes()),
        ("deal/between.csv", format!("_load_id;{NAME};_record;x\n1,2\n").into_bytes()),
        ("deal/lacking.csv", format!("k,{NAME}\na,{NAME}\n").into_bytes()),
        ("deal/long.csv", format!("k,v,{long}\na,{NAME},1\nb,1,{NAME}\n").into_bytes()),
        ("deal/twice.csv", format!("k,v,v,{NAME}\na,1,1,1\n").into_bytes()),
        ("deal/sheet.xlsx", workbook(&[(NAME, "k,v\na,1\n")])),
        ("deal/long.xlsx", workbook(&[("Deals", &format!("k,v,{long}\na,{NAME},1\n"))])),
        ("page/none.xlsx", workbook(&[(NAME, "k,v\na,1\n")])),
        ("page/beside.xlsx", workbook(&[(NAME, "x\n1\n"), ("Page 1", "k,v\na,1\n")])),
    ];
    let (mut left, mut validated) = (Vec::new(), String::new());
    let mut variables = world.variables();
    variables.push(("RUST_LOG".into(), "trace".into()));
    for (name, content) in files {
        let key = format!("incoming/{name}");
        world.put(&key, content.clone()).await;
        fs::create_dir_all(scratch.path().join(&key).parent().unwrap()).unwrap();
        fs::write(scratch.path().join(&key), content).unwrap();
        let address = format!("s3://{}/{key}", world.bucket);
        left.push((name, text(&small_etl(&scratch, &variables, &["load", &address, "--json"]))));
        validated.push_str(&text(&small_etl(&scratch, &variables, &["validate", &key])));
    }
    let tables =
        "select table_name from information_schema.tables where table_schema = 'etl' and table_type = 'BASE TABLE'";
    for table in world.query(tables).await.lines().filter(|table| *table != "reject") {
        left.push((table.to_owned().leak(), world.query(&format!("select to_jsonb(t) from etl.\"{table}\" t")).await));
    }
    let failed = world.query("select count(*) from etl.load where state = 'failed' and reason in ('malformed', 'missing_column', 'duplicate_column')").await;
    assert_eq!(failed, "6");
    for canary in [NAME.to_owned(), hex::encode(NAME)] {
        for (place, text) in &left {
            let found: Vec<&str> = text.lines().filter(|line| line.contains(&canary)).collect();
            assert!(found.is_empty(), "{place}: {found:#?}");
        }
    }
    // The person who asks about a file sees it, and a reject has the header of its file but for what is too long.
    assert!(validated.contains(&format!("the workbook has \"{NAME}\"")), "{validated}");
    let rejects =
        world.query("select bucket, rejects_key from etl.load where rejects_key is not null order by id").await;
    let (bucket, key) = rejects.lines().next().unwrap().split_once(" | ").unwrap();
    let kept = world.get(bucket, key).await;
    assert!(kept.contains(&format!("{}\u{2026}", "x".repeat(62))) && kept.contains(NAME), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cell_is_in_a_log_line_or_an_error() {
    let world = World::with(&[("LOAD__LEASE_SECONDS", "2")]).await;
    world.query("alter table asset add constraint not_refused check (account_id <> 'refused')").await;
    let scratch = Scratch::new("privacy");
    let Said { logs: mut said, .. } = everything_said(&world, &scratch, &files()).await;
    said.push_str(&world.query("select reason, error from etl.load").await);
    let lines = said.lines().count();
    assert!(lines > 60, "only {lines} lines were said");
    assert!(said.contains("not_refused") && said.contains("manifest_malformed"), "the faults did not happen: {said}");
    for canary in [CANARY, NUMBER] {
        let found: Vec<&str> = said.lines().filter(|line| line.contains(canary)).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
    // The canary was there and could have been shown.
    let kept = world.query("select count(*) from etl.reject where position('canary7261'::bytea in raw) > 0").await;
    assert!(kept.parse::<i64>().unwrap() > 5, "{kept}");
    assert!(world.get(&world.bucket, "rejects/trade/4.csv").await.contains(CANARY));
}

/// A server says in its own language where an error comes from. Even then, text written by the author of a trigger is
/// withheld.
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
    // The server really speaks another language.
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
