//! The connections to PostgreSQL, and what each must show before it is lent again.

use std::time::Duration;

use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use super::{ACQUIRE_TIMEOUT, OpenOptions};

/// How long ago a connection may have been in use to be taken for a live one.
const TRUSTED: Duration = Duration::from_millis(500);

/// The pool, none of whose connections is there yet: PostgreSQL may come later.
pub(super) fn pool(options: &OpenOptions, connect: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(options.max_connections.max(2))
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| Box::pin(still_there(connection, meta.idle_for)))
        .after_release(|connection, _| Box::pin(in_time(connection)))
        .connect_lazy_with(connect)
}

/// Asks a connection whether it is still there, unless it was in use a moment ago: then a request need not wait for that.
async fn still_there(connection: &mut PgConnection, idle_for: Duration) -> Result<bool, sqlx::Error> {
    if idle_for > TRUSTED {
        connection.ping().await?;
    }
    Ok(true)
}

/// Gives up a connection that does not come to rest. Where the other end has gone without a word, its place would be taken
/// until the kernel gives up, a quarter of an hour later. And whoever stops waiting for the answer to a BEGIN leaves a
/// transaction open that sqlx does not count: what reads over this connection next would hold its locks for ever.
async fn in_time(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // Nothing, in place of a BEGIN: it fails where no transaction is open.
    match timeout(ACQUIRE_TIMEOUT, connection.begin_with("")).await {
        Ok(Err(sqlx::Error::BeginFailed)) => Ok(true),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_open)) => Ok(false),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}
