//! Forwards requests to the server with the key, and streams both bodies.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use paddock_api::{forwarded_request_headers, forwarded_response_headers};
use paddock_ollama::{Dialect, dialect_of};
use secrecy::ExposeSecret as _;
use url::Url;

use super::access::AccessRules;
use crate::{
    client::{RequestError, Target, http_client, text_of},
    error::Error,
};

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests to the server.
pub(super) struct Forwarder {
    http: reqwest::Client,
    server: Url,
    authorization: HeaderValue,
    rules: AccessRules,
}

/// Why a request has no response of the server.
struct Failure {
    status: StatusCode,
    reason: String,
}

impl Forwarder {
    pub(super) fn new(target: &Target, rules: AccessRules) -> Result<Self, Error> {
        let http = http_client(&target.server).connect_timeout(CONNECT_TIMEOUT).build();
        let bearer = format!("Bearer {}", target.token.expose_secret());
        let mut authorization = HeaderValue::from_str(&bearer).map_err(|_| {
            Error::config("the key has a character that no HTTP header may have; set PADDOCK_TOKEN to a key")
        })?;
        authorization.set_sensitive(true);
        let http = http.context("cannot build the HTTP client")?;
        Ok(Self { http, server: target.server.clone(), authorization, rules })
    }

    /// The service of every path and method.
    pub(super) fn into_router(self) -> Router {
        Router::new().fallback(handle).with_state(Arc::new(self))
    }

    async fn forward(&self, request: Request) -> Result<Response, Failure> {
        let (parts, body) = request.into_parts();
        let refuse = |status, reason: &str| Failure { status, reason: reason.to_owned() };
        self.rules.check(&parts.uri, &parts.headers).map_err(|reason| refuse(StatusCode::FORBIDDEN, reason))?;
        let url = self.url_of(parts.uri.path_and_query().map_or("", |target| target.as_str()));
        let url =
            url.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "the request target is not a path of the server"))?;
        let length = parts.headers.get(header::CONTENT_LENGTH).cloned();
        let mut headers = forwarded_request_headers(parts.headers, is_replaced);
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        headers.extend(length.map(|length| (header::CONTENT_LENGTH, length)));
        let mut request = self.http.request(parts.method, url).headers(headers);
        if !body.is_end_stream() {
            request = request.body(reqwest::Body::wrap_stream(body.into_data_stream()));
        }
        let response = request.send().await.map_err(|error| {
            let error = RequestError::unreachable(text_of(&self.server), error);
            Failure { status: StatusCode::BAD_GATEWAY, reason: error.to_string() }
        })?;
        let response: http::Response<reqwest::Body> = response.into();
        let (mut parts, body) = response.into_parts();
        parts.headers = forwarded_response_headers(parts.headers, |name| name == "set-cookie");
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    /// The URL of a target below the server. `None` if the target leaves the server's path by dot
    /// segments, or is no path.
    fn url_of(&self, target: &str) -> Option<Url> {
        let base = text_of(&self.server);
        let url = Url::parse(&format!("{base}{target}")).ok()?;
        let below = self.server.path().trim_end_matches('/');
        let is_below = url.path().strip_prefix(below).is_some_and(|rest| rest.starts_with('/'));
        (target.starts_with('/') && url.origin() == self.server.origin() && is_below).then_some(url)
    }
}

/// Whether a request header is the client's own credential.
fn is_replaced(name: &str) -> bool {
    matches!(name, "authorization" | "cookie" | "x-api-key")
}

async fn handle(State(forwarder): State<Arc<Forwarder>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let response = match forwarder.forward(request).await {
        Ok(response) => response,
        Err(failure) => return failure.into_response(&path),
    };
    // The client sent no credential, so 401 would ask the wrong program to sign in.
    if response.status() == StatusCode::UNAUTHORIZED && dialect_of(&path).is_some() {
        let reason = format!(
            "{} refused the key of paddock connect, because it is revoked or has expired, or its user is disabled: type \
             `paddock login`, then start `paddock connect` again",
            text_of(&forwarder.server)
        );
        return Failure { status: StatusCode::FORBIDDEN, reason }.into_response(&path);
    }
    response
}

impl Failure {
    /// The error in the dialect of the client.
    fn into_response(self, path: &str) -> Response {
        let body = dialect_of(path).unwrap_or(Dialect::Ollama).error_body(self.status, &self.reason, None);
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
