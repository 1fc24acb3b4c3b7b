//! Keeps the cache true: hears of changes that other processes make.
//!
//! In PostgreSQL a change, its event and its notification are one transaction. A listener that cannot be sure to hear
//! everything bypasses the cache until it can again, and forgets what was in it. It asks for an echo of its own once a
//! second, which goes the way that notifications go: so a connection that hangs, and a pooler that drops notifications, are
//! noticed too.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};

use super::{Cache, RightsChanged};
use crate::{
    Accounts,
    error::Error,
    store::{ACQUIRE_TIMEOUT, Pool, Store},
    users::UserId,
};

/// What notifications of changed rights are called. Their payload is a user's id.
pub(crate) const CHANNEL: &str = "paddock_rights";
/// The payload of an echo.
const ECHO: &str = "echo";
/// How long nothing need be heard before an echo is asked for.
const QUIET: Duration = Duration::from_secs(1);
/// How long the echo may take: with the above, how long a change may go unheard at most.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// The pauses between attempts to listen.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Accounts {
    /// Keeps what is known of credentials true, for as long as this is polled; without it every request asks the database.
    /// Never ends by itself.
    pub async fn keep_cache(&self) {
        let cache = self.cache();
        let _bypass = BypassedWhenDropped(cache);
        match self.store() {
            // All changes are made in this process.
            Store::Sqlite { .. } => {
                cache.set_kept(true);
                std::future::pending::<()>().await;
            }
            Store::Pg(pool) => keep_by_listening(pool, cache).await,
        }
    }

    /// Whether warm requests are answered without the database.
    #[must_use]
    pub fn cache_is_kept(&self) -> bool {
        self.cache().is_kept()
    }

    /// Hears whose rights change from now on, in whichever process. Whoever is slow is told that they are anybody's.
    #[must_use]
    pub fn rights_changes(&self) -> RightsChanges {
        RightsChanges(self.cache().listen())
    }
}

/// Changes of rights, as they are heard.
pub struct RightsChanges(broadcast::Receiver<RightsChanged>);

impl RightsChanges {
    /// The next change. Never ends by itself.
    pub async fn next(&mut self) -> RightsChanged {
        match self.0.recv().await {
            Ok(changed) => changed,
            Err(broadcast::error::RecvError::Lagged(_)) => RightsChanged::Any,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

struct BypassedWhenDropped<'a>(&'a Cache);

impl Drop for BypassedWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.set_kept(false);
    }
}

async fn keep_by_listening(pool: &Pool, cache: &Cache) -> ! {
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(error) = listen(pool, cache, &mut pause).await;
        if cache.is_kept() {
            cache.set_kept(false);
            tracing::warn!(%error, "changes of rights cannot be heard; every request asks the database until they can");
        } else {
            tracing::debug!(%error, "changes of rights cannot be heard");
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Listens until it cannot be sure to hear everything.
async fn listen(pool: &Pool, cache: &Cache, pause: &mut Duration) -> Result<std::convert::Infallible, Deaf> {
    let own = pool.of_one();
    let connecting = timeout(ACQUIRE_TIMEOUT, PgListener::connect_with(&own));
    let mut listener = connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
    // Before the listener goes, so that its connection is closed and not kept.
    let _closed = scopeguard::guard(own, |own| drop(own.close()));
    listener.eager_reconnect(false);
    timeout(PATIENCE, listener.listen(CHANNEL)).await.map_err(|_| Deaf::NoEcho)??;
    // An echo is worth nothing a second later: it need not wait for the disk.
    timeout(PATIENCE, sqlx::query("SET synchronous_commit = off").execute(&mut listener))
        .await
        .map_err(|_| Deaf::NoEcho)??;
    echo(&mut listener, cache).await?;
    cache.set_kept(true);
    *pause = FIRST_PAUSE;
    tracing::info!("changes of rights are heard");
    loop {
        match timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => heard(cache, notification.payload()),
            Ok(Ok(None)) => return Err(Deaf::Lost),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => echo(&mut listener, cache).await?,
        }
    }
}

/// Asks for an echo and waits for it.
async fn echo(listener: &mut PgListener, cache: &Cache) -> Result<(), Deaf> {
    let returned = async {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(ECHO).execute(&mut *listener).await?;
        loop {
            let Some(notification) = listener.try_recv().await? else { return Err(Deaf::Lost) };
            if notification.payload() == ECHO {
                return Ok(());
            }
            heard(cache, notification.payload());
        }
    };
    timeout(PATIENCE, returned).await.unwrap_or(Err(Deaf::NoEcho))
}

fn heard(cache: &Cache, payload: &str) {
    match payload.parse() {
        Ok(id) => cache.changed(UserId(id)),
        Err(_) if payload == ECHO => {}
        // From a version that says more than this one understands.
        Err(_) => cache.clear(),
    }
}

/// Why changes may go unheard.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error("the connection was lost")]
    Lost,
    #[error("the database sends no notification in time; LISTEN does not work through a pooler that shares sessions")]
    NoEcho,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Tells other processes, once the transaction commits, that the rights of a user changed.
pub(crate) async fn notify(conn: crate::store::Conn<'_>, user: UserId) -> Result<(), Error> {
    if let crate::store::Conn::Pg(c) = conn {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(user.to_string()).execute(c).await?;
    }
    Ok(())
}
