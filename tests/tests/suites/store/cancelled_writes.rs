//! Work that nobody waits for any more, wherever it was: it is done with its record or not done, and the connection that it
//! had serves the next as if nothing had been.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use anyhow::{Context as _, Result, bail, ensure};
use paddock_accounts::audit::{AuditFilter, AuditRow};
use paddock_accounts::email::Email;
use paddock_accounts::users::NewUser;
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;

use super::{StoreFixture, context, open_with};

/// More than any piece of work takes.
pub(super) const MANY: usize = 500;

/// When the next step would be taken, at the earliest moment or at the latest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    /// Something was asked of the database, and its answer is not here.
    Asked,
    /// The answer is here.
    Answered,
}

/// Takes so many steps of a piece of work, and drops it. `None` is what was given up.
pub(super) async fn steps<F: Future>(work: F, count: usize, moment: Moment) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut taken = 0;
    poll_fn(|cx| {
        if taken == count {
            return Poll::Ready(None);
        }
        taken += 1;
        match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if taken == count && matches!(moment, Moment::Asked) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl StoreFixture {
    /// How many users there are, and how many events say so, at one moment after the connection was lent again.
    async fn users_and_their_events(&self) -> Result<(i64, i64)> {
        const BOTH: &str =
            "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM audit_logs WHERE event_type = 'user_created')";
        self.accounts.users(None, 500, 0).await?;
        self.database.rows(BOTH).await?.pop().context("one row")
    }

    /// That no transaction is open. Of the one connection that there is, which was just in use.
    async fn is_at_rest(&self) -> Result<()> {
        const OPEN: &str = "SELECT count(*) FROM pg_stat_activity \
                            WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        let open: Vec<(i64,)> = self.database.rows(OPEN).await?;
        ensure!(open == [(0,)], "{open:?} transactions are open");
        Ok(())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_given_up_at_each_of_its_steps(
    #[case] engine: Engine,
    #[values(Moment::Asked, Moment::Answered)] moment: Moment,
) {
    story(async {
        // Of which one hears of changes, so that there is one to be lent.
        let store = open_with(engine, |options| options.max_connections = 2).await?;
        let here = context();
        for count in 0..MANY {
            let new = NewUser::new(Email::parse(&format!("user-{count}@example.com"))?);
            let done = steps(store.accounts.create_user(&here, new), count, moment).await;
            let (users, events) = store.users_and_their_events().await?;
            ensure!(users == events, "{count} steps, {moment:?}: {users} users, {events} events");
            if let Engine::Postgres = engine {
                store.is_at_rest().await?;
            }
            if let Some(created) = done {
                created?;
                // In how many steps, nobody knows: an answer may be here before it is looked for.
                return Ok(());
            }
        }
        bail!("it did not end in {MANY} steps")
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_given_up_at_each_of_its_steps(
    #[case] engine: Engine,
    #[values(Moment::Asked, Moment::Answered)] moment: Moment,
) {
    story(async {
        let store = open_with(engine, |options| options.max_connections = 2).await?;
        for number in 0..100 {
            store.user(&format!("user-{number}@example.com"), &[]).await?;
        }
        let filter = AuditFilter::default();
        for count in 0..MANY {
            if let Some(listed) = steps(store.accounts.audit(&filter, 500, AuditRow::owned), count, moment).await {
                ensure!(listed?.len() == 100);
                return Ok(());
            }
            let (users, events) = store.users_and_their_events().await?;
            ensure!((users, events) == (100, 100), "{count} steps, {moment:?}: {users} users, {events} events");
        }
        bail!("it did not end in {MANY} steps")
    })
    .await;
}
