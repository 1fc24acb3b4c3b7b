//! Forwards a request that runs a model, and waits for the head of the response.

use std::mem;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use metrics::counter;
use paddock_ollama::{Endpoint, ModelName};
use paddock_store::error_chain;
use tokio::time::{Instant, timeout_at};

use super::{
    Gateway,
    backends::{BackendLease, GatewayBackend},
    body_memory::BodyReservation,
    error::{self, error_of},
    headers,
    plan::PlannedRequest,
    prompt_estimate::PromptEstimate,
    queue::QueuePermit,
    revocation::RevocationGuard,
    stream::{self, Metering, RequestGuards},
    timeouts::Deadlines,
    upstream::{UpstreamBody, UpstreamError},
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
    /// The memory of the body, until Ollama has received it.
    pub(super) memory: BodyReservation,
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
    let AdmittedRequest { headers, plan, memory, revocation, prompt, usage, place } = request;
    let PlannedRequest { model, body, is_stream, drop_usage, ignored, ignored_labels, .. } = plan;
    let usage = UsageGuard::begin(usage, place, &model.name, prompt.clone(), metrics);
    for field in ignored_labels {
        counter!("paddock_gateway_ignored_fields_total", "field" => field).increment(1);
    }
    let headers = headers::to_ollama(headers, context.id());
    let deadlines = Deadlines::new(&gateway.timeouts, started, Instant::now(), is_stream);
    let attempt = Attempt { gateway, path: endpoint.path, model: &model.name, deadlines: &deadlines };
    let (upstream, backend) = match attempt.response_head(headers, body, &revocation).await {
        Ok(answered) => answered,
        Err(outcome) => return Err(usage.fail(outcome, error_of(outcome))),
    };
    drop(memory);
    if upstream.status() == StatusCode::NOT_FOUND {
        if !is_json(&upstream) {
            return Err(usage.fail(RequestOutcome::UpstreamError, error::no_such_path(endpoint.path)));
        }
        // The text is the same as for a model that is not allowed, so the client cannot tell the
        // two apart.
        return Err(usage.fail(RequestOutcome::UpstreamError, model.not_found()));
    }
    let metering = Metering { is_stream, drop_usage, prompt };
    let guards = RequestGuards { deadlines, revocation, usage, backend };
    let mut response = stream::respond(endpoint, upstream, metering, guards).await.map_err(error_of)?;
    if let Some(ignored) = ignored {
        response.headers_mut().insert(X_PADDOCK_IGNORED, ignored);
    }
    Ok(response)
}

/// Whether a response has a JSON body. The 404 of an Ollama without the path has none.
fn is_json(response: &http::Response<UpstreamBody>) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
}

/// A request on its way to a backend.
struct Attempt<'a> {
    gateway: &'a Gateway,
    path: &'static str,
    model: &'a ModelName,
    deadlines: &'a Deadlines,
}

/// Why a backend sent no head.
enum NoHead {
    /// No connection to the backend could be opened, so no byte was sent.
    Unreachable,
    /// The request ended with this outcome.
    Ended(RequestOutcome),
}

impl Attempt<'_> {
    /// Sends the request to a backend, and waits for the head of the response. A request that did
    /// not reach its backend goes to the next one; nothing else is sent twice. Fails with the
    /// outcome of the request if no head arrives.
    async fn response_head(
        &self,
        mut headers: HeaderMap,
        body: Bytes,
        revocation: &RevocationGuard,
    ) -> Result<(http::Response<UpstreamBody>, BackendLease), RequestOutcome> {
        let backends = &self.gateway.backends;
        let mut tried = Vec::new();
        while let Some(lease) = backends.choose(self.model, &tried) {
            let headers = if backends.are_several() { headers.clone() } else { mem::take(&mut headers) };
            let send = lease.backend().upstream.post(self.path, headers, body.clone());
            match self.head_of(lease.backend(), send, revocation).await {
                Ok(response) => return Ok((response, lease)),
                Err(NoHead::Unreachable) => tried.push(lease),
                Err(NoHead::Ended(outcome)) => return Err(outcome),
            }
            if backends.are_several() {
                counter!("paddock_backend_failovers_total").increment(1);
            }
        }
        Err(RequestOutcome::UpstreamUnavailable)
    }

    /// Waits for the head of the response of one backend.
    async fn head_of(
        &self,
        backend: &GatewayBackend,
        send: impl Future<Output = Result<http::Response<UpstreamBody>, UpstreamError>>,
        revocation: &RevocationGuard,
    ) -> Result<http::Response<UpstreamBody>, NoHead> {
        let down = backend.models.down_token();
        let (deadline, timeout) = self.deadlines.head_deadline();
        let response = tokio::select! {
            // Polled first, so that a request that is already revoked does not reach Ollama.
            biased;
            () = revocation.token().cancelled() => {
                let outcome =
                    if revocation.is_revoked() { RequestOutcome::Revoked } else { RequestOutcome::Shutdown };
                return Err(NoHead::Ended(outcome));
            }
            response = timeout_at(deadline, send) => {
                response.map_err(|_| NoHead::Ended(RequestOutcome::UpstreamTimeout(timeout)))?
            }
            // The health check found the backend down, although the connection is still open.
            () = down.cancelled() => return Err(NoHead::Ended(RequestOutcome::UpstreamUnavailable)),
        };
        response.map_err(|error| match error {
            UpstreamError::Connect(error) => {
                backend.models.record_unreachable(&*error);
                NoHead::Unreachable
            }
            UpstreamError::Broken(_) | UpstreamError::Unexpected => {
                tracing::warn!(
                    backend = backend.models.url(),
                    error = error_chain(&error),
                    "cannot get a response from Ollama"
                );
                NoHead::Ended(RequestOutcome::UpstreamError)
            }
        })
    }
}
