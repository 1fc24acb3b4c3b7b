//! The steps of a gateway request, from authentication to the response.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use paddock_accounts::access::{Permission, Principal};
use paddock_ollama::{Dialect, Endpoint, ModelName, Operation, RouteError, filter_openai_models, filter_tags};
use paddock_store::error_chain;
use tokio::time::{Instant, timeout_at};

use super::{
    Gateway, authorize,
    error::{self, gateway_error},
    headers,
    model_cache::{Found, LIST_TIMEOUT},
    policy::{self, AuthorizedRequest},
    revocation::RevocationGuard,
    stream::{self, Metering, StreamDeadlines},
    usage::{UsageGuard, UsagePermits, UsageRequest},
};
use crate::http::{
    body::{BodyError, MAX_DISCARDED, discard, read_body},
    error::{ApiError, Kind},
    request_context::RequestContext,
    request_metrics::RequestMetrics,
    request_outcome::RequestOutcome,
    slot::evictable_while,
};

/// The largest response that is read whole, in bytes: a list of models.
const MAX_LIST: usize = 32 << 20;
/// The code of the error for a path that the gateway does not serve.
const CLOSED: &str = "closed";

/// A request of a served endpoint.
struct GatewayRequest<'a> {
    gateway: &'a Gateway,
    endpoint: &'static Endpoint,
    context: &'a RequestContext,
    started: Instant,
}

/// What the checks of a request lead to.
enum Checked {
    /// The response is complete.
    Answered(Response),
    /// The request may run a model.
    Admitted(Box<AdmittedRequest>),
}

/// A request that may run a model.
struct AdmittedRequest {
    headers: HeaderMap,
    plan: AuthorizedRequest,
    principal: Arc<Principal>,
    revocation: RevocationGuard,
    permits: UsagePermits,
}

/// Answers a request that the route table serves.
pub(crate) async fn serve(
    gateway: &Gateway,
    endpoint: &'static Endpoint,
    request: Request<Incoming>,
    context: &RequestContext,
    metrics: RequestMetrics,
) -> Response {
    let gateway_request = GatewayRequest { gateway, endpoint, context, started: metrics.started() };
    let error = match gateway_request.check(request).await {
        Ok(Checked::Answered(response)) => {
            metrics.complete(response.status());
            return response;
        }
        Ok(Checked::Admitted(admitted)) => match gateway_request.forward(*admitted, metrics).await {
            Ok(response) => return response,
            Err(error) => error,
        },
        Err(error) => {
            metrics.refuse(&error);
            error
        }
    };
    error.render_dialect(endpoint.dialect)
}

/// Answers a request that the route table refuses. A forbidden endpoint asks anonymous callers for
/// a credential first, and records the denial of authenticated callers.
pub(crate) async fn refuse(
    gateway: &Gateway,
    refused: &RouteError,
    request: &Request<Incoming>,
    context: &RequestContext,
    metrics: RequestMetrics,
) -> Response {
    let kind = match refused.status {
        StatusCode::FORBIDDEN => Kind::Forbidden,
        StatusCode::METHOD_NOT_ALLOWED => Kind::MethodNotAllowed,
        _ => Kind::NotFound,
    };
    let mut error = gateway_error(kind, CLOSED, refused.reason);
    if let Some(path) = refused.forbidden_path {
        match authorize::authenticate(&gateway.authenticator, request.headers(), context).await {
            Ok(principal) => {
                // The client chooses path and method freely. Recorded as sent, they could flood the
                // audit log.
                let target = format!("{} {path}", method_name(request.method()));
                let user_agent = request.headers().get(header::USER_AGENT);
                record_denial(gateway, context, user_agent, &principal, &target, &error).await;
            }
            Err(unauthenticated) => error = unauthenticated,
        }
    }
    metrics.refuse(&error);
    tracing::debug!(method = %request.method(), path = request.uri().path(), "path not served");
    let mut response = error.render_dialect(refused.dialect);
    if let Some(allow) = refused.allow {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// Returns the name of a method that HTTP defines, and a fixed text for any other.
fn method_name(method: &Method) -> &str {
    const DEFINED: [Method; 7] =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    if DEFINED.contains(method) { method.as_str() } else { "(another method)" }
}

/// Records the denial of an authenticated caller in the audit log.
async fn record_denial(
    gateway: &Gateway,
    context: &RequestContext,
    user_agent: Option<&HeaderValue>,
    principal: &Principal,
    target: &str,
    error: &ApiError,
) {
    let audit_context = context.audit_context(user_agent, principal.actor());
    gateway.authenticator.record_denial(&audit_context, principal, target, error.gateway_detail()).await;
}

impl GatewayRequest<'_> {
    /// Checks the request, and answers it unless it runs a model.
    async fn check(&self, request: Request<Incoming>) -> Result<Checked, ApiError> {
        let (head, body) = request.into_parts();
        let permission = authorize::required_permission(self.endpoint).map_err(|_| ApiError::internal())?;
        let Some(permission) = permission else {
            // Anonymous requests must not keep other clients out while they wait for Ollama.
            return evictable_while(&head.extensions, self.relay(head.headers)).await.map(Checked::Answered);
        };
        let user_agent = head.headers.get(header::USER_AGENT).cloned();
        let principal = match authorize::authenticate(&self.gateway.authenticator, &head.headers, self.context).await {
            Ok(principal) => principal,
            Err(error) => {
                evictable_while(&head.extensions, discard(body, MAX_DISCARDED)).await;
                return Err(error);
            }
        };
        let checked = match authorize::authorize(&principal, permission) {
            Ok(()) if self.endpoint.known_fields.is_some() => {
                let admitted = self.admit(&head.extensions, head.headers, body, permission).await;
                admitted.map(|admitted| Checked::Admitted(Box::new(admitted)))
            }
            Ok(()) if self.endpoint.operation == Operation::ListModels => {
                self.list(head.headers, &principal).await.map(Checked::Answered)
            }
            Ok(()) => self.relay(head.headers).await.map(Checked::Answered),
            Err(error) => {
                evictable_while(&head.extensions, discard(body, MAX_DISCARDED)).await;
                Err(error)
            }
        };
        if let Err(error) = &checked
            && error.status() == StatusCode::FORBIDDEN
        {
            let target = format!("{} {}", self.endpoint.method, self.endpoint.path);
            record_denial(self.gateway, self.context, user_agent.as_ref(), &principal, &target, error).await;
        }
        checked
    }

    /// Reads a request that runs a model, and checks whether it may.
    async fn admit(
        &self,
        extensions: &Extensions,
        headers: HeaderMap,
        body: Incoming,
        permission: Permission,
    ) -> Result<AdmittedRequest, ApiError> {
        let gateway = self.gateway;
        if headers.contains_key(header::CONTENT_ENCODING) {
            let reason = "send the body without a Content-Encoding";
            return Err(gateway_error(Kind::UnsupportedMediaType, "content_encoding", reason));
        }
        let body = evictable_while(extensions, self.read_body(body)).await?;
        // The client may have sent the body slowly. Check its rights again.
        let principal = authorize::reauthorize(&gateway.authenticator, &headers, permission).await?;
        let plan = policy::plan(self.endpoint, body, &principal)?;
        let revocation = gateway.revocations.register(&principal, permission, &plan.model);
        // The watcher does not deliver changes before the registration. Check once more.
        if !policy::allows(&*authorize::reauthorize(&gateway.authenticator, &headers, permission).await?, &plan.model) {
            return Err(policy::not_found(&plan.written));
        }
        self.find_model(&plan).await?;
        let permits = gateway.recorder.reserve()?;
        Ok(AdmittedRequest { headers, plan, principal, revocation, permits })
    }

    /// Forwards a request that runs a model, and streams the response.
    async fn forward(&self, admitted: AdmittedRequest, metrics: RequestMetrics) -> Result<Response, ApiError> {
        let AdmittedRequest { headers, plan, principal, revocation, permits } = admitted;
        let gateway = self.gateway;
        let usage =
            UsageRequest { endpoint: self.endpoint, context: self.context, principal: &principal, model: &plan.model };
        let usage = UsageGuard::begin(permits, &gateway.accounts, &usage, metrics);
        let headers = headers::to_ollama(headers, self.context.id());
        let end_of_life = self.started + gateway.timeouts.lifetime;
        let sent = Instant::now();
        let deadline = end_of_life.min(sent + gateway.timeouts.headers);
        let answer = tokio::select! {
            // First: a request that is revoked already does not reach Ollama.
            biased;
            () = revocation.token().cancelled() => {
                let (outcome, refusal) = if revocation.is_revoked() {
                    (RequestOutcome::Revoked, error::revoked())
                } else {
                    (RequestOutcome::Shutdown, error::shutdown())
                };
                return Err(usage.fail(outcome, refusal));
            }
            answer = timeout_at(deadline, gateway.upstream.post(self.endpoint.path, headers, plan.body)) => answer,
        };
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_connect() => {
                return Err(usage.fail(RequestOutcome::UpstreamUnavailable, error::upstream_unavailable()));
            }
            Ok(Err(error)) => {
                tracing::warn!(error = error_chain(&error), "Ollama failed before it answered");
                return Err(usage.fail(RequestOutcome::UpstreamError, error::upstream_failed()));
            }
            Err(_) => return Err(usage.fail(RequestOutcome::UpstreamTimeout, error::upstream_timeout())),
        };
        if answer.status() == StatusCode::NOT_FOUND {
            // The text is the same as for a model that is not allowed, so the client cannot tell
            // the two apart.
            return Err(usage.fail(RequestOutcome::UpstreamError, policy::not_found(&plan.written)));
        }
        let deadlines =
            StreamDeadlines { idle: gateway.timeouts.idle, end: end_of_life.min(sent + gateway.timeouts.total) };
        let meter = Metering { is_stream: plan.is_stream, drop_usage: plan.drop_usage };
        Ok(stream::respond(self.endpoint, answer, meter, deadlines, revocation, usage))
    }

    /// Reads the request's body.
    async fn read_body(&self, body: Incoming) -> Result<Bytes, ApiError> {
        let Gateway { body_limit, timeouts, .. } = self.gateway;
        let read = timeout_at(self.started + timeouts.lifetime, read_body(body, *body_limit, timeouts.idle)).await;
        read.unwrap_or(Err(BodyError::TooSlow)).map_err(|error| error.for_limit(*body_limit))
    }

    /// Fails unless Ollama has the model and runs it locally.
    async fn find_model(&self, plan: &AuthorizedRequest) -> Result<(), ApiError> {
        match self.gateway.model_cache.find(&plan.model, self.started).await {
            Ok(Found::Local) => Ok(()),
            Ok(Found::Remote) => Err(policy::remote()),
            Ok(Found::Missing) => Err(policy::not_found(&plan.written)),
            Err(error) => {
                tracing::warn!(error = error_chain(&*error), "models of Ollama not listed");
                Err(error::upstream_unavailable())
            }
        }
    }

    /// Lists the local models that the caller may use.
    async fn list(&self, headers: HeaderMap, principal: &Principal) -> Result<Response, ApiError> {
        let (mut response, body) = self.fetch(headers).await?;
        if response.status() != StatusCode::OK {
            *response.body_mut() = Body::from(body);
            return Ok(response);
        }
        let filtered = match self.endpoint.dialect {
            Dialect::Ollama => filter_tags(&body, |name| policy::allows(principal, name)),
            Dialect::OpenAi | Dialect::Anthropic => {
                // This list does not name remote models; the native list does.
                let snapshot = self.gateway.model_cache.snapshot_since(self.started).await;
                let snapshot = snapshot.map_err(|_| error::upstream_unavailable())?;
                let is_local = |name: &ModelName| snapshot.find(name) == Found::Local;
                filter_openai_models(&body, |name| policy::allows(principal, name) && is_local(name))
            }
        };
        let filtered = filtered.map_err(|error| {
            tracing::error!(%error, "list of models of Ollama is malformed");
            error::upstream_failed()
        })?;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(filtered);
        Ok(response)
    }

    /// Forwards a request without a body, and returns the response unchanged.
    async fn relay(&self, headers: HeaderMap) -> Result<Response, ApiError> {
        let (mut response, body) = self.fetch(headers).await?;
        *response.body_mut() = Body::from(body);
        Ok(response)
    }

    /// Forwards a request and reads the whole response: its head, and its body apart.
    async fn fetch(&self, headers: HeaderMap) -> Result<(Response, Bytes), ApiError> {
        let gateway = self.gateway;
        let deadline = self.started + LIST_TIMEOUT;
        let fetched = async {
            let headers = headers::to_ollama(headers, self.context.id());
            let answer = gateway.upstream.get(self.endpoint.path, headers).await.map_err(|error| {
                if error.is_connect() { error::upstream_unavailable() } else { error::upstream_failed() }
            })?;
            let (head, body) = answer.into_parts();
            let body = read_body(body, MAX_LIST, gateway.timeouts.idle).await;
            let body = body.map_err(|_| error::upstream_failed())?;
            let mut response = Response::default();
            *response.status_mut() = head.status;
            *response.headers_mut() = headers::to_client(head.headers);
            Ok((response, body))
        };
        timeout_at(deadline, fetched).await.unwrap_or_else(|_| Err(error::upstream_timeout()))
    }
}
