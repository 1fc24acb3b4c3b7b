//! The usage rows, read from the database itself: what was kept, whatever the API may say of it.

use anyhow::Result;
use sqlx::FromRow;

use crate::database::Database;

/// One row of `usage`.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct UsageRow {
    /// The request's id.
    pub request_id: String,
    /// Who asked.
    pub user_id: i64,
    /// With which key.
    pub credential_id: Option<i64>,
    /// The model's canonical name.
    pub model: String,
    /// The path.
    pub endpoint: String,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<i64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<i64>,
    /// 1 if the tokens were counted here.
    pub tokens_estimated: i64,
    /// Microseconds until the first byte.
    pub first_byte_us: Option<i64>,
    /// Microseconds until the end.
    pub duration_us: i64,
    /// How it ended.
    pub status: String,
    /// The status of the answer.
    pub http_status: i64,
}

// The casts make a number of PostgreSQL's boolean, as SQLite has it.
const ROWS: &str = "select request_id, user_id, credential_id, model, endpoint, prompt_tokens, completion_tokens, \
    cast(cast(tokens_estimated as integer) as bigint) as tokens_estimated, first_byte_us, duration_us, status, http_status \
    from usage order by started_at, usage_id";

impl Database {
    /// All usage rows, oldest first.
    pub async fn usage(&self) -> Result<Vec<UsageRow>> {
        self.rows(ROWS).await
    }
}
