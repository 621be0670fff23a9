//! Memory is bounded, whatever the size of the file.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::support::Scratch;
use crate::world::World;

/// Megabytes of the staging database, and of the file.
const LIMIT: usize = 32;
const FILE: usize = 10 * LIMIT;
/// Megabytes of the whole process at the most: what a small file takes, and some room. Less than the file has.
const MOST: usize = 290;

/// Loads a file in a process of its own: its answer, and the most memory that it had at once, in megabytes.
async fn load(world: &World, key: &str, content: String) -> (Value, usize) {
    world.put(key, content).await;
    let worker = world.worker(key, None);
    let status = format!("/proc/{}/status", worker.pid());
    let watch = tokio::spawn(async move {
        let mut peak = 0;
        // A process that has ended has no memory any more, and says none.
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
        // Each row another text, so that nothing can be stored once for all.
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
