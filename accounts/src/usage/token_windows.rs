//! The tokens used in the calendar windows of the token limits, and the requests in flight.

use std::time::Duration;

use paddock_store::{
    clock::Timestamp,
    db::Conn,
    ids::{CredentialId, UserId},
    statements, with_conn,
};

use super::{Day, Usage};
use crate::error::Error;

const MICROS_PER_MINUTE: i64 = 60_000_000;
/// A process without a heartbeat for this long holds no reservation any more: its requests count
/// against no limit.
const RESERVATION_LEASE: Duration = Duration::from_mins(1);

statements! {
    TOKENS_USED = "SELECT \
            CAST(coalesce((SELECT sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)) FROM usage \
            WHERE user_id = $1 AND (credential_id = $2 OR CAST($2 AS BIGINT) IS NULL) \
            AND started_at >= $3 AND started_at < $4), 0) AS BIGINT) AS minute, \
            CAST(coalesce((SELECT sum(prompt_tokens + completion_tokens) FROM usage_days \
            WHERE user_id = $1 AND (credential_id = $2 OR CAST($2 AS BIGINT) IS NULL) \
            AND day >= $5 AND day < $6), 0) AS BIGINT) AS day, \
            CAST(coalesce((SELECT sum(prompt_tokens + completion_tokens) FROM usage_days \
            WHERE user_id = $1 AND (credential_id = $2 OR CAST($2 AS BIGINT) IS NULL) \
            AND day >= $7 AND day < $8), 0) AS BIGINT) AS month";
    REQUESTS_IN_FLIGHT = "SELECT count(*) AS requests, \
            CAST(coalesce(sum(CASE WHEN started_at >= $3 THEN reserved_tokens END), 0) AS BIGINT) AS minute, \
            CAST(coalesce(sum(CASE WHEN started_at >= $4 THEN reserved_tokens END), 0) AS BIGINT) AS day, \
            CAST(coalesce(sum(CASE WHEN started_at >= $5 THEN reserved_tokens END), 0) AS BIGINT) AS month \
            FROM usage_open WHERE user_id = $1 AND (credential_id = $2 OR CAST($2 AS BIGINT) IS NULL) \
            AND process_id IN (SELECT process_id FROM usage_processes WHERE seen_at >= $6)";
}

/// The tokens of a window that contains the present time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenWindow {
    /// Prompt and completion tokens of the requests that were admitted in the window and have
    /// ended.
    pub used: i64,
    /// The tokens that the requests in flight have reserved, which were admitted in the window.
    pub reserved: i64,
    /// The end of the window, when the next one begins.
    pub resets_at: Timestamp,
}

/// The windows of the token limits, which follow the UTC calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenWindows {
    /// The current minute.
    pub minute: TokenWindow,
    /// The current day.
    pub day: TokenWindow,
    /// The current month.
    pub month: TokenWindow,
    /// The number of requests in flight.
    pub in_flight: i64,
}

#[derive(sqlx::FromRow)]
struct UsedRow {
    minute: i64,
    day: i64,
    month: i64,
}

#[derive(sqlx::FromRow)]
struct InFlightRow {
    requests: i64,
    minute: i64,
    day: i64,
    month: i64,
}

impl Usage<'_> {
    /// Returns the tokens that a user has used in the current windows and the requests that it has
    /// in flight, or only those of one of its keys.
    pub async fn token_windows(self, user: UserId, key: Option<CredentialId>) -> Result<TokenWindows, Error> {
        let now = self.accounts.now();
        let mut reader = self.accounts.reader().await?;
        // Read before the used tokens. A request that ends in between counts twice, and never not
        // at all.
        let in_flight = in_flight(reader.conn(), user, key, now).await?;
        let tokens = tokens_used(reader.conn(), user, key, now).await?;
        Ok(windows(&tokens, &in_flight, now))
    }
}

/// Reads the windows within a transaction that holds the lock of the user.
pub(super) async fn locked_windows(
    tx: &mut paddock_store::RecordTx,
    user: UserId,
    key: Option<CredentialId>,
    now: Timestamp,
) -> Result<TokenWindows, Error> {
    let in_flight = in_flight(tx.conn(), user, key, now).await?;
    let tokens = tokens_used(tx.conn(), user, key, now).await?;
    Ok(windows(&tokens, &in_flight, now))
}

async fn tokens_used(
    conn: Conn<'_>,
    user: UserId,
    key: Option<CredentialId>,
    now: Timestamp,
) -> Result<UsedRow, Error> {
    let (minute, today) = (minute_of(now), Day::of(now));
    Ok(with_conn!(conn, |c| sqlx::query_as(TOKENS_USED)
        .bind(user)
        .bind(key)
        .bind(minute)
        .bind(minute + Duration::from_mins(1))
        .bind(today)
        .bind(today.next())
        .bind(today.month())
        .bind(today.next_month())
        .fetch_one(c)
        .await?))
}

async fn in_flight(
    conn: Conn<'_>,
    user: UserId,
    key: Option<CredentialId>,
    now: Timestamp,
) -> Result<InFlightRow, Error> {
    let today = Day::of(now);
    Ok(with_conn!(conn, |c| sqlx::query_as(REQUESTS_IN_FLIGHT)
        .bind(user)
        .bind(key)
        .bind(minute_of(now))
        .bind(today.start())
        .bind(today.month().start())
        .bind(now - RESERVATION_LEASE)
        .fetch_one(c)
        .await?))
}

fn windows(tokens: &UsedRow, in_flight: &InFlightRow, now: Timestamp) -> TokenWindows {
    let today = Day::of(now);
    let window = |used, reserved, resets_at| TokenWindow { used, reserved, resets_at };
    TokenWindows {
        minute: window(tokens.minute, in_flight.minute, minute_of(now) + Duration::from_mins(1)),
        day: window(tokens.day, in_flight.day, today.next().start()),
        month: window(tokens.month, in_flight.month, today.next_month().start()),
        in_flight: in_flight.requests,
    }
}

/// Returns the start of the minute.
fn minute_of(time: Timestamp) -> Timestamp {
    Timestamp::from_micros(time.micros().div_euclid(MICROS_PER_MINUTE) * MICROS_PER_MINUTE)
}
