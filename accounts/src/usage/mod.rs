//! What each request used.

mod day;
mod last_used;
mod open;
mod spool;
mod totals;

use std::{borrow::Cow, collections::BTreeMap};

pub use day::{Day, InvalidDay};
pub(crate) use last_used::LastUsed;
pub use open::UNKNOWN;
use scoped_futures::ScopedFutureExt;
use serde::{Deserialize, Serialize};
pub use spool::{Chunk, Damage, Orphan, Spool};
use sqlx::QueryBuilder;
pub use totals::{GroupBy, Totals, UsageFilter, UsageTotals};
use uuid::Uuid;

use crate::{
    Accounts,
    clock::Time,
    credentials::CredentialId,
    error::Error,
    ids::uuid_v7,
    store::{Tx, on},
    users::UserId,
};

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    last_used::STATEMENTS.iter().chain(open::STATEMENTS)
}

/// So many rows are inserted by one statement: few enough parameters for either engine.
const ROWS: usize = 1000;
/// How often records that lost a race between writers are stored.
const MAX_TRIES: u32 = 3;

/// One request through the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub endpoint: Cow<'static, str>,
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
    pub status: Cow<'static, str>,
    /// The HTTP status the client saw.
    pub http_status: u16,
}

impl Accounts {
    /// The identity of a request, made at its admission.
    #[must_use]
    pub fn new_usage_id(&self) -> Uuid {
        uuid_v7(self.now())
    }

    /// Stores requests, all or none. What is stored already is left alone, unless it was settled as `unknown` meanwhile: then
    /// its end takes that one's place.
    pub async fn record_usage(&self, records: &[UsageRecord]) -> Result<(), Error> {
        let rows = one_of_each(records);
        let mut tries = 0;
        loop {
            tries += 1;
            let stored = self.store().record(|tx| {
                let rows = &rows;
                async move {
                    for rows in rows.chunks(ROWS) {
                        insert(tx, rows).await?;
                        open::close(tx, rows).await?;
                    }
                    Ok(())
                }
                .scope_boxed()
            });
            match stored.await {
                Err(error) if error.is_race() && tries < MAX_TRIES => {}
                settled => return settled,
            }
        }
    }
}

/// The records in order of their ids, each once: one statement cannot touch a row twice.
fn one_of_each(records: &[UsageRecord]) -> Vec<&UsageRecord> {
    records.iter().map(|record| (record.usage_id, record)).collect::<BTreeMap<_, _>>().into_values().collect()
}

async fn insert(tx: &mut Tx, records: &[&UsageRecord]) -> Result<(), Error> {
    macro_rules! inserted {
        ($conn:expr) => {{
            let mut query = QueryBuilder::new(
                "INSERT INTO usage (usage_id, request_id, user_id, credential_id, model, endpoint, prompt_tokens, \
                 completion_tokens, tokens_estimated, started_at, first_byte_us, duration_us, status, http_status) ",
            );
            query.push_values(records, |mut row, record| {
                row.push_bind(record.usage_id)
                    .push_bind(&record.request_id)
                    .push_bind(record.user_id)
                    .push_bind(record.credential_id)
                    .push_bind(&record.model)
                    .push_bind(&*record.endpoint)
                    .push_bind(record.prompt_tokens)
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
                 completion_tokens = excluded.completion_tokens, tokens_estimated = excluded.tokens_estimated, \
                 first_byte_us = excluded.first_byte_us, duration_us = excluded.duration_us, status = excluded.status, \
                 http_status = excluded.http_status WHERE usage.status = 'unknown' AND excluded.status <> 'unknown'",
            );
            query.build().execute($conn).await.map(|_| ())?
        }};
    }
    on!(tx.conn(), |c| inserted!(c));
    Ok(())
}
