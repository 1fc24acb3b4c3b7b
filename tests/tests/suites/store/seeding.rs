//! The first admin: made where there is none, and left alone by every later start.

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use paddock_accounts::email::Email;
use paddock_accounts::seed::{ADMIN_EMAIL, Seed};
use paddock_accounts::sets::Role;
use paddock_accounts::users::UserPatch;
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;

use super::{context, open};

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn several_who_seed_at_once_make_one_password_and_one_key(#[case] engine: Engine) {
    story(async {
        for _ in 0..3 {
            let store = open(engine).await?;
            let seed = Seed::default();
            let seeded = try_join_all((0..6).map(|_| store.accounts.seed(&seed))).await?;
            let passwords: Vec<_> = seeded.iter().filter_map(|seeded| seeded.password.clone()).collect();
            ensure!(passwords.len() == 1, "{} were told a password", passwords.len());
            ensure!(seeded.iter().filter(|seeded| seeded.key.is_some()).count() == 1);
            assert_eq!(store.events().await?, ["admin_bootstrapped", "api_key_issued"]);
            store.accounts.login(&context(), ADMIN_EMAIL, passwords[0].clone()).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_who_was_demoted_or_deleted_stays_so(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let seed = Seed::default();
        store.accounts.seed(&seed).await?;
        let first = store.accounts.user_by_email(&Email::parse(ADMIN_EMAIL)?).await?.context("the first admin")?;
        store.user("root@example.com", &[Role::Admin]).await?;
        let key = store.accounts.credentials(Some(first.id)).await?.remove(0);
        store.accounts.revoke_key(&context(), key.id).await?;
        let demoted = UserPatch { roles: Some([Role::User].into_iter().collect()), ..UserPatch::default() };
        store.accounts.update_user(&context(), first.id, demoted, Ok(())).await?;

        for deleted in [false, true] {
            if deleted {
                store.accounts.delete_user(&context(), first.id, Ok(())).await?;
            }
            let before = store.events().await?;
            let seeded = store.accounts.seed(&seed).await?;
            ensure!(seeded.password.is_none() && seeded.key.is_none(), "deleted: {deleted}");
            assert_eq!(store.events().await?, before);
        }
        // Who forces a password wants one to sign in with.
        let forced = store.accounts.seed(&Seed { force: true, ..Seed::default() }).await?;
        let password = forced.password.context("a password")?;
        let login = store.accounts.login(&context(), ADMIN_EMAIL, password).await?;
        ensure!(login.user.roles.has(Role::Admin) && login.user.id != first.id && forced.key.is_some());
        Ok(())
    })
    .await;
}
