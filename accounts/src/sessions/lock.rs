//! The soft lock: who fails to sign in waits, longer each time; others who sign in to the same account from elsewhere do not.
//!
//! An attempt is counted before it is judged, by one statement that decides as well, so that however many come at once, at
//! whichever replica, no more than [`BURST`] are judged before the first has failed. From then on it is one for each lock.
//! A row that is not locked has a lock that ended long ago: of those that come at once, one may have looked at its clock
//! before another, and be counted after it.

use std::{net::IpAddr, time::Duration};

use scoped_futures::ScopedFutureExt;

use crate::{
    Accounts,
    audit::{Event, EventType, Fold},
    clock::Time,
    context::{self, Context},
    email::Email,
    error::Error,
    hasher::Place,
    store::{Tx, on, statements},
};

/// How long one waits after so many failures; after more, as long as after the last.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(5), Duration::from_secs(10)];
/// How many sign-ins of one account may be under way at once from one address: a person with several windows, or a few
/// machines behind one address, are not locked out while all goes well.
const BURST: i64 = 10;
/// How long failures are remembered.
const MEMORY: Duration = Duration::from_hours(1);

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

/// A sign-in, as the lock knows it.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The canonical address, whether it is anybody's or not; empty for whatever is none.
    account: String,
    address: String,
}

impl Attempt {
    pub(crate) fn new(context: &Context, email: Option<&Email>) -> Self {
        Self {
            account: email.map(ToString::to_string).unwrap_or_default(),
            address: context.ip.map(network).unwrap_or_default(),
        }
    }

    /// What audit says was tried: what was typed as a user name is recorded only if it is an address, as people type
    /// passwords there.
    pub(super) fn target(&self) -> Option<String> {
        (!self.account.is_empty()).then(|| self.account.clone())
    }

    /// Which failures are repeats of each other.
    pub(super) fn fold(&self, event_type: EventType) -> Fold {
        Fold::sign_in(event_type, self.target(), &self.address)
    }

    /// It failed: the next one waits.
    pub(super) async fn failed(&self, tx: &mut Tx, now: Time) -> Result<(), Error> {
        let [first, second, third, last] = WAITS.map(|wait| now + wait);
        on!(tx.conn(), |c| sqlx::query(FAILED)
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

    /// It succeeded: all before it is forgotten.
    pub(crate) async fn clear(&self, tx: &mut Tx) -> Result<(), Error> {
        on!(tx.conn(), |c| sqlx::query(CLEAR).bind(&self.account).bind(&self.address).execute(c).await.map(|_| ()))?;
        Ok(())
    }
}

impl Accounts {
    /// Gives an attempt a place to be judged at and counts it, or refuses it while the account is locked for its address. In
    /// this order, so that nothing is asked of the database for those who have no place; who is locked takes none but from
    /// its own address, and for no longer than that is looked up.
    pub(crate) async fn admit(&self, context: &Context, attempt: &Attempt) -> Result<Place, Error> {
        let place = self.hasher().place_of(&attempt.address)?;
        self.count(context, attempt).await?;
        Ok(place)
    }

    async fn count(&self, context: &Context, attempt: &Attempt) -> Result<(), Error> {
        let now = self.now();
        let admitted: Option<i64> = self
            .store()
            .record(|tx| {
                async move {
                    Ok(on!(tx.conn(), |c| sqlx::query_scalar(ADMIT)
                        .bind(&attempt.account)
                        .bind(&attempt.address)
                        .bind(now)
                        .bind(now - MEMORY)
                        .bind(now + WAITS[3])
                        .bind(BURST)
                        .fetch_optional(c)
                        .await?))
                }
                .scope_boxed()
            })
            .await?;
        if admitted.is_some() {
            return Ok(());
        }
        let locked: Option<(Time, Option<Time>)> = on!(self.reader().await?.conn(), |c| sqlx::query_as(LOCKED_UNTIL)
            .bind(&attempt.account)
            .bind(&attempt.address)
            .fetch_optional(c)
            .await?);
        // Another one may have succeeded meanwhile; then this one need only ask again.
        let (until, told) = locked.unwrap_or((now, None));
        if told.is_none_or(|told| told < until) {
            self.login_rate_limited(context, attempt).await?;
        }
        Err(Error::LoginLocked { retry_after: until.since(now).max(Duration::from_secs(1)) })
    }

    /// Records that attempts are refused: once for each lock, however many come, and of the locks of one account and address
    /// that follow each other only the first at once; the others are counted.
    async fn login_rate_limited(&self, context: &Context, attempt: &Attempt) -> Result<(), Error> {
        let told: Option<i64> = self
            .store()
            .record(|tx| {
                async move {
                    Ok(on!(tx.conn(), |c| sqlx::query_scalar(TELL)
                        .bind(&attempt.account)
                        .bind(&attempt.address)
                        .fetch_optional(c)
                        .await?))
                }
                .scope_boxed()
            })
            .await?;
        let Some(failures) = told else { return Ok(()) };
        let mut event = Event::new(EventType::LoginRateLimited);
        event.detail = Some(format!("after {failures} sign-ins without success"));
        event.target = attempt.target();
        self.fold(context, attempt.fold(event.event_type), event).await
    }
}

/// Forgets what failed long ago.
pub(super) async fn sweep(tx: &mut Tx, now: Time) -> Result<(), Error> {
    on!(tx.conn(), |c| sqlx::query(SWEEP).bind(now - MEMORY).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Whose attempts are counted together.
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
