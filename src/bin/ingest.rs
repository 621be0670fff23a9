//! The Lambda function that loads files.

use lambda_runtime::Error;
use small_etl::lambda;
use small_etl::services::Parts;

#[tokio::main]
async fn main() -> Result<(), Error> {
    lambda::ingest::main(&Parts::default()).await
}
