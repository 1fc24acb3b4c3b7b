//! Futures dropped at any await point: the change happens with its audit event or not at all, and
//! its connection stays usable.

use std::{future::poll_fn, pin::pin, task::Poll};

use anyhow::{Context as _, Result, bail, ensure};
use paddock_accounts::{
    types::Email,
    users::{NewUser, UserSearch},
};
use paddock_store::audit::{AuditFilter, AuditRow};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;

use super::{StoreFixture, context, open_with};

/// More steps than any operation takes.
pub(super) const MAX_STEPS: usize = 500;

/// When a future is dropped relative to a query.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    /// After the query is sent, before its result arrives.
    Asked,
    /// After the result has arrived.
    Answered,
}

/// Polls a future `count` times and drops it. `None` when it was not complete by then.
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
    /// The number of users and of their events, after the pooled connection was used again.
    async fn users_and_their_events(&self) -> Result<(i64, i64)> {
        const BOTH: &str =
            "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM audit_logs WHERE event_type = 'user_created')";
        self.accounts.users().list(&UserSearch::default(), 500, 0).await?;
        self.database.rows(BOTH).await?.pop().context("one row")
    }

    /// Asserts that the pooled connection, which was used before, has no open transaction.
    async fn assert_no_open_transaction(&self) -> Result<()> {
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
async fn a_change_that_is_dropped_at_any_step_is_whole_or_absent(
    #[case] engine: Engine,
    #[values(Moment::Asked, Moment::Answered)] moment: Moment,
) {
    story(async {
        // One connection listens for changes, so that one is left to be used.
        let store = open_with(engine, |options| options.max_connections = 2).await?;
        let here = context();
        for count in 0..MAX_STEPS {
            let new = NewUser::new(Email::parse(&format!("user-{count}@example.com"))?);
            let done = steps(store.accounts.users().create(&here, new), count, moment).await;
            let (users, events) = store.users_and_their_events().await?;
            ensure!(users == events, "{count} steps, {moment:?}: {users} users, {events} events");
            if let Engine::Postgres = engine {
                store.assert_no_open_transaction().await?;
            }
            if let Some(created) = done {
                created?;
                return Ok(());
            }
        }
        bail!("it did not end in {MAX_STEPS} steps")
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_dropped_at_any_step_leaves_its_connection_usable(
    #[case] engine: Engine,
    #[values(Moment::Asked, Moment::Answered)] moment: Moment,
) {
    story(async {
        let store = open_with(engine, |options| options.max_connections = 2).await?;
        for number in 0..100 {
            store.user(&format!("user-{number}@example.com"), &[]).await?;
        }
        let filter = AuditFilter::default();
        for count in 0..MAX_STEPS {
            if let Some(listed) = steps(store.accounts.audit().list(&filter, 500, AuditRow::owned), count, moment).await
            {
                ensure!(listed?.len() == 100);
                return Ok(());
            }
            let (users, events) = store.users_and_their_events().await?;
            ensure!((users, events) == (100, 100), "{count} steps, {moment:?}: {users} users, {events} events");
        }
        bail!("it did not end in {MAX_STEPS} steps")
    })
    .await;
}
