//! The rows of the table `usage`, read directly from the database.

use anyhow::Result;
use sqlx::FromRow;

use crate::database::Database;

/// One row of `usage`.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct UsageRow {
    /// The id of the request.
    pub request_id: String,
    /// The user that sent it.
    pub user_id: i64,
    /// The API key; `None` for a session.
    pub credential_id: Option<i64>,
    /// The model's canonical name.
    pub model: String,
    /// The path of the request.
    pub endpoint: String,
    /// Prompt tokens.
    pub prompt_tokens: Option<i64>,
    /// Those of the prompt tokens that Ollama read from its cache.
    pub cached_prompt_tokens: Option<i64>,
    /// Completion tokens.
    pub completion_tokens: Option<i64>,
    /// 1 if Paddock counted the tokens itself, 0 if Ollama did.
    pub tokens_estimated: i64,
    /// Microseconds until the first byte of the answer.
    pub first_byte_us: Option<i64>,
    /// Microseconds until the end of the answer.
    pub duration_us: i64,
    /// The outcome of the request.
    pub status: String,
    /// The HTTP status of the answer.
    pub http_status: i64,
}

// The casts turn PostgreSQL's boolean into the number that SQLite has.
const ROWS: &str = "select request_id, user_id, credential_id, model, endpoint, prompt_tokens, cached_prompt_tokens, \
    completion_tokens, cast(cast(tokens_estimated as integer) as bigint) as tokens_estimated, first_byte_us, duration_us, \
    status, http_status \
    from usage order by started_at, usage_id";

impl Database {
    /// All usage rows, oldest first.
    pub async fn usage_rows(&self) -> Result<Vec<UsageRow>> {
        self.rows(ROWS).await
    }
}
