//! Connections to Ollama, of which idle ones are kept for later requests.
//!
//! The task of a request polls its connection. No other task has to be woken for the bytes of a
//! request or a response, which costs more than moving them.

use std::{
    future::{Future as _, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::{
    connection::ConnectionHistory,
    connector::{ConnectError, Connector, Stream},
};

/// How long an idle connection is kept. Ollama never closes an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The connections to one Ollama.
pub(super) struct ConnectionPool {
    connector: Connector,
    origin: Uri,
    /// In the order in which they became idle.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    since: Instant,
    connection: Box<PooledConnection>,
}

/// A connection that is used by at most one request.
pub(super) struct PooledConnection {
    sender: SendRequest<Full<Bytes>>,
    /// Reads and writes; `None` after it has ended.
    driver: Option<http1::Connection<Stream, Full<Bytes>>>,
    history: ConnectionHistory,
}

impl ConnectionPool {
    /// `origin` is the URL without a path.
    pub(super) fn new(connector: Connector, origin: Uri) -> Arc<Self> {
        Arc::new(Self { connector, origin, idle: Mutex::default() })
    }

    /// Returns the connection that became idle last; `None` if no connection is idle.
    pub(super) fn take_idle(&self) -> Option<Box<PooledConnection>> {
        loop {
            let Idle { since, mut connection } = self.idle.lock().pop()?;
            // Without a waker, because the request polls the connection again.
            connection.poll(&mut Context::from_waker(Waker::noop()));
            if since.elapsed() < IDLE_TIMEOUT && connection.is_reusable() {
                return Some(connection);
            }
        }
    }

    /// Opens a connection.
    pub(super) async fn open(&self) -> Result<Box<PooledConnection>, ConnectError> {
        let stream = self.connector.clone().oneshot(self.origin.clone()).await?;
        let history = stream.inner().history();
        let (sender, driver) = http1::handshake(stream).await?;
        Ok(Box::new(PooledConnection { sender, driver: Some(driver), history }))
    }

    /// Keeps a connection whose response is complete, if it can be used again.
    pub(super) fn put(&self, connection: Box<PooledConnection>) {
        if connection.is_reusable() {
            self.idle.lock().push(Idle { since: Instant::now(), connection });
        }
    }

    /// Closes connections that have been idle for too long, or that Ollama has closed.
    pub(super) fn close_unused(&self) {
        self.idle.lock().retain_mut(|idle| {
            idle.connection.poll(&mut Context::from_waker(Waker::noop()));
            idle.since.elapsed() < IDLE_TIMEOUT && idle.connection.is_reusable()
        });
    }
}

impl PooledConnection {
    /// Sends a request, and reads the head of its response. If this is dropped, the connection
    /// cannot be used again.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let mut response = pin!(self.sender.send_request(request));
        poll_fn(|cx| {
            self.poll(cx);
            response.as_mut().poll(cx)
        })
        .await
    }

    /// Reads and writes what is possible now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            // The error of a request reaches the request too.
            && let Poll::Ready(_) = Pin::new(driver).poll(cx)
        {
            self.driver = None;
        }
    }

    pub(super) fn history(&self) -> &ConnectionHistory {
        &self.history
    }

    /// Whether the connection is open, and waits for a request.
    fn is_reusable(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }
}
