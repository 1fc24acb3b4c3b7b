//! The dispatcher: sends each request to the gateway or to a route, and completes the response with
//! the headers that every response has.

use std::{convert::Infallible, net::IpAddr, panic::AssertUnwindSafe};

use axum::{Router, body::Body, response::Response};
use futures_util::FutureExt;
use http::{Request, header};
use hyper::body::Incoming;
use paddock_ollama::{Dialect, Endpoint, Lookup, RouteError, lookup};
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument as _;

use crate::{
    app::App,
    config::WebUi,
    gateway,
    http::{
        error::{ApiError, Kind},
        host::{self, HostError},
        request_context::{RequestContext, X_REQUEST_ID},
        request_metrics::{MetricsSlot, RequestMetrics, method_label},
        security_headers::{DENY, NO_REFERRER, NOSNIFF, STRICT_POLICY},
        spans,
    },
    readiness::Readiness,
    ui,
};

/// The route label of paths that the gateway does not serve.
const CLOSED: &str = "closed";

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
        ServiceBuilder::new()
            .layer(SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF))
            .layer(SetResponseHeaderLayer::overriding(header::X_FRAME_OPTIONS, DENY))
            .layer(SetResponseHeaderLayer::overriding(header::REFERRER_POLICY, NO_REFERRER))
            // A page that sets its own policy keeps that policy.
            .layer(SetResponseHeaderLayer::if_not_present(header::CONTENT_SECURITY_POLICY, STRICT_POLICY))
            .service(service_fn(move |request| dispatcher.clone().respond(peer, request)))
    }

    /// Answers a request, and sets the headers that depend on it.
    ///
    /// Two layers of tower-http are not used here. Its request-id layer would keep a malformed id
    /// of the client. Its CORS layer answers every OPTIONS request with 200, for any origin and any
    /// path.
    async fn respond(self, peer: IpAddr, request: Request<Incoming>) -> Result<Response, Infallible> {
        let client = self.app.trusted_proxies.client_ip(peer, request.headers());
        let context = RequestContext::new(request.headers(), client, &self.app.accounts);
        let page = self.app.origins.allowed_origin(request.headers());
        let app = self.app.clone();
        let span = spans::request(request.headers(), &context);
        let method = method_label(request.method());
        let mut response = self.answer(request, &context).instrument(span.clone()).await;
        spans::record_response(&span, method, context.route.label(), response.status());
        let headers = response.headers_mut();
        context.rate_limit_status.write(headers);
        context.key_expiry.write(headers);
        headers.insert(X_REQUEST_ID, context.id().clone());
        app.origins.set_headers(page, headers);
        Ok(response)
    }

    async fn answer(self, request: Request<Incoming>, context: &RequestContext) -> Response {
        let host = host::check(request.version(), request.headers(), self.app.only_local_hosts);
        if host.is_ok()
            && let Some((route, response)) = self.answer_early(&request)
        {
            context.route.set(route);
            RequestMetrics::management(request.method(), context).complete(response.status());
            return response;
        }
        let target = lookup(request.method(), request.uri().path());
        let dialect = match &target {
            Lookup::Served(Endpoint { dialect, .. }) | Lookup::Rejected(RouteError { dialect, .. }) => Some(*dialect),
            Lookup::NotOllama => None,
        };
        // Boxed, because every layer around it would copy this large future.
        let answering = Box::pin(self.dispatch(host, target, request, context));
        // tower-http's CatchPanic does not know the dialect of the client.
        let answered = AssertUnwindSafe(answering).catch_unwind().await;
        let error = match answered {
            Ok(Ok(response)) => return response,
            Ok(Err(refused)) => ApiError::from(refused),
            // The panic hook has logged the panic.
            Err(_) => ApiError::internal().with_code("panic"),
        };
        render(&error, dialect, context)
    }

    /// Answers what a browser sends before and instead of requests to the API: a preflight, and the
    /// address without a path. Also returns the route label.
    fn answer_early<B>(&self, request: &Request<B>) -> Option<(&'static str, Response)> {
        if let Some(response) = self.app.origins.preflight(request) {
            return Some(("preflight", response));
        }
        match self.app.web_ui {
            WebUi::Served => ui::redirect_browser(request).map(|response| ("/", response)),
            WebUi::Off => None,
        }
    }

    /// Sends a request to the gateway or to the routes. Fails if its `Host` is refused.
    async fn dispatch(
        self,
        host: Result<(), HostError>,
        target: Lookup,
        request: Request<Incoming>,
        context: &RequestContext,
    ) -> Result<Response, HostError> {
        let gateway = &self.app.gateway;
        let metrics = match &target {
            Lookup::Served(endpoint) => {
                context.route.set(endpoint.path);
                RequestMetrics::gateway(request.method(), context)
            }
            Lookup::Rejected(_) => {
                context.route.set(CLOSED);
                RequestMetrics::gateway(request.method(), context)
            }
            Lookup::NotOllama => RequestMetrics::management(request.method(), context),
        };
        if let Err(refused) = host {
            // The metrics label of a management request whose route is not known.
            context.route.set("malformed");
            metrics.refuse(&refused.into());
            return Err(refused);
        }
        Ok(match target {
            Lookup::Served(endpoint) => gateway::serve(gateway, endpoint, request, context, metrics).await,
            Lookup::Rejected(refused) => gateway::refuse(gateway, &refused, request, context, metrics).await,
            Lookup::NotOllama if self.app.web_ui == WebUi::Off && is_ui(request.uri().path()) => {
                let error = ApiError::new(Kind::NotFound, "the web UI is switched off");
                metrics.complete(error.status());
                render(&error, None, context)
            }
            Lookup::NotOllama => self.route(request, context, metrics).await,
        })
    }

    /// Serves a request of the management API.
    async fn route(
        self,
        mut request: Request<Incoming>,
        context: &RequestContext,
        metrics: RequestMetrics,
    ) -> Response {
        let metrics = MetricsSlot::new(metrics);
        request.extensions_mut().insert(context.clone());
        request.extensions_mut().insert(metrics.clone());
        let Ok(response) = context.clone().scope(self.routes.oneshot(request.map(Body::new))).await;
        if let Some(metrics) = metrics.take() {
            metrics.complete(response.status());
        }
        response
    }
}

/// Whether a path belongs to the web UI.
fn is_ui(path: &str) -> bool {
    path.strip_prefix("/ui").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Renders an error in the dialect of a gateway path. `dialect` is `None` for a path of the
/// management API.
fn render(error: &ApiError, dialect: Option<Dialect>, context: &RequestContext) -> Response {
    match dialect {
        Some(dialect) => error.render_dialect(dialect),
        None => error.render_problem(context.id_text()),
    }
}
