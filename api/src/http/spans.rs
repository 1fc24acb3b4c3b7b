//! The tracing span of each request, whose fields its log lines and its trace carry. No body,
//! prompt, query or secret is in a span.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::{HeaderMap, Method, StatusCode};
use opentelemetry::{global, trace::TraceContextExt as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use paddock_accounts::access::{AuthMethod, Principal};
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::request_context::RequestContext;

const SERVER_ERROR: &str = "ERROR";

/// Whether traces are exported. Otherwise requests have one span, for their log lines.
static IS_TRACED: AtomicBool = AtomicBool::new(false);

/// Adds to the spans what only traces need. Call it once, when traces are exported.
pub fn enable_traces() {
    IS_TRACED.store(true, Relaxed);
}

fn is_traced() -> bool {
    IS_TRACED.load(Relaxed)
}

/// Opens the span of an incoming request, within the trace that its `traceparent` names.
///
/// The level is `error`, so that a quiet log still shows the request that an error belongs to.
pub(crate) fn request(headers: &HeaderMap, context: &RequestContext) -> Span {
    let span = tracing::error_span!(
        "request",
        otel.kind = "server",
        otel.status_code = Empty,
        request_id = context.id_text(),
        trace_id = Empty,
        user_id = Empty,
        credential_id = Empty,
        key_id = Empty,
    );
    if !is_traced() {
        return span;
    }
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&HeaderExtractor(headers)));
    // Fails where no traces are collected.
    if span.set_parent(parent).is_ok() {
        let trace = span.context();
        let trace = trace.span().span_context().clone();
        if trace.is_valid() {
            span.record("trace_id", tracing::field::display(trace.trace_id()));
        }
    }
    span
}

/// Records the principal in the current span, which is that of the request.
pub(crate) fn record_principal(principal: &Principal) {
    let span = Span::current();
    span.record("user_id", principal.user_id.0);
    if let AuthMethod::Key { credential_id, key_id, .. } = &principal.via {
        span.record("credential_id", credential_id.0);
        span.record("key_id", key_id);
    }
}

/// Records the route and the status of the response.
pub(crate) fn record_response(span: &Span, method: &'static str, route: &str, status: StatusCode) {
    if !is_traced() {
        return;
    }
    span.context().span().update_name(format!("{method} {route}"));
    span.set_attribute("http.request.method", method);
    span.set_attribute("http.route", route.to_owned());
    record_status(span, status);
}

/// Opens the span of a request to Ollama, if traces are exported.
pub(crate) fn upstream(method: &Method, path: &'static str) -> Span {
    if !is_traced() {
        return Span::none();
    }
    let span = tracing::error_span!(
        "ollama",
        otel.kind = "client",
        otel.name = format!("{method} {path}"),
        otel.status_code = Empty
    );
    span.set_attribute("http.request.method", method.to_string());
    span
}

/// Injects the span's trace context into the headers of a request, so that Ollama's spans belong to
/// it.
pub(crate) fn inject(span: &Span, headers: &mut HeaderMap) {
    if !is_traced() {
        return;
    }
    let context = span.context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut HeaderInjector(headers)));
}

/// Records the status of a response.
pub(crate) fn record_status(span: &Span, status: StatusCode) {
    if !is_traced() {
        return;
    }
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        record_failure(span);
    }
}

/// Marks the span as failed.
pub(crate) fn record_failure(span: &Span) {
    span.record("otel.status_code", SERVER_ERROR);
}
