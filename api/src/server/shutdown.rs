//! The steps of a shutdown, and the drain of open connections.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long streams may take to send their error event.
const ERROR_EVENT_TIMEOUT: Duration = Duration::from_secs(1);

/// One token for each step of a shutdown.
#[derive(Clone)]
pub(super) struct ShutdownSignals {
    soft: CancellationToken,
    hard: CancellationToken,
    abort: CancellationToken,
}

impl ShutdownSignals {
    pub(super) fn new(soft: CancellationToken) -> Self {
        Self { soft, hard: CancellationToken::new(), abort: CancellationToken::new() }
    }

    /// Cancelled at the start: the server accepts no more connections.
    pub(super) fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled after the drain timeout: open streams end with an error event.
    pub(super) fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Cancelled last: connections that are still open are closed.
    pub(super) fn abort(&self) -> &CancellationToken {
        &self.abort
    }
}

/// Waits for open connections to end, for at most `drain_timeout`, then ends them step by step.
pub(super) async fn drain(connections: &TaskTracker, signals: &ShutdownSignals, drain_timeout: Duration) {
    if timeout(drain_timeout, connections.wait()).await.is_ok() {
        return;
    }
    tracing::warn!(open = connections.len(), "drain timed out; ending open requests");
    signals.hard.cancel();
    if timeout(ERROR_EVENT_TIMEOUT, connections.wait()).await.is_ok() {
        return;
    }
    tracing::warn!(open = connections.len(), "closing open connections");
    signals.abort.cancel();
    connections.wait().await;
}
