//! The signals that stop a server.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::logging;

/// A token that the first SIGTERM or SIGINT cancels. The second exits with code 130 at once.
pub(crate) fn shutdown() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    logging::start_buffering();
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        let mut wait = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let received = wait().await;
        tracing::info!(signal = received, "shutting down; send the signal again to exit immediately");
        cancel.cancel();
        wait().await;
        logging::stop_buffering();
        std::process::exit(130);
    });
    Ok(token)
}
