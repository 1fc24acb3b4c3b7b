//! Delays repeated failures to sign in: longer each time, for one account and one network address.
//!
//! One statement counts an attempt and admits it, before the password is checked. Of many
//! concurrent attempts at any replicas, at most [`MAX_CONCURRENT_ATTEMPTS`] are therefore checked
//! before the first attempt has failed. Afterwards, each delay admits one attempt.
//!
//! The statement sets the lock of an unlocked row to a time long ago, and not to the present time,
//! because of two concurrent attempts, the second to be counted may have read its clock first.

use std::{net::IpAddr, time::Duration};

use paddock_store::{
    RecordTx, Tx,
    audit::{AggregateKey, Event, EventType},
    clock::Timestamp,
    context::{self, AuditContext},
    ids::UserId,
    statements, with_conn,
};

use crate::{accounts::Accounts, error::Error, hasher::HashPermit, types::Email};

/// The delay after each failure; the last delay repeats.
const BACKOFF: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(5), Duration::from_secs(10)];
/// How many sign-ins to one account may run at once from one address. Several windows, or a few
/// machines behind one address, do not lock each other out.
const MAX_CONCURRENT_ATTEMPTS: i64 = 10;
/// How long failures are remembered.
const FAILURE_TTL: Duration = Duration::from_hours(1);

statements! {
    ADMIT = "INSERT INTO login_attempts (account, address, failures, locked_until, seen_at) VALUES ($1, $2, 1, $4, $3) \
             ON CONFLICT (account, address) DO UPDATE SET \
             failures = CASE WHEN login_attempts.seen_at < $4 THEN 1 ELSE login_attempts.failures + 1 END, \
             locked_until = CASE WHEN login_attempts.seen_at >= $4 AND login_attempts.failures + 1 >= $6 \
             THEN $5 ELSE $4 END, \
             seen_at = $3 WHERE login_attempts.locked_until <= $3 RETURNING failures";
    LOCKED_UNTIL = "SELECT locked_until, told_until FROM login_attempts WHERE account = $1 AND address = $2";
    FAILED = "UPDATE login_attempts SET seen_at = $3, locked_until = CASE WHEN failures <= 1 THEN $4 \
              WHEN failures = 2 THEN $5 WHEN failures = 3 THEN $6 WHEN failures > 3 THEN $7 ELSE locked_until END \
              WHERE account = $1 AND address = $2";
    CLEAR = "DELETE FROM login_attempts WHERE account = $1 AND address = $2";
    TELL = "UPDATE login_attempts SET told_until = locked_until WHERE account = $1 AND address = $2 \
            AND (told_until IS NULL OR told_until < locked_until) RETURNING failures";
    SWEEP = "DELETE FROM login_attempts WHERE seen_at < $1";
}

/// An attempt to sign in.
#[derive(Clone, Debug)]
pub(crate) struct LoginAttempt {
    /// The canonical e-mail address, which need not belong to a user; empty for any other text.
    account: String,
    address: String,
}

impl LoginAttempt {
    pub(crate) fn new(context: &AuditContext, email: Option<&Email>) -> Self {
        Self {
            account: email.map(ToString::to_string).unwrap_or_default(),
            address: context.ip.map(network).unwrap_or_default(),
        }
    }

    /// The target of audit events. A user name is recorded only if it is an e-mail address, because
    /// people type passwords into that field.
    fn target(&self) -> Option<String> {
        (!self.account.is_empty()).then(|| self.account.clone())
    }

    /// Returns the key by which repeated events of this account and address are aggregated.
    fn aggregate_key(&self, event_type: EventType) -> AggregateKey {
        AggregateKey::sign_in(event_type, self.target(), &self.address)
    }

    /// Delays the next attempt.
    async fn delay_next(&self, tx: &mut RecordTx, now: Timestamp) -> Result<(), Error> {
        let [first, second, third, last] = BACKOFF.map(|wait| now + wait);
        with_conn!(tx.conn(), |c| sqlx::query(FAILED)
            .bind(&self.account)
            .bind(&self.address)
            .bind(now)
            .bind(first)
            .bind(second)
            .bind(third)
            .bind(last)
            .execute(c)
            .await
            .map(|_| ()))?;
        Ok(())
    }

    /// Forgets the failures after a success.
    pub(crate) async fn clear(&self, tx: &mut Tx) -> Result<(), Error> {
        with_conn!(tx.conn(), |c| sqlx::query(CLEAR)
            .bind(&self.account)
            .bind(&self.address)
            .execute(c)
            .await
            .map(|_| ()))?;
        Ok(())
    }
}

impl LoginAttempt {
    /// Takes a permit to check the password and counts the attempt. Fails while the account is
    /// locked for this address, or if there is no permit. The permit comes first, so that an
    /// attempt without a permit costs no query.
    pub(crate) async fn admit(&self, accounts: &Accounts, context: &AuditContext) -> Result<HashPermit, Error> {
        let permit = accounts.hasher().acquire_for(&self.address)?;
        self.count(accounts, context).await?;
        Ok(permit)
    }

    /// Counts the attempt. Fails with [`Error::LoginLocked`] while the account is locked for this
    /// address.
    async fn count(&self, accounts: &Accounts, context: &AuditContext) -> Result<(), Error> {
        let now = accounts.now();
        let mut tx = accounts.begin_record().await?;
        let admitted: Option<i64> = with_conn!(tx.conn(), |c| sqlx::query_scalar(ADMIT)
            .bind(&self.account)
            .bind(&self.address)
            .bind(now)
            .bind(now - FAILURE_TTL)
            .bind(now + BACKOFF[3])
            .bind(MAX_CONCURRENT_ATTEMPTS)
            .fetch_optional(c)
            .await?);
        tx.commit().await?;
        if admitted.is_some() {
            return Ok(());
        }
        let locked: Option<(Timestamp, Option<Timestamp>)> =
            with_conn!(accounts.reader().await?.conn(), |c| sqlx::query_as(LOCKED_UNTIL)
                .bind(&self.account)
                .bind(&self.address)
                .fetch_optional(c)
                .await?);
        // Another attempt succeeded meanwhile and deleted the row: a retry will pass.
        let (until, told) = locked.unwrap_or((now, None));
        if told.is_none_or(|told| told < until) {
            self.record_locked(accounts, context).await?;
        }
        Err(Error::LoginLocked { retry_after: until.since(now).max(Duration::from_secs(1)) })
    }

    /// Records that attempts are refused: once for each lock. Events of consecutive locks of one
    /// account and address are aggregated.
    async fn record_locked(&self, accounts: &Accounts, context: &AuditContext) -> Result<(), Error> {
        let mut tx = accounts.begin_record().await?;
        let told: Option<i64> = with_conn!(tx.conn(), |c| sqlx::query_scalar(TELL)
            .bind(&self.account)
            .bind(&self.address)
            .fetch_optional(c)
            .await?);
        tx.commit().await?;
        let Some(failures) = told else { return Ok(()) };
        let mut event = Event::new(EventType::LoginRateLimited);
        event.detail = Some(format!("after {failures} sign-ins without success"));
        event.target = self.target();
        let key = self.aggregate_key(event.event_type);
        Ok(accounts.audit().record_aggregated(context, key, event).await?)
    }

    /// Delays the next attempt, and records the failure. Repeated events are aggregated.
    pub(crate) async fn record_failure(
        &self,
        accounts: &Accounts,
        context: &AuditContext,
        user: Option<UserId>,
        why: &str,
    ) -> Result<(), Error> {
        let mut tx = accounts.begin_record().await?;
        self.delay_next(&mut tx, accounts.now()).await?;
        tx.commit().await?;
        let mut event = Event::new(EventType::LoginFailure).detail(why);
        event.user_id = user;
        event.target = self.target();
        let key = self.aggregate_key(event.event_type);
        Ok(accounts.audit().record_aggregated(context, key, event).await?)
    }
}

/// Deletes failures that are older than [`FAILURE_TTL`].
pub(crate) async fn sweep(tx: &mut RecordTx, now: Timestamp) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| sqlx::query(SWEEP).bind(now - FAILURE_TTL).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// The network address whose attempts are counted together.
fn network(ip: IpAddr) -> String {
    match context::network(ip) {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("{ip}/64"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("192.0.2.7", "192.0.2.7")]
    #[case("::ffff:192.0.2.7", "192.0.2.7")]
    #[case("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64")]
    #[case("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64")]
    #[case("::1", "::/64")]
    fn one_client_has_one_address(#[case] ip: IpAddr, #[case] kept: &str) {
        assert_eq!(network(ip), kept);
    }
}
