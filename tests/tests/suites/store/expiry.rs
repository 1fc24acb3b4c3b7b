//! What time ends is told, once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_accounts::audit::{AuditFilter, AuditRow};
use paddock_accounts::credentials::{NewKey, SecretState};
use paddock_accounts::gitops::DesiredKey;
use paddock_accounts::limits::Limits;
use paddock_accounts::sets::{Role, Scopes};
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;

use super::keys::new_key;
use super::{StoreFixture, context, object, open};

const HOUR: Duration = Duration::from_hours(1);

impl StoreFixture {
    /// The events of a type, oldest first.
    async fn told(&self, event_type: &str) -> Result<Vec<AuditRow>> {
        let filter = AuditFilter { event_type: Some(event_type.to_owned()), ..AuditFilter::default() };
        let mut rows = self.accounts.audit(&filter, 500, AuditRow::owned).await?;
        rows.reverse();
        Ok(rows)
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_key_is_told_once_however_many_look(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let brief = NewKey { expires_at: Some(store.accounts.now() + HOUR), ..new_key(ada.id) };
        let key = store.accounts.issue_key(&context(), brief.clone()).await?.credential;
        let revoked = store.accounts.issue_key(&context(), brief).await?.credential;
        store.accounts.revoke_key(&context(), revoked.id).await?;
        store.accounts.issue_key(&context(), new_key(ada.id)).await?;
        store.accounts.sweep_keys().await?;
        ensure!(store.told("api_key_expired").await?.is_empty(), "nothing has ended yet");

        store.clock.advance(HOUR);
        try_join_all((0..8).map(|_| store.accounts.sweep_keys())).await?;
        store.accounts.sweep_keys().await?;
        let told = store.told("api_key_expired").await?;
        ensure!(told.len() == 1, "{told:?}");
        assert_eq!((told[0].credential_id, told[0].user_id), (Some(key.id.0), Some(ada.id.0)));
        assert_eq!(told[0].actor, "system:sweeper");
        ensure!(store.accounts.verify_audit(|_| ()).await?.is_ok());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_batch_ends(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        for _ in 0..120 {
            let brief = NewKey { expires_at: Some(store.accounts.now() + HOUR), ..new_key(ada.id) };
            store.accounts.issue_key(&context(), brief).await?;
        }
        store.clock.advance(HOUR);
        store.accounts.sweep_keys().await?;
        assert_eq!(store.told("api_key_expired").await?.len(), 120);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn retired_and_stale_secrets_are_put_away(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let owner = object("ci", "first");
        let want = DesiredKey {
            user_id: ada.id,
            label: "ci".into(),
            scopes: Scopes::default_for_keys(),
            models: None,
            limits: Limits::default(),
            expires_at: None,
        };
        let accounts = &store.accounts;
        let key = accounts.apply_key(&context(), &owner, &want, false).await?.id;
        let mut ids = Vec::new();
        for expires_at in [None, None, Some(accounts.now() + HOUR)] {
            ids.push(accounts.stage_secret(&context(), &owner, key, expires_at).await?);
        }
        // The second one takes over from nothing, and what else was staged is named as dropped.
        accounts.activate_secret(&context(), &owner, key, ids[1].id, HOUR).await?;
        let issued = store.told("api_key_issued").await?.remove(0).change.context("a change")?;
        for dropped in [&ids[0], &ids[2]] {
            ensure!(issued.contains(dropped.token.key_id()), "{issued}");
        }
        let next = accounts.stage_secret(&context(), &owner, key, None).await?;
        accounts.activate_secret(&context(), &owner, key, next.id, HOUR).await?;
        let stale = accounts.stage_secret(&context(), &owner, key, Some(accounts.now() + HOUR)).await?;
        let states = async || -> Result<Vec<SecretState>> {
            Ok(accounts.secrets(key).await?.iter().map(|version| version.state).collect())
        };
        accounts.sweep_keys().await?;
        assert_eq!(states().await?, [SecretState::Retiring, SecretState::Active, SecretState::Staged]);

        store.clock.advance(HOUR);
        accounts.sweep_keys().await?;
        accounts.sweep_keys().await?;
        assert_eq!(states().await?, [SecretState::Active]);
        let told = store.told("api_key_discarded").await?;
        ensure!(told.len() == 1 && told[0].credential_id == Some(key.0), "{told:?}");
        ensure!(told[0].change.as_deref().is_some_and(|change| change.contains(stale.token.key_id())), "{told:?}");

        // A further secret is a rotation, also when no other one is left.
        let last = accounts.stage_secret(&context(), &owner, key, None).await?;
        accounts.activate_secret(&context(), &owner, key, last.id, HOUR).await?;
        assert_eq!(store.told("api_key_rotated").await?.len(), 2);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn who_is_given_more_time_ends_once_more(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let until = async |hours: u32| {
            let want = DesiredKey {
                user_id: ada.id,
                label: "ci".into(),
                scopes: Scopes::default_for_keys(),
                models: None,
                limits: Limits::default(),
                expires_at: Some(store.accounts.now() + hours * HOUR),
            };
            store.accounts.apply_key(&context(), &object("ci", "first"), &want, false).await
        };
        until(1).await?;
        for ends in 1..=2 {
            store.clock.advance(HOUR);
            store.accounts.sweep_keys().await?;
            store.accounts.sweep_keys().await?;
            assert_eq!(store.told("api_key_expired").await?.len(), ends);
            until(1).await?;
        }
        Ok(())
    })
    .await;
}
