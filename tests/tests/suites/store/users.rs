//! Users and their sessions.

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use paddock_accounts::Error;
use paddock_accounts::access::Via;
use paddock_accounts::authenticate::Refused;
use paddock_accounts::email::Email;
use paddock_accounts::seed::{ADMIN_EMAIL, Seed};
use paddock_accounts::sets::Role;
use paddock_accounts::users::{Created, NewUser, UserPatch};
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

        let again = store.accounts.create_user(&context(), NewUser::new(Email::parse("ada@example.com")?)).await;
        ensure!(matches!(again, Err(Error::EmailTaken(id)) if id == ada.id), "{again:?}");

        let named = UserPatch { display_name: Some(Some("Ada".into())), ..UserPatch::default() };
        let ada = store.accounts.update_user(&context(), ada.id, named.clone()).await?;
        ensure!(ada.display_name.as_deref() == Some("Ada"));
        let roles = UserPatch { roles: Some([Role::User].into_iter().collect()), ..UserPatch::default() };
        let ada = store.accounts.update_user(&context(), ada.id, roles).await?;
        ensure!(ada.display_name.as_deref() == Some("Ada"), "a patch leaves what it does not name");
        // The same again changes nothing and leaves no event.
        store.accounts.update_user(&context(), ada.id, named).await?;
        let cleared = UserPatch { display_name: Some(None), ..UserPatch::default() };
        ensure!(store.accounts.update_user(&context(), ada.id, cleared).await?.display_name.is_none());
        ensure!(store.events().await? == ["user_created", "user_updated", "roles_changed", "user_updated"]);

        let (found, total) = store.accounts.users(Some("ADA"), 10, 0).await?;
        ensure!(total == 1 && found[0].id == ada.id);
        ensure!(store.accounts.users(Some("%"), 10, 0).await?.1 == 0, "a wildcard is a character like any other");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_external_id_makes_creation_idempotent_also_in_a_race(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let new = |email: &str| -> Result<NewUser> {
            Ok(NewUser { external_id: Some("hr-7".into()), ..NewUser::new(Email::parse(email)?) })
        };
        let here = context();
        let racers = (0..8).map(|_| async {
            store.accounts.create_user(&here, new("ada@example.com")?).await.map_err(anyhow::Error::from)
        });
        let outcomes = join_all(racers).await.into_iter().collect::<Result<Vec<_>>>()?;
        let created = outcomes.iter().filter(|outcome| matches!(outcome, Created::New(_))).count();
        ensure!(created == 1, "{created} were created");
        ensure!(store.events().await? == ["user_created"]);
        let other = store.accounts.create_user(&context(), new("bob@example.com")?).await;
        ensure!(matches!(other, Err(Error::ExternalIdTaken(_))), "{other:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_stays_also_when_two_go_at_once(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::Admin]).await?;
        let disable = UserPatch { is_active: Some(false), ..UserPatch::default() };
        let enable = UserPatch { is_active: Some(true), ..UserPatch::default() };
        let alone = store.accounts.update_user(&context(), ada.id, disable.clone()).await;
        ensure!(matches!(alone, Err(Error::LastAdmin)), "{alone:?}");
        let bob = store.user("bob@example.com", &[Role::Admin]).await?;
        for _ in 0..10 {
            let here = context();
            let both =
                join_all([ada.id, bob.id].map(|id| store.accounts.update_user(&here, id, disable.clone()))).await;
            let gone = both.iter().filter(|outcome| outcome.is_ok()).count();
            ensure!(gone == 1, "{gone} of two went: {both:?}");
            for id in [ada.id, bob.id] {
                store.accounts.update_user(&context(), id, enable.clone()).await?;
            }
        }
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
        let first = store.accounts.seed(&Seed::default()).await?;
        let password = first.password.expect("one was made");
        let key = first.key.expect("one was issued");
        let principal = store.accounts.authenticate(key.plaintext().expose_secret()).await?.expect("the key counts");
        ensure!(principal.roles.has(Role::Admin));
        store.accounts.login(&context(), ADMIN_EMAIL, password).await?;

        let second = store.accounts.seed(&Seed::default()).await?;
        ensure!(second.password.is_none() && second.key.is_none(), "nothing is told twice");
        store.accounts.seed(&Seed { force: true, ..seed() }).await?;
        store.accounts.login(&context(), ADMIN_EMAIL, "correct horse battery".into()).await?;
        let events = store.events().await?;
        let expected = ["admin_bootstrapped", "api_key_issued", "login_success", "admin_bootstrapped", "login_success"];
        ensure!(events == expected, "{events:?}");
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
            let refused = store.accounts.login(&context(), username, password.into()).await;
            ensure!(matches!(refused, Err(Error::WrongPassword)), "{username}: {refused:?}");
        }
        let failures = store.events().await?.iter().filter(|event| *event == "login_failure").count();
        ensure!(failures == wrong.len(), "{failures} failures are recorded");
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
        let sign_in = async || store.accounts.login(&context(), ADMIN_EMAIL, "correct horse battery".into()).await;
        let judge = async |token: &secrecy::SecretString| store.accounts.authenticate(token.expose_secret()).await;

        let login = sign_in().await?;
        let principal = judge(&login.access_token).await?.expect("the session counts");
        let Via::Session { id } = principal.via else { anyhow::bail!("not a session") };
        store.accounts.logout(&context(), id).await?;
        ensure!(judge(&login.access_token).await? == Err(Refused::SessionEnded));

        let login = sign_in().await?;
        store.clock.advance(login.expires_in);
        ensure!(judge(&login.access_token).await? == Err(Refused::Expired));

        let login = sign_in().await?;
        let both = UserPatch { roles: Some([Role::Admin, Role::User].into_iter().collect()), ..UserPatch::default() };
        store.accounts.update_user(&context(), login.user.id, both).await?;
        ensure!(judge(&login.access_token).await? == Err(Refused::SessionEnded));

        let login = sign_in().await?;
        let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
        store.accounts.update_user(&context(), login.user.id, off).await?;
        ensure!(judge(&login.access_token).await? == Err(Refused::Disabled));
        ensure!(matches!(sign_in().await, Err(Error::WrongPassword)));
        Ok(())
    })
    .await;
}
