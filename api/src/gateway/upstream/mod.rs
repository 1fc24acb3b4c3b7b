//! The HTTP client of Ollama, with pooled connections.

mod body;
mod connection;
mod connector;
mod pool;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper::ext::on_informational;
use paddock_ollama::Backend;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::http::spans;
pub(super) use body::UpstreamBody;
use connector::{ConnectError, Connector};
use pool::{ConnectionPool, PooledConnection};

/// The request is sent again only if it fails within this time. A request on an idle connection
/// that Ollama has closed fails immediately. A later failure may be caused by the request itself.
const STALE_LIMIT: Duration = Duration::from_secs(1);

/// Why a request to Ollama has no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// No connection could be opened, so the request was not sent.
    #[error("Ollama cannot be reached")]
    Connect(#[source] ConnectError),
    /// The connection broke, or the response is not HTTP.
    #[error("Ollama failed before it responded")]
    Broken(#[source] hyper::Error),
    /// Ollama asked to change the protocol, sent an interim response, or redirected the request.
    #[error("Ollama sent an interim response or a redirect")]
    Unexpected,
}

/// Sends requests to Ollama.
pub(super) struct UpstreamClient {
    pool: Arc<ConnectionPool>,
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
        Ok(Self {
            pool: ConnectionPool::new(Connector::new(backend.tls().clone()), origin),
            path_prefix: backend.path_prefix().to_owned(),
            host: HeaderValue::from_str(&host)?,
            authorization: backend.authorization().cloned(),
        })
    }

    /// Closes connections that are not used any more.
    pub(super) fn close_unused_connections(&self) {
        self.pool.close_unused();
    }

    pub(super) async fn get(
        &self,
        path: &'static str,
        headers: HeaderMap,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        self.send(Method::GET, path, headers, Bytes::new()).await
    }

    /// Sends a body. If the future is dropped before the response, the connection is closed, and
    /// Ollama stops generating.
    pub(super) async fn post(
        &self,
        path: &'static str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        self.send(Method::POST, path, headers, body).await
    }

    async fn send(
        &self,
        method: Method,
        path: &'static str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
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

    /// Sends a request on an idle connection, or else on a new one. If Ollama closed the connection
    /// while it was idle, sends the request again on a new connection.
    async fn send_once_or_again(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let request = || {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            request
        };
        if let Some(connection) = self.pool.take_idle() {
            let (history, sent) = (connection.history().clone(), Instant::now());
            match self.exchange(connection, request()).await {
                Err(UpstreamError::Broken(error)) if sent.elapsed() < STALE_LIMIT && history.is_stale() => {
                    tracing::debug!(%error, "idle connection to Ollama was closed; sending the request again");
                }
                answered => return answered,
            }
        }
        let connection = self.pool.open().await.map_err(UpstreamError::Connect)?;
        self.exchange(connection, request()).await
    }

    /// Sends one request and reads the head of its response.
    async fn exchange(
        &self,
        mut connection: Box<PooledConnection>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let has_interim = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&has_interim);
        on_informational(&mut request, move |interim| {
            if interim.status() != StatusCode::CONTINUE {
                seen.store(true, Ordering::Relaxed);
            }
        });
        let response = connection.send(request).await.map_err(UpstreamError::Broken)?;
        let status = response.status();
        if has_interim.load(Ordering::Relaxed) || status.is_informational() || status.is_redirection() {
            return Err(UpstreamError::Unexpected);
        }
        Ok(response.map(|body| UpstreamBody::new(body, connection, Arc::clone(&self.pool))))
    }

    /// Returns the target of a request.
    fn uri(&self, path: &'static str) -> Uri {
        let target = if self.path_prefix.is_empty() {
            Ok(PathAndQuery::from_static(path))
        } else {
            PathAndQuery::try_from(format!("{}{path}", self.path_prefix))
        };
        Uri::from(target.expect("a URL's path and a path are a path"))
    }
}
