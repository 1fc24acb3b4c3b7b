//! The tokens used in the calendar windows of the token limits.

use std::time::Duration;

use paddock_store::{
    clock::Timestamp,
    ids::{CredentialId, UserId},
    statements, with_conn,
};

use super::{Day, Usage};
use crate::error::Error;

const MICROS_PER_MINUTE: i64 = 60_000_000;

statements! {
    TOKENS_OF_MINUTE = "SELECT CAST(coalesce(sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)), 0) AS BIGINT) \
            FROM usage WHERE user_id = $1 AND started_at >= $2 AND started_at < $3 \
            AND (credential_id = $4 OR CAST($4 AS BIGINT) IS NULL)";
    TOKENS_OF_DAYS = "SELECT CAST(coalesce(sum(prompt_tokens + completion_tokens), 0) AS BIGINT) \
            FROM usage_days WHERE user_id = $1 AND day >= $2 AND day < $3 \
            AND (credential_id = $4 OR CAST($4 AS BIGINT) IS NULL)";
}

/// The tokens of a window that contains the present time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenWindow {
    /// Prompt and completion tokens of the requests that were admitted in the window and have
    /// ended.
    pub used: i64,
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
}

impl Usage<'_> {
    /// Returns the tokens that a user has used in the current windows, or only those of one of its
    /// keys.
    pub async fn token_windows(self, user: UserId, key: Option<CredentialId>) -> Result<TokenWindows, Error> {
        let now = self.accounts.now();
        let minute = Timestamp::from_micros(now.micros().div_euclid(MICROS_PER_MINUTE) * MICROS_PER_MINUTE);
        let next_minute = minute + Duration::from_mins(1);
        let today = Day::of(now);
        let mut reader = self.accounts.reader().await?;
        macro_rules! used {
            ($statement:expr, $from:expr, $to:expr) => {
                with_conn!(reader.conn(), |c| sqlx::query_scalar::<_, i64>($statement)
                    .bind(user)
                    .bind($from)
                    .bind($to)
                    .bind(key)
                    .fetch_one(c)
                    .await?)
            };
        }
        let of_minute = used!(TOKENS_OF_MINUTE, minute, next_minute);
        let of_day = used!(TOKENS_OF_DAYS, today, today.next());
        let of_month = used!(TOKENS_OF_DAYS, today.month(), today.next_month());
        Ok(TokenWindows {
            minute: TokenWindow { used: of_minute, resets_at: next_minute },
            day: TokenWindow { used: of_day, resets_at: today.next().start() },
            month: TokenWindow { used: of_month, resets_at: today.next_month().start() },
        })
    }
}
