//! Retention: removes old rows, and keeps the rest of the chain verifiable.

use std::time::Duration;

use super::{
    anchor::{self, Anchor},
    chain::Chain,
    event::{Change, Event, EventType},
    handle::AuditLog,
    head::Head,
    row::{AuditRow, columns},
    verify_error::VerifyError,
};
use crate::{
    clock::Timestamp, context::AuditContext, error::Error, retry::retry_lost_race, statements, with_conn, write::Tx,
};

/// How many rows one transaction removes.
const TRIM_BATCH: i64 = 2000;
const DAY: Duration = Duration::from_hours(24);

statements! {
    FIRST_TIME = "SELECT occurred_at FROM audit_logs ORDER BY id LIMIT 1";
    OLDEST = concat!("SELECT ", columns!(), " FROM audit_logs WHERE id > $1 ORDER BY id LIMIT $2");
    REMOVE = "DELETE FROM audit_logs WHERE id > $1 AND id <= $2";
}

impl AuditLog {
    /// Removes a batch of rows that are older than `AUDIT_RETENTION_DAYS`, and records the removal
    /// as an event. Returns the number of removed rows. It is 0 while another process trims the
    /// log, and if rows are kept for ever.
    ///
    /// Rows are kept to the end of their UTC day, so that each day has one event of this type. A
    /// row is removed only if its seal is right. Otherwise Paddock would remove backdated rows, and
    /// seal a checkpoint that confirms them.
    pub async fn trim(&self) -> Result<i64, Error> {
        let Some(days) = self.retention_days() else { return Ok(0) };
        let today = (self.store().now() - DAY * days).since(Timestamp::from_micros(0)).as_secs() / DAY.as_secs();
        let cutoff = Timestamp::from_micros(0) + Duration::from_secs(today * DAY.as_secs());
        // Usually there is no old row, and this check needs no lock.
        let first: Option<Timestamp> =
            with_conn!(self.store().reader().await?.conn(), |c| sqlx::query_scalar(FIRST_TIME)
                .fetch_optional(c)
                .await?);
        if first.is_none_or(|first| first >= cutoff) {
            return Ok(0);
        }
        retry_lost_race(|| self.trim_before(cutoff)).await
    }

    /// Removes a batch of rows that are older than the cutoff. Returns their number.
    async fn trim_before(&self, cutoff: Timestamp) -> Result<i64, Error> {
        let mut tx = self.store().begin(&AuditContext::system("retention")).await?;
        let Some(anchor) = anchor::load_locked(tx.conn()).await? else { return Ok(0) };
        let from = anchor.verify(self.store().chain()).ok_or_else(|| kept(&VerifyError::Anchor))?.clone();
        let to = last_expired(&mut tx, self.store().chain(), &from, cutoff).await?;
        let count = to.position - from.position;
        if count == 0 {
            return Ok(0);
        }
        let removed: u64 = with_conn!(tx.conn(), |c| sqlx::query(REMOVE)
            .bind(from.position)
            .bind(to.position)
            .execute(c)
            .await
            .map(|done| done.rows_affected()))?;
        if i64::try_from(removed) != Ok(count) {
            return Err(Error::Corrupt(format!("{removed} audit rows were removed instead of {count}")));
        }
        let anchor = Anchor::new(to, self.store().chain());
        anchor.store(tx.conn()).await?;
        tx.commit(trimmed(&from, &anchor.at)).await?;
        Ok(count)
    }
}

/// Returns the last row after `from` that is older than the cutoff; `from` if there is none.
async fn last_expired(tx: &mut Tx, chain: &Chain, from: &Head, cutoff: Timestamp) -> Result<Head, Error> {
    let rows: Vec<AuditRow> =
        with_conn!(tx.conn(), |c| sqlx::query_as(OLDEST).bind(from.position).bind(TRIM_BATCH).fetch_all(c).await?);
    let mut to = from.clone();
    for row in rows.iter().take_while(|row| row.occurred_at < cutoff) {
        to = chain.follow(row, &to).map_err(|broken| kept(&broken))?;
    }
    Ok(to)
}

fn trimmed(from: &Head, to: &Head) -> Event {
    let mut change = Change::default();
    change.field("position", Some(&from.position), Some(&to.position));
    change.field("hash", Some(&from.hash), Some(&to.hash));
    let detail = format!("rows {} to {} were removed", from.position + 1, to.position);
    Event::new(EventType::AuditTrimmed).detail(detail).change(change)
}

fn kept(broken: &VerifyError) -> Error {
    Error::Corrupt(format!("the audit log is broken, so none of it is removed: {broken}"))
}
