//! Invalidates cached credentials on every change of rights that another process makes.
//!
//! On PostgreSQL a change, its event and its notification are one transaction. While a listener cannot
//! be sure to receive every notification, the cache is disabled and empty. The listener sends itself
//! an echo each second, on the same way as notifications: so it notices a connection that hangs, and a
//! pooler that drops notifications.

use std::time::Duration;

use paddock_store::{
    db::{ACQUIRE_TIMEOUT, Database},
    ids::UserId,
    rights::CHANNEL,
};
use sqlx::{PgPool, postgres::PgListener};
use tokio::time::{sleep, timeout};

use super::CredentialCache;

/// The payload of an echo.
const ECHO: &str = "echo";
/// How long the connection may be silent before an echo is requested.
const ECHO_INTERVAL: Duration = Duration::from_secs(1);
/// How long an echo may take. With [`ECHO_INTERVAL`], this bounds how long a change stays unnoticed.
const ECHO_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The pauses between attempts to listen.
const MIN_RETRY_PAUSE: Duration = Duration::from_millis(100);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Enables the cache as long as this runs, and invalidates it on every change. Never returns.
pub(crate) async fn run_invalidation(cache: &CredentialCache, database: &Database) {
    let _disable = DisableOnDrop(cache);
    let mut pause = MIN_RETRY_PAUSE;
    loop {
        let Some(pool) = database.listener_pool() else {
            // SQLite: every change is made in this process.
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

/// Listens until notifications may be lost.
async fn listen(
    pool: PgPool,
    cache: &CredentialCache,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, ListenError> {
    let connecting = timeout(ACQUIRE_TIMEOUT, PgListener::connect_with(&pool));
    let mut listener = connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
    // Before the listener is dropped, so that its connection is closed and not kept.
    let _close = scopeguard::guard(pool, |pool| drop(pool.close()));
    listener.eager_reconnect(false);
    timeout(ECHO_TIMEOUT, listener.listen(CHANNEL)).await.map_err(|_| ListenError::NoEcho)??;
    // An echo need not wait for the disk: it is worthless after a second.
    timeout(ECHO_TIMEOUT, sqlx::query("SET synchronous_commit = off").execute(&mut listener))
        .await
        .map_err(|_| ListenError::NoEcho)??;
    echo(&mut listener, cache).await?;
    cache.set_enabled(true);
    *pause = MIN_RETRY_PAUSE;
    tracing::info!("listening for rights notifications");
    loop {
        match timeout(ECHO_INTERVAL, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => invalidate(cache, notification.payload()),
            Ok(Ok(None)) => return Err(ListenError::Lost),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => echo(&mut listener, cache).await?,
        }
    }
}

/// Requests an echo and waits for it.
async fn echo(listener: &mut PgListener, cache: &CredentialCache) -> Result<(), ListenError> {
    let returned = async {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(ECHO).execute(&mut *listener).await?;
        loop {
            let Some(notification) = listener.try_recv().await? else { return Err(ListenError::Lost) };
            if notification.payload() == ECHO {
                return Ok(());
            }
            invalidate(cache, notification.payload());
        }
    };
    timeout(ECHO_TIMEOUT, returned).await.unwrap_or(Err(ListenError::NoEcho))
}

fn invalidate(cache: &CredentialCache, payload: &str) {
    match payload.parse() {
        Ok(id) => cache.rights.report(UserId(id)),
        Err(_) if payload == ECHO => {}
        // A newer version may send payloads that this one does not understand.
        Err(_) => cache.clear(),
    }
}

/// Why notifications may be lost.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error("the connection was lost")]
    Lost,
    #[error("the database sends no notification in time; LISTEN does not work through a pooler that shares sessions")]
    NoEcho,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}
