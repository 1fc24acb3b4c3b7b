//! Requests in flight. They are stored, so that another process settles the requests of a dead
//! process.

use std::{sync::LazyLock, time::Duration};

use paddock_store::{
    RecordTx,
    clock::Timestamp,
    ids::{CredentialId, UserId},
    statements, with_conn,
};
use uuid::Uuid;

use super::{
    Usage,
    multi_row::{self, MultiRow},
    record::{INSERT_BATCH, UsageRecord, deduplicate, insert},
};
use crate::error::Error;

/// A process without a heartbeat for this long counts as dead. If it is alive after all, its
/// records replace the settled ones.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_mins(2);
/// The status of a settled request: how the request ended is not known.
pub const UNKNOWN: &str = "unknown";

statements! {
    HEARTBEAT = "INSERT INTO usage_processes (process_id, seen_at) VALUES ($1, $2) \
            ON CONFLICT (process_id) DO UPDATE SET seen_at = excluded.seen_at";
    GONE = "SELECT process_id FROM usage_processes WHERE process_id <> $1 AND seen_at < $2 ORDER BY process_id";
    FORGET = "DELETE FROM usage_processes WHERE process_id = $1 AND seen_at < $2";
    TAKE = "DELETE FROM usage_open WHERE process_id = $1 \
            RETURNING usage_id, request_id, user_id, credential_id, model, endpoint, started_at";
}

#[derive(sqlx::FromRow)]
struct InFlightRow {
    usage_id: Uuid,
    request_id: String,
    user_id: UserId,
    credential_id: Option<CredentialId>,
    model: String,
    endpoint: String,
    started_at: Timestamp,
}

impl InFlightRow {
    fn settled(self, now: Timestamp) -> UsageRecord {
        UsageRecord {
            usage_id: self.usage_id,
            request_id: self.request_id,
            user_id: self.user_id,
            credential_id: self.credential_id,
            model: self.model,
            endpoint: self.endpoint.into(),
            prompt_tokens: None,
            cached_prompt_tokens: None,
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

impl Usage<'_> {
    /// Stores the requests that a process has in flight.
    pub async fn record_in_flight(self, process: Uuid, records: &[UsageRecord]) -> Result<(), Error> {
        let mut tx = self.accounts.begin_record().await?;
        insert_in_flight(&mut tx, process, &deduplicate(records)).await?;
        Ok(tx.commit().await?)
    }

    /// Records that a process is alive, and settles the requests of dead processes, each once.
    /// Returns the number of settled requests. A SQLite file has one process, so every other
    /// process is dead.
    pub async fn heartbeat(self, process: Uuid) -> Result<usize, Error> {
        let now = self.accounts.now();
        let mut tx = self.accounts.begin_record().await?;
        with_conn!(tx.conn(), |c| sqlx::query(HEARTBEAT).bind(process).bind(now).execute(c).await.map(|_| ()))?;
        tx.commit().await?;
        let is_shared = self.accounts.store().database().is_shared();
        let before = if is_shared { now - HEARTBEAT_TIMEOUT } else { now + HEARTBEAT_TIMEOUT };
        let gone: Vec<Uuid> = with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_scalar(GONE)
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

    /// Removes the process, which is about to end, and settles the requests that it still has in
    /// flight.
    pub async fn leave(self, process: Uuid) -> Result<(), Error> {
        self.settle(process, self.accounts.now() + HEARTBEAT_TIMEOUT, self.accounts.now()).await.map(|_| ())
    }

    /// Settles the in-flight requests of the process `gone`, if its last heartbeat is older than
    /// `before`. Returns the number of settled requests; 0 if another process settled them first.
    async fn settle(self, gone: Uuid, before: Timestamp, now: Timestamp) -> Result<usize, Error> {
        let mut tx = self.accounts.begin_record().await?;
        let forgotten = with_conn!(tx.conn(), |c| sqlx::query(FORGET)
            .bind(gone)
            .bind(before)
            .execute(c)
            .await
            .map(|done| done.rows_affected()))?;
        if forgotten == 0 {
            // Another process was first, or the process is alive after all.
            return Ok(0);
        }
        let open: Vec<InFlightRow> = with_conn!(tx.conn(), |c| sqlx::query_as(TAKE).bind(gone).fetch_all(c).await?);
        let records: Vec<_> = open.into_iter().map(|row| row.settled(now)).collect();
        for rows in deduplicate(&records).chunks(INSERT_BATCH) {
            insert(&mut tx, rows).await?;
        }
        tx.commit().await?;
        Ok(records.len())
    }
}

static INSERT_IN_FLIGHT: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO usage_open (usage_id, process_id, request_id, user_id, credential_id, model, endpoint, started_at) VALUES",
        8,
        "",
        "ON CONFLICT (usage_id) DO NOTHING",
    )
});

/// Inserts requests in flight.
async fn insert_in_flight(tx: &mut RecordTx, process: Uuid, records: &[&UsageRecord]) -> Result<(), Error> {
    macro_rules! inserted {
        ($conn:expr, $records:expr) => {{
            let mut query = sqlx::query(INSERT_IN_FLIGHT.text($records.len()));
            for record in $records {
                query = query
                    .bind(record.usage_id)
                    .bind(process)
                    .bind(&record.request_id)
                    .bind(record.user_id)
                    .bind(record.credential_id)
                    .bind(&record.model)
                    .bind(&*record.endpoint)
                    .bind(record.started_at);
            }
            query.execute($conn).await.map(|_| ())?
        }};
    }
    for records in multi_row::parts(records) {
        with_conn!(tx.conn(), |c| inserted!(c, records));
    }
    Ok(())
}

static CLOSE: LazyLock<MultiRow> =
    LazyLock::new(|| MultiRow::new("DELETE FROM usage_open WHERE usage_id IN (", 1, "", ")"));

/// Deletes requests that have ended.
pub(super) async fn close(tx: &mut RecordTx, ended: &[Uuid]) -> Result<(), Error> {
    macro_rules! closed {
        ($conn:expr, $ended:expr) => {{
            let mut query = sqlx::query(CLOSE.text($ended.len()));
            for id in $ended {
                query = query.bind(*id);
            }
            query.execute($conn).await.map(|_| ())?
        }};
    }
    for ended in multi_row::parts(ended) {
        with_conn!(tx.conn(), |c| closed!(c, ended));
    }
    Ok(())
}
