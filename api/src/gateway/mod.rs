//! The gateway in front of Ollama: who may use which model, and the bytes of the answer as they come.
//!
//! One request runs through [`admit`] (who), [`policy`] (what, decided on the bytes of the request), [`catalogue`] (is the
//! model there), [`forward`] (to Ollama), [`stream`] (back to the client) and [`usage`] (what it cost).

mod admit;
mod catalogue;
mod forward;
mod headers;
mod policy;
mod refusal;
mod stream;
pub(crate) mod usage;
mod warden;

use std::{borrow::Cow, panic::AssertUnwindSafe, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use paddock_accounts::{
    Accounts,
    access::{Permission, Principal},
};
use paddock_ollama::{
    Access, Dialect, ENDPOINTS, Endpoint, ModelName, Operation, RouteError, filter_openai_models, filter_tags,
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    authentication::record_denial,
    config::{Config, Timeouts},
    connections::lend,
    extract::{BodyError, UNREAD_LIMIT, discard, read_body},
    host::Misdirected,
    origin::Origin,
    readiness::Readiness,
    telemetry::causes,
};
use catalogue::Catalogue;
use forward::{Forwarder, SetupError};
use refusal::Refusal;
use usage::{Outcome, Recorder, Ticket};
use warden::Warden;

/// The most bytes of an answer that is read whole: a list of models.
const LIST_LIMIT: usize = 32 << 20;
/// What stands for the paths that are not served, in log and metrics.
pub(crate) const CLOSED: &str = "closed";

/// Why the gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The URL cannot be used.
    #[error("must be one URL like http://localhost:11434, without a path: {0}")]
    Url(String),
    /// A library refused to start.
    #[error(transparent)]
    Client(#[from] paddock_ollama::ClientError),
    /// The route table names a scope that accounts do not know: a defect.
    #[error("the route table names an unknown scope: {0}")]
    Scope(#[from] paddock_accounts::types::UnknownVariant),
}

/// A route of Ollama's, with what serving it needs.
struct Route {
    endpoint: &'static Endpoint,
    /// `None`: nobody need sign in.
    need: Option<Permission>,
}

/// Everything between a request for Ollama and its answer.
pub(crate) struct Gateway {
    routes: Vec<Route>,
    forwarder: Forwarder,
    catalogue: Catalogue,
    recorder: Recorder,
    body_limit: usize,
    timeouts: Timeouts,
    warden: Warden,
}

impl Gateway {
    pub(crate) fn new(config: &Config, recorder: Recorder, cut: CancellationToken) -> Result<Self, GatewayError> {
        let route = |endpoint: &'static Endpoint| {
            let need = match endpoint.access {
                Access::Public => None,
                Access::Authenticated => Some(Permission::Profile),
                Access::Scope(scope) => Some(Permission::Use(scope.parse()?)),
            };
            Ok(Route { endpoint, need })
        };
        let routes = ENDPOINTS.iter().map(route).collect::<Result<_, GatewayError>>()?;
        let forwarder = Forwarder::new(&config.ollama_url).map_err(|SetupError(why)| GatewayError::Url(why))?;
        Ok(Self {
            routes,
            forwarder,
            catalogue: Catalogue::new(&config.ollama_url)?,
            recorder,
            body_limit: config.body_limit,
            timeouts: config.timeouts,
            warden: Warden::new(cut),
        })
    }

    /// Keeps ending what its principal may not have any more.
    pub(crate) async fn keep_watch(&self, accounts: &Accounts) {
        self.warden.watch(accounts).await;
    }

    /// Looks once whether Ollama is there, and which models it has.
    pub(crate) async fn look(&self, readiness: &Readiness) {
        readiness.ollama(self.catalogue.refresh().await.is_ok());
    }

    /// Keeps looking.
    pub(crate) async fn watch(&self, readiness: &Readiness) {
        loop {
            tokio::time::sleep(catalogue::EVERY).await;
            self.look(readiness).await;
        }
    }

    fn need(&self, endpoint: &Endpoint) -> Option<Permission> {
        self.routes.iter().find(|route| std::ptr::eq(route.endpoint, endpoint))?.need
    }
}

/// A request on its way through.
struct Passage<'a> {
    app: &'a App,
    endpoint: &'static Endpoint,
    origin: &'a Origin,
    started: Instant,
}

/// Answers a request that the route table serves.
pub(crate) async fn serve(
    app: &App,
    endpoint: &'static Endpoint,
    request: Request<Incoming>,
    origin: &Origin,
) -> Response {
    let passage = Passage { app, endpoint, origin, started: Instant::now() };
    let answered = AssertUnwindSafe(passage.answer(request)).catch_unwind().await;
    let refusal = match answered {
        Ok(Ok(response)) => return response,
        Ok(Err(refusal)) => refusal,
        // The panic hook has told where and why.
        Err(_) => Refusal::internal("panic"),
    };
    refusal.note(endpoint.path, origin, passage.started.elapsed());
    refusal.answer(endpoint.dialect)
}

/// Answers a request that the route table refuses. What is forbidden is forbidden to someone: who is not known is asked to
/// sign in first, and who is known is recorded.
pub(crate) async fn refuse(app: &App, refused: &RouteError, request: &Request<Incoming>, origin: &Origin) -> Response {
    let started = Instant::now();
    let mut refusal = Refusal::new(refused.status, CLOSED, refused.reason);
    if let Some(closed) = refused.forbidden_path {
        match admit::identify(app, request.headers(), origin).await {
            Ok(principal) => {
                // Not the path and the method as they were sent: of those there are as many as the client likes, and a record
                // of each would flood the log.
                let target = format!("{} {closed}", known(request.method()));
                let user_agent = request.headers().get(header::USER_AGENT);
                note_denial(app, origin, user_agent, &principal, &target, &refusal).await;
            }
            Err(stranger) => refusal = stranger,
        }
    }
    refusal.note(CLOSED, origin, started.elapsed());
    tracing::debug!(method = %request.method(), path = request.uri().path(), "not served");
    let mut response = refusal.answer(refused.dialect);
    if let Some(allow) = refused.allow {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// A method by its name, if it is one that HTTP defines.
fn known(method: &Method) -> &str {
    const DEFINED: [Method; 7] =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    if DEFINED.contains(method) { method.as_str() } else { "(another method)" }
}

/// Answers a request for a path of the gateway's that is not meant for this server.
pub(crate) fn misdirected(path: &'static str, dialect: Dialect, why: Misdirected, origin: &Origin) -> Response {
    let refusal = Refusal::new(why.status(), "invalid_host", why.why());
    refusal.note(path, origin, Duration::ZERO);
    refusal.answer(dialect)
}

/// Records that someone known was refused.
async fn note_denial(
    app: &App,
    origin: &Origin,
    user_agent: Option<&HeaderValue>,
    principal: &Principal,
    target: &str,
    refusal: &Refusal,
) {
    let context = origin.context(user_agent, principal.actor());
    record_denial(app, &context, principal, target, refusal.message()).await;
}

impl Passage<'_> {
    fn gateway(&self) -> &Gateway {
        &self.app.gateway
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response, Refusal> {
        let (head, body) = request.into_parts();
        let Some(need) = self.gateway().need(self.endpoint) else {
            // Anybody may ask, and Ollama takes its time: that is no reason to hold a place.
            return lend(&head.extensions, self.relay(head.headers)).await;
        };
        let user_agent = head.headers.get(header::USER_AGENT).cloned();
        let principal = match admit::identify(self.app, &head.headers, self.origin).await {
            Ok(principal) => principal,
            Err(refusal) => {
                lend(&head.extensions, discard(body, UNREAD_LIMIT)).await;
                return Err(refusal);
            }
        };
        let answered = match admit::permit(&principal, need) {
            Ok(()) if self.endpoint.known_fields.is_some() => {
                self.infer(&head.extensions, head.headers, body, need).await
            }
            Ok(()) if self.endpoint.operation == Operation::ListModels => self.list(head.headers, &principal).await,
            Ok(()) => self.relay(head.headers).await,
            Err(refusal) => {
                lend(&head.extensions, discard(body, UNREAD_LIMIT)).await;
                Err(refusal)
            }
        };
        if let Err(refusal) = &answered
            && refusal.status() == StatusCode::FORBIDDEN
        {
            let target = format!("{} {}", self.endpoint.method, self.endpoint.path);
            note_denial(self.app, self.origin, user_agent.as_ref(), &principal, &target, refusal).await;
        }
        answered
    }

    /// Puts a model to work.
    async fn infer(
        &self,
        sent_with: &Extensions,
        headers: HeaderMap,
        body: Incoming,
        need: Permission,
    ) -> Result<Response, Refusal> {
        let gateway = self.gateway();
        if headers.contains_key(header::CONTENT_ENCODING) {
            let reason = "send the body without a Content-Encoding";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", reason));
        }
        let body = lend(sent_with, self.body(body)).await?;
        // The body took as long as the client liked.
        let principal = admit::again(self.app, &headers, need).await?;
        let plan = policy::plan(self.endpoint, body, &principal)?;
        let leash = gateway.warden.admit(&principal, need, &plan.model);
        // What changed before the warden knew of this request, the warden did not judge.
        if !policy::allows(&*admit::again(self.app, &headers, need).await?, &plan.model) {
            return Err(policy::not_found(&plan.written));
        }
        self.find(&plan).await?;
        let ticket = Ticket::open(self.app, self.endpoint, self.origin, &principal, &plan.model, self.started)?;
        let headers = headers::to_ollama(headers, self.origin.id());
        let ended = self.started + gateway.timeouts.lifetime;
        let sent = Instant::now();
        let by = ended.min(sent + gateway.timeouts.headers);
        let answer = tokio::select! {
            // First: what is cut already does not reach Ollama.
            biased;
            () = leash.token().cancelled() => {
                let (outcome, refusal) = if leash.is_revoked() {
                    (Outcome::Revoked, Refusal::revoked())
                } else {
                    (Outcome::Shutdown, Refusal::shutdown())
                };
                return Err(ticket.refused(outcome, refusal));
            }
            answer = timeout_at(by, gateway.forwarder.post(self.endpoint.path, headers, plan.body)) => answer,
        };
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_connect() => {
                return Err(ticket.refused(Outcome::UpstreamUnavailable, Refusal::upstream_away()));
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, cause = causes(&error), "Ollama failed before it answered");
                return Err(ticket.refused(Outcome::UpstreamError, Refusal::upstream_failed()));
            }
            Err(_) => return Err(ticket.refused(Outcome::UpstreamTimeout, Refusal::upstream_slow())),
        };
        if answer.status() == StatusCode::NOT_FOUND {
            // The same words as for a model that is not allowed: nobody learns which of the two it is.
            return Err(ticket.refused(Outcome::UpstreamError, policy::not_found(&plan.written)));
        }
        let limits = stream::Limits { idle: gateway.timeouts.idle, end: ended.min(sent + gateway.timeouts.total) };
        let meter = stream::Metering { streams: plan.streams, drop_usage: plan.drop_usage };
        Ok(stream::answer(self.endpoint, answer, meter, limits, leash, ticket))
    }

    /// Reads the request's body.
    async fn body(&self, body: Incoming) -> Result<Bytes, Refusal> {
        let Gateway { body_limit, timeouts, .. } = self.gateway();
        let read = timeout_at(self.started + timeouts.lifetime, read_body(body, *body_limit, timeouts.idle)).await;
        read.unwrap_or(Err(BodyError::TooSlow)).map_err(|error| match error {
            BodyError::TooLarge => {
                let reason = format!("the body is larger than {body_limit} bytes");
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", reason)
            }
            BodyError::TooSlow => {
                Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body did not come in time")
            }
            BodyError::Broken => Refusal::new(StatusCode::BAD_REQUEST, "body_broken", "the body broke off"),
        })
    }

    /// Goes on only if Ollama has the model, and would run it itself.
    async fn find(&self, plan: &policy::Plan) -> Result<(), Refusal> {
        match self.gateway().catalogue.find(&plan.model, self.started).await {
            Ok(catalogue::Found::Here) => Ok(()),
            Ok(catalogue::Found::Elsewhere) => Err(policy::remote()),
            Ok(catalogue::Found::Nowhere) => Err(policy::not_found(&plan.written)),
            Err(error) => {
                tracing::warn!(%error, cause = causes(&error), "Ollama's models cannot be listed");
                Err(Refusal::upstream_away())
            }
        }
    }

    /// Lists the models that the caller may use.
    async fn list(&self, headers: HeaderMap, principal: &Principal) -> Result<Response, Refusal> {
        let (mut response, body) = self.fetch(headers).await?;
        if response.status() != StatusCode::OK {
            *response.body_mut() = Body::from(body);
            return Ok(response);
        }
        let filtered = match self.endpoint.dialect {
            Dialect::Ollama => filter_tags(&body, |name| policy::allows(principal, name)),
            Dialect::OpenAi | Dialect::Anthropic => {
                // This list does not say which models run elsewhere; the native one does.
                let seen = self.gateway().catalogue.since(self.started).await;
                let seen = seen.map_err(|_| Refusal::upstream_away())?;
                let here = |name: &ModelName| seen.find(name) == catalogue::Found::Here;
                filter_openai_models(&body, |name| policy::allows(principal, name) && here(name))
            }
        };
        let filtered = filtered.map_err(|error| {
            tracing::error!(%error, "Ollama's list of models was not understood");
            Refusal::upstream_failed()
        })?;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(filtered);
        Ok(response)
    }

    /// Passes on a small answer as it is.
    async fn relay(&self, headers: HeaderMap) -> Result<Response, Refusal> {
        let (mut response, body) = self.fetch(headers).await?;
        *response.body_mut() = Body::from(body);
        Ok(response)
    }

    /// Gets an answer whole: its head, and its body beside it.
    async fn fetch(&self, headers: HeaderMap) -> Result<(Response, Bytes), Refusal> {
        let gateway = self.gateway();
        let by = self.started + catalogue::PATIENCE;
        let fetched = async {
            let headers = headers::to_ollama(headers, self.origin.id());
            let answer = gateway.forwarder.get(self.endpoint.path, headers).await.map_err(|error| {
                if error.is_connect() { Refusal::upstream_away() } else { Refusal::upstream_failed() }
            })?;
            let (head, body) = answer.into_parts();
            let body = read_body(body, LIST_LIMIT, gateway.timeouts.idle).await;
            let body = body.map_err(|_| Refusal::upstream_failed())?;
            let mut response = Response::default();
            *response.status_mut() = head.status;
            *response.headers_mut() = headers::to_client(head.headers);
            Ok((response, body))
        };
        let (response, body) = timeout_at(by, fetched).await.unwrap_or_else(|_| Err(Refusal::upstream_slow()))?;
        usage::note_unmetered(self.endpoint, response.status(), self.origin, self.started.elapsed());
        Ok((response, body))
    }
}

/// A name as an error may repeat it.
fn shown(name: &str) -> Cow<'_, str> {
    const LONGEST: usize = 200;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}...", &name[..end])),
        None => Cow::Borrowed(name),
    }
}
