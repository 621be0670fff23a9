//! Memory is bounded, whatever the size of the file.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lake::python;
use crate::parts::config;
use crate::support::Scratch;
use crate::worker::Worker;
use crate::world::World;

/// The megabytes of the staging database, and of the file.
const LIMIT: usize = 32;
const FILE: usize = 10 * LIMIT;
/// The most megabytes of the whole process: what a small file takes, and some room. It is less than the size of the
/// file.
const MOST: usize = 290;

/// Loads a file in a process of its own. Returns its answer and its peak memory in megabytes.
async fn load(world: &World, key: &str, content: String) -> (Value, usize) {
    world.put(key, content).await;
    let worker = world.worker(key, None);
    let status = format!("/proc/{}/status", worker.pid());
    let watch = tokio::spawn(async move {
        let mut peak = 0;
        // A process that has ended has no memory any more, and reports none.
        while let Some(kilobytes) = std::fs::read_to_string(&status).ok().and_then(|status| {
            status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok())
        }) {
            peak = kilobytes / 1024;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        peak
    });
    let answer = worker.finish().await.unwrap().unwrap();
    (answer, watch.await.unwrap())
}

const DEFINITION: &str = r#"
name = "note"
table = "note"
key = "note_id"
version = "seen_at"
files = ["incoming/notes/*"]

[[column]]
name = "note_id"
type = "bigint"
required = true

[[column]]
name = "content"
type = "text"
max_length = 9000

[[column]]
name = "seen_at"
type = "timestamp"
required = true
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_ten_times_the_memory_limit_of_the_staging_database_loads() {
    let folder = Scratch::new("memory");
    std::fs::write(folder.path().join("note.toml"), DEFINITION).unwrap();
    let limit = LIMIT.to_string();
    let world =
        World::with(&[("DATASETS__PATH", folder.path().to_str().unwrap()), ("STAGE__MEMORY_LIMIT_MB", &limit)]).await;
    world.query("create table note (note_id bigint primary key, content text, seen_at timestamptz not null)").await;
    let mut file = String::from("note_id,content,seen_at\n");
    let mut rows = 0;
    while file.len() < FILE * 1024 * 1024 {
        rows += 1;
        // Each row has another text, so that nothing can be stored once for all rows.
        let content = format!("{:016x}", rows * 2_654_435_761_usize).repeat(560);
        writeln!(file, "{rows},{content},2025-12-22T14:30:00").unwrap();
    }
    let (answer, peak) = load(&world, "incoming/notes/1.csv", file).await;
    assert_eq!(answer["inserted"], rows);
    assert!(peak < MOST, "{peak} MB");
    assert_eq!(world.query("select count(distinct left(content, 20)) from note").await, rows.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_full_of_large_rejects_does_not_fill_the_memory() {
    let world = World::with(&[("STAGE__MEMORY_LIMIT_MB", "64")]).await;
    let mut file = String::from("account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at\n");
    let long = "x".repeat(1024 * 1024);
    for row in 0..200 {
        writeln!(file, "{row}{long},4,-1,-1,-1,-1,2025-12-22T14:30:00").unwrap();
    }
    let (answer, peak) = load(&world, "incoming/assets/1.csv", file).await;
    assert_eq!((&answer["read"], &answer["rejected"]), (&200.into(), &200.into()));
    assert!(peak < MOST, "{peak} MB");
    assert_eq!(
        world.query("select count(*), count(raw), min(length(raw)) > 1024 * 1024 from etl.reject").await,
        "1200 | 200 | t"
    );
}

/// Returns the peak memory of a process in megabytes, and what it says about its file.
fn peak(worker: Worker) -> (u64, Value) {
    let status = format!("/proc/{}/status", worker.pid());
    let watch = std::thread::spawn(move || {
        let mut peak = 0;
        loop {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            // A process that has ended has no memory, but keeps its number until it is waited for.
            let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { return peak };
            peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    // The process is waited for after its end is seen. Its output fits into a pipe.
    let peak = watch.join().unwrap();
    (peak, worker.finish_blocking().unwrap().unwrap())
}

const HEADER: &str = "account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at";
const GOOD: &str = "A1,2,1.00,2.00,3.00,6.00,2025-12-22T14:30:00";
/// The bytes of the long part in a file that is packed into a few thousand.
const LONG: usize = 60_000_000;
/// The most megabytes of one process with such a file. A record of 64 MiB is held several times: as it arrived, as
/// text, and in the protocol of Postgres.
const MOST_OF_A_BOMB: u64 = 640;

/// Files that are small when they are sent, and how they end: the status, and the counts of read and rejected records
/// or the reason.
fn bombs(folder: &Path) -> Vec<(&'static str, Vec<u8>, [Value; 3])> {
    let commas = || ",".repeat(LONG);
    let rejected = |read: i64| [json!("loaded"), json!(read), json!(1)];
    let failed = |reason: &str| [json!("failed"), json!(0), json!(reason)];
    let members = |count: usize| (0..count).fold(String::new(), |all, nth| all + &format!(",\"{nth:x}\":1"));
    let text = |name, text: String, end| (name, zstd::encode_all(text.as_bytes(), 1).unwrap(), end);
    let parquet = |name: &'static str, values: &str, end| {
        let script = format!("{PARQUET}\nwrite('{name}', {values})");
        python(folder, &script);
        (name, std::fs::read(folder.join(name)).unwrap(), end)
    };
    let mut files = vec![
        text("header.csv", format!("{}\n{GOOD}\n", commas()), failed("malformed")),
        text("record.csv", format!("{HEADER}\n{GOOD}\n{}\n", commas()), rejected(2)),
        text("mended.csv", format!("_load_id,_record,{HEADER}\n1,1,{GOOD}\n{}\n", commas()), rejected(2)),
        text("cell.csv", format!("{HEADER}\n{GOOD}\n{}\n", GOOD.replace("A1", &"A".repeat(LONG))), rejected(2)),
        text("members.jsonl", format!("{{\"a\":1{}}}\n", members(2_500_000)), rejected(1)),
        text("name.jsonl", format!("{{\"{}\":1}}\n", "a".repeat(LONG)), rejected(1)),
        text("blank.jsonl", "\n".repeat(LONG / 3), [json!("loaded"), json!(0), json!(0)]),
    ];
    files.push(parquet("dictionary.parquet", "[LONG] * 4", [json!("loaded"), json!(4), json!(4)]));
    let distinct = "[LONG + str(n) for n in range(3)], use_dictionary=False";
    let pages = format!("{distinct}, write_batch_size=1, data_page_size=1");
    files.push(parquet("pages.parquet", &pages, [json!("loaded"), json!(3), json!(3)]));
    let differences = "[LONG] * 3, use_dictionary=['cash'], column_encoding={'account_id': 'DELTA_BYTE_ARRAY'}";
    files.push(parquet("differences.parquet", differences, [json!("loaded"), json!(3), json!(3)]));
    files.push(parquet("page.parquet", "[LONG + str(n) for n in range(9)], use_dictionary=False", failed("malformed")));
    files
}

/// Assets whose first column has other values.
const PARQUET: &str = r#"
LONG = "A" * 60_000_000
def write(name, ids, **options):
    one = pa.array([Decimal("1.00")] * len(ids), pa.decimal128(20, 2))
    table = pa.table({
        "account_id": ids, "account_type": [2] * len(ids), "cash": one, "frozen_cash": one, "market_value": one,
        "total_asset": one, "updated_at": ["2025-12-22T14:30:00"] * len(ids),
    })
    pq.write_table(table, name, compression="zstd", **options)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_small_when_it_is_sent_takes_no_more_memory_than_the_longest_record() {
    let scratch = Scratch::new("memory");
    let mut world = World::new().await;
    world.config = Some(config(
        &scratch,
        "[[pipeline.asset.extractor]]\ntype = \"s3_parquet\"\nfiles = [\"**/*.parquet\"]\n\
         [[pipeline.asset.extractor]]\ntype = \"s3_json_lines\"\nfiles = [\"**/*.jsonl\"]\n\
         [[pipeline.asset.extractor]]\ntype = \"s3_csv\"\n",
    ));
    let mut peaks = Vec::new();
    for (name, content, end) in bombs(scratch.path()) {
        assert_bounded(&world, &format!("incoming/assets/{name}"), content, end, &mut peaks).await;
    }
    // The same where a source declares how the file is written.
    std::fs::write(scratch.path().join("deal.toml"), DEAL).unwrap();
    let path = scratch.path().display().to_string();
    let world = World::with(&[("DATASETS__PATH", &path)]).await;
    world.query("create table deal (k text primary key, v integer)").await;
    let commas = || ",".repeat(LONG);
    for (name, text, end) in [
        ("header.csv", format!("{}\na,1\n", commas()), [json!("failed"), json!(0), json!("malformed")]),
        ("wide.csv", format!("k,v{}\na,1\n", commas()), [json!("failed"), json!(0), json!("malformed")]),
        ("record.csv", format!("k,v\na,1\n{}\n", commas()), [json!("loaded"), json!(2), json!(1)]),
        ("quoted.csv", format!("k,v\na,1\n\"b\"{}\n", commas()), [json!("loaded"), json!(2), json!(1)]),
        ("cell.csv", format!("k,v\na,1\n{},1\n", "b".repeat(LONG)), [json!("loaded"), json!(2), json!(1)]),
    ] {
        let content = zstd::encode_all(text.as_bytes(), 1).unwrap();
        assert_bounded(&world, &format!("incoming/deal/{name}"), content, end, &mut peaks).await;
    }
}

/// A dataset whose text files a source reads.
pub const DEAL: &str = r#"
name = "deal"
table = "deal"
key = "k"
version = "arrival"

[[column]]
name = "k"
type = "text"
required = true
max_length = 20

[[column]]
name = "v"
type = "integer"

[[source]]
name = "text"
files = ["incoming/deal/*.csv"]
"#;

/// Loads a file that is small as it is sent, and looks how it ends and how much memory that takes.
async fn assert_bounded(world: &World, key: &str, content: Vec<u8>, end: [Value; 3], peaks: &mut Vec<String>) {
    let size = content.len();
    world.put(key, content).await;
    let (peak, report) = tokio::task::block_in_place(|| peak(world.worker(key, None)));
    let third = if report["reason"].is_null() { &report["rejected"] } else { &report["reason"] };
    assert_eq!([&report["status"], &report["read"], third], [&end[0], &end[1], &end[2]], "{key}: {report}");
    peaks.push(format!("{key}: {size} bytes, {peak} MB"));
    assert!(peak < MOST_OF_A_BOMB, "{peaks:#?}");
}
