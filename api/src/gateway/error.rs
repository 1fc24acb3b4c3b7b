//! Errors of the gateway, rendered in the dialect of the client.

use std::{borrow::Cow, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use metrics::counter;
use paddock_accounts::Error;
use paddock_ollama::Dialect;

use crate::{
    auth::{ABSENT, AuthError, CONFLICTING, REFUSED},
    http::{deadline::DbError, error_chain::causes, request_context::RequestContext},
    rate_limit::headers::whole_seconds,
};

/// The `Retry-After` of an unavailable part of the gateway.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Why the client gets no response of Ollama.
#[derive(Clone, Debug)]
pub(super) struct GatewayError {
    status: StatusCode,
    /// The reason in log and metrics, and for the client if its dialect has a field for it.
    code: &'static str,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl GatewayError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    fn unavailable(code: &'static str, message: &'static str) -> Self {
        Self { retry_after: Some(RETRY_AFTER), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
    }

    /// Sets `Retry-After`.
    fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// A defect of the gateway.
    pub(super) fn internal(code: &'static str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, "the gateway failed; its log has the request id")
    }

    /// The connection to Ollama failed.
    pub(super) fn upstream_unavailable() -> Self {
        Self::unavailable("upstream_unavailable", "Ollama is not available")
    }

    /// Ollama closed the connection, or its response is not HTTP.
    pub(super) fn upstream_failed() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "upstream_failed", "Ollama failed")
    }

    /// Ollama did not respond in time.
    pub(super) fn upstream_timeout() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "Ollama did not answer in time")
    }

    /// The caller lost the right to the request before Ollama responded.
    pub(super) fn revoked() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", REFUSED)
    }

    /// The server shuts down, and the drain is over.
    pub(super) fn shutdown() -> Self {
        Self::unavailable("shutdown", "the gateway is shutting down")
    }

    /// Usage cannot be recorded, so the request is not admitted.
    pub(super) fn usage_full() -> Self {
        Self::unavailable("usage_full", "the gateway cannot record usage at the moment")
    }

    fn database_unavailable() -> Self {
        Self::unavailable("database_unavailable", "the gateway's database is not available")
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The error message for the client.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Renders the response in a dialect.
    pub(super) fn render(&self, dialect: Dialect) -> Response {
        let mut response = Response::new(Body::from(dialect.error_body(self.status, &self.message, Some(self.code))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_seconds(after));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// Records the metrics and the log line of the request. `endpoint` is a path of the route
    /// table, or `closed`.
    pub(super) fn record(&self, endpoint: &'static str, context: &RequestContext, duration: Duration) {
        let status = self.status.as_u16();
        counter!(
            "paddock_gateway_requests_total",
            "endpoint" => endpoint, "status" => status.to_string(), "outcome" => "refused"
        )
        .increment(1);
        let duration_ms = duration.as_millis();
        tracing::info!(
            ip = %context.ip, endpoint, status, outcome = "refused", reason = self.code, duration_ms, "gateway request"
        );
    }
}

impl From<AuthError> for GatewayError {
    fn from(error: AuthError) -> Self {
        let reason = error.text();
        match error {
            AuthError::Absent => Self::new(StatusCode::UNAUTHORIZED, reason, ABSENT),
            AuthError::Conflicting => Self::new(StatusCode::BAD_REQUEST, reason, CONFLICTING),
            // One code for every reason, so that no client learns which keys exist.
            AuthError::Refused(_) => Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", REFUSED),
            AuthError::Limited(exceeded) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", exceeded.message())
                    .with_retry_after(exceeded.wait)
            }
            AuthError::Throttled(throttled) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                Self::new(status, "rate_limit_exceeded", throttled.message()).with_retry_after(throttled.wait)
            }
            AuthError::Database(error) => error.into(),
        }
    }
}

impl From<DbError> for GatewayError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Timeout => {
                tracing::error!("the database did not answer in time");
                Self::database_unavailable()
            }
            DbError::Failed(
                error @ Error::Store(
                    paddock_store::Error::Unavailable(_)
                    | paddock_store::Error::InDoubt(_)
                    | paddock_store::Error::Audit(_)
                    | paddock_store::Error::SigningKeyMismatch
                    | paddock_store::Error::Stopping,
                ),
            ) => {
                tracing::error!(%error, cause = causes(&error), "a credential could not be verified");
                Self::database_unavailable()
            }
            DbError::Failed(Error::Busy { retry_after }) => {
                Self::unavailable("busy", "too many keys are being verified at once").with_retry_after(retry_after)
            }
            DbError::Failed(error) => {
                tracing::error!(%error, cause = causes(&error), "a credential could not be verified");
                Self::internal("internal")
            }
        }
    }
}
