//! Traces: what a load spends its time on, as spans of `OpenTelemetry`, sent to the X-Ray daemon of a Lambda function or to a collector
//! over OTLP. Without the variables that ask for them, nothing is recorded.
//!
//! A span names a step or a call, the file and the load. It never holds a cell, a statement or an error message.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::trace::{SpanId, SpanKind, TraceContextExt as _, TracerProvider as _};
use opentelemetry_aws::trace::XrayIdGenerator;
use opentelemetry_aws::trace::xray_propagator::span_context_from_str;
use opentelemetry_aws::xray_exporter::daemon_client::XrayDaemonClient;
use opentelemetry_aws::xray_exporter::{SegmentTranslator, XrayExporter};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter as Exporter, Tracer};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use ureq::Agent;

use crate::error::{Error, Result};

/// The target of spans that are only for traces: log lines do not show them.
pub const TARGET: &str = "small_etl::traces";
const SERVICE: &str = "small-etl";
/// How long a collector may take to answer.
const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(10);
/// The attributes that X-Ray can search for.
const SEARCHED: [&str; 4] = ["bucket", "key", "dataset", "load_id"];

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Where traces are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Destination {
    /// A collector that takes OTLP over HTTP.
    Otlp,
    /// The daemon at `AWS_XRAY_DAEMON_ADDRESS`, which Lambda runs beside each function that has active tracing.
    Xray,
}

impl Destination {
    /// What the variables of the `OpenTelemetry` specification ask for; `None` if for no traces.
    ///
    /// # Errors
    /// `Configuration` if they ask for what this program does not have.
    fn asked_for(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let variable = |name: &str| variable(name).filter(|text| !text.is_empty());
        if variable("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let has_endpoint = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
            .iter()
            .any(|name| variable(name).is_some());
        let destination = match variable("OTEL_TRACES_EXPORTER").as_deref() {
            Some("none") => None,
            Some("otlp") => Some(Self::Otlp),
            Some("xray") => Some(Self::Xray),
            Some(other) => {
                return Err(Error::configuration(format!(
                    "OTEL_TRACES_EXPORTER: there is no exporter {other:?}; write otlp, xray or none"
                )));
            }
            None => has_endpoint.then_some(Self::Otlp),
        };
        let protocols = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        match protocols.iter().find_map(|name| Some((name, variable(name)?))) {
            Some((name, protocol)) if destination == Some(Self::Otlp) && protocol != "http/protobuf" => {
                Err(Error::configuration(format!(
                    "{name}: traces are not sent by {protocol:?}; write http/protobuf, whose usual port is 4318"
                )))
            }
            _ => Ok(destination),
        }
    }

    fn provider(self) -> Result<SdkTracerProvider> {
        let mut resource = Resource::builder().build();
        if resource.get(&"service.name".into()).is_none_or(|name| name.as_str().starts_with("unknown_service")) {
            resource = Resource::builder().with_service_name(SERVICE).build();
        }
        let builder = SdkTracerProvider::builder().with_resource(resource);
        match self {
            Self::Otlp => {
                let exporter = SpanExporter::builder().with_http().with_http_client(Collector::new());
                let unusable =
                    |error| Error::configuration(format!("OTEL_EXPORTER_OTLP: traces cannot be sent: {error}"));
                let exporter = exporter.build().map_err(unusable)?;
                Ok(builder.with_batch_exporter(exporter).build())
            }
            Self::Xray => {
                let searched = SegmentTranslator::new().with_indexed_attrs(SEARCHED.map(String::from));
                let exporter = Segments(XrayExporter::new(XrayDaemonClient::default()).with_translator(searched));
                // A datagram leaves at once. A batch could still be waiting when Lambda freezes the process.
                Ok(builder.with_simple_exporter(exporter).with_id_generator(XrayIdGenerator::default()).build())
            }
        }
    }
}

/// Returns what turns spans into traces, if the environment asks for traces.
///
/// # Errors
/// `Configuration` if it asks for what this program does not have.
pub fn tracer() -> Result<Option<Tracer>> {
    let Some(destination) = Destination::asked_for(|name| std::env::var(name).ok())? else { return Ok(None) };
    let provider = destination.provider()?;
    Ok(Some(PROVIDER.get_or_init(|| provider).tracer(SERVICE)))
}

/// Sends what has not been sent. Call it before the process ends or may be frozen.
pub fn flush() {
    if let Some(Err(error)) = PROVIDER.get().map(SdkTracerProvider::force_flush) {
        tracing::warn!(%error, "traces could not be sent");
    }
}

/// A step of the program, within the current span.
#[must_use]
pub fn step(name: &'static str) -> Span {
    tracing::info_span!(target: TARGET, "step", otel.name = name)
}

/// A call to another system, within the current span.
#[must_use]
pub fn call(system: &str, operation: &str) -> Span {
    tracing::info_span!(
        target: TARGET, "call", otel.name = format!("{system}.{operation}"), otel.kind = "client", otel.status_code = tracing::field::Empty
    )
}

/// The call of a Lambda function, whose header `X-Amzn-Trace-Id` is `header`: a part of the trace that Lambda has begun.
#[must_use]
pub fn invocation(header: Option<&str>) -> Span {
    let span = step("handle");
    if let Some(parent) = header.and_then(span_context_from_str) {
        // It fails only where nothing is traced.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
    span
}

/// Marks a span as failed.
pub fn fail(span: &Span) {
    span.record("otel.status_code", "error");
}

/// Sends spans to X-Ray. A span without a parent becomes a segment, with which a trace must begin there; all others are subsegments.
#[derive(Debug)]
struct Segments(XrayExporter<XrayDaemonClient>);

impl Exporter for Segments {
    async fn export(&self, mut spans: Vec<SpanData>) -> OTelSdkResult {
        for root in spans.iter_mut().filter(|span| span.parent_span_id == SpanId::INVALID) {
            root.span_kind = SpanKind::Server;
        }
        self.0.export(spans).await
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Sends traces to a collector. Its caller is a thread that does nothing else.
#[derive(Debug)]
struct Collector(Agent);

impl Collector {
    fn new() -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(COLLECTOR_TIMEOUT));
        Self(config.build().into())
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> std::result::Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let (parts, mut body) = self.0.run(Request::from_parts(parts, body.to_vec()))?.into_parts();
        Ok(Response::from_parts(parts, body.read_to_vec()?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_for(variables: &[(&str, &str)]) -> Result<Option<Destination>> {
        Destination::asked_for(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn traces_are_off_unless_a_variable_asks_for_them() {
        let otlp = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        for (variables, destination) in [
            (&[][..], None),
            (&[("OTEL_TRACES_EXPORTER", "")], None),
            (&[otlp], Some(Destination::Otlp)),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4318/v1/traces")], Some(Destination::Otlp)),
            (&[("OTEL_TRACES_EXPORTER", "otlp")], Some(Destination::Otlp)),
            (&[("OTEL_TRACES_EXPORTER", "xray"), otlp], Some(Destination::Xray)),
            (&[("OTEL_TRACES_EXPORTER", "none"), otlp], None),
            (&[("OTEL_SDK_DISABLED", "true"), otlp], None),
            (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), otlp], Some(Destination::Otlp)),
            (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_TRACES_EXPORTER", "xray")], Some(Destination::Xray)),
        ] {
            assert_eq!(asked_for(variables).unwrap(), destination, "{variables:?}");
        }
    }

    #[test]
    fn what_this_program_does_not_have_is_refused() {
        let refused = |variables: &[(&str, &str)]| asked_for(variables).unwrap_err().to_string();
        assert_eq!(
            refused(&[("OTEL_TRACES_EXPORTER", "jaeger")]),
            "OTEL_TRACES_EXPORTER: there is no exporter \"jaeger\"; write otlp, xray or none"
        );
        assert_eq!(
            refused(&[("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]),
            "OTEL_EXPORTER_OTLP_PROTOCOL: traces are not sent by \"grpc\"; write http/protobuf, whose usual port is 4318"
        );
    }
}
