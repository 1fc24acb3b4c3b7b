//! Going on with a session, its ends, and races for one token.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use paddock_accounts::Error;
use paddock_accounts::authenticate::Refused;
use paddock_accounts::seed::{ADMIN_EMAIL, Seed};
use paddock_accounts::sessions::{Login, REFRESH_IDLE, SESSION_LIFETIME};
use paddock_accounts::sets::Role;
use paddock_accounts::users::UserPatch;
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;
use secrecy::{ExposeSecret as _, SecretString};

use super::{StoreFixture, context, open};

const PASSWORD: &str = "violet harbour tangle 93";
const CROWD: usize = 1_000;

impl StoreFixture {
    async fn begin(&self) -> Result<Login> {
        Ok(self.accounts.login(&context(), ADMIN_EMAIL, PASSWORD.into()).await?)
    }

    async fn refresh(&self, token: &SecretString) -> Result<Option<Login>, Error> {
        match self.accounts.refreshing(&context(), token).await? {
            Some(refreshing) => self.accounts.refresh(&context(), &refreshing).await,
            None => Ok(None),
        }
    }

    async fn go_on(&self, token: &SecretString) -> Result<Option<Login>> {
        Ok(self.refresh(token).await?)
    }

    async fn counts(&self, token: &SecretString) -> Result<Result<(), Refused>> {
        Ok(self.accounts.authenticate(token.expose_secret()).await?.map(|_| ()))
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
async fn a_session_goes_on_while_it_is_used_and_for_thirty_days(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let mut login = store.begin().await?;
        ensure!(login.refresh_expires_in == REFRESH_IDLE);
        let mut lived = Duration::ZERO;
        let step = Duration::from_hours(6 * 24);
        while lived + step < SESSION_LIFETIME {
            store.clock.advance(step);
            lived += step;
            ensure!(store.counts(&login.access_token).await? == Err(Refused::Expired));
            login = store.go_on(&login.refresh_token).await?.with_context(|| format!("after {lived:?}"))?;
            ensure!(store.counts(&login.access_token).await?.is_ok(), "after {lived:?}");
            ensure!(login.refresh_expires_in == REFRESH_IDLE.min(SESSION_LIFETIME.saturating_sub(lived)));
        }
        store.clock.advance(SESSION_LIFETIME.saturating_sub(lived));
        ensure!(store.go_on(&login.refresh_token).await?.is_none(), "thirty days are over");

        // Left alone for a week.
        let login = store.begin().await?;
        store.clock.advance(REFRESH_IDLE);
        ensure!(store.go_on(&login.refresh_token).await?.is_none());
        for nonsense in ["", "x", &"0".repeat(64), &"G".repeat(64), login.access_token.expose_secret()] {
            ensure!(store.go_on(&nonsense.into()).await?.is_none(), "{nonsense}");
        }
        // What is over is forgotten, what goes on is not.
        let live = store.begin().await?;
        store.clock.advance(Duration::from_hours(25));
        store.accounts.sweep_sessions().await?;
        ensure!(store.go_on(&live.refresh_token).await?.is_some());
        store.clock.advance(Duration::from_hours(33 * 24));
        store.accounts.sweep_sessions().await?;
        for table in ["sessions", "refresh_tokens"] {
            let statement = format!("DELETE FROM {table}");
            ensure!(store.database.execute(&statement).await? == 0, "{table} still has rows");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_comes_back_ends_its_session(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let (first, bystander) = (store.begin().await?, store.begin().await?);
        let second = store.go_on(&first.refresh_token).await?.context("it counts once")?;
        ensure!(store.counts(&first.access_token).await?.is_ok(), "the older access token lasts its time");
        ensure!(store.go_on(&first.refresh_token).await?.is_none());
        for ended in [&first, &second] {
            ensure!(store.counts(&ended.access_token).await? == Err(Refused::SessionEnded));
            ensure!(store.go_on(&ended.refresh_token).await?.is_none());
        }
        ensure!(store.go_on(&bystander.refresh_token).await?.is_some(), "another session goes on");
        let events = store.events().await?;
        let tail = ["session_refreshed", "session_reuse_detected", "session_refreshed"];
        ensure!(events.ends_with(&tail.map(str::to_owned)), "{events:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_a_session_ends_its_refreshing(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let admin = store.begin().await?.user.id;
        let here = &context();
        let accounts = &store.accounts;
        let dead = async |login: Login, why: &str| -> Result<()> {
            ensure!(store.go_on(&login.refresh_token).await?.is_none(), "{why}");
            ensure!(store.counts(&login.access_token).await?.is_err(), "{why}");
            Ok(())
        };
        let login = store.begin().await?;
        accounts.logout_by_refresh(here, &login.refresh_token, false).await?;
        dead(login, "logout").await?;

        let (login, other) = (store.begin().await?, store.begin().await?);
        accounts.logout_by_refresh(here, &login.refresh_token, true).await?;
        dead(login, "logout of all").await?;
        dead(other, "logout of all, by another").await?;

        let login = store.begin().await?;
        accounts.set_password(here, admin, PASSWORD.into()).await?;
        dead(login, "password").await?;

        let login = store.begin().await?;
        let both = UserPatch { roles: Some([Role::Admin, Role::User].into_iter().collect()), ..UserPatch::default() };
        accounts.update_user(here, admin, both, Ok(())).await?;
        dead(login, "roles").await?;

        let login = store.begin().await?;
        let patch = |is_active| UserPatch { is_active: Some(is_active), ..UserPatch::default() };
        accounts.update_user(here, admin, patch(false), Ok(())).await?;
        ensure!(store.go_on(&login.refresh_token).await?.is_none());
        accounts.update_user(here, admin, patch(true), Ok(())).await?;
        dead(login, "disabled, and enabled again").await?;

        let login = store.begin().await?;
        accounts.delete_user(here, admin, Ok(())).await?;
        dead(login, "deleted").await?;
        ensure!(store.database.execute("DELETE FROM refresh_tokens").await? == 0, "its tokens went with it");
        ensure!(!store.events().await?.iter().any(|event| event.starts_with("session_")), "none of it is a refresh");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_with_one_token_one_goes_on(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let login = store.begin().await?;
        let outcomes = join_all((0..CROWD).map(|_| store.refresh(&login.refresh_token))).await;
        let mut winners = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok(Some(won)) => winners.push(won),
                // So many at once wait longer for a connection than one waits.
                Ok(None) | Err(Error::Unavailable(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        ensure!(winners.len() == 1, "{} went on", winners.len());
        ensure!(store.go_on(&winners[0].refresh_token).await?.is_none(), "the family is dead");
        for token in [&login.access_token, &winners[0].access_token] {
            ensure!(store.counts(token).await? == Err(Refused::SessionEnded));
        }
        let events = store.events().await?;
        let tail = ["session_refreshed", "session_reuse_detected"];
        ensure!(events.ends_with(&tail.map(str::to_owned)), "{events:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_goes_on_for_long_keeps_two_rows_and_knows_every_token_it_had(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let times = 20;
        for place in [0, 1, times / 2, times - 1] {
            let mut tokens = vec![store.begin().await?.refresh_token];
            let bystander = store.begin().await?;
            while tokens.len() <= times {
                let next = store.go_on(&tokens[tokens.len() - 1]).await?.context("it counts once")?;
                tokens.push(next.refresh_token);
            }
            let kept = store.database.execute("UPDATE refresh_tokens SET hash = hash").await?;
            ensure!(kept == 3, "{kept} rows for a session that went on, and one that did not");
            ensure!(store.go_on(&tokens[place]).await?.is_none());
            ensure!(store.go_on(&tokens[times]).await?.is_none(), "token {place} came back, and nothing ended");
            ensure!(store.events().await?.ends_with(&["session_reuse_detected".to_owned()]), "token {place}");
            ensure!(store.go_on(&bystander.refresh_token).await?.is_some(), "another session goes on");
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
async fn a_token_that_was_made_up_ends_nothing_but_the_session_of_one_that_was_had(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        let (first, untouched) = (store.begin().await?, store.begin().await?);
        let second = store.go_on(&first.refresh_token).await?.context("it counts once")?;
        let events = store.events().await?.len();
        let half = |login: &Login| login.refresh_token.expose_secret()[..32].to_owned();
        let of = |first: &str, second: &str| SecretString::from(format!("{first}{second}"));
        let zeros = "0".repeat(32);
        // Nobody knows the first half of a session that did not go on yet but who has its one token.
        for made_up in [of(&zeros, &zeros), of(&zeros, &half(&first)), of(&half(&untouched), &zeros)] {
            ensure!(store.go_on(&made_up).await?.is_none());
            store.accounts.logout_by_refresh(&context(), &made_up, true).await?;
        }
        ensure!(store.events().await?.len() == events, "none of that is recorded");
        ensure!(store.go_on(&untouched.refresh_token).await?.is_some());
        ensure!(store.go_on(&of(&half(&first), &zeros)).await?.is_none());
        ensure!(
            store.go_on(&second.refresh_token).await?.is_none(),
            "who made that up had one of the session's tokens"
        );
        Ok(())
    })
    .await;
}

/// A version before this one gave tokens that had nothing in common, and kept those that were used.
#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_an_earlier_version_go_on(#[case] engine: Engine) {
    story(async {
        let store = seeded(engine).await?;
        for comes_back in [0, 1] {
            let first = store.begin().await?;
            store.clock.advance(Duration::from_secs(1));
            let other = store.begin().await?;
            // The other session's token becomes the one that was given for the first.
            let given = "UPDATE refresh_tokens SET consumed_at = issued_at WHERE issued_at = (SELECT MIN(issued_at) FROM refresh_tokens); \
                         UPDATE refresh_tokens SET session_id = (SELECT id FROM sessions ORDER BY created_at LIMIT 1)";
            store.database.execute(given).await?;
            let third = store.go_on(&other.refresh_token).await?.context("it counts")?;
            let fourth = store.go_on(&third.refresh_token).await?.context("it counts as well")?;
            let used = [&first, &other][comes_back];
            ensure!(store.go_on(&used.refresh_token).await?.is_none());
            ensure!(store.go_on(&fourth.refresh_token).await?.is_none(), "token {comes_back} came back, and nothing ended");
            store.database.execute("DELETE FROM refresh_tokens; DELETE FROM sessions").await?;
        }
        Ok(())
    })
    .await;
}
