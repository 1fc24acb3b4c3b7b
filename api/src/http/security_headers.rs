//! Security headers of every response.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

/// The content security policy of API responses: load nothing, allow no frames.
pub(crate) const STRICT_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Browsers take the content type as sent.
pub(crate) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// No page may show a response in a frame.
pub(crate) const DENY: HeaderValue = HeaderValue::from_static("DENY");
/// Browsers name no page of ours to other sites.
pub(crate) const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// Forbids caches to store the response, which contains a secret.
pub(crate) fn no_store(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
