//! Memory is bounded, whatever the size of the file.

use std::fmt::Write as _;

use crate::support::Scratch;
use crate::world::World;

/// Megabytes of the staging database, and of the file.
const LIMIT: usize = 32;
const FILE: usize = 10 * LIMIT;

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

#[tokio::test]
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
    let counts = world.drop_file("incoming/notes/1.csv", file).await.counts.unwrap();
    assert_eq!(counts.inserted, i64::try_from(rows).unwrap());
    assert_eq!(world.query("select count(distinct left(content, 20)) from note").await, rows.to_string());
}

#[tokio::test]
async fn a_batch_full_of_large_rejects_does_not_fill_the_memory() {
    let world = World::with(&[("STAGE__MEMORY_LIMIT_MB", "64")]).await;
    let mut file = String::from("account_id,account_type,cash,frozen_cash,market_value,total_asset,updated_at\n");
    let long = "x".repeat(1024 * 1024);
    for row in 0..200 {
        writeln!(file, "{row}{long},4,-1,-1,-1,-1,2025-12-22T14:30:00").unwrap();
    }
    let counts = world.drop_file("incoming/assets/1.csv", file).await.counts.unwrap();
    assert_eq!((counts.read, counts.rejected), (200, 200));
    assert_eq!(
        world.query("select count(*), count(raw), min(length(raw)) > 1024 * 1024 from etl.reject").await,
        "1200 | 200 | t"
    );
}
