//! An HTTP proxy in front of a server, which records each request and its answer.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse as _, Response},
    routing::any,
};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use reqwest::Client;
use tokio::{net::TcpListener, task::AbortHandle};

const BODY_LIMIT: usize = 64 << 20;

/// A forwarded request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// The path and query.
    pub path: String,
    /// The body.
    pub body: Bytes,
    /// The status of the answer.
    pub status: StatusCode,
    /// The body of the answer.
    pub answer: Bytes,
}

struct Forwarder {
    target: String,
    client: Client,
    exchanges: Mutex<Vec<Exchange>>,
}

/// A running proxy on a free port of 127.0.0.1. It sends an answer after its end, so it is not for
/// streams.
pub struct RecordingProxy {
    address: SocketAddr,
    forwarder: Arc<Forwarder>,
    server: AbortHandle,
}

impl RecordingProxy {
    /// Starts a proxy in front of the server at this base URL.
    pub async fn start(target: &str) -> Result<Self> {
        let forwarder =
            Arc::new(Forwarder { target: target.to_owned(), client: Client::new(), exchanges: Mutex::default() });
        let router = Router::new().fallback(any(forward)).with_state(Arc::clone(&forwarder));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { address, forwarder, server })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets all requests so far.
    pub fn clear(&self) {
        self.forwarder.exchanges.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The requests with the method POST so far, oldest first. Each is recorded before its answer is
    /// sent.
    #[must_use]
    pub fn posts(&self) -> Vec<Exchange> {
        let exchanges = self.forwarder.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        exchanges.iter().filter(|exchange| exchange.method == Method::POST).cloned().collect()
    }
}

impl Drop for RecordingProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn forward(State(forwarder): State<Arc<Forwarder>>, request: Request) -> Response {
    forwarder
        .forward(request)
        .await
        .unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response())
}

impl Forwarder {
    async fn forward(&self, request: Request) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, BODY_LIMIT).await?;
        let path = parts.uri.to_string();
        let mut forwarded = self.client.request(parts.method.clone(), format!("{}{path}", self.target));
        if let Some(value) = parts.headers.get(header::CONTENT_TYPE) {
            forwarded = forwarded.header(header::CONTENT_TYPE, value);
        }
        let answered = forwarded.body(body.clone()).send().await?;
        let (status, content_type) = (answered.status(), answered.headers().get(header::CONTENT_TYPE).cloned());
        let answer = answered.bytes().await?;
        let exchange = Exchange { method: parts.method, path, body, status, answer: answer.clone() };
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
        let mut response = Response::new(Body::from(answer));
        *response.status_mut() = status;
        if let Some(content_type) = content_type {
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        Ok(response)
    }
}
