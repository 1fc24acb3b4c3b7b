//! Refresh tokens: rotation, reuse, races for one token, and everything that ends them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use paddock_accounts::{
    AuthFailure, Error,
    bootstrap::{ADMIN_EMAIL, Seed},
    sessions::{Login, REFRESH_IDLE_TIMEOUT, REUSE_GRACE, SESSION_LIFETIME},
    types::Role,
    users::UserPatch,
};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use secrecy::{ExposeSecret as _, SecretString};

use super::{StoreFixture, context, open};

const PASSWORD: &str = "violet harbour tangle 93";
const CROWD: usize = 1_000;

impl StoreFixture {
    /// Signs in as the first admin.
    async fn begin(&self) -> Result<Login> {
        Ok(self.accounts.sessions().login(&context(), ADMIN_EMAIL, PASSWORD.into()).await?)
    }

    async fn refresh(&self, token: &SecretString) -> Result<Option<Login>, Error> {
        match self.accounts.sessions().check_refresh_token(&context(), token).await? {
            Some(refreshing) => self.accounts.sessions().refresh(&context(), &refreshing).await,
            None => Ok(None),
        }
    }

    /// Refreshes a session; `None` when the token is refused.
    async fn rotate(&self, token: &SecretString) -> Result<Option<Login>> {
        Ok(self.refresh(token).await?)
    }

    /// Authenticates an access token.
    async fn check_access(&self, token: &SecretString) -> Result<Result<(), AuthFailure>> {
        Ok(self.accounts.authentication().authenticate(&token.into()).await?.map(|_| ()))
    }
}

async fn seeded(engine: Engine) -> Result<StoreFixture> {
    let store = open(engine).await?;
    store.accounts.seed(&Seed { password: Some(PASSWORD.into()), force: false }).await?;
    store.user("second@example.com", &[Role::Admin]).await?;
    Ok(store)
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_can_be_refreshed_for_thirty_days(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let mut login = store.begin().await?;
        ensure!(login.refresh_expires_in == REFRESH_IDLE_TIMEOUT);
        let mut lived = Duration::ZERO;
        let step = Duration::from_hours(6 * 24);
        while lived + step < SESSION_LIFETIME {
            store.clock.advance(step);
            lived += step;
            ensure!(store.check_access(&login.access_token).await? == Err(AuthFailure::Expired));
            login = store.rotate(&login.refresh_token).await?.with_context(|| format!("after {lived:?}"))?;
            ensure!(store.check_access(&login.access_token).await?.is_ok(), "after {lived:?}");
            ensure!(login.refresh_expires_in == REFRESH_IDLE_TIMEOUT.min(SESSION_LIFETIME.saturating_sub(lived)));
        }
        store.clock.advance(SESSION_LIFETIME.saturating_sub(lived));
        ensure!(store.rotate(&login.refresh_token).await?.is_none());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_idle_for_a_week_cannot_be_refreshed(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let login = store.begin().await?;
        store.clock.advance(REFRESH_IDLE_TIMEOUT);
        ensure!(store.rotate(&login.refresh_token).await?.is_none());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_token_is_refused(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let login = store.begin().await?;
        for malformed in ["", "x", &"0".repeat(64), &"G".repeat(64), login.access_token.expose_secret()] {
            ensure!(store.rotate(&malformed.into()).await?.is_none(), "{malformed}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_ended_sessions_only(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let live = store.begin().await?;
        store.clock.advance(Duration::from_hours(25));
        store.accounts.sessions().sweep().await?;
        ensure!(store.rotate(&live.refresh_token).await?.is_some());
        store.clock.advance(Duration::from_hours(33 * 24));
        store.accounts.sessions().sweep().await?;
        for table in ["sessions", "refresh_tokens"] {
            ensure!(store.database.execute(&format!("DELETE FROM {table}")).await? == 0, "{table} still has rows");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_reused_token_ends_its_session(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let (first, bystander) = (store.begin().await?, store.begin().await?);
        let second = store.rotate(&first.refresh_token).await?.context("a token works once")?;
        ensure!(store.check_access(&first.access_token).await?.is_ok(), "a refresh ends the older access token");
        store.clock.advance(REUSE_GRACE);
        ensure!(store.rotate(&first.refresh_token).await?.is_none());
        for ended in [&first, &second] {
            ensure!(store.check_access(&ended.access_token).await? == Err(AuthFailure::SessionEnded));
            ensure!(store.rotate(&ended.refresh_token).await?.is_none());
        }
        ensure!(store.rotate(&bystander.refresh_token).await?.is_some(), "another session is ended");
        let events = store.events().await?;
        let tail = ["session_refreshed", "session_reuse_detected", "session_refreshed"];
        ensure!(events.ends_with(&tail.map(str::to_owned)), "{events:?}");
        Ok(())
    })
    .await;
}

impl StoreFixture {
    /// Asserts that neither token of a session works.
    async fn assert_ended(&self, login: &Login) -> Result<()> {
        ensure!(self.rotate(&login.refresh_token).await?.is_none(), "the refresh token works");
        ensure!(self.check_access(&login.access_token).await?.is_err(), "the access token works");
        Ok(())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_the_refresh_token(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let login = store.begin().await?;
        store.accounts.sessions().logout_by_refresh_token(&context(), &login.refresh_token, false).await?;
        store.assert_ended(&login).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_of_all_ends_every_refresh_token(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let (login, other) = (store.begin().await?, store.begin().await?);
        store.accounts.sessions().logout_by_refresh_token(&context(), &login.refresh_token, true).await?;
        for ended in [&login, &other] {
            store.assert_ended(ended).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_refresh_token(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let login = store.begin().await?;
        store.accounts.passwords().set(&context(), login.user.id, PASSWORD.into()).await?;
        store.assert_ended(&login).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_roles_ends_the_refresh_token(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let login = store.begin().await?;
        let both = UserPatch { roles: Some([Role::Admin, Role::User].into_iter().collect()), ..UserPatch::default() };
        store.accounts.users().update(&context(), login.user.id, both, Ok(())).await?;
        store.assert_ended(&login).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_loses_the_refresh_token_for_good(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let login = store.begin().await?;
        for is_active in [false, true] {
            let patch = UserPatch { is_active: Some(is_active), ..UserPatch::default() };
            store.accounts.users().update(&context(), login.user.id, patch, Ok(())).await?;
            store.assert_ended(&login).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_loses_the_refresh_token(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let login = store.begin().await?;
        store.accounts.users().delete(&context(), login.user.id, Ok(())).await?;
        store.assert_ended(&login).await?;
        ensure!(store.database.execute("DELETE FROM refresh_tokens").await? == 0, "its tokens are left");
        ensure!(
            !store.events().await?.iter().any(|event| event.starts_with("session_")),
            "a refused refresh is recorded"
        );
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_concurrent_refreshes_with_one_token_two_succeed(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let login = store.begin().await?;
        let outcomes = join_all((0..CROWD).map(|_| store.refresh(&login.refresh_token))).await;
        let mut winners = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok(Some(won)) => winners.push(won),
                // Some time out while they wait for a connection.
                Ok(None) | Err(Error::Store(paddock_store::Error::Unavailable(_))) => {}
                Err(error) => return Err(error.into()),
            }
        }
        ensure!(winners.len() == 2, "{} succeeded", winners.len());
        for winner in &winners {
            store.assert_ended(winner).await?;
        }
        ensure!(store.check_access(&login.access_token).await? == Err(AuthFailure::SessionEnded));
        let events = store.events().await?;
        let tail = ["session_refreshed", "session_refreshed", "session_reuse_detected"];
        ensure!(events.ends_with(&tail.map(str::to_owned)), "{events:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_long_session_keeps_two_rows_and_detects_the_reuse_of_any_token(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let times = 20;
        for place in [0, 1, times / 2, times - 1] {
            let mut tokens = vec![store.begin().await?.refresh_token];
            let bystander = store.begin().await?;
            while tokens.len() <= times {
                let next = store.rotate(&tokens[tokens.len() - 1]).await?.context("a token works once")?;
                tokens.push(next.refresh_token);
                store.clock.advance(REUSE_GRACE);
            }
            let kept = store.database.execute("UPDATE refresh_tokens SET hash = hash").await?;
            ensure!(kept == 4, "{kept} rows for a session that was just refreshed, and another one");
            ensure!(store.rotate(&tokens[place]).await?.is_none());
            ensure!(
                store.rotate(&tokens[times]).await?.is_none(),
                "token {place} was reused, and the session continues"
            );
            ensure!(store.events().await?.ends_with(&["session_reuse_detected".to_owned()]), "token {place}");
            ensure!(store.rotate(&bystander.refresh_token).await?.is_some(), "another session is ended");
            store.database.execute("DELETE FROM refresh_tokens").await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_ends_a_session_only_with_a_part_of_its_tokens(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let (first, untouched) = (store.begin().await?, store.begin().await?);
        let second = store.rotate(&first.refresh_token).await?.context("a token works once")?;
        let events = store.events().await?.len();
        let half = |login: &Login| login.refresh_token.expose_secret()[..32].to_owned();
        let of = |first: &str, second: &str| SecretString::from(format!("{first}{second}"));
        let zeros = "0".repeat(32);
        // Before the first refresh, only the holder of the one token knows its first half.
        for forged in [of(&zeros, &zeros), of(&zeros, &half(&first)), of(&half(&untouched), &zeros)] {
            ensure!(store.rotate(&forged).await?.is_none());
            store.accounts.sessions().logout_by_refresh_token(&context(), &forged, true).await?;
        }
        ensure!(store.events().await?.len() == events, "a forged token is recorded");
        ensure!(store.rotate(&untouched.refresh_token).await?.is_some());
        ensure!(store.rotate(&of(&half(&first), &zeros)).await?.is_none());
        ensure!(
            store.rotate(&second.refresh_token).await?.is_none(),
            "the half of a used token did not end its session"
        );
        Ok(())
    })
    .await;
}

/// Earlier versions issued unrelated tokens and kept the used ones.
#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_an_earlier_version_are_refreshed(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        for reused in [0, 1] {
            let first = store.begin().await?;
            store.clock.advance(Duration::from_secs(1));
            let other = store.begin().await?;
            // The other session's token becomes the second token of the first session.
            let statements = "UPDATE refresh_tokens SET consumed_at = issued_at WHERE issued_at = (SELECT MIN(issued_at) FROM refresh_tokens); \
                         UPDATE refresh_tokens SET session_id = (SELECT id FROM sessions ORDER BY created_at LIMIT 1)";
            store.database.execute(statements).await?;
            let third = store.rotate(&other.refresh_token).await?.context("the token is refused")?;
            let fourth = store.rotate(&third.refresh_token).await?.context("the next token is refused")?;
            let used = [&first, &other][reused];
            store.clock.advance(REUSE_GRACE);
            ensure!(store.rotate(&used.refresh_token).await?.is_none());
            ensure!(store.rotate(&fourth.refresh_token).await?.is_none(), "token {reused} was reused, and the session continues");
            store.database.execute("DELETE FROM refresh_tokens; DELETE FROM sessions").await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_used_token_is_good_for_one_more_within_its_grace(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let login = store.begin().await?;
        let first = store.rotate(&login.refresh_token).await?.context("the first use")?;
        store.clock.advance(REUSE_GRACE.saturating_sub(Duration::from_millis(1)));
        let second = store.rotate(&login.refresh_token).await?.context("the second use")?;
        for token in [&first, &second] {
            ensure!(store.check_access(&token.access_token).await?.is_ok());
        }
        ensure!(store.rotate(&login.refresh_token).await?.is_none(), "a third use");
        for ended in [&first, &second] {
            store.assert_ended(ended).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn either_of_two_tokens_continues_a_session_and_the_other_then_ends_it(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        for kept in [0, 1] {
            let login = store.begin().await?;
            let first = store.rotate(&login.refresh_token).await?.context("the first use")?;
            let second = store.rotate(&login.refresh_token).await?.context("the second use")?;
            let tokens = [first.refresh_token, second.refresh_token];
            store.clock.advance(REUSE_GRACE);
            let next = store.rotate(&tokens[kept]).await?.context("its use")?;
            ensure!(store.rotate(&tokens[1 - kept]).await?.is_none(), "the other token works");
            store.assert_ended(&next).await?;
            ensure!(store.events().await?.ends_with(&["session_reuse_detected".to_owned()]));
        }
        Ok(())
    })
    .await;
}
