//! Usage records: one row per request.

use std::{borrow::Cow, collections::BTreeMap, sync::LazyLock};

use paddock_store::{
    RecordTx,
    clock::Timestamp,
    ids::{CredentialId, UserId},
    with_conn,
};
use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, SqliteConnection};
use uuid::Uuid;

use super::multi_row::{self, MultiRow};
use crate::error::Error;

/// The number of rows per INSERT. Both engines limit the number of parameters.
pub(super) const INSERT_BATCH: usize = 2048;

/// The usage of one request through the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The id of the record, created at admission. A second record with the same id is ignored,
    /// unless the stored record was settled.
    pub usage_id: Uuid,
    /// The id of the request, which the client may have chosen.
    pub request_id: String,
    /// The user.
    pub user_id: UserId,
    /// The API key; `None` for a session.
    pub credential_id: Option<CredentialId>,
    /// The canonical model name.
    pub model: String,
    /// The route, such as `POST /api/chat`.
    pub endpoint: Cow<'static, str>,
    /// Prompt tokens, as reported by Ollama.
    pub prompt_tokens: Option<i64>,
    /// The part of `prompt_tokens` that Ollama read from its cache; `None` if Ollama does not
    /// report it.
    #[serde(default)]
    pub cached_prompt_tokens: Option<i64>,
    /// Completion tokens.
    pub completion_tokens: Option<i64>,
    /// Whether the tokens were estimated from frames, because the response ended before its totals.
    pub tokens_estimated: bool,
    /// When the request was admitted.
    pub started_at: Timestamp,
    /// Microseconds from admission to the first byte of the response.
    pub first_byte_us: Option<i64>,
    /// Microseconds from admission to the end of the response.
    pub duration_us: i64,
    /// The outcome: `ok`, `client_gone`, `upstream_incomplete` and so on.
    pub status: Cow<'static, str>,
    /// The HTTP status of the response.
    pub http_status: u16,
}

/// Returns the records in order of their ids, without duplicates. One statement cannot write a row
/// twice.
pub(super) fn deduplicate(records: &[UsageRecord]) -> Vec<&UsageRecord> {
    records.iter().map(|record| (record.usage_id, record)).collect::<BTreeMap<_, _>>().into_values().collect()
}

/// The columns of a row, in the order in which they are bound.
const COLUMNS: &str = "usage_id, request_id, user_id, credential_id, model, endpoint, prompt_tokens, \
     cached_prompt_tokens, completion_tokens, tokens_estimated, started_at, first_byte_us, duration_us, status, \
     http_status";
const COLUMN_COUNT: usize = 15;

/// Inserts records that do not exist yet. [`super::day_totals`] adds them to the totals. Only SQLite has
/// this statement, because its triggers run once per row.
static INSERT_NEW: LazyLock<MultiRow> = LazyLock::new(|| {
    let before = format!("INSERT INTO usage ({COLUMNS}, in_totals) VALUES");
    MultiRow::new(&before, COLUMN_COUNT, ", 1", "ON CONFLICT (usage_id) DO NOTHING")
});

/// Writes records, and triggers add them to the totals. An existing record is replaced only if it was
/// settled as `unknown`.
///
/// On PostgreSQL the trigger of a statement locks rows of `usage_days` in their order. Several
/// statements in one transaction could lock them in another order, so two writers could deadlock.
pub(super) async fn insert(tx: &mut RecordTx, records: &[&UsageRecord]) -> Result<(), Error> {
    macro_rules! inserted {
        ($conn:expr) => {{
            let mut query = QueryBuilder::new(format!("INSERT INTO usage ({COLUMNS}) "));
            query.push_values(records, |mut row, record| {
                row.push_bind(record.usage_id)
                    .push_bind(&record.request_id)
                    .push_bind(record.user_id)
                    .push_bind(record.credential_id)
                    .push_bind(&record.model)
                    .push_bind(&*record.endpoint)
                    .push_bind(record.prompt_tokens)
                    .push_bind(record.cached_prompt_tokens)
                    .push_bind(record.completion_tokens)
                    .push_bind(record.tokens_estimated)
                    .push_bind(record.started_at)
                    .push_bind(record.first_byte_us)
                    .push_bind(record.duration_us)
                    .push_bind(&*record.status)
                    .push_bind(i64::from(record.http_status));
            });
            query.push(
                " ON CONFLICT (usage_id) DO UPDATE SET prompt_tokens = excluded.prompt_tokens, \
                 cached_prompt_tokens = excluded.cached_prompt_tokens, \
                 completion_tokens = excluded.completion_tokens, tokens_estimated = excluded.tokens_estimated, \
                 first_byte_us = excluded.first_byte_us, duration_us = excluded.duration_us, status = excluded.status, \
                 http_status = excluded.http_status WHERE usage.status = 'unknown' AND excluded.status <> 'unknown'",
            );
            // A statement of this size is seldom sent twice.
            query.build().persistent(false).execute($conn).await.map(|_| ())?
        }};
    }
    with_conn!(tx.conn(), |c| inserted!(c));
    Ok(())
}

/// Writes records to SQLite, without adding them to the totals. Returns false if one of them exists
/// already; the transaction must then not commit.
pub(super) async fn insert_new(conn: &mut SqliteConnection, records: &[&UsageRecord]) -> Result<bool, Error> {
    for records in multi_row::parts(records) {
        let mut query = sqlx::query(INSERT_NEW.text(records.len()));
        for record in records {
            query = query
                .bind(record.usage_id)
                .bind(&record.request_id)
                .bind(record.user_id)
                .bind(record.credential_id)
                .bind(&record.model)
                .bind(&*record.endpoint)
                .bind(record.prompt_tokens)
                .bind(record.cached_prompt_tokens)
                .bind(record.completion_tokens)
                .bind(record.tokens_estimated)
                .bind(record.started_at)
                .bind(record.first_byte_us)
                .bind(record.duration_us)
                .bind(&*record.status)
                .bind(i64::from(record.http_status));
        }
        if query.execute(&mut *conn).await?.rows_affected() != records.len() as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_cached_tokens_is_read() {
        let text = r#"{"usage_id":"018bcfe5-6800-7000-8000-000000000001","request_id":"r","user_id":1,
            "credential_id":2,"model":"m","endpoint":"/api/chat","prompt_tokens":31,"completion_tokens":9,
            "tokens_estimated":false,"started_at":"2023-11-14T22:13:20.000000Z","first_byte_us":1,"duration_us":2,
            "status":"ok","http_status":200}"#;
        let record: UsageRecord = serde_json::from_str(text).unwrap();
        assert_eq!((record.prompt_tokens, record.cached_prompt_tokens), (Some(31), None));
    }
}
