//! Usage records: one row per request.

use std::{borrow::Cow, collections::BTreeMap};

use paddock_store::{
    RecordTx,
    clock::Timestamp,
    ids::{CredentialId, UserId},
    with_conn,
};
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::error::Error;

/// The number of rows per INSERT. Both engines limit the number of parameters.
pub(super) const INSERT_BATCH: usize = 1000;

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

pub(super) async fn insert(tx: &mut RecordTx, records: &[&UsageRecord]) -> Result<(), Error> {
    macro_rules! inserted {
        ($conn:expr) => {{
            let mut query = QueryBuilder::new(
                "INSERT INTO usage (usage_id, request_id, user_id, credential_id, model, endpoint, prompt_tokens, \
                 cached_prompt_tokens, completion_tokens, tokens_estimated, started_at, first_byte_us, duration_us, \
                 status, http_status) ",
            );
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
            query.build().execute($conn).await.map(|_| ())?
        }};
    }
    with_conn!(tx.conn(), |c| inserted!(c));
    Ok(())
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
