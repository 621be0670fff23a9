//! `make invoke EVENT=events/….json`: sends one event to `ingest` under the Lambda emulator, with servers of its own;
//! with `--sam`, to `ingest` in a container, with `sam local invoke`. The programs are in the folder BINARIES, or else
//! next to this one.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use support::stack::{BUCKET, Stack};

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let sam = arguments.iter().position(|argument| argument == "--sam").map(|at| arguments.remove(at)).is_some();
    let [path] = arguments.as_slice() else {
        println!("name an event: make {} EVENT=events/s3-put.json", if sam { "sam-invoke" } else { "invoke" });
        return ExitCode::FAILURE;
    };
    let own = std::env::current_exe().expect("the path of this program is known");
    println!("==> starting Postgres, an S3 server with events/objects in bucket {BUCKET}, and the functions");
    let binaries = std::env::var_os("BINARIES").map(PathBuf::from);
    let binaries = binaries.unwrap_or_else(|| own.ancestors().nth(2).expect("the target folder").to_owned());
    let stack = if sam { Stack::start_for_containers(&binaries).await } else { Stack::start(&binaries).await };
    println!("==> invoking ingest with {path}");
    let event = stack.event(path.as_ref());
    let answer =
        if sam { stack.sam_invoke(&event) } else { stack.function("ingest", "small_etl_ingest").invoke(&event) };
    println!("{}", serde_json::to_string_pretty(&answer).expect("JSON is text"));
    println!("==> what it printed");
    print!("{}", std::fs::read_to_string(stack.log("ingest")).expect("read the log"));
    if answer["errorType"].is_string() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
