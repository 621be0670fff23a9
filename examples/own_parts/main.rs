//! Small ETL with three parts of your own: an extractor, a validator and a loader, each in a file beside this one. The
//! same program is the command line and, if Lambda starts it, the function `ingest`. See docs/own-parts.md.

mod desk_limits;
mod folder;
mod semicolons;

use std::process::ExitCode;

use small_etl::Parts;

#[tokio::main]
async fn main() -> ExitCode {
    let parts = Parts::default()
        .with_extractor("semicolons", semicolons::make)
        .with_validator("desk_limits", desk_limits::make)
        .with_loader("folder", folder::make);
    small_etl::main(parts).await
}
