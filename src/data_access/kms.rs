//! Data keys, created and decrypted with a key of AWS KMS that never leaves KMS.

use aws_sdk_kms::Client;
use aws_sdk_kms::config::Builder;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use secrecy::SecretSlice;

use super::aws::{CallSpans, environment, service_error};
use crate::error::{Error, ErrorKind, Result};

/// Creates a data key wrapped by `kms_key`. Returns it with the ARN of that key, because an alias may point to another
/// key tomorrow.
///
/// # Errors
/// `Configuration` if KMS refuses, `Connection` if it cannot be reached.
pub async fn new_data_key(kms_key: &str) -> Result<(String, Vec<u8>)> {
    let client = client().await;
    let request = client.generate_data_key_without_plaintext().key_id(kms_key).key_spec(DataKeySpec::Aes256);
    let made = Box::pin(request.send()).await.map_err(|error| kms_error("make a data key", kms_key, error))?;
    match (made.key_id, made.ciphertext_blob) {
        (Some(arn), Some(wrapped)) => Ok((arn, wrapped.into_inner())),
        _ => Err(Error::new(ErrorKind::System, format!("KMS did not return a data key under {kms_key}"))),
    }
}

/// Unwraps a data key that `kms_key` wrapped.
///
/// # Errors
/// The same as those of [`new_data_key`].
pub async fn open_data_key(kms_key: &str, wrapped: &[u8]) -> Result<SecretSlice<u8>> {
    let client = client().await;
    let request = client.decrypt().key_id(kms_key).ciphertext_blob(Blob::new(wrapped));
    let opened = Box::pin(request.send()).await.map_err(|error| kms_error("open a data key", kms_key, error))?;
    let plain = opened
        .plaintext
        .ok_or_else(|| Error::new(ErrorKind::System, "KMS did not return the data key that it unwrapped"))?;
    Ok(plain.into_inner().into())
}

async fn client() -> Client {
    Client::from_conf(Builder::from(environment().await).interceptor(CallSpans).build())
}

fn kms_error<E>(step: &str, kms_key: &str, error: SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let advice = "check encryption.kms_key, and that the role may use it";
    service_error("KMS", &format!("{step} under {kms_key}"), advice, error)
}
