//! `make invoke EVENT=events/….json`: one event against `ingest` under the Lambda emulator, on servers of its own. The programs are
//! those of the folder BINARIES, or those that were built beside this one.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use support::stack::{BUCKET, Stack};

#[tokio::main]
async fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1).map(PathBuf::from) else {
        println!("name an event: make invoke EVENT=events/s3-put.json");
        return ExitCode::FAILURE;
    };
    let own = std::env::current_exe().expect("know the own path");
    println!("==> starting Postgres, an S3 server with events/objects in bucket {BUCKET}, and the functions");
    let binaries = std::env::var_os("BINARIES").map(PathBuf::from);
    let binaries = binaries.unwrap_or_else(|| own.ancestors().nth(2).expect("the target folder").to_owned());
    let stack = Stack::start(&binaries).await;
    let ingest = stack.function("ingest", "small_etl_ingest");
    println!("==> invoking ingest with {}", path.display());
    let answer = ingest.invoke(&stack.event(&path));
    println!("{}", serde_json::to_string_pretty(&answer).expect("JSON is text"));
    println!("==> what it printed");
    print!("{}", std::fs::read_to_string(stack.log("ingest")).expect("read the log"));
    if answer["errorType"].is_string() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
