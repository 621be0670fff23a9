//! The command line.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    small_etl::cli::main().await
}
