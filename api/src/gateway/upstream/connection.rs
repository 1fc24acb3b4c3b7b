//! A connection to Ollama with its history: whether an earlier request used the connection, and
//! whether Ollama has sent a byte of the current response.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The history of a connection. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionHistory(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// An earlier request was answered.
    is_reused: AtomicBool,
    /// Bytes have arrived since the last byte was sent.
    has_response: AtomicBool,
}

impl ConnectionHistory {
    /// Whether Ollama has answered an earlier request on this connection, and has sent no byte of
    /// the current response. If such a connection breaks, Ollama closed it while it was idle.
    pub(super) fn is_stale(&self) -> bool {
        self.0.is_reused.load(Relaxed) && !self.0.has_response.load(Relaxed)
    }

    fn record_sent(&self) {
        if self.0.has_response.swap(false, Relaxed) {
            self.0.is_reused.store(true, Relaxed);
        }
    }

    fn record_received(&self) {
        self.0.has_response.store(true, Relaxed);
    }
}

/// A connection with its history.
pub(super) struct TrackedConnection<T> {
    inner: T,
    history: ConnectionHistory,
}

impl<T> TrackedConnection<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, history: ConnectionHistory::default() }
    }

    pub(super) fn history(&self) -> ConnectionHistory {
        self.history.clone()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TrackedConnection<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.history.record_received();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TrackedConnection<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.history.record_sent();
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.history.record_sent();
        Pin::new(&mut self.inner).poll_write_vectored(cx, buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_used_connection_without_a_response_is_stale() {
        let history = ConnectionHistory::default();
        history.record_sent();
        assert!(!history.is_stale(), "a first request");
        history.record_received();
        assert!(!history.is_stale(), "an answered request");
        history.record_sent();
        assert!(history.is_stale(), "a second request");
        history.record_sent();
        assert!(history.is_stale(), "more of the second request");
        history.record_received();
        assert!(!history.is_stale(), "a second response");
    }
}
