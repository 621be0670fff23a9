//! Region, credentials and endpoints, from the sources that every AWS program uses.

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::interceptors::{BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents, SharedHttpClient};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use tokio::sync::OnceCell;
use tracing::Span;

use super::traces;
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

/// Gives each call of a client a span: from the request to the answer, with all attempts, and without the body of an object.
#[derive(Debug)]
pub(super) struct CallSpans;

#[derive(Debug)]
struct CallSpan(Span);

impl Storable for CallSpan {
    type Storer = StoreReplace<Self>;
}

impl Intercept for CallSpans {
    fn name(&self) -> &'static str {
        "CallSpans"
    }

    fn read_before_serialization(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        call: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(of) = call.load::<Metadata>() {
            let span = traces::call(of.service(), of.name());
            call.interceptor_state().store_put(CallSpan(span));
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        end: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        call: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(Err(_)), Some(CallSpan(span))) = (end.output_or_error(), call.load::<CallSpan>()) {
            traces::fail(span);
        }
        Ok(())
    }
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
