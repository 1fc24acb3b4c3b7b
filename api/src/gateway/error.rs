//! The errors that only the gateway has.

use std::borrow::Cow;

use crate::{
    auth::REFUSED,
    http::error::{ApiError, Kind},
};

/// An error with a code of its own.
pub(super) fn gateway_error(kind: Kind, code: &'static str, detail: impl Into<Cow<'static, str>>) -> ApiError {
    ApiError::new(kind, detail).with_code(code)
}

fn unavailable(code: &'static str, detail: &'static str) -> ApiError {
    gateway_error(Kind::Unavailable, code, detail).retry_after_outage()
}

/// The connection to Ollama failed.
pub(super) fn upstream_unavailable() -> ApiError {
    unavailable("upstream_unavailable", "Ollama is not available")
}

/// Ollama closed the connection, or its response is not HTTP.
pub(super) fn upstream_failed() -> ApiError {
    gateway_error(Kind::UpstreamFailed, "upstream_failed", "Ollama failed")
}

/// Ollama did not respond in time.
pub(super) fn upstream_timeout() -> ApiError {
    gateway_error(Kind::UpstreamTimeout, "upstream_timeout", "Ollama did not answer in time")
}

/// The caller lost the right to the request before Ollama responded.
pub(super) fn revoked() -> ApiError {
    gateway_error(Kind::Unauthenticated, "invalid_api_key", REFUSED)
}

/// The server shuts down, and the drain is over.
pub(super) fn shutdown() -> ApiError {
    unavailable("shutdown", "the gateway is shutting down")
}

/// Usage cannot be recorded, so the request is not admitted.
pub(super) fn usage_full() -> ApiError {
    unavailable("usage_full", "the gateway cannot record usage at the moment")
}
