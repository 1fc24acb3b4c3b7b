//! Waiting for another migration. Migrations of one database run one after the other.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::OpenError;
use crate::error::Error;

/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// The pause between two log lines about the wait.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The database session that holds the lock.
const HOLDER: &str = "SELECT l.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), '') \
                      FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
                      WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = $1 AND l.objid::bigint = $2 \
                      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1";

/// Runs `attempt` until it returns the lock. Logs for what it waits, and fails after `limit`.
/// `holder` describes the owner of the lock.
pub(super) async fn wait<T>(
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Result<Option<T>, OpenError>,
    mut holder: impl AsyncFnMut() -> Result<String, OpenError>,
) -> Result<T, OpenError> {
    let deadline = Instant::now() + limit;
    let mut next_report = Instant::now();
    loop {
        if let Some(lock) = attempt().await? {
            return Ok(lock);
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(OpenError::MigrationLocked { holder: holder().await?, limit });
        }
        if now >= next_report {
            let holder = holder().await?;
            tracing::warn!(holder, limit_s = limit.as_secs(), "waiting for another migration of this database");
            next_report = now + REPORT_INTERVAL;
        }
        sleep(RETRY_PAUSE.min(deadline - now)).await;
    }
}

/// Takes the advisory lock that every version of Paddock takes. Closing the session releases it.
pub(super) async fn lock_postgres(connection: &mut PgConnection, limit: Duration) -> Result<(), OpenError> {
    let name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&mut *connection).await.map_err(Error::from)?;
    let id = lock_id(&name);
    let connection = tokio::sync::Mutex::new(connection);
    let attempt = async || {
        let mut connection = connection.lock().await;
        let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(id)
            .fetch_one(&mut **connection)
            .await
            .map_err(Error::from)?;
        Ok(locked.then_some(()))
    };
    let holder = async || {
        let mut connection = connection.lock().await;
        let holder: Option<(i32, String, String)> = sqlx::query_as(HOLDER)
            .bind(id >> 32)
            .bind(id & 0xffff_ffff)
            .fetch_optional(&mut **connection)
            .await
            .map_err(Error::from)?;
        Ok(holder.map_or_else(
            || "a session that has just ended".to_owned(),
            |(pid, application, address)| describe(pid, &application, &address),
        ))
    };
    wait(limit, attempt, holder).await
}

/// The id of the lock, as the migrator of sqlx computes it, which takes the same lock.
fn lock_id(database: &str) -> i64 {
    0x3d32_ad9e * i64::from(crc32fast::hash(database.as_bytes()))
}

fn describe(pid: i32, application: &str, address: &str) -> String {
    let application = application.replace(char::is_control, " ");
    let parts = [format!("pid {pid}"), format!("application {application}"), format!("address {address}")];
    let known = parts.iter().filter(|part| !part.ends_with(' '));
    format!("the PostgreSQL session with {}", known.map(String::as_str).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_holder_is_described_by_what_is_known() {
        assert_eq!(describe(7, "", ""), "the PostgreSQL session with pid 7");
        assert_eq!(
            describe(7, "pad\ndock", "::1"),
            "the PostgreSQL session with pid 7, application pad dock, address ::1"
        );
    }

    #[tokio::test]
    async fn the_wait_ends_with_the_lock_or_with_its_limit() {
        let tries = Cell::new(0);
        let third = async || {
            tries.set(tries.get() + 1);
            Ok((tries.get() == 3).then_some("lock"))
        };
        let holder = async || Ok("somebody".to_owned());
        assert_eq!(wait(Duration::from_mins(1), third, holder).await.unwrap(), "lock");
        let never = async || Ok::<Option<()>, OpenError>(None);
        let error = wait(Duration::from_millis(1), never, async || Ok("somebody".to_owned())).await.unwrap_err();
        assert!(error.to_string().contains("somebody"), "{error}");
    }
}
