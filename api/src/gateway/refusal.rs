//! What a request to the gateway is told when it fails, in the dialect of its client.

use std::{borrow::Cow, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use metrics::counter;
use paddock_accounts::Error;
use paddock_ollama::Dialect;

use crate::{
    app::Unanswered,
    authentication::{ABSENT, CONFLICTING, REFUSED, Stranger},
    origin::Origin,
    problem::whole_seconds,
    telemetry::causes,
};

/// When to come back, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Why there is no answer of Ollama's.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// A word for log, metrics and, where the dialect has a place for it, the client.
    code: &'static str,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    fn unavailable(code: &'static str, message: &'static str) -> Self {
        Self { retry_after: Some(RETRY_AFTER), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
    }

    /// The same, but only after a while.
    fn retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// A defect of ours.
    pub(crate) fn internal(code: &'static str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, "the gateway failed; its log has the request id")
    }

    /// No connection to Ollama.
    pub(crate) fn upstream_away() -> Self {
        Self::unavailable("upstream_unavailable", "Ollama is not available")
    }

    /// Ollama hung up, or said something that is no HTTP.
    pub(crate) fn upstream_failed() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "upstream_failed", "Ollama failed")
    }

    /// No answer in time.
    pub(crate) fn upstream_slow() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "Ollama did not answer in time")
    }

    /// The right to go on ended before there was an answer.
    pub(crate) fn revoked() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", REFUSED)
    }

    /// The drain is over.
    pub(crate) fn shutdown() -> Self {
        Self::unavailable("shutdown", "the gateway is shutting down")
    }

    /// Usage could not be recorded, so nothing is used.
    pub(crate) fn usage_full() -> Self {
        Self::unavailable("usage_full", "the gateway cannot record usage at the moment")
    }

    fn database_away() -> Self {
        Self::unavailable("database_unavailable", "the gateway's database is not available")
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, for people.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The answer.
    pub(crate) fn answer(&self, dialect: Dialect) -> Response {
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

    /// Counts and logs it. `endpoint` is a path of the route table, or `closed`.
    pub(crate) fn note(&self, endpoint: &'static str, origin: &Origin, took: Duration) {
        let status = self.status.as_u16();
        counter!(
            "paddock_gateway_requests_total",
            "endpoint" => endpoint, "status" => status.to_string(), "outcome" => "refused"
        )
        .increment(1);
        let duration_ms = took.as_millis();
        tracing::info!(
            ip = %origin.ip, endpoint, status, outcome = "refused", reason = self.code, duration_ms, "gateway request"
        );
    }
}

impl From<Stranger> for Refusal {
    fn from(stranger: Stranger) -> Self {
        let reason = stranger.text();
        match stranger {
            Stranger::Absent => Self::new(StatusCode::UNAUTHORIZED, reason, ABSENT),
            Stranger::Conflicting => Self::new(StatusCode::BAD_REQUEST, reason, CONFLICTING),
            // One code for every reason: the client is not told which it was.
            Stranger::Refused(_) => Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", REFUSED),
            Stranger::Limited(exceeded) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", exceeded.message())
                    .retry_after(exceeded.wait)
            }
            Stranger::Throttled(throttled) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                Self::new(status, "rate_limit_exceeded", throttled.message()).retry_after(throttled.wait)
            }
            Stranger::Unanswered(unanswered) => unanswered.into(),
        }
    }
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::TooLong => {
                tracing::error!("the database did not answer in time");
                Self::database_away()
            }
            Unanswered::Error(
                error @ Error::Store(
                    paddock_store::Error::Unavailable(_)
                    | paddock_store::Error::InDoubt(_)
                    | paddock_store::Error::Audit(_)
                    | paddock_store::Error::SigningKeyMismatch
                    | paddock_store::Error::Stopping,
                ),
            ) => {
                tracing::error!(%error, cause = causes(&error), "a credential could not be judged");
                Self::database_away()
            }
            Unanswered::Error(Error::Busy { retry_after }) => {
                Self::unavailable("busy", "too many keys are being verified at once").retry_after(retry_after)
            }
            Unanswered::Error(error) => {
                tracing::error!(%error, cause = causes(&error), "a credential could not be judged");
                Self::internal("internal")
            }
        }
    }
}
