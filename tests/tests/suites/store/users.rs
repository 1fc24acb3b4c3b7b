//! Users and their sessions.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_accounts::{
    AuthFailure, Error,
    access::AuthMethod,
    bootstrap::{ADMIN_EMAIL, Seed, SeedError},
    sessions::Login,
    types::{Email, Role},
    users::{Created, NewUser, UserPatch},
};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;

use super::{StoreFixture, context, matching, open};

fn seed() -> Seed {
    Seed { password: Some("correct horse battery".into()), force: false }
}

fn weak_seed() -> Seed {
    Seed { password: Some("admin".into()), force: false }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_normalized_and_belongs_to_one_user(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("Ada@Example.com", &[]).await?;
        ensure!(ada.email.as_str() == "ada@example.com" && ada.is_active && ada.roles.is_empty());
        let again = store.accounts.users().create(&context(), NewUser::new(Email::parse("ada@example.com")?)).await;
        ensure!(matches!(again, Err(Error::EmailTaken(id)) if id == ada.id), "{again:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_only_the_fields_that_it_names(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[]).await?;
        let named = UserPatch { display_name: Some(Some("Ada".into())), ..UserPatch::default() };
        let ada = store.accounts.users().update(&context(), ada.id, named.clone(), Ok(())).await?;
        ensure!(ada.display_name.as_deref() == Some("Ada"));
        let roles = UserPatch { roles: Some([Role::User].into_iter().collect()), ..UserPatch::default() };
        let ada = store.accounts.users().update(&context(), ada.id, roles, Ok(())).await?;
        ensure!(ada.display_name.as_deref() == Some("Ada"));
        // A repeated patch leaves no event.
        store.accounts.users().update(&context(), ada.id, named, Ok(())).await?;
        let cleared = UserPatch { display_name: Some(None), ..UserPatch::default() };
        ensure!(store.accounts.users().update(&context(), ada.id, cleared, Ok(())).await?.display_name.is_none());
        ensure!(store.events().await? == ["user_created", "user_updated", "roles_changed", "user_updated"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_search_ignores_case_and_has_no_wildcards(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[]).await?;
        let (found, total) = store.accounts.users().list(&matching("ADA"), 10, 0).await?;
        ensure!(total == 1 && found[0].id == ada.id);
        ensure!(store.accounts.users().list(&matching("%"), 10, 0).await?.1 == 0);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_external_id_belongs_to_one_user(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let new = |email: &str, external_id: &str| -> Result<NewUser> {
            Ok(NewUser { external_id: Some(external_id.into()), ..NewUser::new(Email::parse(email)?) })
        };
        let create = async |new| store.accounts.users().create(&context(), new).await;
        let Created::New(ada) = create(new("ada@example.com", "hr-7")?).await? else { anyhow::bail!("she is new") };
        let again = create(new("ADA@example.com", "hr-7")?).await?;
        ensure!(matches!(&again, Created::Existing(same) if *same == ada), "{again:?}");
        let other = create(new("bob@example.com", "hr-7")?).await;
        ensure!(matches!(other, Err(Error::ExternalIdTaken(id)) if id == ada.id), "{other:?}");
        let other = create(new("ada@example.com", "hr-8")?).await;
        ensure!(matches!(other, Err(Error::EmailTaken(id)) if id == ada.id), "{other:?}");

        let (found, total) = store.accounts.users().list(&matching("HR-7"), 10, 0).await?;
        ensure!(total == 1 && found[0].id == ada.id, "the external id is not found");
        ensure!(store.events().await? == ["user_created"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn invisible_text_is_refused_in_every_field(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        for text in ["a\0b", "a\u{200b}b", "a\u{202e}b", " ", ""] {
            for field in ["/display_name", "/external_id"] {
                let mut new = NewUser::new(Email::parse("eve@example.com")?);
                let value = Some(text.to_owned());
                if field == "/display_name" {
                    new.display_name = value;
                } else {
                    new.external_id = value;
                }
                let refused = store.accounts.users().create(&context(), new).await;
                let named = matches!(&refused, Err(Error::Invalid(all)) if all.len() == 1 && all[0].pointer == field);
                ensure!(named, "{text:?}: {refused:?}");
            }
        }
        ensure!(store.events().await?.is_empty());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn seeding_refuses_a_weak_password(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let refused = store.accounts.seed(&weak_seed()).await;
        let is_named =
            matches!(&refused, Err(SeedError::Other(Error::Invalid(all))) if all[0].pointer == "ADMIN_BOOTSTRAP_PASSWORD");
        ensure!(is_named, "{refused:?}");
        ensure!(store.events().await?.is_empty());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn seeding_creates_an_admin_and_a_key_once(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let first = store.accounts.seed(&Seed::default()).await?;
        let password = first.password.expect("a password was created");
        let key = first.key.expect("a key was issued");
        let principal =
            store.accounts.authentication().authenticate(&key.plaintext().into()).await?.expect("the key is valid");
        ensure!(principal.roles.has(Role::Admin));
        store.accounts.sessions().login(&context(), ADMIN_EMAIL, password).await?;
        let second = store.accounts.seed(&Seed::default()).await?;
        ensure!(second.password.is_none() && second.key.is_none());
        ensure!(store.events().await? == ["admin_bootstrapped", "api_key_issued", "login_success"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_forced_seed_replaces_the_password(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.accounts.seed(&Seed::default()).await?;
        store.accounts.seed(&Seed { force: true, ..seed() }).await?;
        store.accounts.sessions().login(&context(), ADMIN_EMAIL, "correct horse battery".into()).await?;
        let events = store.events().await?;
        let expected = ["admin_bootstrapped", "api_key_issued", "admin_bootstrapped", "login_success"];
        ensure!(events == expected, "{events:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_later_seed_does_not_check_its_password(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.accounts.seed(&Seed::default()).await?;
        store.accounts.seed(&weak_seed()).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn seeding_for_development_accepts_a_weak_password(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.accounts.seed_for_development(&Seed { force: true, ..weak_seed() }).await?;
        store.accounts.sessions().login(&context(), ADMIN_EMAIL, "admin".into()).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_failed_sign_in_has_the_same_error_and_is_recorded(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.accounts.seed(&seed()).await?;
        store.user("nopassword@example.com", &[Role::User]).await?;
        let wrong = [
            (ADMIN_EMAIL, "wrong"),
            (ADMIN_EMAIL, ""),
            ("nobody@example.com", "correct horse battery"),
            ("nopassword@example.com", "correct horse battery"),
            ("not an address", "correct horse battery"),
        ];
        for (username, password) in wrong {
            let refused = store.accounts.sessions().login(&context(), username, password.into()).await;
            ensure!(matches!(refused, Err(Error::WrongPassword)), "{username}: {refused:?}");
            // After every lock.
            store.clock.advance(Duration::from_secs(10));
        }
        // The second failure of one account within a minute is aggregated.
        let failures = store.events().await?.iter().filter(|event| *event == "login_failure").count();
        ensure!(failures == wrong.len() - 1, "{failures} failures are recorded");
        Ok(())
    })
    .await;
}

/// Accounts with two admins, and a session of the first.
async fn signed_in(engine: Engine) -> Result<(StoreFixture, Login)> {
    let store = open(engine).await?;
    store.accounts.seed(&seed()).await?;
    store.user("second@example.com", &[Role::Admin]).await?;
    let login = store.accounts.sessions().login(&context(), ADMIN_EMAIL, "correct horse battery".into()).await?;
    Ok((store, login))
}

impl StoreFixture {
    /// The reason why an access token is rejected.
    async fn refusal(&self, login: &Login) -> Result<Option<AuthFailure>> {
        Ok(self.accounts.authentication().authenticate(&(&login.access_token).into()).await?.err())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_a_session(#[case] engine: Engine) {
    story(async {
        let (store, login) = signed_in(engine).await?;
        let principal =
            store.accounts.authentication().authenticate(&(&login.access_token).into()).await?.expect("it is valid");
        let AuthMethod::Session { id } = principal.via else { anyhow::bail!("not a session") };
        store.accounts.sessions().logout(&context(), id).await?;
        ensure!(store.refusal(&login).await? == Some(AuthFailure::SessionEnded));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_expires(#[case] engine: Engine) {
    story(async {
        let (store, login) = signed_in(engine).await?;
        ensure!(store.refusal(&login).await?.is_none());
        store.clock.advance(login.expires_in);
        ensure!(store.refusal(&login).await? == Some(AuthFailure::Expired));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_roles_ends_a_session(#[case] engine: Engine) {
    story(async {
        let (store, login) = signed_in(engine).await?;
        let both = UserPatch { roles: Some([Role::Admin, Role::User].into_iter().collect()), ..UserPatch::default() };
        store.accounts.users().update(&context(), login.user.id, both, Ok(())).await?;
        ensure!(store.refusal(&login).await? == Some(AuthFailure::SessionEnded));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_loses_its_session_and_cannot_sign_in(#[case] engine: Engine) {
    story(async {
        let (store, login) = signed_in(engine).await?;
        let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
        store.accounts.users().update(&context(), login.user.id, off, Ok(())).await?;
        ensure!(store.refusal(&login).await? == Some(AuthFailure::Disabled));
        let refused = store.accounts.sessions().login(&context(), ADMIN_EMAIL, "correct horse battery".into()).await;
        ensure!(matches!(refused, Err(Error::WrongPassword)), "{refused:?}");
        Ok(())
    })
    .await;
}
