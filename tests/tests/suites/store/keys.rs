//! API keys as people issue them.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_accounts::access::{Need, Via};
use paddock_accounts::authenticate::Refused;
use paddock_accounts::credentials::NewKey;
use paddock_accounts::limits::Limits;
use paddock_accounts::sets::{Role, Scope, Scopes};
use paddock_accounts::usage::UsageRecord;
use paddock_accounts::users::{UserId, UserPatch};
use paddock_accounts::{Error, token::Token};
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;
use secrecy::ExposeSecret as _;

use super::{StoreFixture, context, open};

pub(super) fn new_key(user_id: UserId) -> NewKey {
    NewKey { user_id, label: None, scopes: None, models: None, limits: Limits::default(), expires_at: None }
}

impl StoreFixture {
    pub(super) async fn judge(&self, token: &Token) -> Result<Result<(), Refused>> {
        Ok(self.accounts.authenticate(token.plaintext().expose_secret()).await?.map(|_| ()))
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_until_it_expires_is_rotated_away_or_revoked(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let hour = Duration::from_hours(1);
        let past = NewKey { expires_at: Some(store.accounts.now()), ..new_key(ada.id) };
        ensure!(matches!(store.accounts.issue_key(&context(), past).await, Err(Error::Invalid(_))));

        let brief = NewKey { expires_at: Some(store.accounts.now() + hour), ..new_key(ada.id) };
        let brief = store.accounts.issue_key(&context(), brief).await?;
        let lasting = store.accounts.issue_key(&context(), new_key(ada.id)).await?;
        ensure!(lasting.credential.label == "api-key" && lasting.credential.scopes == Scopes::default_for_keys());
        ensure!(store.judge(&brief.token).await? == Ok(()));
        store.clock.advance(hour);
        ensure!(store.judge(&brief.token).await? == Err(Refused::Expired));
        let dead = store.accounts.rotate_key(&context(), brief.credential.id, hour, None).await;
        ensure!(matches!(dead, Err(Error::Expired(_))), "a new secret would be as dead: {dead:?}");

        let rotated = store.accounts.rotate_key(&context(), lasting.credential.id, hour, None).await?;
        ensure!(rotated.credential.id == lasting.credential.id, "rotation keeps the identity");
        ensure!(store.judge(&lasting.token).await? == Ok(()) && store.judge(&rotated.token).await? == Ok(()));
        store.clock.advance(hour);
        ensure!(store.judge(&lasting.token).await? == Err(Refused::Revoked), "its grace is over");
        ensure!(store.judge(&rotated.token).await? == Ok(()));

        // What leaked ends at once, and so does what was on its way out.
        let clean = store.accounts.rotate_key(&context(), lasting.credential.id, hour, None).await?;
        let cleaner = store.accounts.rotate_key(&context(), lasting.credential.id, Duration::ZERO, None).await?;
        for old in [&rotated.token, &clean.token] {
            ensure!(store.judge(old).await? == Err(Refused::Revoked));
        }
        ensure!(store.judge(&cleaner.token).await? == Ok(()));
        let rotated = cleaner;

        store.accounts.revoke_key(&context(), lasting.credential.id).await?;
        store.accounts.revoke_key(&context(), lasting.credential.id).await?;
        ensure!(store.judge(&rotated.token).await? == Err(Refused::Revoked));
        let again = store.accounts.rotate_key(&context(), lasting.credential.id, hour, None).await;
        ensure!(matches!(again, Err(Error::Revoked(_))), "{again:?}");

        let listed = store.accounts.credentials(Some(ada.id)).await?;
        ensure!(listed.iter().map(|key| key.id).eq([lasting.credential.id, brief.credential.id]), "newest first");
        let events = store.events().await?;
        let expected = ["user_created", "api_key_issued", "api_key_issued"];
        ensure!(events[..3] == expected && events[3..6] == ["api_key_rotated"; 3], "{events:?}");
        ensure!(events[6..] == ["api_key_revoked"], "{events:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_can_do_what_its_scopes_and_its_owners_present_roles_both_allow(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[]).await?;
        let beyond = NewKey { scopes: Some([Scope::UsersWrite].into_iter().collect()), ..new_key(ada.id) };
        let refused = store.accounts.issue_key(&context(), beyond).await;
        ensure!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");

        let key = store.accounts.issue_key(&context(), new_key(ada.id)).await?;
        let ask = async || {
            let principal = store.accounts.authenticate(key.token.plaintext().expose_secret()).await?;
            anyhow::Ok(principal.expect("the key counts"))
        };
        ensure!(ask().await?.may(Need::Use(Scope::Chat)).is_err(), "inert while the role is not there");
        let roles = |roles: &[Role]| UserPatch { roles: Some(roles.iter().copied().collect()), ..UserPatch::default() };
        store.accounts.update_user(&context(), ada.id, roles(&[Role::User]), Ok(())).await?;
        let principal = ask().await?;
        ensure!(principal.may(Need::Use(Scope::Chat)).is_ok());
        ensure!(matches!(principal.via, Via::Key { credential_id, .. } if credential_id == key.credential.id));
        store.accounts.update_user(&context(), ada.id, roles(&[]), Ok(())).await?;
        ensure!(ask().await?.may(Need::Use(Scope::Chat)).is_err(), "and again when it is gone");

        let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
        store.accounts.update_user(&context(), ada.id, off, Ok(())).await?;
        ensure!(store.judge(&key.token).await? == Err(Refused::Disabled));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_of_ours_is_refused(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let key = store.accounts.issue_key(&context(), new_key(ada.id)).await?;
        let text = key.token.plaintext().expose_secret().to_owned();
        let judge = async |text: &str| store.accounts.authenticate(text).await.map(|judged| judged.map(|_| ()));
        for malformed in
            ["", "pdk_", "Bearer", "eyJhbGciOiJub25lIn0.e30.", &text[..text.len() - 1], &format!("{text}0")]
        {
            ensure!(judge(malformed).await? == Err(Refused::Malformed), "{malformed}");
        }
        // Well formed, and nobody was given it: a key of another installation.
        let elsewhere = open(Engine::Sqlite).await?;
        let stranger = elsewhere.user("eve@example.com", &[Role::User]).await?;
        let foreign = elsewhere.accounts.issue_key(&context(), new_key(stranger.id)).await?;
        ensure!(store.judge(&foreign.token).await? == Err(Refused::Unknown));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn usage_is_recorded_once(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let key = store.accounts.issue_key(&context(), new_key(ada.id)).await?;
        let record = UsageRecord {
            usage_id: store.accounts.new_usage_id(),
            request_id: "r1".into(),
            user_id: ada.id,
            credential_id: Some(key.credential.id),
            model: "registry.ollama.ai/library/smollm2:135m".into(),
            endpoint: "/api/chat".into(),
            prompt_tokens: Some(12),
            completion_tokens: Some(34),
            tokens_estimated: false,
            started_at: store.accounts.now(),
            first_byte_us: Some(1_500),
            duration_us: 250_000,
            status: "ok".into(),
            http_status: 200,
        };
        store.accounts.record_usage(&[record.clone(), record.clone()]).await?;
        store.accounts.record_usage(&[record]).await?;
        store.database.execute("DELETE FROM usage WHERE prompt_tokens <> 12").await?;
        // A second row would violate the primary key; the statement must have left the first one alone.
        store.database.execute("UPDATE usage SET usage_id = usage_id").await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_key_is_noted_and_stored_with_others(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let mut keys = Vec::new();
        for _ in 0..3 {
            keys.push(store.accounts.issue_key(&context(), new_key(ada.id)).await?);
        }
        let used = async |at: usize| -> Result<_> {
            let id = keys[at].credential.id;
            Ok(store.accounts.credential(id).await?.and_then(|key| key.last_used_at))
        };
        let first = store.accounts.now();
        for key in &keys[..2] {
            ensure!(store.judge(&key.token).await?.is_ok());
        }
        assert_eq!(used(0).await?, None, "nothing is written in a request");
        store.accounts.store_last_used().await?;
        assert_eq!([used(0).await?, used(1).await?, used(2).await?], [Some(first), Some(first), None]);

        // Also from memory; but not so often.
        store.clock.advance(Duration::from_secs(29));
        ensure!(store.judge(&keys[0].token).await?.is_ok());
        store.accounts.store_last_used().await?;
        assert_eq!(used(0).await?, Some(first));
        store.clock.advance(Duration::from_secs(1));
        ensure!(store.judge(&keys[0].token).await?.is_ok());
        store.accounts.store_last_used().await?;
        assert_eq!([used(0).await?, used(1).await?], [Some(store.accounts.now()), Some(first)]);

        // One that does not count is not used.
        store.accounts.revoke_key(&context(), keys[2].credential.id).await?;
        ensure!(store.judge(&keys[2].token).await?.is_err());
        store.accounts.store_last_used().await?;
        assert_eq!(used(2).await?, None);
        Ok(())
    })
    .await;
}
