//! The first admin: made where there is none, and left alone by every later start.

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_accounts::audit::{AuditFilter, AuditRow};
use paddock_accounts::email::Email;
use paddock_accounts::limits::LimitsPatch;
use paddock_accounts::seed::{ADMIN_EMAIL, Seed, Seeded};
use paddock_accounts::sets::Role;
use paddock_accounts::users::UserPatch;
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;
use serde_json::{Value, json};

use super::{StoreFixture, context, open};

impl StoreFixture {
    /// Seeds with a new password, whatever is there; in one sentence why not, where it is refused.
    async fn force(&self) -> Result<Seeded, String> {
        let seed = Seed { force: true, ..Seed::default() };
        self.accounts.seed(&seed).await.map_err(|error| error.to_string())
    }

    /// What the newest event of seeding says: its detail and its change.
    async fn bootstrapped(&self) -> Result<(String, Value)> {
        let filter = AuditFilter { event_type: Some("admin_bootstrapped".to_owned()), ..AuditFilter::default() };
        let row = self.accounts.audit(&filter, 1, AuditRow::owned).await?.pop().context("an event")?;
        let change = row.change.map_or(Ok(Value::Null), |text| serde_json::from_str(&text))?;
        Ok((row.detail.unwrap_or_default(), change))
    }
}

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

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_administer_it_says_so_and_forced_it_makes_the_admin(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let found = store.user(ADMIN_EMAIL, &[Role::User]).await?;
        let silent = LimitsPatch { requests_per_minute: Some(Some(0)), ..LimitsPatch::default() };
        let off = UserPatch { is_active: Some(false), limits: silent, ..UserPatch::default() };
        store.accounts.update_user(&context(), found.id, off, Ok(())).await?;

        let before = store.events().await?;
        let refused = store.accounts.seed(&Seed::default()).await.err().context("nobody is an admin")?.to_string();
        for words in
            ["nobody can administer", "is disabled", "ADMIN_BOOTSTRAP_PASSWORD_FORCE=1", "`paddock user create "]
        {
            ensure!(refused.contains(words), "no {words} in {refused}");
        }
        ensure!(store.events().await? == before);

        let forced = store.force().await.map_err(anyhow::Error::msg)?;
        let login = store.accounts.login(&context(), ADMIN_EMAIL, forced.password.context("a password")?).await?;
        ensure!(login.user.id == found.id && login.user.roles.has(Role::Admin) && forced.key.is_some());
        let change = json!({
            "before": {"is_active": false, "roles": ["user"], "limits": {"requests_per_minute": 0}},
            "after": {"is_active": true, "roles": ["admin", "user"], "limits": {}},
        });
        assert_eq!(store.bootstrapped().await?, ("made the admin again".to_owned(), change));
        let whole = store.accounts.verify_audit(|_| ()).await?;
        ensure!(whole.is_ok(), "{whole:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn force_gives_nothing_back_that_another_admin_may_have_taken(#[case] engine: Engine) {
    story(async {
        let demoted = UserPatch { roles: Some([Role::User].into_iter().collect()), ..UserPatch::default() };
        let disabled = UserPatch { is_active: Some(false), ..UserPatch::default() };
        let silent = LimitsPatch { requests_per_minute: Some(Some(0)), ..LimitsPatch::default() };
        let silenced = UserPatch { limits: silent, ..UserPatch::default() };
        for (taken, words) in [
            (demoted, "`paddock user update admin@example.com --role admin`"),
            (disabled, "`paddock user enable admin@example.com`"),
            (silenced, "`paddock user update admin@example.com --limit requests_per_minute=`"),
        ] {
            let store = open(engine).await?;
            store.accounts.seed(&Seed::default()).await?;
            store.user("root@example.com", &[Role::Admin]).await?;
            let first = store.accounts.user_by_email(&Email::parse(ADMIN_EMAIL)?).await?.context("the first admin")?;
            store.accounts.update_user(&context(), first.id, taken, Ok(())).await?;
            let before = store.database.contents(&[]).await?;
            let refused = store.force().await.err().with_context(|| format!("{words}: it was raised"))?;
            ensure!(refused.contains("ADMIN_BOOTSTRAP_PASSWORD_FORCE") && refused.contains(words), "{refused}");
            store.accounts.seed(&Seed::default()).await?;
            ensure!(store.database.contents(&[]).await? == before, "{words}: something changed");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn force_leaves_what_kubernetes_owns_to_its_object(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.user(ADMIN_EMAIL, &[Role::User]).await?;
        let owned = "UPDATE users SET managed_cluster = '0b5e', managed_namespace = 'team-a', managed_name = 'first', \
                     managed_uid = 'x'";
        store.database.execute(owned).await?;
        let before = store.database.contents(&[]).await?;
        let refused = store.force().await.err().context("it was raised")?;
        ensure!(refused.contains("team-a/first") && refused.contains("change the object"), "{refused}");
        ensure!(store.database.contents(&[]).await? == before);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_seeding_tells_what_it_changed_and_no_more(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.accounts.seed(&Seed::default()).await?;
        let made = json!({"before": {}, "after": {"email": ADMIN_EMAIL, "is_active": true, "roles": ["admin"]}});
        assert_eq!(store.bootstrapped().await?, ("created".to_owned(), made));
        store.force().await.map_err(anyhow::Error::msg)?;
        assert_eq!(store.bootstrapped().await?, ("password reset".to_owned(), Value::Null));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_no_key_followed_is_not_passed_over(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.database.execute("ALTER TABLE credentials RENAME TO elsewhere").await?;
        let failed =
            store.accounts.seed(&Seed::default()).await.err().context("there is no table of keys")?.to_string();
        ensure!(failed.contains("nobody was told") && failed.contains("ADMIN_BOOTSTRAP_PASSWORD_FORCE=1"), "{failed}");
        Ok(())
    })
    .await;
}
