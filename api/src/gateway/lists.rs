//! Lists and descriptions of models, filtered to what the caller may see.

use std::{borrow::Cow, sync::Arc};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use paddock_accounts::{access::Principal, types::Role};
use paddock_ollama::{
    Dialect, Endpoint, filter_openai_models, filter_tags, find_openai_model, hide_prompts, merge_lists,
};
use paddock_store::error_chain;
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, timeout_at};

use super::{
    Gateway,
    backends::{BackendLease, GatewayBackend},
    error, headers,
    model_access::{NamedModel, allowed_model, allows},
    model_cache::{Found, LIST_TIMEOUT},
    upstream::UpstreamError,
};
use crate::http::{
    body::read_body,
    error::{ApiError, Kind},
    request_context::RequestContext,
};

/// The largest response that is read whole, in bytes.
const MAX_RESPONSE: usize = 32 << 20;
/// The path of OpenAI's list of models.
const OPENAI_MODELS: &str = "/v1/models";

/// A request whose response is read whole.
pub(super) struct ShortRequest<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) endpoint: &'static Endpoint,
    pub(super) context: &'a RequestContext,
    pub(super) started: Instant,
}

impl ShortRequest<'_> {
    /// Lists the local models that the caller may use.
    pub(super) async fn list(&self, headers: HeaderMap, principal: &Principal) -> Result<Response, ApiError> {
        let (response, body) = self.fetch_list(headers).await?;
        if response.status() != StatusCode::OK {
            return Ok(with_body(response, body));
        }
        let filtered = match self.endpoint.dialect {
            Dialect::Ollama => filter_tags(&body, |name| allows(principal, name)),
            Dialect::OpenAi | Dialect::Anthropic => {
                // OpenAI's list does not mark remote models. The native list does.
                let backends = &self.gateway.backends;
                backends.lists_since(self.started).await.map_err(|_| error::upstream_unavailable())?;
                filter_openai_models(&body, |name| allows(principal, name) && backends.is_local_now(name))
            }
        };
        Ok(with_body(response, filtered.map_err(|error| malformed(&error))?))
    }

    /// Describes the model in the path. Reads the list of models, because Ollama cannot find a
    /// model whose name contains a slash by a path.
    pub(super) async fn retrieve(
        &self,
        headers: HeaderMap,
        path: &str,
        principal: &Principal,
    ) -> Result<Response, ApiError> {
        let written = decoded_model(self.endpoint, path)?;
        let model = allowed_model(&written, principal)?;
        let backend = self.backend_of(&model).await?;
        let (response, body) = self.fetch(backend.backend(), OPENAI_MODELS, headers, None).await?;
        if response.status() != StatusCode::OK {
            return Ok(with_body(response, body));
        }
        let found = find_openai_model(&body, &model.name, &written).map_err(|error| malformed(&error))?;
        Ok(with_body(response, found.ok_or_else(|| model.not_found())?))
    }

    /// Describes the model in the body. Only admins see its prompts.
    pub(super) async fn show(
        &self,
        headers: HeaderMap,
        model: &NamedModel,
        body: Bytes,
        principal: &Principal,
    ) -> Result<Response, ApiError> {
        let backend = self.backend_of(model).await?;
        let (response, body) = self.fetch(backend.backend(), self.endpoint.path, headers, Some(body)).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Err(model.not_found()),
            StatusCode::OK if !principal.roles.has(Role::Admin) => {
                let shown = hide_prompts(&body).map_err(|error| malformed(&error))?;
                Ok(with_body(response, shown))
            }
            _ => Ok(with_body(response, body)),
        }
    }

    /// Counts the tokens of a conversation. Fails if this release of Ollama has no such endpoint.
    pub(super) async fn count_tokens(
        &self,
        headers: HeaderMap,
        model: &NamedModel,
        body: Bytes,
    ) -> Result<Response, ApiError> {
        let backend = self.backend_of(model).await?;
        let (response, body) = self.fetch(backend.backend(), self.endpoint.path, headers, Some(body)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(error::no_such_path(self.endpoint.path));
        }
        Ok(with_body(response, body))
    }

    /// Forwards a request without a body, and returns the response unchanged.
    pub(super) async fn relay(&self, headers: HeaderMap) -> Result<Response, ApiError> {
        let up = self.up().await?;
        let backend = up.first().ok_or_else(error::upstream_unavailable)?;
        let (response, body) = self.fetch(backend, self.endpoint.path, headers, None).await?;
        Ok(with_body(response, body))
    }

    /// Returns a backend that has the model and runs it locally.
    async fn backend_of(&self, model: &NamedModel) -> Result<BackendLease, ApiError> {
        find_model(self.gateway, model, self.started).await?;
        self.gateway.backends.choose(&model.name, None, &[]).ok_or_else(error::upstream_unavailable)
    }

    /// Returns the backends that are up, at least one.
    async fn up(&self) -> Result<Vec<Arc<GatewayBackend>>, ApiError> {
        self.gateway.backends.up(self.started).await.map_err(|_| error::upstream_unavailable())
    }

    /// Requests a list of models from every backend that is up, and merges the lists. Fails if no
    /// backend sends its list.
    async fn fetch_list(&self, headers: HeaderMap) -> Result<(Response, Bytes), ApiError> {
        let up = self.up().await?;
        let path = self.endpoint.path;
        let mut fetched = join_all(up.iter().map(|backend| self.fetch(backend, path, headers.clone(), None))).await;
        if fetched.len() == 1 {
            return fetched.remove(0);
        }
        let mut lists: Vec<(Response, Bytes)> = Vec::new();
        let mut failed = None;
        for result in fetched {
            match result {
                Ok(list) if list.0.status() == StatusCode::OK => lists.push(list),
                other => failed = Some(other),
            }
        }
        let bodies: Vec<Bytes> = lists.iter().map(|(_, body)| body.clone()).collect();
        match (lists.into_iter().next(), failed) {
            (Some((response, _)), _) => Ok((response, merge_lists(&bodies).map_err(|error| malformed(&error))?)),
            (None, Some(failed)) => failed,
            (None, None) => Err(error::upstream_unavailable()),
        }
    }

    /// Forwards a request and reads the whole response. Returns the head and the body separately.
    async fn fetch(
        &self,
        backend: &GatewayBackend,
        path: &'static str,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<(Response, Bytes), ApiError> {
        let (upstream, timeouts) = (&backend.upstream, &self.gateway.timeouts);
        let deadline = self.started + LIST_TIMEOUT;
        let fetched = async {
            let headers = headers::to_ollama(headers, self.context.id());
            let response = match body {
                Some(body) => upstream.post(path, headers, body).await,
                None => upstream.get(path, headers).await,
            };
            let response = response.map_err(|error| match error {
                UpstreamError::Connect(_) => error::upstream_unavailable(),
                UpstreamError::Broken(_) | UpstreamError::Unexpected => error::upstream_failed(),
            })?;
            let (head, body) = response.into_parts();
            let body = read_body(body, MAX_RESPONSE, timeouts.idle).await;
            let body = body.map_err(|_| error::upstream_failed())?;
            let mut response = Response::default();
            *response.status_mut() = head.status;
            *response.headers_mut() = headers::to_client(head.headers);
            Ok((response, body))
        };
        timeout_at(deadline, fetched).await.unwrap_or_else(|_| Err(error::list_timeout()))
    }
}

/// Fails unless Ollama has the model and runs it locally. `since` is when the request began.
pub(super) async fn find_model(gateway: &Gateway, model: &NamedModel, since: Instant) -> Result<(), ApiError> {
    match gateway.backends.find(&model.name, since).await {
        Ok(Found::Local) => Ok(()),
        Ok(Found::Remote) => Err(super::model_access::remote()),
        Ok(Found::Missing) => Err(model.not_found()),
        Err(error) => {
            tracing::warn!(error = error_chain(&error), "cannot list the models of Ollama");
            Err(error::upstream_unavailable())
        }
    }
}

/// Returns the model name in a path, decoded.
fn decoded_model<'p>(endpoint: &Endpoint, path: &'p str) -> Result<Cow<'p, str>, ApiError> {
    let written = endpoint.model_in(path).unwrap_or_default();
    percent_decode_str(written).decode_utf8().map_err(|_| {
        let reason = "the model name in the path is not percent-encoded UTF-8";
        error::gateway_error(Kind::Malformed, "invalid_model_name", reason)
    })
}

fn with_body(mut response: Response, body: Bytes) -> Response {
    if response.headers().contains_key(header::CONTENT_LENGTH) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    *response.body_mut() = Body::from(body);
    response
}

fn malformed(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(%error, "cannot parse the response of Ollama");
    error::upstream_failed()
}
