//! Metrics: their descriptions, and the metric and log line of each management request.

use std::time::Duration;

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use http::{Method, StatusCode};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, histogram};

use super::request_context::RequestContext;

/// Describes the metrics of the API to the installed recorder. Call it once, after installing the
/// recorder.
pub fn describe_metrics() {
    describe_counter!("paddock_http_requests_total", "Management requests, by route, method and status");
    describe_histogram!(
        "paddock_http_request_duration_seconds",
        Unit::Seconds,
        "Time from a management request to its answer"
    );
    describe_gauge!("paddock_connections_open", "Connections to the API and the gateway");
    describe_gauge!("paddock_connections_max", "The most of them at once: MAX_CONNECTIONS");
    describe_counter!(
        "paddock_connections_turned_away_total",
        "Connections for which there was no place: displaced, having kept still the longest, or refused, all others being \
         at work"
    );
    describe_counter!("paddock_authentication_failures_total", "Requests without a credential that counts, by reason");
    describe_counter!(
        "paddock_credential_cache_misses_total",
        "Credentials that were looked up in the database, by reason: unknown to the cache, or the cache is bypassed"
    );
    describe_gauge!(
        "paddock_credential_cache_enabled",
        "1 while changes of rights are heard, 0 while the cache is bypassed"
    );
    describe_counter!(
        "paddock_rate_limited_total",
        "Requests over a limit, by whose limit it is: user, key or address"
    );
    describe_gauge!(
        "paddock_shared_limits_available",
        "1 while Redis counts the requests of all replicas, 0 while this process counts by itself; absent without REDIS_URL"
    );
    describe_counter!(
        "paddock_shared_limits_fallbacks_total",
        "Requests that this process counted because Redis did not, by reason: away, slow or failed"
    );
    describe_counter!("paddock_gateway_requests_total", "Requests to the gateway, by endpoint, status and outcome");
    describe_histogram!(
        "paddock_gateway_first_byte_seconds",
        Unit::Seconds,
        "Time from a request to the first byte of its answer, by endpoint"
    );
    describe_histogram!(
        "paddock_gateway_duration_seconds",
        Unit::Seconds,
        "Time from a request to the end of its answer, by endpoint"
    );
    describe_counter!("paddock_gateway_tokens_total", "Tokens through the gateway, by kind: prompt or completion");
    describe_gauge!("paddock_gateway_in_flight", "Requests that have been admitted and have not ended");
    describe_counter!(
        "paddock_audit_aggregated_total",
        "Audit events that were counted in another's row, by event type"
    );
    describe_counter!("paddock_audit_trimmed_rows_total", "Audit rows removed because their time was over");
    describe_counter!(
        "paddock_audit_head_failures_total",
        "Times the audit head file did not follow the log, by reason"
    );
    describe_counter!("paddock_usage_lost_total", "Usage records that could not be stored; each stands in the log");
    describe_counter!("paddock_usage_spooled_total", "Usage records that went to the spool, the database being away");
    describe_counter!("paddock_usage_replayed_total", "Usage records that came from a spool to the database");
    describe_counter!(
        "paddock_usage_settled_total",
        "Requests of processes that are gone, settled by this one as usage with the status unknown"
    );
    describe_gauge!("paddock_usage_spool_bytes", Unit::Bytes, "What waits in the spool of this process");
}

/// The matched route, as a response extension.
#[derive(Clone)]
pub(crate) struct Route(MatchedPath);

/// Middleware that copies the matched route into the response.
pub(crate) async fn attach_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned().map(Route);
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// Records the metrics and the log line of a management request.
pub(crate) fn record(method: &Method, route: &str, status: StatusCode, context: &RequestContext, duration: Duration) {
    let method = method_label(method);
    let status = status.as_u16();
    counter!(
        "paddock_http_requests_total",
        "route" => route.to_owned(), "method" => method, "status" => status.to_string()
    )
    .increment(1);
    histogram!("paddock_http_request_duration_seconds", "route" => route.to_owned(), "method" => method)
        .record(duration.as_secs_f64());
    let (ip, duration_ms) = (context.ip, duration.as_millis());
    if matches!(route, "/healthz" | "/readyz" | "preflight") {
        tracing::debug!(%ip, method, route, status, duration_ms, "request");
    } else {
        tracing::info!(%ip, method, route, status, duration_ms, "request");
    }
}

/// Returns the route of a response as a label: one of a closed set.
pub(crate) fn route(response: &Response) -> &str {
    response.extensions().get::<Route>().map_or("unmatched", |route| route.0.as_str())
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
