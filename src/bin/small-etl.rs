//! The command line.

use std::process::ExitCode;

use small_etl::services::Parts;

#[tokio::main]
async fn main() -> ExitCode {
    small_etl::cli::main(Parts::default()).await
}
