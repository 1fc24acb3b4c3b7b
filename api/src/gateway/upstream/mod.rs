//! The HTTP client of Ollama, with pooled connections.

mod connection;
mod connector;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper::{body::Incoming, ext::on_informational};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{CaptureConnection, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use paddock_ollama::Backend;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::http::spans;
use connection::ConnectionHistory;
use connector::Connector;

/// How long an idle connection stays in the pool. Ollama never closes an idle connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The request is sent again only if it fails within this time. A request on an idle connection
/// that Ollama has closed fails immediately. A later failure may be caused by the request itself.
const STALE_LIMIT: Duration = Duration::from_secs(1);

/// Why a request to Ollama has no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// No connection could be opened, so the request was not sent.
    #[error("Ollama cannot be reached")]
    Connect(#[source] hyper_util::client::legacy::Error),
    /// The connection broke, or the response is not HTTP.
    #[error("Ollama failed before it responded")]
    Broken(#[source] hyper_util::client::legacy::Error),
    /// Ollama asked to change the protocol, sent an interim response, or redirected the request.
    #[error("Ollama sent an interim response or a redirect")]
    Unexpected,
}

/// Sends requests to Ollama.
pub(super) struct UpstreamClient {
    pooled: Client<Connector, Full<Bytes>>,
    /// Opens a new connection for each request.
    fresh: Client<Connector, Full<Bytes>>,
    origin: Uri,
    path_prefix: String,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

impl UpstreamClient {
    /// Builds the client of an Ollama.
    pub(super) fn new(backend: &Backend) -> Result<Self, http::Error> {
        let url = backend.base_url();
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let origin = Uri::builder().scheme(url.scheme()).authority(&*host).path_and_query("/").build()?;
        let connector = Connector::new(backend.tls().clone());
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(POOL_IDLE_TIMEOUT).pool_timer(TokioTimer::new()).set_host(false);
        let pooled = builder.build(connector.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(connector);
        Ok(Self {
            pooled,
            fresh,
            origin,
            path_prefix: backend.path_prefix().to_owned(),
            host: HeaderValue::from_str(&host)?,
            authorization: backend.authorization().cloned(),
        })
    }

    pub(super) async fn get(
        &self,
        path: &'static str,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, UpstreamError> {
        self.send(Method::GET, path, headers, Bytes::new()).await
    }

    /// Sends a body. If the future is dropped before the response, the connection is closed, and
    /// Ollama stops generating.
    pub(super) async fn post(
        &self,
        path: &'static str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, UpstreamError> {
        self.send(Method::POST, path, headers, body).await
    }

    async fn send(
        &self,
        method: Method,
        path: &'static str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, UpstreamError> {
        headers.insert(header::HOST, self.host.clone());
        if let Some(value) = &self.authorization {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        let span = spans::upstream(&method, path);
        spans::inject(&span, &mut headers);
        let uri = self.uri(path);
        let response = self.send_once_or_again(&method, &uri, &headers, &body).instrument(span.clone()).await;
        match &response {
            Ok(response) => spans::record_status(&span, response.status()),
            Err(_) => spans::record_failure(&span),
        }
        response
    }

    /// Sends a request on a pooled connection. If Ollama closed that connection while it was idle,
    /// sends the request again on a new connection.
    async fn send_once_or_again(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let request = || {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            request
        };
        let mut first = request();
        let (connection, sent) = (capture_connection(&mut first), Instant::now());
        match exchange(&self.pooled, first).await {
            Err(UpstreamError::Broken(error)) if sent.elapsed() < STALE_LIMIT && is_stale(&connection) => {
                tracing::debug!(%error, "idle connection to Ollama was closed; sending the request again");
                exchange(&self.fresh, request()).await
            }
            answered => answered,
        }
    }

    fn uri(&self, path: &'static str) -> Uri {
        let mut parts = self.origin.clone().into_parts();
        let path_and_query = if self.path_prefix.is_empty() {
            Ok(PathAndQuery::from_static(path))
        } else {
            PathAndQuery::try_from(format!("{}{path}", self.path_prefix))
        };
        parts.path_and_query = Some(path_and_query.expect("a URL's path and a path are a path"));
        Uri::from_parts(parts).expect("a scheme, an authority and a path are a URI")
    }
}

/// Sends one request and reads the head of its response.
async fn exchange(
    client: &Client<Connector, Full<Bytes>>,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, UpstreamError> {
    let has_interim = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&has_interim);
    on_informational(&mut request, move |interim| {
        if interim.status() != StatusCode::CONTINUE {
            seen.store(true, Ordering::Relaxed);
        }
    });
    let response = client.request(request).await.map_err(|error| {
        if error.is_connect() { UpstreamError::Connect(error) } else { UpstreamError::Broken(error) }
    })?;
    if has_interim.load(Ordering::Relaxed) || response.status().is_informational() || response.status().is_redirection()
    {
        return Err(UpstreamError::Unexpected);
    }
    Ok(response)
}

/// Whether Ollama closed the connection while the connection was idle.
fn is_stale(connection: &CaptureConnection) -> bool {
    let mut extras = Extensions::new();
    if let Some(connected) = &*connection.connection_metadata() {
        connected.get_extras(&mut extras);
    }
    extras.get::<ConnectionHistory>().is_some_and(ConnectionHistory::is_stale)
}
