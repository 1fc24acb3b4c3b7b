//! Expired keys and secrets: each end is recorded once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_accounts::{
    CredentialId,
    credentials::{NewKey, SecretState},
    managed_resources::{DesiredKey, OnUidMismatch, Staged},
    types::{ManagedBy, Role},
};
use paddock_store::audit::{AuditFilter, AuditRow};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;

use super::{StoreFixture, context, desired_key, keys::new_key, object, open};

const HOUR: Duration = Duration::from_hours(1);

impl StoreFixture {
    /// The events of a type, oldest first.
    async fn events_of(&self, event_type: &str) -> Result<Vec<AuditRow>> {
        let types = vec![event_type.parse().map_err(anyhow::Error::msg)?];
        let filter = AuditFilter { event_types: Some(types), ..AuditFilter::default() };
        let mut rows = self.accounts.audit().list(&filter, 500, AuditRow::owned).await?;
        rows.reverse();
        Ok(rows)
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_expiry_of_a_key_is_recorded_once_by_concurrent_sweeps(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let brief = NewKey { expires_at: Some(store.accounts.now() + HOUR), ..new_key(ada.id) };
        let key = store.accounts.credentials().issue(&context(), brief.clone()).await?.credential;
        let revoked = store.accounts.credentials().issue(&context(), brief).await?.credential;
        store.accounts.credentials().revoke(&context(), revoked.id).await?;
        store.accounts.credentials().issue(&context(), new_key(ada.id)).await?;
        store.accounts.credentials().sweep().await?;
        ensure!(store.events_of("api_key_expired").await?.is_empty(), "no key has expired yet");

        store.clock.advance(HOUR);
        try_join_all((0..8).map(|_| store.accounts.credentials().sweep())).await?;
        store.accounts.credentials().sweep().await?;
        let recorded = store.events_of("api_key_expired").await?;
        ensure!(recorded.len() == 1, "{recorded:?}");
        assert_eq!((recorded[0].credential_id, recorded[0].user_id), (Some(key.id.0), Some(ada.id.0)));
        assert_eq!(recorded[0].actor, "system:sweeper");
        ensure!(store.accounts.audit().verify(&[], |_| ()).await?.is_ok());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn one_sweep_records_more_than_one_batch(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        for _ in 0..120 {
            let brief = NewKey { expires_at: Some(store.accounts.now() + HOUR), ..new_key(ada.id) };
            store.accounts.credentials().issue(&context(), brief).await?;
        }
        store.clock.advance(HOUR);
        store.accounts.credentials().sweep().await?;
        assert_eq!(store.events_of("api_key_expired").await?.len(), 120);
        Ok(())
    })
    .await;
}

/// A key that an object owns, without a secret, and the object.
async fn managed_key(store: &StoreFixture) -> Result<(CredentialId, ManagedBy)> {
    let ada = store.user("ada@example.com", &[Role::User]).await?;
    let owner = object("ci", "first");
    let key =
        store.accounts.managed().apply_key(&context(), &owner, &desired_key(ada.id), OnUidMismatch::Reject).await?;
    Ok((key.id, owner))
}

impl StoreFixture {
    /// Stages a secret, activates it, and returns it.
    async fn activate(&self, key: CredentialId, owner: &ManagedBy) -> Result<Staged> {
        let staged = self.accounts.managed().stage_secret(&context(), owner, key, None).await?;
        self.accounts.managed().activate_secret(&context(), owner, key, staged.id, HOUR).await?;
        Ok(staged)
    }

    async fn secret_states(&self, key: CredentialId) -> Result<Vec<SecretState>> {
        Ok(self.accounts.credentials().secrets(key).await?.iter().map(|version| version.state).collect())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_activation_drops_the_other_staged_secrets_and_names_them(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let accounts = &store.accounts;
        let (key, owner) = managed_key(&store).await?;
        let mut staged = Vec::new();
        for expires_at in [None, None, Some(accounts.now() + HOUR)] {
            staged.push(accounts.managed().stage_secret(&context(), &owner, key, expires_at).await?);
        }
        accounts.managed().activate_secret(&context(), &owner, key, staged[1].id, HOUR).await?;
        assert_eq!(store.secret_states(key).await?, [SecretState::Active]);
        let issued = store.events_of("api_key_issued").await?.remove(0).change.context("a change")?;
        for dropped in [&staged[0], &staged[2]] {
            ensure!(issued.contains(dropped.token.key_id()), "{issued}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_expired_secrets_and_records_the_staged_one(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let accounts = &store.accounts;
        let (key, owner) = managed_key(&store).await?;
        store.activate(key, &owner).await?;
        store.activate(key, &owner).await?;
        let stale = accounts.managed().stage_secret(&context(), &owner, key, Some(accounts.now() + HOUR)).await?;
        accounts.credentials().sweep().await?;
        let states = store.secret_states(key).await?;
        assert_eq!(states, [SecretState::Retiring, SecretState::Active, SecretState::Staged]);

        store.clock.advance(HOUR);
        accounts.credentials().sweep().await?;
        accounts.credentials().sweep().await?;
        assert_eq!(store.secret_states(key).await?, [SecretState::Active]);
        let recorded = store.events_of("api_key_discarded").await?;
        ensure!(recorded.len() == 1 && recorded[0].credential_id == Some(key.0), "{recorded:?}");
        let change = recorded[0].change.as_deref().unwrap_or_default();
        ensure!(change.contains(stale.token.key_id()), "{recorded:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_activation_after_the_first_is_a_rotation(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let accounts = &store.accounts;
        let (key, owner) = managed_key(&store).await?;
        for _ in 0..3 {
            store.activate(key, &owner).await?;
            store.clock.advance(HOUR);
            accounts.credentials().sweep().await?;
        }
        assert_eq!(store.events_of("api_key_issued").await?.len(), 1);
        assert_eq!(store.events_of("api_key_rotated").await?.len(), 2);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_an_extended_expiry_expires_again(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let extend = async |hours: u32| {
            let expires_at = Some(store.accounts.now() + hours * HOUR);
            let want = DesiredKey { expires_at, ..desired_key(ada.id) };
            store.accounts.managed().apply_key(&context(), &object("ci", "first"), &want, OnUidMismatch::Reject).await
        };
        extend(1).await?;
        for expiries in 1..=2 {
            store.clock.advance(HOUR);
            store.accounts.credentials().sweep().await?;
            store.accounts.credentials().sweep().await?;
            assert_eq!(store.events_of("api_key_expired").await?.len(), expiries);
            extend(1).await?;
        }
        Ok(())
    })
    .await;
}
