//! The guard that records the metrics and the log line of each request.

use std::{net::IpAddr, sync::Arc, thread, time::Duration};

use http::{Method, StatusCode};
use metrics::{counter, histogram};
use paddock_ollama::{ModelName, Usage};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;
use tracing::Span;

use super::{
    error::ApiError,
    gateway_metrics::{GatewayMetrics, Labels},
    redact::{contains_key, redact_keys},
    request_context::{RequestContext, Route},
    request_outcome::RequestOutcome,
};

/// The status of a request whose client disconnected before the response, as nginx records it.
pub(crate) const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// How many characters of a path the log keeps.
const MAX_PATH: usize = 200;

/// The part of Paddock that a request is for. Each has metrics and a log message of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Management,
    Gateway,
}

/// Guards a request: when dropped, it records the metrics and the log line of the request, once.
///
/// A guard that is dropped before the end of its request records that the client has left or, while
/// a panic unwinds, that the handler panicked.
pub(crate) struct RequestMetrics {
    part: Part,
    ip: IpAddr,
    method: &'static str,
    route: Route,
    span: Span,
    started: Instant,
    first_byte: Option<Duration>,
    /// `None` until the request ends.
    end: Option<RequestEnd>,
    model: Option<String>,
    usage: Option<Usage>,
    /// The path of a request that no route serves.
    path: Option<String>,
}

/// The metrics of a management request, which its handler may take over. Clones share them.
#[derive(Clone)]
pub(crate) struct MetricsSlot(Arc<Mutex<Option<RequestMetrics>>>);

impl MetricsSlot {
    pub(crate) fn new(metrics: RequestMetrics) -> Self {
        Self(Arc::new(Mutex::new(Some(metrics))))
    }

    /// Returns the metrics, once.
    pub(crate) fn take(&self) -> Option<RequestMetrics> {
        self.0.lock().take()
    }
}

/// How the request ended.
struct RequestEnd {
    status: StatusCode,
    outcome: RequestOutcome,
    /// The code of the error.
    reason: Option<&'static str>,
}

impl RequestMetrics {
    /// Begins a request to the management API. The current span is that of the request.
    pub(crate) fn management(method: &Method, context: &RequestContext) -> Self {
        Self::new(Part::Management, method, context)
    }

    /// Begins a request to the gateway. The current span is that of the request.
    pub(crate) fn gateway(method: &Method, context: &RequestContext) -> Self {
        Self::new(Part::Gateway, method, context)
    }

    fn new(part: Part, method: &Method, context: &RequestContext) -> Self {
        Self {
            part,
            ip: context.ip,
            method: method_label(method),
            route: context.route.clone(),
            span: Span::current(),
            started: Instant::now(),
            first_byte: None,
            end: None,
            model: None,
            usage: None,
            path: None,
        }
    }

    /// Counts a request to the management API as a gateway request, because a model answers it.
    pub(crate) fn of_gateway(mut self) -> Self {
        self.part = Part::Gateway;
        self
    }

    /// When the request arrived.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The span of the request.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// The time from the request to the first byte of its answer.
    pub(crate) fn first_byte(&self) -> Option<Duration> {
        self.first_byte
    }

    /// Records the time of the first byte. Later calls have no effect.
    pub(crate) fn record_first_byte(&mut self) {
        self.first_byte.get_or_insert_with(|| self.started.elapsed());
    }

    /// Ends a request that was answered.
    pub(crate) fn complete(mut self, status: StatusCode) {
        self.end = Some(RequestEnd { status, outcome: RequestOutcome::Complete, reason: None });
    }

    /// Ends a request with an error of Paddock.
    pub(crate) fn refuse(mut self, error: &ApiError) {
        self.end =
            Some(RequestEnd { status: error.status(), outcome: RequestOutcome::Refused, reason: Some(error.code()) });
    }

    /// Sets the path of a request that no route serves, so that an admin sees what clients ask for.
    /// Omits texts that look like a key.
    pub(crate) fn set_path(&mut self, path: &str) {
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        // Decoded only where that shows a key, so that the log has the path as the client sent it.
        let path = if contains_key(&decoded) { &*decoded } else { path };
        let redacted = redact_keys(path);
        let end = redacted.char_indices().nth(MAX_PATH).map_or(redacted.len(), |(end, _)| end);
        self.path = Some(redacted[..end].to_owned());
    }

    /// Sets the model that the request uses.
    pub(crate) fn set_model(&mut self, model: &ModelName) {
        self.model = Some(model.as_str().to_owned());
    }

    /// Ends a request that used a model.
    pub(crate) fn end(mut self, outcome: RequestOutcome, status: StatusCode, usage: Option<Usage>) {
        self.end = Some(RequestEnd { status, outcome, reason: outcome.reason() });
        self.usage = usage;
    }

    fn record_management(&self, status: u16, duration: Duration) {
        let (ip, method, route, duration_us) = (self.ip, self.method, self.route.label(), duration_us(duration));
        counter!(
            "paddock_management_requests_total",
            "method" => method, "route" => route.to_owned(), "status" => status.to_string()
        )
        .increment(1);
        histogram!("paddock_management_request_duration_seconds", "method" => method, "route" => route.to_owned())
            .record(duration.as_secs_f64());
        if matches!(route, "/healthz" | "/readyz" | "preflight") {
            tracing::debug!(%ip, method, route, status, duration_us, "management request");
        } else {
            tracing::info!(%ip, method, route, status, duration_us, "management request");
        }
    }

    fn record_gateway(&self, end: &RequestEnd, duration: Duration) {
        let (method, route, outcome) = (self.method, self.route.label(), end.outcome.text());
        let status = end.status.as_u16();
        GatewayMetrics::of(route, Labels { method, status, outcome }).record(
            route,
            duration,
            self.first_byte,
            self.usage.as_ref(),
        );
        tracing::info!(
            ip = %self.ip,
            method,
            route,
            status,
            outcome,
            reason = end.reason,
            path = self.path,
            model = self.model,
            prompt_tokens = self.usage.map(|usage| usage.prompt_tokens),
            cached_prompt_tokens = self.usage.and_then(|usage| usage.cached_prompt_tokens),
            completion_tokens = self.usage.map(|usage| usage.completion_tokens),
            tokens_estimated = self.usage.map(|usage| usage.is_estimated),
            first_byte_us = self.first_byte.map(duration_us),
            duration_us = duration_us(duration),
            "gateway request"
        );
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        let span = self.span.clone();
        let _within = span.enter();
        let duration = self.started.elapsed();
        let end = match self.end.take() {
            _ if thread::panicking() => RequestEnd {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                outcome: RequestOutcome::Refused,
                reason: Some("panic"),
            },
            Some(end) => end,
            None => RequestEnd { status: CLIENT_GONE, outcome: RequestOutcome::ClientGone, reason: None },
        };
        match self.part {
            Part::Management => self.record_management(end.status.as_u16(), duration),
            Part::Gateway => self.record_gateway(&end, duration),
        }
    }
}

/// Returns a duration in microseconds, as log lines have it.
fn duration_us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the method as a label: one of a closed set.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
