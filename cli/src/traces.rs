//! Traces, to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! Spans are sent in batches by a thread of the library's own. A collector that is away costs the spans of that time and one line
//! in the log.

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
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the last spans have at the end of the process.
const LAST_SPANS: Duration = Duration::from_secs(1);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// What takes our spans, and nothing else, to the collector at this base URL.
pub(crate) fn layer<S>(collector: &url::Url) -> anyhow::Result<impl Layer<S>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", collector.as_str().trim_end_matches('/')))
        .with_timeout(PATIENCE)
        .with_http_client(Client::new()?)
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    let resource = Resource::builder()
        .with_service_name("paddock")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = PROVIDER.get_or_init(|| provider).tracer("paddock");
    // Libraries have spans of their own, which tell of connections rather than of requests; and events stay in the log.
    let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("paddock"));
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
    Ok(layer.with_tracked_inactivity(false).with_target(false).with_level(false).with_filter(ours))
}

/// Sends what has not been sent, as far as the collector takes it at once.
pub(crate) async fn flush() {
    let Some(provider) = PROVIDER.get() else { return };
    let flushing = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(LAST_SPANS));
    // The client below has told of a collector that is away.
    let _ = tokio::time::timeout(LAST_SPANS, flushing).await;
}

/// Sends batches on the runtime, since the thread that makes them has none.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    /// Whether the last batch was not taken, so that only changes are logged.
    away: Arc<AtomicBool>,
}

impl Client {
    fn new() -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { http, runtime: Handle::current(), away: Arc::default() })
    }
}

impl HttpClient for Client {
    fn send_bytes<'s, 'a>(
        &'s self,
        request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, HttpError>> + Send + 'a>>
    where
        's: 'a,
        Self: 'a,
    {
        let (http, away) = (self.http.clone(), Arc::clone(&self.away));
        let sending = self.runtime.spawn(async move {
            let sent = send(&http, request).await;
            let failure = match &sent {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("it answered {}", answer.status())),
                Err(error) => Some(error.to_string()),
            };
            match (failure, away.load(Relaxed)) {
                (Some(error), false) => {
                    tracing::warn!(
                        error,
                        "the collector of OTEL_EXPORTER_OTLP_ENDPOINT takes no traces; they are dropped until it does"
                    );
                    away.store(true, Relaxed);
                }
                (None, true) => {
                    tracing::info!("the collector takes traces again");
                    away.store(false, Relaxed);
                }
                _ => {}
            }
            sent
        });
        Box::pin(async move { sending.await? })
    }
}

async fn send(http: &reqwest::Client, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
    let answer = http.execute(request.try_into()?).await?;
    let mut response = http::Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        headers.clone_from(answer.headers());
    }
    Ok(response.body(answer.bytes().await?)?)
}
