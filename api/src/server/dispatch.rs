//! The dispatcher: sends each request to the gateway or to a route, and completes the response with
//! the request id and the headers that every response has.

use std::{borrow::Cow, convert::Infallible, net::IpAddr, panic::AssertUnwindSafe, time::Duration};

use axum::{Router, body::Body, response::Response};
use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use paddock_ollama::{Endpoint, Lookup, RouteError, lookup};
use tokio::time::Instant;
use tower::{Service, ServiceExt as _, service_fn};
use tracing::Instrument as _;

use crate::{
    app::App,
    gateway::{self, CLOSED},
    http::{
        error::ApiError,
        host, metrics,
        request_context::{RequestContext, X_REQUEST_ID},
        security_headers::set_security_headers,
        spans,
    },
    readiness::Readiness,
};

/// Dispatches requests. Cheap to clone.
#[derive(Clone)]
pub(super) struct Dispatcher {
    app: App,
    routes: Router,
}

impl Dispatcher {
    pub(super) fn new(app: App, routes: Router) -> Self {
        Self { app, routes }
    }

    pub(super) fn readiness(&self) -> &Readiness {
        &self.app.readiness
    }

    /// Returns the service for the requests of one connection, whose other end is `peer`.
    pub(super) fn service_for(
        &self,
        peer: IpAddr,
    ) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + use<> {
        let dispatcher = self.clone();
        service_fn(move |request| dispatcher.clone().respond(peer, request))
    }

    async fn respond(self, peer: IpAddr, request: Request<Incoming>) -> Result<Response, Infallible> {
        let client = self.app.trusted_proxies.client_ip(peer, request.headers());
        let context = RequestContext::new(request.headers(), client, &self.app.accounts);
        let page = self.app.origins.allowed_origin(request.headers());
        let app = self.app.clone();
        let span = spans::request(request.headers(), &context);
        let method = metrics::method_label(request.method());
        let (route, mut response) = match span.in_scope(|| self.early_response(&request, &context)) {
            Some((route, response)) => (route.into(), response),
            None => self.dispatch(request, &context).instrument(span.clone()).await,
        };
        spans::record_response(&span, method, &route, response.status());
        let headers = response.headers_mut();
        context.rate_limit_status.write(headers);
        headers.insert(X_REQUEST_ID, context.id().clone());
        app.origins.set_headers(page, headers);
        set_security_headers(headers);
        Ok(response)
    }

    /// Answers a preflight, or a request with a refused `Host`. Returns the response and its route
    /// label.
    fn early_response(
        &self,
        request: &Request<Incoming>,
        context: &RequestContext,
    ) -> Option<(&'static str, Response)> {
        let (route, response) = match host::check(request.version(), request.headers(), self.app.only_local_hosts) {
            Err(error) => match lookup(request.method(), request.uri().path()) {
                Lookup::Served(Endpoint { path, dialect, .. }) => {
                    return Some((path, gateway::refuse_host(path, *dialect, error, context)));
                }
                Lookup::Rejected(RouteError { dialect, .. }) => {
                    return Some((CLOSED, gateway::refuse_host(CLOSED, dialect, error, context)));
                }
                Lookup::NotOllama => ("malformed", ApiError::from(error).render_problem(context.id_text())),
            },
            Ok(()) => ("preflight", self.app.origins.preflight(request)?),
        };
        metrics::record(request.method(), route, response.status(), context, Duration::ZERO);
        Some((route, response))
    }

    /// Returns the response and its route label.
    async fn dispatch(self, request: Request<Incoming>, context: &RequestContext) -> (Cow<'static, str>, Response) {
        let gateway = &self.app.gateway;
        match lookup(request.method(), request.uri().path()) {
            Lookup::Served(endpoint) => {
                (endpoint.path.into(), gateway::serve(gateway, endpoint, request, context).await)
            }
            Lookup::Rejected(refusal) => (CLOSED.into(), gateway::refuse(gateway, &refusal, &request, context).await),
            Lookup::NotOllama => {
                let response = self.route(request, context).await;
                (metrics::route(&response).to_owned().into(), response)
            }
        }
    }

    /// Serves a request of the management API.
    async fn route(self, mut request: Request<Incoming>, context: &RequestContext) -> Response {
        let started = Instant::now();
        let method = request.method().clone();
        request.extensions_mut().insert(context.clone());
        let routed = context.clone().scope(self.routes.oneshot(request.map(Body::new)));
        let response = match AssertUnwindSafe(routed).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(impossible)) => match impossible {},
            Err(_) => {
                // The panic hook has logged where and why.
                tracing::error!("a handler panicked");
                ApiError::internal().render_problem(context.id_text())
            }
        };
        metrics::record(&method, metrics::route(&response), response.status(), context, started.elapsed());
        response
    }
}
