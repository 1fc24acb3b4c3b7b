//! The error for a request that the route table does not serve.

use std::borrow::Cow;

use http::{Method, StatusCode};

use super::{ENDPOINTS, Endpoint, Operation};
use crate::{dialect::Dialect, path::is_below};

/// Paths that are rejected with 403 for every method and caller, with all paths below them, because
/// they change state that all callers share or send data out of Ollama.
pub const FORBIDDEN_PATHS: &[&str] = &["/api/push", "/api/create", "/api/copy", "/api/blobs"];

/// Paths of Ollama that the gateway does not serve, with all paths below them. They are rejected
/// with 404.
pub const UNSERVED_PATHS: &[&str] = &[
    // Since 0.34: forwards the requests of a desktop application to OpenAI.
    "/api/codex",
    // Experiments. Some of them send the request to another server.
    "/api/experimental",
    // The account of the Ollama server.
    "/api/me",
    "/api/signout",
    "/api/status",
    "/api/user",
    // Transcriptions, whose body is not JSON.
    "/v1/audio",
];

/// The path whose rest, without its first segment, belongs to the management API.
const MODELS: &str = "/v1/models";

/// Why the route table rejects a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteErrorKind {
    /// The path is served with other methods.
    WrongMethod {
        /// The value of the `Allow` header.
        allow: &'static str,
    },
    /// The path is forbidden for every caller. The value is the path of the request or a parent of
    /// it.
    Forbidden(&'static str),
    /// Ollama serves the path, and the gateway does not.
    Unserved,
    /// The client's base URL has too many or too few segments.
    WrongBaseUrl,
    /// Neither Ollama nor the gateway serves the path.
    Unknown,
}

/// Why the route table rejects a request, and the parts of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteError {
    /// The kind of the error.
    pub kind: RouteErrorKind,
    /// The message for the client.
    pub reason: Cow<'static, str>,
    /// The dialect of the response.
    pub dialect: Dialect,
}

impl RouteError {
    pub(super) fn wrong_method(endpoint: &Endpoint) -> Self {
        let allow = match endpoint.method {
            Method::GET => "GET, HEAD",
            Method::DELETE => "DELETE",
            _ => "POST",
        };
        let reason = format!("{} takes the method {allow}", endpoint.path);
        Self { kind: RouteErrorKind::WrongMethod { allow }, reason: reason.into(), dialect: endpoint.dialect }
    }

    pub(super) fn wrong_base_url(endpoint: &Endpoint) -> Self {
        let base = match endpoint.dialect {
            Dialect::Ollama => "without a path and without a slash at its end, as http://paddock:8080",
            Dialect::OpenAi => "with /v1 at its end, as http://paddock:8080/v1",
            Dialect::Anthropic => "without /v1 and without a slash at its end, as http://paddock:8080",
        };
        let reason = format!(
            "the base URL of the client ends wrongly: the path must be {}; set the base URL {base}",
            endpoint.path
        );
        Self { kind: RouteErrorKind::WrongBaseUrl, reason: reason.into(), dialect: endpoint.dialect }
    }

    pub(super) fn not_served(path: &str, dialect: Dialect) -> Self {
        let find = |paths: &[&'static str]| paths.iter().copied().find(|parent| is_below(path, parent));
        let (kind, reason) = if let Some(forbidden) = find(FORBIDDEN_PATHS) {
            (RouteErrorKind::Forbidden(forbidden), "this part of Ollama's API is closed here")
        } else if find(UNSERVED_PATHS).is_some() {
            (RouteErrorKind::Unserved, "Ollama has this path, and Paddock does not serve it")
        } else {
            (RouteErrorKind::Unknown, "neither Ollama nor Paddock has this path; see /docs for those that are served")
        };
        Self { kind, reason: reason.into(), dialect }
    }

    /// The response's status: 403, 404 or 405.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind {
            RouteErrorKind::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            RouteErrorKind::Forbidden(_) => StatusCode::FORBIDDEN,
            RouteErrorKind::Unserved | RouteErrorKind::WrongBaseUrl | RouteErrorKind::Unknown => StatusCode::NOT_FOUND,
        }
    }
}

/// Returns the endpoint that a client with a wrong base URL means. The endpoint serves the method,
/// and its path resembles the path of the request.
///
/// The request's path may have too many slashes, a slash at its end, more segments before the
/// endpoint's path, or lack the endpoint's first segment.
pub(super) fn intended_endpoint(method: &Method, path: &str) -> Option<&'static Endpoint> {
    let segments = segments_of(path);
    if segments.is_empty() {
        return None;
    }
    let candidates =
        || ENDPOINTS.iter().filter(|endpoint| endpoint.operation != Operation::Root && endpoint.method == *method);
    let has_more = |endpoint: &&Endpoint| segments.ends_with(&segments_of(endpoint.path));
    let has_less =
        |endpoint: &&Endpoint| segments == segments_of(endpoint.path)[1..] && !endpoint.path.starts_with(MODELS);
    // The base URL may end with another segment instead, as in `/api/chat/completions`.
    let has_other = |endpoint: &&Endpoint| {
        let wanted = segments_of(endpoint.path);
        wanted.len() > 2 && segments.ends_with(&wanted[1..]) && !endpoint.path.starts_with(MODELS)
    };
    // Only the base URLs of OpenAI's clients end with a segment of the path, which is easily
    // forgotten.
    let openai = |endpoint: &&Endpoint| endpoint.dialect == Dialect::OpenAi;
    candidates()
        .find(has_more)
        .or_else(|| candidates().filter(openai).find(has_less))
        .or_else(|| candidates().find(has_less))
        .or_else(|| candidates().filter(openai).find(has_other))
}

fn segments_of(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}
