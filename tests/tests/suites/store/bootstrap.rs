//! Bootstrapping the first admin: it is created when there is none, and later starts do not change
//! it.

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use paddock_accounts::{
    UserId,
    bootstrap::{ADMIN_EMAIL, Seed, Seeded},
    types::{Email, LimitsPatch, Role},
    users::UserPatch,
};
use paddock_store::audit::{AuditFilter, AuditRow, EventType};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;
use serde_json::{Value, json};

use super::{StoreFixture, context, open};

impl StoreFixture {
    /// Seeds with a forced new password. The error is the text of the refusal.
    async fn force(&self) -> Result<Seeded, String> {
        let seed = Seed { force: true, ..Seed::default() };
        self.accounts.seed(&seed).await.map_err(|error| error.to_string())
    }

    /// The detail and the change of the newest event of seeding.
    async fn bootstrapped(&self) -> Result<(String, Value)> {
        let filter = AuditFilter { event_types: Some(vec![EventType::AdminBootstrapped]), ..AuditFilter::default() };
        let row = self.accounts.audit().list(&filter, 1, AuditRow::owned).await?.pop().context("an event")?;
        let change = row.change.map_or(Ok(Value::Null), |text| serde_json::from_str(&text))?;
        Ok((row.detail.unwrap_or_default(), change))
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_seeds_create_one_password_and_one_key(#[case] engine: Engine) {
    story(async {
        for _ in 0..3 {
            let store = open(engine).await?;
            let seed = Seed::default();
            let seeded = try_join_all((0..6).map(|_| store.accounts.seed(&seed))).await?;
            let passwords: Vec<_> = seeded.iter().filter_map(|seeded| seeded.password.clone()).collect();
            ensure!(passwords.len() == 1, "{} got a password", passwords.len());
            ensure!(seeded.iter().filter(|seeded| seeded.key.is_some()).count() == 1);
            assert_eq!(store.events().await?, ["admin_bootstrapped", "api_key_issued"]);
            store.accounts.sessions().login(&context(), ADMIN_EMAIL, passwords[0].clone()).await?;
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_or_deleted_first_admin_is_not_restored(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let seed = Seed::default();
        store.accounts.seed(&seed).await?;
        let first =
            store.accounts.users().find_by_email(&Email::parse(ADMIN_EMAIL)?).await?.context("the first admin")?;
        store.user("root@example.com", &[Role::Admin]).await?;
        let key = store.accounts.credentials().list(Some(first.id)).await?.remove(0);
        store.accounts.credentials().revoke(&context(), key.id).await?;
        let demoted = UserPatch { roles: Some([Role::User].into_iter().collect()), ..UserPatch::default() };
        store.accounts.users().update(&context(), first.id, demoted, Ok(())).await?;

        for deleted in [false, true] {
            if deleted {
                store.accounts.users().delete(&context(), first.id, Ok(())).await?;
            }
            let before = store.events().await?;
            let seeded = store.accounts.seed(&seed).await?;
            ensure!(seeded.password.is_none() && seeded.key.is_none(), "deleted: {deleted}");
            assert_eq!(store.events().await?, before);
        }
        // A forced password creates an admin that can sign in.
        let forced = store.accounts.seed(&Seed { force: true, ..Seed::default() }).await?;
        let password = forced.password.context("a password")?;
        let login = store.accounts.sessions().login(&context(), ADMIN_EMAIL, password).await?;
        ensure!(login.user.roles.has(Role::Admin) && login.user.id != first.id && forced.key.is_some());
        Ok(())
    })
    .await;
}

/// A database whose only user has the first admin's address, but cannot administer: it is disabled,
/// silenced and no admin.
async fn without_admin(engine: Engine) -> Result<(StoreFixture, UserId)> {
    let store = open(engine).await?;
    let found = store.user(ADMIN_EMAIL, &[Role::User]).await?;
    let silenced = LimitsPatch { requests_per_minute: Some(Some(0)), ..LimitsPatch::default() };
    let off = UserPatch { is_active: Some(false), limits: silenced, ..UserPatch::default() };
    store.accounts.users().update(&context(), found.id, off, Ok(())).await?;
    Ok((store, found.id))
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn seeding_without_a_working_admin_is_refused_and_names_the_ways_out(#[case] engine: Engine) {
    story(async {
        let (store, _) = without_admin(engine).await?;
        let before = store.events().await?;
        let refused = store.accounts.seed(&Seed::default()).await.err().context("nobody is an admin")?.to_string();
        for words in [ADMIN_EMAIL, "ADMIN_BOOTSTRAP_PASSWORD_FORCE=1", "`paddock user create "] {
            ensure!(refused.contains(words), "no {words} in {refused}");
        }
        ensure!(store.events().await? == before);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_forced_password_restores_the_first_admin_if_no_admin_is_left(#[case] engine: Engine) {
    story(async {
        let (store, found) = without_admin(engine).await?;
        let forced = store.force().await.map_err(anyhow::Error::msg)?;
        let login =
            store.accounts.sessions().login(&context(), ADMIN_EMAIL, forced.password.context("a password")?).await?;
        ensure!(login.user.id == found && login.user.roles.has(Role::Admin) && forced.key.is_some());
        let change = json!({
            "before": {"is_active": false, "roles": ["user"], "limits": {"requests_per_minute": 0}},
            "after": {"is_active": true, "roles": ["admin", "user"], "limits": {}},
        });
        assert_eq!(store.bootstrapped().await?, ("made the admin again".to_owned(), change));
        let whole = store.accounts.audit().verify(&[], |_| ()).await?;
        ensure!(whole.is_ok(), "{whole:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_forced_password_restores_nothing_while_another_admin_is_left(#[case] engine: Engine) {
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
            let first =
                store.accounts.users().find_by_email(&Email::parse(ADMIN_EMAIL)?).await?.context("the first admin")?;
            store.accounts.users().update(&context(), first.id, taken, Ok(())).await?;
            let before = store.database.contents(&[]).await?;
            let refused =
                store.force().await.err().with_context(|| format!("{words}: the first admin was restored"))?;
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
async fn a_forced_password_does_not_change_a_managed_user(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.user(ADMIN_EMAIL, &[Role::User]).await?;
        let owned = "UPDATE users SET managed_cluster = '0b5e', managed_namespace = 'team-a', managed_name = 'first', \
                     managed_uid = 'x'";
        store.database.execute(owned).await?;
        let before = store.database.contents(&[]).await?;
        let refused = store.force().await.err().context("the user was made an admin")?;
        ensure!(refused.contains("team-a/first"), "{refused}");
        ensure!(store.database.contents(&[]).await? == before);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_seeding_has_its_change(#[case] engine: Engine) {
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
async fn a_failure_after_the_password_names_the_way_out(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.database.execute("ALTER TABLE credentials RENAME TO elsewhere").await?;
        let failed = store
            .accounts
            .seed(&Seed::default())
            .await
            .err()
            .context("seeding without a table of keys succeeded")?
            .to_string();
        ensure!(failed.contains("ADMIN_BOOTSTRAP_PASSWORD_FORCE=1"), "{failed}");
        Ok(())
    })
    .await;
}
