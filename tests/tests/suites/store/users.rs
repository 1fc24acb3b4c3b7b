//! Users and their sessions.

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_accounts::{
    AuthFailure, Error,
    access::AuthMethod,
    bootstrap::{ADMIN_EMAIL, Seed, SeedError},
    types::{Email, Role},
    users::{Created, NewUser, UserPatch},
};
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;
use secrecy::ExposeSecret as _;

use super::{context, open};

fn seed() -> Seed {
    Seed { password: Some("correct horse battery".into()), force: false }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_created_once_and_changed_by_what_a_patch_names(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("Ada@Example.com", &[]).await?;
        ensure!(ada.email.as_str() == "ada@example.com" && ada.is_active && ada.roles.is_empty());

        let again = store.accounts.users().create(&context(), NewUser::new(Email::parse("ada@example.com")?)).await;
        ensure!(matches!(again, Err(Error::EmailTaken(id)) if id == ada.id), "{again:?}");

        let named = UserPatch { display_name: Some(Some("Ada".into())), ..UserPatch::default() };
        let ada = store.accounts.users().update(&context(), ada.id, named.clone(), Ok(())).await?;
        ensure!(ada.display_name.as_deref() == Some("Ada"));
        let roles = UserPatch { roles: Some([Role::User].into_iter().collect()), ..UserPatch::default() };
        let ada = store.accounts.users().update(&context(), ada.id, roles, Ok(())).await?;
        ensure!(ada.display_name.as_deref() == Some("Ada"), "a patch leaves what it does not name");
        // The same again changes nothing and leaves no event.
        store.accounts.users().update(&context(), ada.id, named, Ok(())).await?;
        let cleared = UserPatch { display_name: Some(None), ..UserPatch::default() };
        ensure!(store.accounts.users().update(&context(), ada.id, cleared, Ok(())).await?.display_name.is_none());
        ensure!(store.events().await? == ["user_created", "user_updated", "roles_changed", "user_updated"]);

        let (found, total) = store.accounts.users().list(Some("ADA"), 10, 0).await?;
        ensure!(total == 1 && found[0].id == ada.id);
        ensure!(
            store.accounts.users().list(Some("%"), 10, 0).await?.1 == 0,
            "a wildcard is a character like any other"
        );
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_external_id_is_one_user(#[case] engine: Engine) {
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

        let (found, total) = store.accounts.users().list(Some("HR-7"), 10, 0).await?;
        ensure!(total == 1 && found[0].id == ada.id, "it is searched too");
        for unseen in ["a\0b", "a\u{200b}b", "a\u{202e}b", " ", ""] {
            for field in ["/display_name", "/external_id"] {
                let mut new = NewUser::new(Email::parse("eve@example.com")?);
                let text = Some(unseen.to_owned());
                if field == "/display_name" {
                    new.display_name = text;
                } else {
                    new.external_id = text;
                }
                let refused = create(new).await;
                let named = matches!(&refused, Err(Error::Invalid(all)) if all.len() == 1 && all[0].pointer == field);
                ensure!(named, "{unseen:?}: {refused:?}");
            }
        }
        ensure!(store.events().await? == ["user_created"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn seeding_makes_an_admin_and_a_key_once(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let weak = Seed { password: Some("admin".into()), force: false };
        let refused = store.accounts.seed(&weak).await;
        let named = matches!(&refused, Err(SeedError::Other(Error::Invalid(all))) if all[0].pointer == "ADMIN_BOOTSTRAP_PASSWORD");
        ensure!(named, "{refused:?}");
        ensure!(store.events().await?.is_empty(), "nothing was made");
        let first = store.accounts.seed(&Seed::default()).await?;
        let password = first.password.expect("one was made");
        let key = first.key.expect("one was issued");
        let principal = store.accounts.access().authenticate(key.plaintext().expose_secret()).await?.expect("the key counts");
        ensure!(principal.roles.has(Role::Admin));
        store.accounts.sessions().login(&context(), ADMIN_EMAIL, password).await?;

        let second = store.accounts.seed(&Seed::default()).await?;
        ensure!(second.password.is_none() && second.key.is_none(), "nothing is told twice");
        store.accounts.seed(&Seed { force: true, ..seed() }).await?;
        store.accounts.sessions().login(&context(), ADMIN_EMAIL, "correct horse battery".into()).await?;
        let events = store.events().await?;
        let expected = ["admin_bootstrapped", "api_key_issued", "login_success", "admin_bootstrapped", "login_success"];
        ensure!(events == expected, "{events:?}");
        // What is there already is not judged again; on a machine of one's own nothing is.
        store.accounts.seed(&weak).await?;
        store.accounts.seed_for_development(&Seed { force: true, ..weak }).await?;
        store.accounts.sessions().login(&context(), ADMIN_EMAIL, "admin".into()).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn every_failed_sign_in_looks_the_same_and_is_recorded(#[case] engine: Engine) {
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
            // Past every lock.
            store.clock.advance(Duration::from_secs(10));
        }
        // The second one of the same account within the minute is counted, not written.
        let failures = store.events().await?.iter().filter(|event| *event == "login_failure").count();
        ensure!(failures == wrong.len() - 1, "{failures} failures are recorded");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_logout_time_and_a_change_of_roles(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.accounts.seed(&seed()).await?;
        store.user("second@example.com", &[Role::Admin]).await?;
        let sign_in =
            async || store.accounts.sessions().login(&context(), ADMIN_EMAIL, "correct horse battery".into()).await;
        let judge =
            async |token: &secrecy::SecretString| store.accounts.access().authenticate(token.expose_secret()).await;

        let login = sign_in().await?;
        let principal = judge(&login.access_token).await?.expect("the session counts");
        let AuthMethod::Session { id } = principal.via else { anyhow::bail!("not a session") };
        store.accounts.sessions().logout(&context(), id).await?;
        ensure!(judge(&login.access_token).await? == Err(AuthFailure::SessionEnded));

        let login = sign_in().await?;
        store.clock.advance(login.expires_in);
        ensure!(judge(&login.access_token).await? == Err(AuthFailure::Expired));

        let login = sign_in().await?;
        let both = UserPatch { roles: Some([Role::Admin, Role::User].into_iter().collect()), ..UserPatch::default() };
        store.accounts.users().update(&context(), login.user.id, both, Ok(())).await?;
        ensure!(judge(&login.access_token).await? == Err(AuthFailure::SessionEnded));

        let login = sign_in().await?;
        let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
        store.accounts.users().update(&context(), login.user.id, off, Ok(())).await?;
        ensure!(judge(&login.access_token).await? == Err(AuthFailure::Disabled));
        ensure!(matches!(sign_in().await, Err(Error::WrongPassword)));
        Ok(())
    })
    .await;
}
