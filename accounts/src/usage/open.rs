//! Requests under way: written down, so that those of a process that dies are settled by another.

use std::time::Duration;

use scoped_futures::ScopedFutureExt;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{ROWS, UsageRecord, insert, one_of_each};
use crate::{
    Accounts,
    clock::Time,
    credentials::CredentialId,
    error::Error,
    store::{Store, Tx, on, statements},
    users::UserId,
};

/// A process that was not heard of for so long is gone. Should it live all the same, the ends it tells of take the place of
/// what was settled.
const GONE_AFTER: Duration = Duration::from_mins(2);
/// What a request is settled as whose end nobody knows.
pub const UNKNOWN: &str = "unknown";

statements! {
    BEAT = "INSERT INTO usage_processes (process_id, seen_at) VALUES ($1, $2) \
            ON CONFLICT (process_id) DO UPDATE SET seen_at = excluded.seen_at";
    GONE = "SELECT process_id FROM usage_processes WHERE process_id <> $1 AND seen_at < $2 ORDER BY process_id";
    FORGET = "DELETE FROM usage_processes WHERE process_id = $1 AND seen_at < $2";
    TAKE = "DELETE FROM usage_open WHERE process_id = $1 \
            RETURNING usage_id, request_id, user_id, credential_id, model, endpoint, started_at";
}

#[derive(sqlx::FromRow)]
struct OpenRow {
    usage_id: Uuid,
    request_id: String,
    user_id: UserId,
    credential_id: Option<CredentialId>,
    model: String,
    endpoint: String,
    started_at: Time,
}

impl OpenRow {
    fn settled(self, now: Time) -> UsageRecord {
        UsageRecord {
            usage_id: self.usage_id,
            request_id: self.request_id,
            user_id: self.user_id,
            credential_id: self.credential_id,
            model: self.model,
            endpoint: self.endpoint.into(),
            prompt_tokens: None,
            completion_tokens: None,
            tokens_estimated: false,
            started_at: self.started_at,
            first_byte_us: None,
            duration_us: i64::try_from(now.since(self.started_at).as_micros()).unwrap_or(i64::MAX),
            status: UNKNOWN.into(),
            http_status: 0,
        }
    }
}

impl Accounts {
    /// Writes down requests that a process has under way.
    pub async fn open_usage(&self, process: Uuid, records: &[UsageRecord]) -> Result<(), Error> {
        let rows = one_of_each(records);
        self.store()
            .record(|tx| {
                let rows = &rows;
                async move {
                    for rows in rows.chunks(ROWS) {
                        insert_open(tx, process, rows).await?;
                    }
                    Ok(())
                }
                .scope_boxed()
            })
            .await
    }

    /// Says that a process lives, and settles the requests of those that do not: each once, by whoever is first. Returns how
    /// many that were. A SQLite file has one process: every other one is gone.
    pub async fn attend_usage(&self, process: Uuid) -> Result<usize, Error> {
        let now = self.now();
        let beat = self.store().record(|tx| {
            async move {
                on!(tx.conn(), |c| sqlx::query(BEAT).bind(process).bind(now).execute(c).await.map(|_| ()))?;
                Ok(())
            }
            .scope_boxed()
        });
        beat.await?;
        let before = match self.store() {
            Store::Pg(_) => now - GONE_AFTER,
            Store::Sqlite { .. } => now + GONE_AFTER,
        };
        let gone: Vec<Uuid> = on!(self.reader().await?.conn(), |c| sqlx::query_scalar(GONE)
            .bind(process)
            .bind(before)
            .fetch_all(c)
            .await?);
        let mut settled = 0;
        for gone in gone {
            settled += self.settle(gone, before, now).await?;
        }
        Ok(settled)
    }

    /// Says that a process ends in order: nothing of it is under way.
    pub async fn leave_usage(&self, process: Uuid) -> Result<(), Error> {
        self.settle(process, self.now() + GONE_AFTER, self.now()).await.map(|_| ())
    }

    async fn settle(&self, gone: Uuid, before: Time, now: Time) -> Result<usize, Error> {
        self.store()
            .record(|tx| {
                async move {
                    let forgotten = on!(tx.conn(), |c| sqlx::query(FORGET)
                        .bind(gone)
                        .bind(before)
                        .execute(c)
                        .await
                        .map(|done| done.rows_affected()))?;
                    if forgotten == 0 {
                        // Another one was first, or it lives after all.
                        return Ok(0);
                    }
                    let open: Vec<OpenRow> = on!(tx.conn(), |c| sqlx::query_as(TAKE).bind(gone).fetch_all(c).await?);
                    let records: Vec<_> = open.into_iter().map(|row| row.settled(now)).collect();
                    for rows in one_of_each(&records).chunks(ROWS) {
                        insert(tx, rows).await?;
                    }
                    Ok(records.len())
                }
                .scope_boxed()
            })
            .await
    }
}

async fn insert_open(tx: &mut Tx, process: Uuid, records: &[&UsageRecord]) -> Result<(), Error> {
    macro_rules! inserted {
        ($conn:expr) => {{
            let mut query = QueryBuilder::new(
                "INSERT INTO usage_open (usage_id, process_id, request_id, user_id, credential_id, model, endpoint, started_at) ",
            );
            query.push_values(records, |mut row, record| {
                row.push_bind(record.usage_id)
                    .push_bind(process)
                    .push_bind(&record.request_id)
                    .push_bind(record.user_id)
                    .push_bind(record.credential_id)
                    .push_bind(&record.model)
                    .push_bind(&*record.endpoint)
                    .push_bind(record.started_at);
            });
            query.push(" ON CONFLICT (usage_id) DO NOTHING");
            query.build().execute($conn).await.map(|_| ())?
        }};
    }
    on!(tx.conn(), |c| inserted!(c));
    Ok(())
}

/// Requests that have ended are under way no more.
pub(super) async fn close(tx: &mut Tx, records: &[&UsageRecord]) -> Result<(), Error> {
    macro_rules! closed {
        ($conn:expr) => {{
            let mut query = QueryBuilder::new("DELETE FROM usage_open WHERE usage_id IN (");
            let mut ids = query.separated(", ");
            for record in records {
                ids.push_bind(record.usage_id);
            }
            query.push(")");
            query.build().execute($conn).await.map(|_| ())?
        }};
    }
    on!(tx.conn(), |c| closed!(c));
    Ok(())
}
