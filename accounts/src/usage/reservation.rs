//! Reservations: a request whose user or key has limits of tokens or of concurrent requests takes
//! its share of them before it runs.
//!
//! A reservation is a row of `usage_open`. The transaction that stores the usage of the request
//! removes the row, so used and reserved tokens together contain each request exactly once. The row
//! of a dead process counts until the lease of the process ends.

use paddock_store::{
    RecordTx,
    clock::Timestamp,
    db::Conn,
    ids::{CredentialId, UserId},
    statements, with_conn,
};
use uuid::Uuid;

use super::{
    Usage, in_flight,
    record::UsageRecord,
    token_windows::{TokenWindow, TokenWindows, locked_windows},
};
use crate::{error::Error, types::Limits};

/// Serialises the admissions of one user until the end of the transaction. The commit does not wait
/// for the disk, because a reservation that is lost with the database's memory is released anyway.
/// Only PostgreSQL has this statement; SQLite has one writer.
const LOCK_USER: &str = "SELECT pg_advisory_xact_lock(hashtextextended('paddock reservations', $1)), set_config('synchronous_commit', 'off', true)";

statements! {
    RESERVE = "INSERT INTO usage_open (usage_id, process_id, request_id, user_id, credential_id, model, endpoint, \
            started_at, reserved_tokens) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
}

/// A limit that a reservation is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Tokens per UTC minute.
    TokensPerMinute,
    /// Tokens per UTC day.
    TokensPerDay,
    /// Tokens per UTC month.
    TokensPerMonth,
    /// Concurrent requests.
    MaxConcurrent,
}

/// A limit that leaves no room for another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExceededLimit {
    /// The limit.
    pub kind: LimitKind,
    /// Whether it is a limit of the key; otherwise of the user.
    pub is_of_key: bool,
    /// Its value.
    pub limit: i64,
    /// When it allows requests again, if requests that have ended use it up. `None` if requests in
    /// flight hold the rest of it, and may return a part at any time.
    pub resets_at: Option<Timestamp>,
}

/// The limits that a request is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationLimits {
    /// The limits of the user.
    pub user: Limits,
    /// The limits of the key; `None` for a session.
    pub key: Option<Limits>,
}

impl ReservationLimits {
    /// Whether a request needs a reservation: whether there is any limit of tokens or of concurrent
    /// requests.
    #[must_use]
    pub fn apply(&self) -> bool {
        has_any(&self.user) || self.key.as_ref().is_some_and(has_any)
    }
}

impl Usage<'_> {
    /// Reserves `tokens` for a request of this process, which must have sent a heartbeat. Sets the
    /// start of the record to the time of the reservation, so that the reservation and the usage
    /// count in the same windows.
    ///
    /// A limit of tokens admits the request while a part of it is left. The requests of a window
    /// therefore reserve at most the limit, and what one request takes beyond it. Returns the
    /// exceeded limit with the longest wait if a limit leaves no room; then nothing is reserved.
    pub async fn reserve(
        self,
        process: Uuid,
        record: &mut UsageRecord,
        tokens: i64,
        limits: &ReservationLimits,
    ) -> Result<Result<(), ExceededLimit>, Error> {
        let mut tx = self.accounts.begin_record().await?;
        if let Conn::Pg(c) = tx.conn() {
            sqlx::query(LOCK_USER).bind(record.user_id).execute(c).await.map_err(paddock_store::Error::from)?;
        }
        // Read after the lock, so that a reservation never begins before an earlier one.
        let now = self.accounts.now();
        record.started_at = now;
        let of_user = exceeded(&mut tx, record.user_id, None, &limits.user, now).await?;
        let of_key = match (&limits.key, record.credential_id) {
            (Some(limits), Some(key)) => exceeded(&mut tx, record.user_id, Some(key), limits, now).await?,
            _ => Vec::new(),
        };
        if let Some(exceeded) = of_user.into_iter().chain(of_key).max_by_key(|exceeded| exceeded.resets_at) {
            return Ok(Err(exceeded));
        }
        insert(&mut tx, process, record, tokens).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Releases the reservations of requests that were not sent to Ollama.
    pub async fn release(self, ids: &[Uuid]) -> Result<(), Error> {
        let mut tx = self.accounts.begin_record().await?;
        in_flight::close(&mut tx, ids).await?;
        Ok(tx.commit().await?)
    }
}

/// Returns the limits of a user, or of one of its keys, that leave no room.
async fn exceeded(
    tx: &mut RecordTx,
    user: UserId,
    key: Option<CredentialId>,
    limits: &Limits,
    now: Timestamp,
) -> Result<Vec<ExceededLimit>, Error> {
    if !has_any(limits) {
        return Ok(Vec::new());
    }
    let found = locked_windows(tx, user, key, now).await?;
    Ok(find_exceeded(limits, &found, key.is_some(), now))
}

fn find_exceeded(limits: &Limits, found: &TokenWindows, is_of_key: bool, now: Timestamp) -> Vec<ExceededLimit> {
    let mut exceeded = Vec::new();
    let tokens = [
        (LimitKind::TokensPerMinute, limits.tokens_per_minute, found.minute),
        (LimitKind::TokensPerDay, limits.tokens_per_day, found.day),
        (LimitKind::TokensPerMonth, limits.tokens_per_month, found.month),
    ];
    for (kind, limit, TokenWindow { used, reserved, resets_at }) in tokens {
        let Some(limit) = limit else { continue };
        if used.saturating_add(reserved) >= limit {
            let resets_at = (used >= limit).then_some(resets_at);
            exceeded.push(ExceededLimit { kind, is_of_key, limit, resets_at });
        }
    }
    if let Some(limit) = limits.max_concurrent
        && found.in_flight >= limit
    {
        let resets_at = (limit == 0).then(|| now + std::time::Duration::from_mins(1));
        exceeded.push(ExceededLimit { kind: LimitKind::MaxConcurrent, is_of_key, limit, resets_at });
    }
    exceeded
}

fn has_any(limits: &Limits) -> bool {
    let Limits { requests_per_minute: _, tokens_per_minute, tokens_per_day, tokens_per_month, max_concurrent } = limits;
    [tokens_per_minute, tokens_per_day, tokens_per_month, max_concurrent].into_iter().any(Option::is_some)
}

async fn insert(tx: &mut RecordTx, process: Uuid, record: &UsageRecord, tokens: i64) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| sqlx::query(RESERVE)
        .bind(record.usage_id)
        .bind(process)
        .bind(&record.request_id)
        .bind(record.user_id)
        .bind(record.credential_id)
        .bind(&record.model)
        .bind(&*record.endpoint)
        .bind(record.started_at)
        .bind(tokens)
        .execute(c)
        .await
        .map(|_| ()))?;
    Ok(())
}
