//! The executable among failures: databases that die, freeze and fill up, and its own death, under writers that remember
//! what they were promised.

mod backup;
mod connections;
mod crash;
mod disk;
mod flood;
mod frozen;
mod load;
mod metered;

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use load::Promised;
use paddock_tests::paddock::Launch;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, FromRow, PgConnection, SqliteConnection};

/// `paddock api` on this database. No limit of requests per minute stands in the way of writers.
fn launch(url: &str) -> Result<Launch> {
    Ok(Launch::new(&["api"], url)?.env("RATE_LIMIT_PER_MINUTE", "1000000"))
}

/// Rows, read past Paddock over a connection of their own: one that stayed open would keep SQLite from recovering after a
/// crash.
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

/// Everything that was acknowledged is there, once, with the one audit event it has, and the log is whole.
async fn sound(launch: &Launch, url: &str, promised: &[Promised]) -> Result<()> {
    if url.starts_with("sqlite:") {
        let found: Vec<(String,)> = rows(url, "PRAGMA integrity_check").await?;
        ensure!(found == [("ok".to_owned(),)], "the file is damaged: {found:?}");
    }
    users(url, promised).await?;
    keys(url, promised).await?;
    let verified = launch.command(&["audit", "verify"])?.output()?;
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    Ok(())
}

async fn users(url: &str, promised: &[Promised]) -> Result<()> {
    let users: Vec<(i64, String, String)> =
        rows(url, "SELECT id, external_id, roles FROM users WHERE external_id IS NOT NULL").await?;
    let found: HashMap<&str, (i64, &str)> =
        users.iter().map(|(id, name, roles)| (name.as_str(), (*id, roles.as_str()))).collect();
    ensure!(found.len() == users.len(), "an external_id is there twice");
    for promise in promised {
        let (id, roles) = *found.get(promise.external_id.as_str()).with_context(|| format!("lost: {promise:?}"))?;
        ensure!(id == promise.id, "{promise:?} is user {id}");
        ensure!(promise.roles.is_none_or(|promised| promised == roles), "{promise:?} has the roles {roles:?}");
    }
    let odd: Vec<(i64,)> = rows(
        url,
        "SELECT u.id FROM users u LEFT JOIN audit_logs a ON a.user_id = u.id AND a.event_type = 'user_created' \
         WHERE u.external_id IS NOT NULL GROUP BY u.id HAVING count(a.id) <> 1",
    )
    .await?;
    ensure!(odd.is_empty(), "users without their one event: {odd:?}");
    let odd: Vec<(i64,)> = rows(
        url,
        "SELECT a.id FROM audit_logs a LEFT JOIN users u ON u.id = a.user_id WHERE a.event_type = 'user_created' AND u.id IS NULL",
    )
    .await?;
    ensure!(odd.is_empty(), "events without their user: {odd:?}");
    Ok(())
}

async fn keys(url: &str, promised: &[Promised]) -> Result<()> {
    let keys: Vec<(i64, String)> = rows(url, "SELECT id, label FROM credentials WHERE label LIKE 'w%'").await?;
    let found: HashMap<&str, i64> = keys.iter().map(|(id, label)| (label.as_str(), *id)).collect();
    ensure!(found.len() == keys.len(), "a key that was asked for once is there twice");
    for (label, id) in promised.iter().filter_map(|promise| promise.key.as_ref()) {
        ensure!(found.get(label.as_str()) == Some(id), "lost: key {id}, {label}");
    }
    let odd: Vec<(i64,)> = rows(
        url,
        "SELECT c.id FROM credentials c LEFT JOIN audit_logs a ON a.credential_id = c.id AND a.event_type = 'api_key_issued' \
         GROUP BY c.id HAVING count(a.id) <> 1",
    )
    .await?;
    ensure!(odd.is_empty(), "keys without their one event: {odd:?}");
    let odd: Vec<(i64,)> = rows(
        url,
        "SELECT c.id FROM credentials c LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' \
         GROUP BY c.id HAVING count(s.id) <> 1",
    )
    .await?;
    ensure!(odd.is_empty(), "keys without their one secret: {odd:?}");
    Ok(())
}
