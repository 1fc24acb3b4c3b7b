//! The body of a response of Ollama, which holds its connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::{ConnectionPool, PooledConnection};

/// The body of a response. At its end, the connection returns to the pool. If the body is dropped
/// earlier, the connection is closed, and Ollama stops generating.
pub(in crate::gateway) struct UpstreamBody {
    incoming: Incoming,
    /// `None` after the end of the body.
    connection: Option<Box<PooledConnection>>,
    pool: Arc<ConnectionPool>,
}

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, connection: Box<PooledConnection>, pool: Arc<ConnectionPool>) -> Self {
        let mut body = Self { incoming, connection: Some(connection), pool };
        body.release_at_end();
        body
    }

    /// Returns the connection to the pool if the body is complete.
    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            // The connection notices that its response is complete.
            connection.poll(&mut Context::from_waker(Waker::noop()));
            self.pool.put(connection);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let mut polled = Pin::new(&mut this.incoming).poll_frame(cx);
        if polled.is_pending()
            && let Some(connection) = &mut this.connection
        {
            connection.poll(cx);
            polled = Pin::new(&mut this.incoming).poll_frame(cx);
        }
        let frame = ready!(polled);
        match &frame {
            Some(Ok(_)) => this.release_at_end(),
            None => this.release(),
            Some(Err(_)) => this.connection = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
