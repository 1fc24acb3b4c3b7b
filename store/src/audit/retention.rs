//! Retention: removes rows that are old enough, and keeps the chain provable without them.

use std::time::Duration;

use scoped_futures::ScopedFutureExt;

use super::{
    anchor::{self, Anchor},
    chain::Chain,
    event::{Change, Event, EventType},
    head::Head,
    log::AuditLog,
    row::{AuditRow, columns},
    verify_error::VerifyError,
};
use crate::{clock::Timestamp, context::AuditContext, db::Tx, error::Error, statements, with_conn, write::Mutation};

/// How many rows one transaction removes.
const TRIM_BATCH: i64 = 2000;
const DAY: Duration = Duration::from_hours(24);

statements! {
    FIRST_TIME = "SELECT occurred_at FROM audit_logs ORDER BY id LIMIT 1";
    OLDEST = concat!("SELECT ", columns!(), " FROM audit_logs WHERE id > $1 ORDER BY id LIMIT $2");
    REMOVE = "DELETE FROM audit_logs WHERE id > $1 AND id <= $2";
}

impl AuditLog {
    /// Removes a batch of the oldest rows that are past `AUDIT_RETENTION_DAYS`, and records that as an
    /// event. Returns the number of removed rows: 0 while another process does the same, and 0 where
    /// rows are kept for ever.
    ///
    /// Rows are kept to the end of their UTC day, so that a day has one such event. A row is removed
    /// only if its seal is right. Otherwise backdated rows would be removed, and vouched for, by
    /// Paddock itself.
    pub async fn trim(&self) -> Result<i64, Error> {
        let Some(days) = self.retention_days() else { return Ok(0) };
        let today = (self.store().now() - DAY * days).since(Timestamp::from_micros(0)).as_secs() / DAY.as_secs();
        let cutoff = Timestamp::from_micros(0) + Duration::from_secs(today * DAY.as_secs());
        // Usually there is nothing to do, which needs no lock.
        let first: Option<Timestamp> =
            with_conn!(self.store().reader().await?.conn(), |c| sqlx::query_scalar(FIRST_TIME)
                .fetch_optional(c)
                .await?);
        if first.is_none_or(|first| first >= cutoff) {
            return Ok(0);
        }
        self.store()
            .write(&AuditContext::system("retention"), |tx| {
                async move {
                    let Some(anchor) = anchor::load_locked(tx).await? else { return Ok(Mutation::Unchanged(0)) };
                    let from = anchor.verify(self.store().chain()).ok_or_else(|| kept(&VerifyError::Anchor))?.clone();
                    let to = last_expired(tx, self.store().chain(), &from, cutoff).await?;
                    let count = to.position - from.position;
                    if count == 0 {
                        return Ok(Mutation::Unchanged(0));
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
                    Ok(Mutation::changed(count, trimmed(&from, &anchor.at)))
                }
                .scope_boxed()
            })
            .await
    }
}

/// The last of the rows after `from` that are older than the cutoff.
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
