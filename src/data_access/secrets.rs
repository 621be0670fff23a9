//! Secrets of AWS Secrets Manager.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use secrecy::SecretString;

use super::aws::environment;
use crate::error::{Error, ErrorKind, Result};

/// The present value of the secret with this ARN or name.
///
/// # Errors
/// `Configuration` where it is refused or not there, `Connection` where it cannot be reached.
pub async fn secret(arn: &str) -> Result<SecretString> {
    let request = Client::new(environment().await).get_secret_value().secret_id(arn);
    let found = Box::pin(request.send()).await.map_err(|error| secret_error(arn, error))?;
    found
        .secret_string
        .map(SecretString::from)
        .ok_or_else(|| Error::configuration(format!("secret {arn}: it is no text")))
}

fn secret_error<E>(arn: &str, error: SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    match (error.raw_response().map(|response| response.status().as_u16()), error.code()) {
        (Some(400..=499), Some(code)) if !code.contains("Throttling") => {
            let advice = "check database.secret_arn, and that the role may read it";
            Error::configuration(format!("secret {arn}: Secrets Manager refused with {code}; {advice}"))
        }
        _ => Error::with_source(
            ErrorKind::Connection,
            format!("secret {arn}: Secrets Manager cannot be reached; in a VPC it needs an endpoint there"),
            error,
        ),
    }
}
