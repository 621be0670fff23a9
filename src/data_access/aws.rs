//! Region, credentials and endpoints, from the sources that every AWS program uses.

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::{RuntimeComponents, SharedHttpClient};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use tokio::sync::OnceCell;

use crate::error::{Error, ErrorKind};

/// The AWS settings of this process's environment; read on first use, then kept.
pub async fn environment() -> &'static SdkConfig {
    static ENVIRONMENT: OnceCell<SdkConfig> = OnceCell::const_new();
    ENVIRONMENT.get_or_init(|| aws_config::defaults(BehaviorVersion::latest()).http_client(https()).load()).await
}

/// The HTTP client for all requests: the one that the SDK would choose, but with `ring`, which is much smaller.
#[must_use]
pub fn https() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    })
}

/// Converts the error of a call to `service`; `step` is what was being done. If the service refuses, a person must act,
/// so the message ends with `advice`. Anything else may pass by itself.
pub(super) fn service_error<E>(service: &str, step: &str, advice: &str, error: SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    match (error.raw_response().map(|response| response.status().as_u16()), error.code()) {
        (Some(400..=499), Some(code)) if !code.contains("Throttl") => {
            Error::configuration(format!("{step}: {service} refused with {code}; {advice}"))
        }
        _ => Error::with_source(ErrorKind::Connection, format!("{step}: {service} cannot be reached"), error),
    }
}
