//! API keys: issuing, rotation, expiry, revocation, and their rights.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_accounts::{
    AuthFailure, CredentialId, Error, UserId,
    access::{AuthMethod, Permission},
    credentials::NewKey,
    types::{ApiKeyToken, Limits, Priority, Role, Scope, Scopes},
    usage::UsageRecord,
    users::UserPatch,
};
use paddock_store::clock::Timestamp;
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use secrecy::ExposeSecret as _;

use super::{StoreFixture, context, open};

const HOUR: Duration = Duration::from_hours(1);

/// A new key of the user with defaults.
pub(super) fn new_key(user_id: UserId) -> NewKey {
    NewKey {
        user_id,
        label: None,
        scopes: None,
        models: None,
        limits: Limits::default(),
        priority: Priority::default(),
        expires_at: None,
    }
}

impl StoreFixture {
    /// Authenticates a token.
    pub(super) async fn check(&self, token: &ApiKeyToken) -> Result<Result<(), AuthFailure>> {
        Ok(self.accounts.authentication().authenticate(&token.plaintext().into()).await?.map(|_| ()))
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_fields_has_defaults(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let issued = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?;
        ensure!(issued.credential.label == "api-key" && issued.credential.scopes == Scopes::default_for_keys());
        ensure!(store.check(&issued.token).await? == Ok(()));
        ensure!(store.events().await? == ["user_created", "api_key_issued"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_until_it_expires(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let past = NewKey { expires_at: Some(store.accounts.now()), ..new_key(ada.id) };
        ensure!(matches!(store.accounts.credentials().issue(&context(), past).await, Err(Error::Invalid(_))));
        let brief = NewKey { expires_at: Some(store.accounts.now() + HOUR), ..new_key(ada.id) };
        let brief = store.accounts.credentials().issue(&context(), brief).await?;
        ensure!(store.check(&brief.token).await? == Ok(()));
        store.clock.advance(HOUR);
        ensure!(store.check(&brief.token).await? == Err(AuthFailure::Expired));
        let rotated = store.accounts.credentials().rotate(&context(), brief.credential.id, HOUR, None).await;
        ensure!(matches!(rotated, Err(Error::Expired(_))), "{rotated:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_works_until_its_grace_is_over(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let issued = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?;
        let rotated = store.accounts.credentials().rotate(&context(), issued.credential.id, HOUR, None).await?;
        ensure!(rotated.credential.id == issued.credential.id, "rotation changed the id");
        ensure!(store.check(&issued.token).await? == Ok(()) && store.check(&rotated.token).await? == Ok(()));
        store.clock.advance(HOUR);
        ensure!(store.check(&issued.token).await? == Err(AuthFailure::Revoked));
        ensure!(store.check(&rotated.token).await? == Ok(()));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_without_grace_ends_retiring_secrets_too(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let issued = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?;
        let id = issued.credential.id;
        let second = store.accounts.credentials().rotate(&context(), id, HOUR, None).await?;
        let third = store.accounts.credentials().rotate(&context(), id, Duration::ZERO, None).await?;
        for old in [&issued.token, &second.token] {
            ensure!(store.check(old).await? == Err(AuthFailure::Revoked));
        }
        ensure!(store.check(&third.token).await? == Ok(()));
        ensure!(store.events().await?[2..] == ["api_key_rotated"; 2]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_and_cannot_be_rotated(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let issued = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?;
        let id = issued.credential.id;
        for _ in 0..2 {
            store.accounts.credentials().revoke(&context(), id).await?;
        }
        ensure!(store.check(&issued.token).await? == Err(AuthFailure::Revoked));
        let rotated = store.accounts.credentials().rotate(&context(), id, HOUR, None).await;
        ensure!(matches!(rotated, Err(Error::Revoked(_))), "{rotated:?}");
        ensure!(store.events().await?[2..] == ["api_key_revoked"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_newest_first(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let first = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?.credential.id;
        let second = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?.credential.id;
        let listed = store.accounts.credentials().list(Some(ada.id)).await?;
        ensure!(listed.iter().map(|key| key.id).eq([second, first]));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_do_what_its_scopes_and_its_owners_present_roles_both_allow(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[]).await?;
        let beyond = NewKey { scopes: Some([Scope::UsersWrite].into_iter().collect()), ..new_key(ada.id) };
        let refused = store.accounts.credentials().issue(&context(), beyond).await;
        ensure!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");

        let key = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?;
        let ask = async || {
            let principal = store.accounts.authentication().authenticate(&key.token.plaintext().into()).await?;
            anyhow::Ok(principal.expect("the key is valid"))
        };
        ensure!(ask().await?.may(Permission::Use(Scope::Chat)).is_err(), "a key works without a role");
        let roles = |roles: &[Role]| UserPatch { roles: Some(roles.iter().copied().collect()), ..UserPatch::default() };
        store.accounts.users().update(&context(), ada.id, roles(&[Role::User]), Ok(())).await?;
        let principal = ask().await?;
        ensure!(principal.may(Permission::Use(Scope::Chat)).is_ok());
        ensure!(matches!(principal.via, AuthMethod::Key { credential_id, .. } if credential_id == key.credential.id));
        store.accounts.users().update(&context(), ada.id, roles(&[]), Ok(())).await?;
        ensure!(ask().await?.may(Permission::Use(Scope::Chat)).is_err(), "a key works after the role is gone");

        let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
        store.accounts.users().update(&context(), ada.id, off, Ok(())).await?;
        ensure!(store.check(&key.token).await? == Err(AuthFailure::Disabled));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_foreign_keys_are_refused(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let key = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?;
        let text = key.token.plaintext().expose_secret().to_owned();
        let check = async |text: &str| {
            store.accounts.authentication().authenticate(&text.into()).await.map(|checked| checked.map(|_| ()))
        };
        for malformed in
            ["", "pdk_", "Bearer", "eyJhbGciOiJub25lIn0.e30.", &text[..text.len() - 1], &format!("{text}0")]
        {
            ensure!(check(malformed).await? == Err(AuthFailure::Malformed), "{malformed}");
        }
        // A well-formed key of another installation.
        let elsewhere = open(Engine::Sqlite).await?;
        let stranger = elsewhere.user("eve@example.com", &[Role::User]).await?;
        let foreign = elsewhere.accounts.credentials().issue(&context(), new_key(stranger.id)).await?;
        ensure!(store.check(&foreign.token).await? == Err(AuthFailure::Unknown));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_usage_record_is_stored_once(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let key = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?;
        let record = UsageRecord {
            usage_id: store.accounts.usage().new_id(),
            request_id: "r1".into(),
            user_id: ada.id,
            credential_id: Some(key.credential.id),
            model: "registry.ollama.ai/library/smollm2:135m".into(),
            endpoint: "/api/chat".into(),
            prompt_tokens: Some(12),
            cached_prompt_tokens: None,
            completion_tokens: Some(34),
            tokens_estimated: false,
            started_at: store.accounts.now(),
            first_byte_us: Some(1_500),
            duration_us: 250_000,
            status: "ok".into(),
            http_status: 200,
        };
        store.accounts.usage().record(&[record.clone(), record.clone()]).await?;
        store.accounts.usage().record(&[record]).await?;
        ensure!(store.database.execute("UPDATE usage SET usage_id = usage_id").await? == 1);
        Ok(())
    })
    .await;
}

impl StoreFixture {
    /// The stored time of a key's last use.
    async fn last_used(&self, id: CredentialId) -> Result<Option<Timestamp>> {
        Ok(self.accounts.credentials().find(id).await?.and_then(|key| key.last_used_at))
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_keys_is_stored_together_and_not_in_the_request(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let mut keys = Vec::new();
        for _ in 0..3 {
            keys.push(store.accounts.credentials().issue(&context(), new_key(ada.id)).await?);
        }
        let now = store.accounts.now();
        for key in &keys[..2] {
            ensure!(store.check(&key.token).await?.is_ok());
        }
        assert_eq!(store.last_used(keys[0].credential.id).await?, None, "the request writes the time");
        store.accounts.usage().store_last_used().await?;
        for (key, expected) in keys.iter().zip([Some(now), Some(now), None]) {
            assert_eq!(store.last_used(key.credential.id).await?, expected);
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_cached_key_is_stored_every_thirty_seconds(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let key = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?;
        let first = store.accounts.now();
        let mut stored = Vec::new();
        for seconds in [0, 29, 1] {
            store.clock.advance(Duration::from_secs(seconds));
            ensure!(store.check(&key.token).await?.is_ok());
            store.accounts.usage().store_last_used().await?;
            stored.push(store.last_used(key.credential.id).await?);
        }
        assert_eq!(stored, [Some(first), Some(first), Some(store.accounts.now())]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_not_stored_as_used(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let key = store.accounts.credentials().issue(&context(), new_key(ada.id)).await?;
        store.accounts.credentials().revoke(&context(), key.credential.id).await?;
        ensure!(store.check(&key.token).await?.is_err());
        store.accounts.usage().store_last_used().await?;
        assert_eq!(store.last_used(key.credential.id).await?, None);
        Ok(())
    })
    .await;
}
