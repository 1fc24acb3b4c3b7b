//! Rows whose time is over, and how the chain stays provable without them.

use std::time::Duration;

use scoped_futures::ScopedFutureExt;

use super::{AuditRow, Chain, Change, Event, EventType, Head, columns};
use crate::{
    Accounts,
    clock::Time,
    context::Context,
    error::Error,
    store::{Conn, Outcome, Tx, on, statements},
};

/// How many rows one transaction removes.
const BATCH: i64 = 2000;
const DAY: Duration = Duration::from_hours(24);

statements! {
    ANCHOR = "SELECT position, hash, seal FROM audit_anchor";
    MOVE_ANCHOR = "UPDATE audit_anchor SET position = $1, hash = $2, seal = $3";
    FIRST_TIME = "SELECT occurred_at FROM audit_logs ORDER BY id LIMIT 1";
    OLDEST = concat!("SELECT ", columns!(), " FROM audit_logs WHERE id > $1 ORDER BY id LIMIT $2");
    REMOVE = "DELETE FROM audit_logs WHERE id > $1 AND id <= $2";
}

/// Where the log begins: the last row that was removed, sealed under the signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) at: Head,
    seal: String,
}

impl Anchor {
    fn new(at: Head, chain: &Chain) -> Self {
        Self { seal: chain.anchor_seal(&at), at }
    }

    /// The row before the first, if this is what was sealed. Where nothing was removed there is nothing to seal.
    pub(super) fn sealed_by(&self, chain: &Chain) -> Option<&Head> {
        let right = if self.at == Head::default() { String::new() } else { chain.anchor_seal(&self.at) };
        (self.seal == right).then_some(&self.at)
    }

    fn from_row((position, hash, seal): (i64, String, String)) -> Self {
        Self { at: Head { position, hash }, seal }
    }
}

/// Where the database says that the log begins.
pub(super) async fn anchor(conn: Conn<'_>) -> Result<Option<Anchor>, Error> {
    Ok(on!(conn, |c| sqlx::query_as(ANCHOR).fetch_optional(c).await?).map(Anchor::from_row))
}

/// The same, locked until the transaction ends; `None` while another process has it.
async fn locked_anchor(tx: &mut Tx) -> Result<Option<Anchor>, Error> {
    const LOCKED: &str = "SELECT position, hash, seal FROM audit_anchor FOR UPDATE SKIP LOCKED";
    match tx.conn() {
        Conn::Pg(c) => Ok(sqlx::query_as(LOCKED).fetch_optional(c).await?.map(Anchor::from_row)),
        Conn::Sqlite(c) => anchor(Conn::Sqlite(c)).await,
    }
}

impl Accounts {
    /// Removes the oldest rows that are past `AUDIT_RETENTION_DAYS`, so many in one transaction, and records that as an
    /// event of its own. Returns how many: none while another process is at it, and none where rows are kept for ever.
    ///
    /// Rows are kept to the end of their UTC day, so that a day has one such event. A row is removed only if it is what
    /// was written: otherwise whoever dates rows back could have Paddock itself remove and vouch for them.
    pub async fn trim_audit(&self) -> Result<i64, Error> {
        let Some(days) = self.audit_retention_days() else { return Ok(0) };
        let today = (self.now() - DAY * days).since(Time::from_micros(0)).as_secs() / DAY.as_secs();
        let cutoff = Time::from_micros(0) + Duration::from_secs(today * DAY.as_secs());
        // Mostly there is nothing to do, for which nobody has to wait.
        let first: Option<Time> =
            on!(self.reader().await?.conn(), |c| sqlx::query_scalar(FIRST_TIME).fetch_optional(c).await?);
        if first.is_none_or(|first| first >= cutoff) {
            return Ok(0);
        }
        self.write(&Context::system("retention"), |tx| {
            async move {
                let Some(anchor) = locked_anchor(tx).await? else { return Ok(Outcome::Unchanged(0)) };
                let from = anchor.sealed_by(self.chain()).ok_or_else(|| kept(&super::Broken::Anchor))?.clone();
                let to = self.outlived(tx, &from, cutoff).await?;
                let count = to.position - from.position;
                if count == 0 {
                    return Ok(Outcome::Unchanged(0));
                }
                let removed: u64 = on!(tx.conn(), |c| sqlx::query(REMOVE)
                    .bind(from.position)
                    .bind(to.position)
                    .execute(c)
                    .await
                    .map(|done| done.rows_affected()))?;
                if i64::try_from(removed) != Ok(count) {
                    return Err(Error::Corrupt(format!("{removed} audit rows were removed instead of {count}")));
                }
                let anchor = Anchor::new(to, self.chain());
                on!(tx.conn(), |c| sqlx::query(MOVE_ANCHOR)
                    .bind(anchor.at.position)
                    .bind(&anchor.at.hash)
                    .bind(&anchor.seal)
                    .execute(c)
                    .await
                    .map(|_| ()))?;
                Ok(Outcome::changed(count, trimmed(&from, &anchor.at)))
            }
            .scope_boxed()
        })
        .await
    }

    /// The last of the rows after this one that are older than that.
    async fn outlived(&self, tx: &mut Tx, from: &Head, cutoff: Time) -> Result<Head, Error> {
        let rows: Vec<AuditRow> =
            on!(tx.conn(), |c| sqlx::query_as(OLDEST).bind(from.position).bind(BATCH).fetch_all(c).await?);
        let mut to = from.clone();
        for row in rows.iter().take_while(|row| row.occurred_at < cutoff) {
            to = self.chain().follow(row, &to).map_err(|broken| kept(&broken))?;
        }
        Ok(to)
    }
}

fn trimmed(from: &Head, to: &Head) -> Event {
    let mut change = Change::default();
    change.field("position", Some(&from.position), Some(&to.position));
    change.field("hash", Some(&from.hash), Some(&to.hash));
    let detail = format!("rows {} to {} were removed", from.position + 1, to.position);
    Event::new(EventType::AuditTrimmed).detail(detail).change(change)
}

fn kept(broken: &super::Broken) -> Error {
    Error::Corrupt(format!("the audit log is broken, so none of it is removed: {broken}"))
}
