//! Traces, to an OpenTelemetry collector by OTLP over HTTP.
//!
//! A thread of the OpenTelemetry SDK sends spans in batches. While the collector is unavailable,
//! spans are dropped, and one line is logged.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use opentelemetry::{KeyValue, global, trace::TracerProvider as _};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

/// Timeout of one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of the last batch, at the exit of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// A layer that exports Paddock's spans to the collector at this base URL.
pub(crate) fn layer<S>(collector: &url::Url) -> anyhow::Result<impl Layer<S>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", collector.as_str().trim_end_matches('/')))
        .with_timeout(EXPORT_TIMEOUT)
        .with_http_client(ExportClient::new()?)
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    let resource = Resource::builder()
        .with_service_name("paddock")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = PROVIDER.get_or_init(|| provider).tracer("paddock");
    // Only Paddock's own spans: those of libraries describe connections rather than requests.
    // Events go to the log.
    let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("paddock"));
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
    Ok(layer.with_tracked_inactivity(false).with_target(false).with_level(false).with_filter(ours))
}

/// Sends the remaining spans.
pub(crate) async fn flush() {
    let Some(provider) = PROVIDER.get() else { return };
    let flushing = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(FLUSH_TIMEOUT));
    // `ExportClient` logs an unavailable collector.
    let _ = tokio::time::timeout(FLUSH_TIMEOUT, flushing).await;
}

/// Sends batches on the tokio runtime, because the SDK's thread has none.
#[derive(Debug)]
struct ExportClient {
    http: reqwest::Client,
    runtime: Handle,
    /// Whether the last batch failed. Only changes of it are logged.
    is_failing: Arc<AtomicBool>,
}

impl ExportClient {
    fn new() -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(EXPORT_TIMEOUT).build()?;
        Ok(Self { http, runtime: Handle::current(), is_failing: Arc::default() })
    }
}

impl HttpClient for ExportClient {
    fn send_bytes<'s, 'a>(
        &'s self,
        request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, HttpError>> + Send + 'a>>
    where
        's: 'a,
        Self: 'a,
    {
        let (http, is_failing) = (self.http.clone(), Arc::clone(&self.is_failing));
        let sending = self.runtime.spawn(async move {
            let sent = send(&http, request).await;
            let error = match &sent {
                Ok(response) if response.status().is_success() => None,
                Ok(response) => Some(format!("the collector answered {}", response.status())),
                Err(error) => Some(error.to_string()),
            };
            match (error, is_failing.load(Relaxed)) {
                (Some(error), false) => {
                    tracing::warn!(
                        error,
                        "cannot export traces to OTEL_EXPORTER_OTLP_ENDPOINT; dropping them until the collector recovers"
                    );
                    is_failing.store(true, Relaxed);
                }
                (None, true) => {
                    tracing::info!("exporting traces again");
                    is_failing.store(false, Relaxed);
                }
                _ => {}
            }
            sent
        });
        Box::pin(async move { sending.await? })
    }
}

async fn send(http: &reqwest::Client, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
    let response = http.execute(request.try_into()?).await?;
    let mut copy = http::Response::builder().status(response.status());
    if let Some(headers) = copy.headers_mut() {
        headers.clone_from(response.headers());
    }
    Ok(copy.body(response.bytes().await?)?)
}
