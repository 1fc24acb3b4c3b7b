//! The steps of a gateway request, from authentication to the response.

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use paddock_accounts::access::{Permission, Principal};
use paddock_ollama::{Endpoint, ModelName, Operation, RouteError, RouteErrorKind};
use tokio::time::{Instant, timeout_at};

use super::{
    Gateway,
    admission::{AdmissionError, reserved_tokens},
    authorize,
    body_memory::{BodyReservation, OutOfMemory},
    error::{error_of, gateway_error, queue_refused, upstream_unavailable},
    forward::{AdmittedRequest, forward},
    lists::{ShortRequest, find_model},
    model_access::allows,
    model_admin::AdminRequest,
    plan::plan,
    queue::{QueuePermit, Requester},
    revocation::RevocationGuard,
    usage::{PendingUsage, UsageRequest},
};
use crate::{
    auth::AuthenticatedRequest,
    http::{
        body::{BodyError, discard_while_responding, read_request_body},
        error::{ApiError, Kind},
        request_context::RequestContext,
        request_metrics::RequestMetrics,
        request_outcome::RequestOutcome,
        slot::evictable_while,
    },
};

/// The code of the error for a path that the gateway does not serve.
const CLOSED: &str = "closed";

/// A request of a served endpoint.
pub(super) struct GatewayRequest<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) endpoint: &'static Endpoint,
    pub(super) context: &'a RequestContext,
    pub(super) started: Instant,
}

/// The body of a request, and the memory that it takes.
pub(super) struct RequestBody {
    pub(super) bytes: Bytes,
    pub(super) memory: BodyReservation,
}

/// The result of the checks of a request.
enum Checked {
    /// The response is complete.
    Answered(Response),
    /// The request may run a model.
    Admitted(Box<AdmittedRequest>),
}

/// Answers a request that the route table serves.
pub(crate) async fn serve(
    gateway: &Gateway,
    endpoint: &'static Endpoint,
    request: Request<Incoming>,
    context: &RequestContext,
    metrics: RequestMetrics,
) -> Response {
    let started = metrics.started();
    let gateway_request = GatewayRequest { gateway, endpoint, context, started };
    let error = match gateway_request.check(request).await {
        Ok(Checked::Answered(response)) => {
            metrics.complete(response.status());
            return response;
        }
        Ok(Checked::Admitted(admitted)) => {
            match forward(gateway, endpoint, context, started, *admitted, metrics).await {
                Ok(response) => return response,
                Err(error) => error,
            }
        }
        Err(error) => {
            metrics.refuse(&error);
            error
        }
    };
    error.render_dialect(endpoint.dialect)
}

/// Answers a request that the route table refuses. For a forbidden endpoint, an anonymous caller
/// gets the error of a missing credential, and the denial of an authenticated caller is recorded.
pub(crate) async fn refuse(
    gateway: &Gateway,
    refused: &RouteError,
    request: Request<Incoming>,
    context: &RequestContext,
    mut metrics: RequestMetrics,
) -> Response {
    let (kind, code) = match refused.kind {
        RouteErrorKind::Forbidden(_) => (Kind::Forbidden, CLOSED),
        RouteErrorKind::WrongMethod { .. } => (Kind::MethodNotAllowed, "wrong_method"),
        RouteErrorKind::WrongBaseUrl => (Kind::NotFound, "wrong_base_url"),
        RouteErrorKind::Unserved => (Kind::NotFound, CLOSED),
        RouteErrorKind::Unknown => (Kind::NotFound, "unknown_path"),
    };
    let mut error = gateway_error(kind, code, refused.reason.clone());
    if let RouteErrorKind::Forbidden(path) = refused.kind {
        match gateway.authenticator.admit(request.headers(), context).await {
            Ok(caller) => {
                // The client chooses the path and the method. Unbounded values would defeat the
                // aggregation of repeated denials, and flood the audit log.
                let target = format!("{} {path}", method_name(request.method()));
                let user_agent = request.headers().get(header::USER_AGENT);
                record_denial(gateway, context, user_agent, caller.principal(), &target, &error).await;
            }
            Err(unauthenticated) => error = unauthenticated.into(),
        }
    }
    metrics.set_path(request.uri().path());
    let (head, body) = request.into_parts();
    discard_while_responding(&head.headers, body, gateway.body_limit);
    metrics.refuse(&error);
    let mut response = error.render_dialect(refused.dialect);
    if let RouteErrorKind::WrongMethod { allow } = refused.kind {
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
pub(super) async fn record_denial(
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

/// Whether a `Content-Encoding` changes the body. Some clients always send an empty one.
fn is_encoded(encoding: &HeaderValue) -> bool {
    let encoding = encoding.as_bytes().trim_ascii();
    !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")
}

impl GatewayRequest<'_> {
    /// Checks the request, and answers it unless it runs a model.
    async fn check(&self, request: Request<Incoming>) -> Result<Checked, ApiError> {
        let (head, body) = request.into_parts();
        let permission = authorize::required_permission(self.endpoint).map_err(|_| ApiError::internal())?;
        let Some(permission) = permission else {
            // Anonymous requests must not keep other clients out while they wait for Ollama.
            return evictable_while(&head.extensions, self.short().relay(head.headers)).await.map(Checked::Answered);
        };
        let authenticator = &self.gateway.authenticator;
        let caller = authorize::authenticate(authenticator, self.endpoint.operation, &head.headers, self.context);
        let caller = match caller.await {
            Ok(caller) => caller,
            Err(error) => {
                discard_while_responding(&head.headers, body, self.gateway.body_limit);
                return Err(error);
            }
        };
        if let Err(error) = authorize::authorize(caller.principal(), permission) {
            discard_while_responding(&head.headers, body, self.gateway.body_limit);
            return self.deny(&head.headers, caller.principal(), error).await;
        }
        let (user_agent, principal) = (head.headers.get(header::USER_AGENT).cloned(), caller.principal().clone());
        match self.run(head, body, caller, permission).await {
            Err(error) if error.status() == StatusCode::FORBIDDEN => {
                let headers = user_agent.into_iter().map(|value| (header::USER_AGENT, value)).collect();
                self.deny(&headers, &principal, error).await
            }
            checked => checked,
        }
    }

    /// Runs the operation of an authorized request.
    async fn run(
        &self,
        head: Parts,
        body: Incoming,
        mut caller: AuthenticatedRequest,
        permission: Permission,
    ) -> Result<Checked, ApiError> {
        if self.endpoint.operation.runs_model() {
            let body = self.read_body(&head, body, caller.principal()).await?;
            let admitted = self.admit(head.headers, body, caller, permission).await?;
            return Ok(Checked::Admitted(Box::new(admitted)));
        }
        let short = self.short();
        let response = match self.endpoint.operation {
            Operation::ListModels | Operation::ListLoaded => short.list(head.headers, caller.principal()).await,
            Operation::RetrieveModel => short.retrieve(head.headers, head.uri.path(), caller.principal()).await,
            Operation::ShowModel | Operation::CountTokens => {
                let body = self.read_body(&head, body, caller.principal()).await?;
                self.recheck(&mut caller, permission).await?;
                let plan = plan(self.endpoint, body.bytes, caller.principal(), None)?;
                if self.endpoint.operation == Operation::ShowModel {
                    short.show(head.headers, &plan.model, plan.body, caller.principal()).await
                } else {
                    short.count_tokens(head.headers, &plan.model, plan.body).await
                }
            }
            Operation::Pull | Operation::Delete => self.administer(&head, body, caller, permission).await,
            _ => short.relay(head.headers).await,
        };
        response.map(Checked::Answered)
    }

    /// Pulls or deletes a model.
    async fn administer(
        &self,
        head: &Parts,
        body: Incoming,
        mut caller: AuthenticatedRequest,
        permission: Permission,
    ) -> Result<Response, ApiError> {
        let body = self.read_body(head, body, caller.principal()).await?;
        self.recheck(&mut caller, permission).await?;
        let principal = caller.principal();
        let request = AdminRequest {
            endpoint: self.endpoint,
            models: &self.gateway.models,
            audit_context: self.context.audit_context(head.headers.get(header::USER_AGENT), principal.actor()),
            principal,
            body: body.bytes,
        };
        match self.endpoint.operation {
            Operation::Pull => request.pull(&self.gateway.revocations, permission).await,
            _ => request.delete().await,
        }
    }

    /// Checks whether the caller may run the model. Returns the request to forward.
    pub(super) async fn admit(
        &self,
        headers: HeaderMap,
        body: RequestBody,
        mut caller: AuthenticatedRequest,
        permission: Permission,
    ) -> Result<AdmittedRequest, ApiError> {
        let gateway = self.gateway;
        let RequestBody { bytes, memory } = body;
        let hasher = gateway.backends.prompt_hasher().filter(|_| self.endpoint.operation != Operation::Embed);
        let plan = plan(self.endpoint, bytes, caller.principal(), hasher)?;
        let revocation = gateway.revocations.register(caller.principal(), permission, &plan.model.name);
        // The watcher does not deliver changes that happened before the registration.
        self.recheck(&mut caller, permission).await?;
        if !allows(caller.principal(), &plan.model.name) {
            return Err(plan.model.not_found());
        }
        find_model(gateway, &plan.model, self.started).await?;
        let prompt = gateway.prompt_estimator.request(&plan.model.name, plan.prompt_bytes);
        let principal = caller.principal();
        let tokens = reserved_tokens(self.endpoint.operation, prompt.tokens(), plan.max_output_tokens);
        let usage = self.reserve(principal, &plan.model.name, tokens).await?;
        let place = self.wait_in_queue(principal, &plan.model.name, tokens, &revocation).await?;
        Ok(AdmittedRequest { headers, plan, memory, revocation, prompt, usage, place })
    }

    /// Reserves what the request will use of the limits of its principal. A refused request is not
    /// counted against the requests per minute either.
    async fn reserve(&self, principal: &Principal, model: &ModelName, tokens: u64) -> Result<PendingUsage, ApiError> {
        let Self { gateway, endpoint, context, started } = *self;
        let request = UsageRequest { endpoint, context, principal, model };
        let permits = gateway.recorder.permits()?;
        let usage = PendingUsage::new(request.record(&gateway.accounts, started), permits);
        match gateway.admission.reserve(principal, usage, tokens).await {
            Err(refused @ AdmissionError::Exceeded(..)) => {
                gateway.authenticator.refund(principal, context).await;
                Err(refused.into())
            }
            admitted => Ok(admitted?),
        }
    }

    /// Waits until the model has a place for the request. Returns `None` if its places are not
    /// limited. A refused request is not counted against the requests per minute.
    async fn wait_in_queue(
        &self,
        principal: &Principal,
        model: &ModelName,
        tokens: u64,
        revocation: &RevocationGuard,
    ) -> Result<Option<QueuePermit>, ApiError> {
        let Self { gateway, context, .. } = self;
        if !gateway.queue.is_limited() {
            return Ok(None);
        }
        let requester = Requester { user: principal.user_id, priority: principal.priority() };
        let refused = tokio::select! {
            biased;
            () = revocation.token().cancelled() => {
                return Err(error_of(if revocation.is_revoked() { RequestOutcome::Revoked } else { RequestOutcome::Shutdown }));
            }
            () = gateway.backends.all_down() => return Err(upstream_unavailable()),
            place = gateway.queue.acquire(model, requester, tokens) => match place {
                Ok(place) => return Ok(place),
                Err(refused) => refused,
            },
        };
        gateway.authenticator.refund(principal, context).await;
        Err(queue_refused(refused))
    }

    /// Checks the caller's rights again, because a client can send the body slowly. If no rights
    /// have changed, this compares two numbers and reads no database.
    async fn recheck(&self, caller: &mut AuthenticatedRequest, permission: Permission) -> Result<(), ApiError> {
        self.gateway.authenticator.recheck(caller).await?;
        authorize::authorize(caller.principal(), permission)
    }

    /// Reads the request's body, which counts as memory of the principal's user.
    async fn read_body(&self, head: &Parts, body: Incoming, principal: &Principal) -> Result<RequestBody, ApiError> {
        if head.headers.get_all(header::CONTENT_ENCODING).iter().any(is_encoded) {
            discard_while_responding(&head.headers, body, self.gateway.body_limit);
            let reason = "send the body without a Content-Encoding";
            return Err(gateway_error(Kind::UnsupportedMediaType, "content_encoding", reason));
        }
        let Gateway { body_limit, body_memory, timeouts, .. } = self.gateway;
        let mut memory = body_memory.begin(principal.user_id);
        let grow = |size| memory.grow(size).map_err(|OutOfMemory| BodyError::OutOfMemory);
        let read = read_request_body(&head.headers, body, *body_limit, timeouts.idle, grow);
        let read = evictable_while(&head.extensions, timeout_at(self.started + timeouts.lifetime, read)).await;
        let bytes = read.unwrap_or(Err(BodyError::TooSlow)).map_err(|error| error.for_limit(*body_limit))?;
        Ok(RequestBody { bytes, memory })
    }

    /// Records the denial of the request, and returns its error.
    async fn deny(&self, headers: &HeaderMap, principal: &Principal, error: ApiError) -> Result<Checked, ApiError> {
        let target = format!("{} {}", self.endpoint.method, self.endpoint.path);
        record_denial(self.gateway, self.context, headers.get(header::USER_AGENT), principal, &target, &error).await;
        Err(error)
    }

    pub(super) fn short(&self) -> ShortRequest<'_> {
        let Self { gateway, endpoint, context, started } = *self;
        ShortRequest { gateway, endpoint, context, started }
    }
}
