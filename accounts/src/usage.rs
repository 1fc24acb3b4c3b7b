//! What each request used.

use std::collections::BTreeMap;

use scoped_futures::ScopedFutureExt;
use uuid::Uuid;

use crate::{
    Accounts,
    clock::Time,
    credentials::CredentialId,
    error::Error,
    ids::uuid_v7,
    store::{on, statements},
    users::UserId,
};

statements! {
    INSERT = "INSERT INTO usage (usage_id, request_id, user_id, credential_id, model, endpoint, prompt_tokens, \
              completion_tokens, tokens_estimated, started_at, first_byte_us, duration_us, status, http_status) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (usage_id) DO NOTHING";
    TOUCH = "UPDATE credentials SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
}

/// One request through the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    /// Ours, made at admission: recording the same one twice records it once.
    pub usage_id: Uuid,
    /// The request's id, which a client may have chosen.
    pub request_id: String,
    /// Who.
    pub user_id: UserId,
    /// With which key; `None` with a session.
    pub credential_id: Option<CredentialId>,
    /// The canonical model.
    pub model: String,
    /// The route, as `POST /api/chat`.
    pub endpoint: &'static str,
    /// Tokens of the prompt, as Ollama counted them.
    pub prompt_tokens: Option<i64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<i64>,
    /// Whether the tokens were counted from frames, because the answer was cut before its totals.
    pub tokens_estimated: bool,
    /// When it was admitted.
    pub started_at: Time,
    /// Microseconds from admission to the first byte of the answer.
    pub first_byte_us: Option<i64>,
    /// Microseconds from admission to the end.
    pub duration_us: i64,
    /// How it ended: `ok`, `client_gone`, `upstream_incomplete`, ...
    pub status: &'static str,
    /// The HTTP status the client saw.
    pub http_status: u16,
}

impl Accounts {
    /// The identity of a request, made at its admission.
    #[must_use]
    pub fn new_usage_id(&self) -> Uuid {
        uuid_v7(self.now())
    }

    /// Stores requests, all or none, and when their keys were last used.
    pub async fn record_usage(&self, records: &[UsageRecord]) -> Result<(), Error> {
        let mut last_used = BTreeMap::new();
        for record in records {
            if let Some(id) = record.credential_id {
                let at = last_used.entry(id).or_insert(record.started_at);
                *at = record.started_at.max(*at);
            }
        }
        self.store()
            .record(|tx| {
                let last_used = &last_used;
                async move {
                    for record in records {
                        on!(tx.conn(), |c| sqlx::query(INSERT)
                            .bind(record.usage_id)
                            .bind(&record.request_id)
                            .bind(record.user_id)
                            .bind(record.credential_id)
                            .bind(&record.model)
                            .bind(record.endpoint)
                            .bind(record.prompt_tokens)
                            .bind(record.completion_tokens)
                            .bind(record.tokens_estimated)
                            .bind(record.started_at)
                            .bind(record.first_byte_us)
                            .bind(record.duration_us)
                            .bind(record.status)
                            .bind(i64::from(record.http_status))
                            .execute(c)
                            .await
                            .map(|_| ()))?;
                    }
                    for (id, at) in last_used {
                        on!(tx.conn(), |c| sqlx::query(TOUCH).bind(*id).bind(*at).execute(c).await.map(|_| ()))?;
                    }
                    Ok(())
                }
                .scope_boxed()
            })
            .await
    }
}
