//! The descriptions of the metrics of the API.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Describes the metrics of the API to the installed recorder. Call it once, after installing the
/// recorder.
pub fn describe_metrics() {
    describe_counter!(
        "paddock_management_requests_total",
        "Requests to the management API, by method, route and status"
    );
    describe_histogram!(
        "paddock_management_request_duration_seconds",
        Unit::Seconds,
        "Time from a request to the management API to its answer, by method and route"
    );
    describe_gauge!("paddock_connections_open", "Connections to the API and the gateway");
    describe_gauge!("paddock_connections_max", "The most connections at once: MAX_CONNECTIONS");
    describe_counter!(
        "paddock_connections_over_limit_total",
        "Connections over MAX_CONNECTIONS, by action: an idle one was evicted, or a new one was refused"
    );
    describe_counter!("paddock_authentication_failures_total", "Requests without a valid credential, by reason");
    describe_counter!(
        "paddock_credential_cache_misses_total",
        "Credentials that were looked up in the database, by reason: unknown to the cache, or the cache is bypassed"
    );
    describe_gauge!(
        "paddock_credential_cache_enabled",
        "1 while changes of rights are received, 0 while the cache is bypassed"
    );
    describe_counter!("paddock_rate_limited_total", "Requests over a limit, by limit: user, key or address");
    describe_gauge!(
        "paddock_shared_limits_available",
        "1 while Redis counts requests for all replicas, 0 while this process counts alone; absent without REDIS_URL"
    );
    describe_counter!(
        "paddock_shared_limits_fallbacks_total",
        "Requests that this process counted because Redis did not, by reason: away, slow or failed"
    );
    describe_counter!(
        "paddock_gateway_requests_total",
        "Requests to the gateway, by method, route, status and outcome"
    );
    describe_histogram!(
        "paddock_gateway_first_byte_seconds",
        Unit::Seconds,
        "Time from a request to the first byte of its answer, by method and route"
    );
    describe_histogram!(
        "paddock_gateway_request_duration_seconds",
        Unit::Seconds,
        "Time from a request to the end of its answer, by method and route"
    );
    describe_counter!("paddock_gateway_tokens_total", "Tokens through the gateway, by kind: prompt or completion");
    describe_counter!(
        "paddock_gateway_ignored_fields_total",
        "Fields that were removed from requests because they change what all callers share, by field"
    );
    describe_counter!(
        "paddock_limits_exceeded_total",
        "Requests over a limit of tokens or of concurrent requests, by limit: user or key, and by reason"
    );
    describe_counter!(
        "paddock_backend_prompts_total",
        "Prompts of which the chosen backend had seen the beginning, and new ones; only with several backends"
    );
    describe_gauge!("paddock_backend_up", "Whether the latest health check of a backend succeeded, by its URL");
    describe_counter!(
        "paddock_backend_failovers_total",
        "Requests that went to another backend, because they did not reach the first one"
    );
    describe_gauge!("paddock_queue_waiting", "Requests that wait for their model");
    describe_histogram!("paddock_queue_wait_seconds", Unit::Seconds, "Time that requests waited for their model");
    describe_histogram!("paddock_queue_position", "Requests that waited for the model, when another one joined them");
    describe_counter!(
        "paddock_queue_refused_total",
        "Requests that the queue refused, by reason: queue_full or queue_timeout"
    );
    describe_gauge!("paddock_gateway_in_flight", "Requests that have been admitted and have not ended");
    describe_counter!(
        "paddock_audit_aggregated_total",
        "Audit events that were counted in the row of an earlier one, by event type"
    );
    describe_counter!(
        "paddock_audit_trimmed_rows_total",
        "Audit rows removed because they were older than AUDIT_RETENTION_DAYS"
    );
    describe_counter!("paddock_audit_head_failures_total", "Failed updates of the audit head file, by reason");
    describe_counter!("paddock_pulls_total", "Pulls of models that ended, by result: pulled or failed");
    describe_counter!("paddock_usage_lost_total", "Usage records that could not be stored; the log has each of them");
    describe_counter!(
        "paddock_usage_spooled_total",
        "Usage records that were appended to the spool because the database was unavailable"
    );
    describe_counter!("paddock_usage_replayed_total", "Usage records that were stored in the database from a spool");
    describe_counter!(
        "paddock_usage_settled_total",
        "Requests of dead processes that this process recorded as usage with the status unknown"
    );
    describe_gauge!("paddock_usage_spool_bytes", Unit::Bytes, "Size of the spool of this process");
}
