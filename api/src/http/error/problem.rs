//! Renders an error as RFC 9457 problem details.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiError;
use crate::http::request_context::RequestContext;

/// The `Retry-After` of an unavailable part.
const OUTAGE_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Problem details of a failed request (RFC 9457). The content type is
/// `application/problem+json`.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// The type of the problem: the path of a page that explains it. Its last word is stable across
    /// versions.
    #[schema(format = "uri-reference", pattern = "^/problems/[a-z-]+$", example = "/problems/invalid")]
    r#type: String,
    /// The type as text.
    #[schema(example = "Invalid value")]
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    status: u16,
    /// The cause of this failure, as text.
    detail: &'a str,
    /// The request id, as in the header `X-Request-Id`.
    request_id: &'a str,
    /// The values that break a rule, at most 20. Only with status 422.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError<'a>>,
}

/// A value that breaks a rule.
#[derive(Serialize, ToSchema)]
pub(crate) struct FieldError<'a> {
    /// The place of the value: a JSON pointer into the body (`/email`), `?` and the name of a query
    /// parameter (`?limit`), or the name of a path parameter in braces (`{id}`).
    #[schema(example = "/email")]
    pointer: &'a str,
    /// The rule that the value breaks.
    detail: &'a str,
}

impl ApiError {
    /// Renders the error as problem details, with the request id in the body.
    pub(crate) fn render_problem(&self, request_id: &str) -> Response {
        let violations = self.violations.iter();
        let body = Body {
            r#type: format!("/problems/{}", self.kind.slug()),
            title: self.kind.title(),
            status: self.status().as_u16(),
            detail: &self.detail,
            request_id,
            errors: violations.map(|found| FieldError { pointer: &found.pointer, detail: &found.detail }).collect(),
        };
        let text = serde_json::to_vec(&body).expect("a struct of strings is always JSON");
        let mut response = (self.status(), text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.set_headers(headers, OUTAGE_RETRY_AFTER);
        response
    }
}

/// Renders the error of a handler or an extractor, with the id of the request that the current task
/// serves.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let context = RequestContext::current();
        self.render_problem(context.as_ref().map_or("", RequestContext::id_text))
    }
}
