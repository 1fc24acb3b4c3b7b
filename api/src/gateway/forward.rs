//! Forwards a request that runs a model, and waits for the head of the response.

use axum::response::Response;
use http::{HeaderMap, HeaderName, StatusCode};
use hyper::body::Incoming;
use metrics::counter;
use paddock_ollama::Endpoint;
use paddock_store::error_chain;
use tokio::time::{Instant, timeout_at};

use super::{
    Gateway,
    error::error_of,
    headers,
    plan::PlannedRequest,
    prompt_estimate::PromptEstimate,
    queue::QueuePermit,
    revocation::RevocationGuard,
    stream::{self, Metering, RequestGuards},
    timeouts::Deadlines,
    upstream::UpstreamError,
    usage::{PendingUsage, UsageGuard},
};
use crate::http::{
    error::ApiError, request_context::RequestContext, request_metrics::RequestMetrics, request_outcome::RequestOutcome,
};

/// The response header that names the removed members of the request.
const X_PADDOCK_IGNORED: HeaderName = HeaderName::from_static("x-paddock-ignored");

/// A request that may run a model.
pub(super) struct AdmittedRequest {
    pub(super) headers: HeaderMap,
    pub(super) plan: PlannedRequest,
    pub(super) revocation: RevocationGuard,
    pub(super) prompt: PromptEstimate,
    pub(super) usage: PendingUsage,
    /// The place in front of the model, if places are limited.
    pub(super) place: Option<QueuePermit>,
}

/// Forwards the request, and streams the response. `started` is when the client's request began.
pub(super) async fn forward(
    gateway: &Gateway,
    endpoint: &'static Endpoint,
    context: &RequestContext,
    started: Instant,
    request: AdmittedRequest,
    metrics: RequestMetrics,
) -> Result<Response, ApiError> {
    let AdmittedRequest { headers, plan, revocation, prompt, usage, place } = request;
    let PlannedRequest { model, body, is_stream, drop_usage, ignored, ignored_labels, .. } = plan;
    let usage = UsageGuard::begin(usage, place, &model.name, prompt.clone(), metrics);
    for field in ignored_labels {
        counter!("paddock_gateway_ignored_fields_total", "field" => field).increment(1);
    }
    let headers = headers::to_ollama(headers, context.id());
    let deadlines = Deadlines::new(&gateway.timeouts, started, Instant::now(), is_stream);
    let send = gateway.upstream.post(endpoint.path, headers, body);
    let upstream = match response_head(gateway, &deadlines, &revocation, send).await {
        Ok(upstream) => upstream,
        Err(outcome) => return Err(usage.fail(outcome, error_of(outcome))),
    };
    if upstream.status() == StatusCode::NOT_FOUND {
        // The text is the same as for a model that is not allowed, so the client cannot tell the
        // two apart.
        return Err(usage.fail(RequestOutcome::UpstreamError, model.not_found()));
    }
    let metering = Metering { is_stream, drop_usage, prompt };
    let guards = RequestGuards { deadlines, revocation, usage };
    let mut response = stream::respond(endpoint, upstream, metering, guards).await.map_err(error_of)?;
    if let Some(ignored) = ignored {
        response.headers_mut().insert(X_PADDOCK_IGNORED, ignored);
    }
    Ok(response)
}

/// Waits for the head of the response. Fails with the outcome of the request if no head arrives.
async fn response_head(
    gateway: &Gateway,
    deadlines: &Deadlines,
    revocation: &RevocationGuard,
    send: impl Future<Output = Result<http::Response<Incoming>, UpstreamError>>,
) -> Result<http::Response<Incoming>, RequestOutcome> {
    let down = gateway.model_cache.down_token();
    let (deadline, timeout) = deadlines.head_deadline();
    let response = tokio::select! {
        // Polled first, so that a request that is already revoked does not reach Ollama.
        biased;
        () = revocation.token().cancelled() => {
            return Err(if revocation.is_revoked() { RequestOutcome::Revoked } else { RequestOutcome::Shutdown });
        }
        response = timeout_at(deadline, send) => response.map_err(|_| RequestOutcome::UpstreamTimeout(timeout))?,
        // The health check found Ollama down, although the connection is still open.
        () = down.cancelled() => return Err(RequestOutcome::UpstreamUnavailable),
    };
    response.map_err(|error| match error {
        UpstreamError::Connect(_) => RequestOutcome::UpstreamUnavailable,
        UpstreamError::Broken(_) | UpstreamError::Unexpected => {
            tracing::warn!(error = error_chain(&error), "cannot get a response from Ollama");
            RequestOutcome::UpstreamError
        }
    })
}
