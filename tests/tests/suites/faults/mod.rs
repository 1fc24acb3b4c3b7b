//! The executable under faults: databases that crash, hang and fill up, and its own crashes, while
//! writers record every acknowledged request.

mod backup;
mod connections;
mod crash;
mod disk;
mod frozen_database;
mod login_flood;
mod usage_durability;
mod writers;

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use paddock_tests::paddock::Launch;
use sqlx::{Connection as _, FromRow, PgConnection, SqliteConnection, postgres::PgRow, sqlite::SqliteRow};
use writers::Acknowledged;

/// `paddock api` on this database, without a rate limit for the writers.
fn launch(url: &str) -> Result<Launch> {
    Ok(Launch::new(&["api"], url)?.env("RATE_LIMIT_PER_MINUTE", "1000000"))
}

/// The rows of a query, read past Paddock over a new connection. An open connection would prevent
/// SQLite's recovery after a crash.
async fn rows<R>(url: &str, query: &'static str) -> Result<Vec<R>>
where
    R: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await?;
        let rows = sqlx::query_as(query).fetch_all(&mut connection).await?;
        connection.close().await?;
        return Ok(rows);
    }
    let mut connection = PgConnection::connect(url).await?;
    let rows = sqlx::query_as(query).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(rows)
}

/// Asserts that every acknowledged change exists once, each with its one audit event, and that the
/// audit log is valid.
async fn assert_consistent(launch: &Launch, url: &str, acknowledged: &[Acknowledged]) -> Result<()> {
    if url.starts_with("sqlite:") {
        let found: Vec<(String,)> = rows(url, "PRAGMA integrity_check").await?;
        ensure!(found == [("ok".to_owned(),)], "the file is damaged: {found:?}");
    }
    assert_users(url, acknowledged).await?;
    assert_keys(url, acknowledged).await?;
    let verified = launch.command(&["audit", "verify"])?.output()?;
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    Ok(())
}

async fn assert_users(url: &str, acknowledged: &[Acknowledged]) -> Result<()> {
    let users: Vec<(i64, String, String)> =
        rows(url, "SELECT id, external_id, roles FROM users WHERE external_id IS NOT NULL").await?;
    let found: HashMap<&str, (i64, &str)> =
        users.iter().map(|(id, name, roles)| (name.as_str(), (*id, roles.as_str()))).collect();
    ensure!(found.len() == users.len(), "an external_id is there twice");
    for user in acknowledged {
        let (id, roles) = *found.get(user.external_id.as_str()).with_context(|| format!("lost: {user:?}"))?;
        ensure!(id == user.id, "{user:?} is user {id}");
        ensure!(user.roles.is_none_or(|acknowledged| acknowledged == roles), "{user:?} has the roles {roles:?}");
    }
    assert_none(
        url,
        "users without their one event",
        "SELECT u.id FROM users u LEFT JOIN audit_logs a ON a.user_id = u.id AND a.event_type = 'user_created' \
         WHERE u.external_id IS NOT NULL GROUP BY u.id HAVING count(a.id) <> 1",
    )
    .await?;
    assert_none(
        url,
        "events without their user",
        "SELECT a.id FROM audit_logs a LEFT JOIN users u ON u.id = a.user_id WHERE a.event_type = 'user_created' AND u.id IS NULL",
    )
    .await?;
    Ok(())
}

async fn assert_keys(url: &str, acknowledged: &[Acknowledged]) -> Result<()> {
    let keys: Vec<(i64, String)> = rows(url, "SELECT id, label FROM credentials WHERE label LIKE 'w%'").await?;
    let found: HashMap<&str, i64> = keys.iter().map(|(id, label)| (label.as_str(), *id)).collect();
    ensure!(found.len() == keys.len(), "a key that was asked for once is there twice");
    for (label, id) in acknowledged.iter().filter_map(|user| user.key.as_ref()) {
        ensure!(found.get(label.as_str()) == Some(id), "lost: key {id}, {label}");
    }
    assert_none(
        url,
        "keys without their one event",
        "SELECT c.id FROM credentials c LEFT JOIN audit_logs a ON a.credential_id = c.id AND a.event_type = 'api_key_issued' \
         GROUP BY c.id HAVING count(a.id) <> 1",
    )
    .await?;
    assert_none(
        url,
        "keys without their one secret",
        "SELECT c.id FROM credentials c LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' \
         GROUP BY c.id HAVING count(s.id) <> 1",
    )
    .await?;
    Ok(())
}

/// Asserts that a query finds no ids. `what` names the rows that it would find.
async fn assert_none(url: &str, what: &str, query: &'static str) -> Result<()> {
    let found: Vec<(i64,)> = rows(url, query).await?;
    ensure!(found.is_empty(), "{what}: {found:?}");
    Ok(())
}
