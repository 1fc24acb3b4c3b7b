//! Invalidation of cached credentials when another process changes rights.
//!
//! On PostgreSQL, a change, its audit event and its notification are one transaction. The cache is
//! disabled and empty while the listener may miss notifications. The listener sends an echo to
//! itself when the channel was silent for a second. A missing echo reveals a connection that hangs,
//! or a pooler that drops notifications.

use std::time::Duration;

use paddock_store::{
    db::{ACQUIRE_TIMEOUT, Database},
    ids::UserId,
    rights::{CHANNEL, OPERATOR_CHANNEL},
};
use sqlx::{
    PgPool,
    postgres::{PgListener, PgNotification},
};
use tokio::time::{sleep, timeout};

use super::CredentialCache;

/// The payload of an echo.
const ECHO: &str = "echo";
/// How long the channel may be silent before an echo is sent.
const ECHO_INTERVAL: Duration = Duration::from_secs(1);
/// The time limit of an echo. Together with [`ECHO_INTERVAL`], it bounds how long a lost
/// notification stays unnoticed.
const ECHO_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The first pause between two attempts to listen. It doubles up to [`MAX_RETRY_PAUSE`].
const MIN_RETRY_PAUSE: Duration = Duration::from_millis(100);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Keeps the cache enabled while listening, and invalidates entries on every change. Never returns.
pub(crate) async fn run_invalidation(cache: &CredentialCache, database: &Database) {
    let _disable = DisableOnDrop(cache);
    let mut pause = MIN_RETRY_PAUSE;
    loop {
        let Some(pool) = database.listener_pool() else {
            // On SQLite, this process makes every change.
            cache.set_enabled(true);
            return std::future::pending().await;
        };
        let Err(error) = listen(pool, cache, &mut pause).await;
        if cache.is_enabled() {
            cache.set_enabled(false);
            tracing::warn!(%error, "rights notifications lost; the credential cache is off until they return");
        } else {
            tracing::debug!(%error, "rights notifications still unavailable");
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_RETRY_PAUSE);
    }
}

struct DisableOnDrop<'a>(&'a CredentialCache);

impl Drop for DisableOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set_enabled(false);
    }
}

/// Listens for notifications. Fails as soon as notifications may be lost.
async fn listen(
    pool: PgPool,
    cache: &CredentialCache,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, ListenError> {
    let connecting = timeout(ACQUIRE_TIMEOUT, PgListener::connect_with(&pool));
    let mut listener = connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
    // Closes the pool before the listener is dropped, so that the connection is closed and not
    // returned.
    let _close = scopeguard::guard(pool, |pool| drop(pool.close()));
    listener.eager_reconnect(false);
    timeout(ECHO_TIMEOUT, listener.listen_all([CHANNEL, OPERATOR_CHANNEL]))
        .await
        .map_err(|_| ListenError::NoEcho)??;
    // An echo need not be durable, so its commit does not wait for the disk.
    timeout(ECHO_TIMEOUT, sqlx::query("SET synchronous_commit = off").execute(&mut listener))
        .await
        .map_err(|_| ListenError::NoEcho)??;
    echo(&mut listener, cache).await?;
    cache.set_enabled(true);
    *pause = MIN_RETRY_PAUSE;
    tracing::info!("listening for rights notifications");
    loop {
        match timeout(ECHO_INTERVAL, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => receive(cache, &notification),
            Ok(Ok(None)) => return Err(ListenError::Lost),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => echo(&mut listener, cache).await?,
        }
    }
}

/// Sends an echo and waits for it.
async fn echo(listener: &mut PgListener, cache: &CredentialCache) -> Result<(), ListenError> {
    let returned = async {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(ECHO).execute(&mut *listener).await?;
        loop {
            let Some(notification) = listener.try_recv().await? else { return Err(ListenError::Lost) };
            if notification.payload() == ECHO {
                return Ok(());
            }
            receive(cache, &notification);
        }
    };
    timeout(ECHO_TIMEOUT, returned).await.unwrap_or(Err(ListenError::NoEcho))
}

/// Invalidates the entries that a change outdates, or tells the operator of this process.
fn receive(cache: &CredentialCache, notification: &PgNotification) {
    let payload = notification.payload();
    match payload.parse() {
        Ok(id) if notification.channel() == OPERATOR_CHANNEL => cache.rights.report_to_operator(UserId(id)),
        Ok(id) => cache.rights.report(UserId(id)),
        Err(_) if payload == ECHO => {}
        // A newer version may send payloads that this one does not understand.
        Err(_) => cache.clear(),
    }
}

/// The reason why notifications may be lost.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error("the connection was lost")]
    Lost,
    #[error("the database sends no notification in time; LISTEN does not work through a pooler that shares sessions")]
    NoEcho,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}
