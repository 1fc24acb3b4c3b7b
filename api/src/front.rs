//! Every request comes in here: it gets its id, goes to the gateway or to a route, and its answer gets what every answer
//! has.

use std::{borrow::Cow, convert::Infallible, net::IpAddr, panic::AssertUnwindSafe, time::Duration};

use axum::{Router, body::Body, response::Response};
use futures_util::FutureExt;
use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use paddock_ollama::{Endpoint, Lookup, RouteError, lookup};
use tokio::time::Instant;
use tower::ServiceExt;
use tracing::Instrument as _;

use crate::{
    app::App,
    gateway::{self, CLOSED},
    host,
    origin::{Origin, X_REQUEST_ID},
    problem::{Kind, Problem},
    security, telemetry, trace,
};

/// The way in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) app: App,
    pub(crate) routes: Router,
}

impl Front {
    /// Answers a request that came over a connection with `peer`.
    pub(crate) async fn answer(self, peer: IpAddr, request: Request<Incoming>) -> Result<Response, Infallible> {
        let client = self.app.proxies.client(peer, request.headers());
        let origin = Origin::of(request.headers(), client, &self.app.accounts);
        let page = self.app.origins.page(request.headers());
        let app = self.app.clone();
        let span = trace::request(request.headers(), &origin);
        let method = telemetry::label(request.method());
        let (route, mut response) = match span.in_scope(|| self.at_once(&request, &origin)) {
            Some((route, response)) => (route.into(), response),
            None => self.dispatch(request, &origin).instrument(span.clone()).await,
        };
        trace::answered(&span, method, &route, response.status());
        let headers = response.headers_mut();
        origin.told.write(headers);
        headers.insert(X_REQUEST_ID, origin.id().clone());
        app.origins.tell(page, headers);
        security::harden(headers);
        Ok(response)
    }

    /// The answer to a request that goes to no route, and what it is counted as.
    fn at_once(&self, request: &Request<Incoming>, origin: &Origin) -> Option<(&'static str, Response)> {
        let (route, response) = match host::check(request.version(), request.headers(), self.app.only_local_hosts) {
            Err(misdirected) => match lookup(request.method(), request.uri().path()) {
                Lookup::Served(Endpoint { path, dialect, .. }) => {
                    return Some((path, gateway::misdirected(path, *dialect, misdirected, origin)));
                }
                Lookup::Rejected(RouteError { dialect, .. }) => {
                    return Some((CLOSED, gateway::misdirected(CLOSED, dialect, misdirected, origin)));
                }
                Lookup::NotOllama => ("malformed", Problem::from(misdirected).render(origin)),
            },
            Ok(()) => ("preflight", self.app.origins.preflight(request)?),
        };
        telemetry::record(request.method(), route, response.status(), origin, Duration::ZERO);
        Some((route, response))
    }

    /// The route that a request took, and its answer.
    async fn dispatch(self, request: Request<Incoming>, origin: &Origin) -> (Cow<'static, str>, Response) {
        match lookup(request.method(), request.uri().path()) {
            Lookup::Served(endpoint) => {
                (endpoint.path.into(), gateway::serve(&self.app, endpoint, request, origin).await)
            }
            Lookup::Rejected(refusal) => (CLOSED.into(), gateway::refuse(&self.app, &refusal, &request, origin).await),
            Lookup::NotOllama => {
                let response = self.managed(request, origin).await;
                (telemetry::route(&response).to_owned().into(), response)
            }
        }
    }

    async fn managed(self, mut request: Request<Incoming>, origin: &Origin) -> Response {
        let started = Instant::now();
        let method = request.method().clone();
        request.extensions_mut().insert(origin.clone());
        let routed = AssertUnwindSafe(self.routes.oneshot(request.map(Body::new))).catch_unwind().await;
        let mut response = match routed {
            Ok(Ok(response)) => response,
            Ok(Err(impossible)) => match impossible {},
            Err(_) => {
                // The panic hook has told where and why.
                tracing::error!("a handler panicked");
                axum::response::IntoResponse::into_response(Problem::internal())
            }
        };
        render_problem(&method, &mut response, origin);
        telemetry::record(&method, telemetry::route(&response), response.status(), origin, started.elapsed());
        response
    }
}

/// Puts the text of a problem where its handler has left the problem itself.
fn render_problem(method: &Method, response: &mut Response, origin: &Origin) {
    let problem = response.extensions_mut().remove::<Problem>();
    let problem = match (problem, response.status()) {
        (Some(problem), _) => problem,
        // The router's own answer.
        (None, StatusCode::METHOD_NOT_ALLOWED) => {
            Problem::new(Kind::MethodNotAllowed, format!("this path does not take {method}"))
        }
        _ => return,
    };
    let rendered = problem.render(origin);
    let (parts, body) = rendered.into_parts();
    *response.status_mut() = parts.status;
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().extend(parts.headers);
    *response.body_mut() = body;
}
