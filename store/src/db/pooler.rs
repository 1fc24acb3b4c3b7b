//! Detects a connection pooler that gives each transaction another session of PostgreSQL, as
//! PgBouncer does in the modes `transaction` and `statement`.
//!
//! Behind such a pooler, PostgreSQL keeps prepared statements and advisory locks in a session that the
//! pooler then gives to another client, and the pooler drops notifications. Some requests would fail,
//! and a revoked key could stay in a cache. Therefore Paddock refuses such a pooler.
//!
//! Two connections are compared: while the second holds a session by an open transaction, the first
//! must keep its own. Other clients of a busy pooler may hide the sharing in one comparison, so a
//! session that is older than its connection, which only a pooler has, is compared often.

use std::time::Instant;

use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _, error::DatabaseError,
    postgres::PgConnectOptions,
};
use tokio::time::timeout;

use super::ACQUIRE_TIMEOUT;

/// The number of comparisons of sessions that began with their connections.
const ROUNDS: usize = 3;
/// The number of comparisons of older sessions.
const POOLED_ROUNDS: usize = 20;
/// The difference that rounding may cause, in seconds.
const AGE_TOLERANCE: f64 = 0.05;
/// The SQLSTATE of a pooler that knows no transactions.
const PROTOCOL_VIOLATION: &str = "08P01";

/// The process of PostgreSQL that serves a session, and the age of the session in seconds. Sent
/// without a prepared statement, which such a pooler may lose.
const SESSION: &str = "SELECT pid, extract(epoch FROM clock_timestamp() - backend_start)::float8 \
                       FROM pg_stat_activity WHERE pid = pg_backend_pid()";
const BEGIN_SESSION: &str = "BEGIN; SELECT pid, extract(epoch FROM clock_timestamp() - backend_start)::float8 \
                             FROM pg_stat_activity WHERE pid = pg_backend_pid()";

/// Whether two connections share one session, or one connection changes its session. Opens a second
/// connection for the comparison. `start` is before the first connection began. A comparison that
/// does not end in time finds nothing.
pub(super) async fn shares_sessions(
    first: &mut PgConnection,
    start: Instant,
    connect: &PgConnectOptions,
) -> Result<bool, sqlx::Error> {
    let compared = timeout(ACQUIRE_TIMEOUT, async {
        let second_start = Instant::now();
        let mut second = connect.connect().await?;
        let shares = compare((first, start), (&mut second, second_start)).await;
        // The comparison is done, so a failure to close does not matter.
        let _ = second.close().await;
        shares
    });
    compared.await.unwrap_or(Ok(false))
}

async fn compare(
    (first, first_start): (&mut PgConnection, Instant),
    (second, second_start): (&mut PgConnection, Instant),
) -> Result<bool, sqlx::Error> {
    let (own, age) = session(first, SESSION).await?;
    let mut is_pooled = is_older(age, first_start);
    let mut round = 0;
    while round < if is_pooled { POOLED_ROUNDS } else { ROUNDS } {
        // The open transaction keeps the session of the second connection.
        let (other, age) = match session(second, BEGIN_SESSION).await {
            Err(error) if is_without_transactions(&error) => return Ok(true),
            other => other?,
        };
        is_pooled |= is_older(age, second_start);
        let is_shared = other == own || session(first, SESSION).await?.0 != own;
        second.execute("ROLLBACK").await?;
        if is_shared {
            return Ok(true);
        }
        round += 1;
    }
    Ok(false)
}

async fn session(connection: &mut PgConnection, statement: &'static str) -> Result<(i32, f64), sqlx::Error> {
    let row = sqlx::raw_sql(statement).fetch_one(connection).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Whether a session of this age began before `start`.
fn is_older(age: f64, start: Instant) -> bool {
    age > start.elapsed().as_secs_f64() + AGE_TOLERANCE
}

fn is_without_transactions(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code == PROTOCOL_VIOLATION)
}
