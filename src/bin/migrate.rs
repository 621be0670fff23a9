//! The Lambda function that applies the schema.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use small_etl::lambda;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let settings = lambda::start()?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| lambda::migrate::call(&settings, event.payload))).await
}
