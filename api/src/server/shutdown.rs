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

    /// Ends the acceptance of connections.
    pub(super) fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Ends streams that are still open at the end of the drain.
    pub(super) fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Drops connections that are still open after that.
    pub(super) fn abort(&self) -> &CancellationToken {
        &self.abort
    }
}

/// Waits for open connections to end, for at most `drain_timeout`, then ends them step by step.
pub(super) async fn drain(connections: &TaskTracker, signals: &ShutdownSignals, drain_timeout: Duration) {
    if timeout(drain_timeout, connections.wait()).await.is_ok() {
        return;
    }
    tracing::warn!(open = connections.len(), "drain timed out; open requests end");
    signals.hard.cancel();
    if timeout(ERROR_EVENT_TIMEOUT, connections.wait()).await.is_ok() {
        return;
    }
    tracing::warn!(open = connections.len(), "open connections are dropped");
    signals.abort.cancel();
    connections.wait().await;
}
