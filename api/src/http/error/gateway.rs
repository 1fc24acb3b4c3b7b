//! Renders an error in the dialect of a client of the gateway.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};
use paddock_ollama::Dialect;

use super::ApiError;

/// The `Retry-After` of an unavailable part.
const OUTAGE_RETRY_AFTER: Duration = Duration::from_secs(2);

impl ApiError {
    /// Renders the error in a dialect.
    pub(crate) fn render_dialect(&self, dialect: Dialect) -> Response {
        let body = dialect.error_body(self.status(), self.gateway_detail(), Some(self.code));
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.set_headers(response.headers_mut(), OUTAGE_RETRY_AFTER);
        response
    }

    /// The text for clients of the gateway.
    pub(crate) fn gateway_detail(&self) -> &str {
        self.gateway_detail.unwrap_or(&self.detail)
    }
}
