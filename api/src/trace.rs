//! The span around each request: what its log lines carry, and what a trace shows of it. No body, prompt, query or secret is in
//! one.

use http::{HeaderMap, Method, StatusCode};
use opentelemetry::{global, trace::TraceContextExt as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use paddock_accounts::access::{AuthMethod, Principal};
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::origin::Origin;

const SERVER_ERROR: &str = "ERROR";

/// The span of a request that came in, within the trace that its `traceparent` names.
///
/// Its level is that of errors, so that a quiet log still knows the request that an error belongs to.
pub(crate) fn request(headers: &HeaderMap, origin: &Origin) -> Span {
    let span = tracing::error_span!(
        "request",
        otel.kind = "server",
        otel.status_code = Empty,
        request_id = origin.id_text(),
        trace_id = Empty,
        user_id = Empty,
        credential_id = Empty,
        key_id = Empty,
    );
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&HeaderExtractor(headers)));
    // Fails where nobody takes traces.
    if span.set_parent(parent).is_ok() {
        let context = span.context();
        let context = context.span().span_context().clone();
        if context.is_valid() {
            span.record("trace_id", tracing::field::display(context.trace_id()));
        }
    }
    span
}

/// Notes in the request's span, in which this runs, who asks.
pub(crate) fn known(principal: &Principal) {
    let span = Span::current();
    span.record("user_id", principal.user_id.0);
    if let AuthMethod::Key { credential_id, key_id, .. } = &principal.via {
        span.record("credential_id", credential_id.0);
        span.record("key_id", key_id);
    }
}

/// Names the request by its route, and notes how it was answered.
pub(crate) fn answered(span: &Span, method: &'static str, route: &str, status: StatusCode) {
    span.context().span().update_name(format!("{method} {route}"));
    span.set_attribute("http.request.method", method);
    span.set_attribute("http.route", route.to_owned());
    note_status(span, status);
}

/// The span of a request to Ollama.
pub(crate) fn upstream(method: &Method, path: &'static str) -> Span {
    let span = tracing::error_span!(
        "ollama",
        otel.kind = "client",
        otel.name = format!("{method} {path}"),
        otel.status_code = Empty
    );
    span.set_attribute("http.request.method", method.to_string());
    span
}

/// Has Ollama's own spans, where it has some, belong to this one.
pub(crate) fn pass_on(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut HeaderInjector(headers)));
}

/// Notes how a request ended.
pub(crate) fn note_status(span: &Span, status: StatusCode) {
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        failed(span);
    }
}

/// Notes that there was no answer, or a bad one.
pub(crate) fn failed(span: &Span) {
    span.record("otel.status_code", SERVER_ERROR);
}
