//! Secrets of AWS Secrets Manager.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Builder;
use secrecy::SecretString;

use super::aws::{CallSpans, environment, service_error};
use crate::error::{Error, Result};

/// Returns the current value of the secret with this ARN or name. Messages name `setting`, which holds it.
///
/// # Errors
/// `Configuration` if access is refused or the secret does not exist, `Connection` if the service cannot be reached.
pub async fn secret(arn: &str, setting: &str) -> Result<SecretString> {
    let client = Client::from_conf(Builder::from(environment().await).interceptor(CallSpans).build());
    let request = client.get_secret_value().secret_id(arn);
    let refused = |error| {
        let advice = format!("check {setting}, and that the role may read it");
        service_error("Secrets Manager", &format!("secret {arn}"), &advice, error)
    };
    let found = Box::pin(request.send()).await.map_err(refused)?;
    found
        .secret_string
        .map(SecretString::from)
        .ok_or_else(|| Error::configuration(format!("secret {arn}: it is not text")))
}
