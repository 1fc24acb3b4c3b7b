//! Expired keys and secrets: each end is recorded once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_accounts::{
    CredentialId,
    credentials::{NewKey, SecretState},
    managed_resources::{Activation, DesiredKey, MAX_RETIRING, OnUidMismatch, STAGED_LIFETIME, Staged},
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

/// The activation of a staged secret, which accepts the earlier one for an hour.
fn activation(staged: &Staged) -> Activation {
    Activation { secret: staged.id, expires_at: staged.expires_at, grace: HOUR }
}

impl StoreFixture {
    /// Stages a secret, activates it, and returns it.
    async fn activate(&self, key: CredentialId, owner: &ManagedBy) -> Result<Staged> {
        let staged = self.accounts.managed().stage_secret(&context(), owner, key, None).await?;
        self.accounts.managed().activate_secret(&context(), owner, key, activation(&staged)).await?;
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
        for valid_for in [None, None, Some(HOUR)] {
            staged.push(accounts.managed().stage_secret(&context(), &owner, key, valid_for).await?);
        }
        accounts.managed().activate_secret(&context(), &owner, key, activation(&staged[1])).await?;
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
        let stale = accounts.managed().stage_secret(&context(), &owner, key, None).await?;
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

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_staged_secret_ends_after_minutes_unless_it_is_activated(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let accounts = &store.accounts;
        let (key, owner) = managed_key(&store).await?;
        let is_accepted = async |staged: &Staged| {
            anyhow::Ok(accounts.authentication().authenticate(&staged.token.plaintext().into()).await?.is_ok())
        };
        let lost = accounts.managed().stage_secret(&context(), &owner, key, None).await?;
        ensure!(is_accepted(&lost).await?, "a staged secret is accepted");
        store.clock.advance(STAGED_LIFETIME);
        ensure!(!is_accepted(&lost).await?, "nobody holds it, and it is still accepted");

        let delivered = store.activate(key, &owner).await?;
        store.clock.advance(STAGED_LIFETIME * 2);
        ensure!(is_accepted(&delivered).await?, "the end of a staged secret is left on an active one");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_undelivered_secret_is_discarded_with_the_abandoned_ones(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let accounts = &store.accounts;
        let (key, owner) = managed_key(&store).await?;
        accounts.managed().stage_secret(&context(), &owner, key, None).await?;
        store.clock.advance(STAGED_LIFETIME / 2);
        // Another leader may still deliver this one.
        accounts.managed().stage_secret(&context(), &owner, key, None).await?;
        let refused = accounts.managed().stage_secret(&context(), &owner, key, None).await?;
        accounts.managed().discard_undelivered(&context(), &owner, key, refused.id).await?;
        assert_eq!(store.secret_states(key).await?, [SecretState::Staged]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn many_activations_leave_a_bounded_number_of_accepted_secrets(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let (key, owner) = managed_key(&store).await?;
        for _ in 0..6 {
            store.activate(key, &owner).await?;
        }
        let states = store.secret_states(key).await?;
        assert_eq!(i64::try_from(states.len())?, MAX_RETIRING + 1, "{states:?}");
        assert_eq!(states.last(), Some(&SecretState::Active));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_ended_key_is_accepted_for_its_grace_and_can_get_another_secret(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let accounts = &store.accounts;
        let (key, owner) = managed_key(&store).await?;
        let held = store.activate(key, &owner).await?;
        for _ in 0..2 {
            accounts.managed().end_key(&context(), &owner, HOUR, "no longer allowed").await?;
        }
        assert_eq!(store.events_of("api_key_updated").await?.len(), 1);
        let is_accepted = async |staged: &Staged| {
            anyhow::Ok(accounts.authentication().authenticate(&staged.token.plaintext().into()).await?.is_ok())
        };
        ensure!(is_accepted(&held).await?);
        store.clock.advance(HOUR);
        ensure!(!is_accepted(&held).await?);
        let next = store.activate(key, &owner).await?;
        ensure!(is_accepted(&next).await?);
        Ok(())
    })
    .await;
}
