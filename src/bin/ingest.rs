//! The Lambda function that loads files.

use lambda_runtime::{Error, service_fn};
use small_etl::lambda;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let settings = lambda::start()?;
    let ingest = lambda::ingest::Ingest::new(&settings)?;
    lambda_runtime::run(service_fn(|event| ingest.call(event))).await
}
