//! The errors that only the gateway has.

use std::{borrow::Cow, time::Duration};

use super::queue::QueueError;
use crate::{
    auth::REFUSED,
    config::Timeout,
    http::{
        error::{ApiError, Kind},
        request_outcome::RequestOutcome,
    },
};

/// When a client may try again that the queue refused.
const QUEUE_RETRY: Duration = Duration::from_secs(5);

/// Creates an error with its own code.
pub(super) fn gateway_error(kind: Kind, code: &'static str, detail: impl Into<Cow<'static, str>>) -> ApiError {
    ApiError::new(kind, detail).with_code(code)
}

fn unavailable(code: &'static str, detail: &'static str) -> ApiError {
    gateway_error(Kind::Unavailable, code, detail).retry_after_outage()
}

/// No connection to Ollama could be opened, or Ollama is down.
pub(super) fn upstream_unavailable() -> ApiError {
    unavailable("upstream_unavailable", "Ollama is not available")
}

/// Ollama closed the connection, or its response is not HTTP.
pub(super) fn upstream_failed() -> ApiError {
    gateway_error(Kind::UpstreamFailed, "upstream_failed", "Ollama failed")
}

/// Ollama's response ended before it was complete, and the client has received no byte of it.
pub(super) fn upstream_incomplete() -> ApiError {
    gateway_error(Kind::UpstreamFailed, "upstream_incomplete", "Ollama ended its response early")
}

/// Ollama did not respond in time.
pub(super) fn upstream_timeout(timeout: Timeout) -> ApiError {
    let detail = format!("Ollama did not respond within {}", timeout.setting());
    gateway_error(Kind::UpstreamTimeout, timeout.code(), detail)
}

/// Ollama did not respond to a short request in time.
pub(super) fn list_timeout() -> ApiError {
    gateway_error(Kind::UpstreamTimeout, "upstream_timeout", "Ollama did not respond in time")
}

/// The caller lost the right to the request before Ollama responded.
pub(super) fn revoked() -> ApiError {
    gateway_error(Kind::Unauthenticated, "invalid_api_key", REFUSED)
}

/// The server shuts down, and the drain timeout has passed.
pub(super) fn shutdown() -> ApiError {
    unavailable("shutdown", "the gateway is shutting down")
}

/// The request may not wait, or not any longer, for its model.
pub(super) fn queue_refused(refused: QueueError) -> ApiError {
    let detail = match refused {
        QueueError::Full => "too many requests wait for their model already; try again later",
        QueueError::Timeout => "the request waited too long for its model (QUEUE_TIMEOUT); try again later",
    };
    gateway_error(Kind::Unavailable, refused.code(), detail).with_retry_after(QUEUE_RETRY)
}

/// The release of Ollama behind the gateway lacks a path that others have.
pub(super) fn no_such_path(path: &str) -> ApiError {
    gateway_error(Kind::NotFound, "not_supported", format!("this release of Ollama has no path {path}"))
}

/// Usage cannot be recorded, so the request is not admitted.
pub(super) fn usage_full() -> ApiError {
    unavailable("usage_full", "the gateway cannot record usage at the moment")
}

/// Returns the error for a request that ended before the client received any byte of the response.
pub(super) fn error_of(outcome: RequestOutcome) -> ApiError {
    match outcome {
        RequestOutcome::Revoked => revoked(),
        RequestOutcome::Shutdown => shutdown(),
        RequestOutcome::UpstreamUnavailable => upstream_unavailable(),
        RequestOutcome::UpstreamTimeout(timeout) => upstream_timeout(timeout),
        RequestOutcome::UpstreamIncomplete => upstream_incomplete(),
        _ => upstream_failed(),
    }
}
