//! Overrides: an admin's change to a managed row, and how it is cleared.

use anyhow::{Result, ensure};
use paddock_accounts::{
    UserId,
    credentials::Credential,
    managed_resources::{Adoption, DesiredUser, OnUidMismatch},
    types::Role,
    users::{User, UserPatch},
};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;

use super::{StoreFixture, context, desired_key, desired_user, object, open};

impl StoreFixture {
    /// Applies the key object `ci` of this user, whose UID is known to be current.
    async fn take_over_ci(&self, user: &User, uid: &str) -> Result<Credential> {
        let (owner, want) = (object("ci", uid), desired_key(user.id));
        Ok(self.accounts.managed().apply_key(&context(), &owner, &want, OnUidMismatch::TakeOver).await?)
    }

    async fn set_active(&self, id: UserId, is_active: bool) -> Result<()> {
        let patch = UserPatch { is_active: Some(is_active), ..UserPatch::default() };
        self.accounts.users().update(&context(), id, patch, Ok(())).await?;
        Ok(())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_an_admin_disabled_stays_disabled_until_an_admin_enables_it(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let apply = async |active: bool| {
            let want = DesiredUser { active, ..desired_user("ada@example.com") };
            let applied = store
                .accounts
                .managed()
                .apply_user(&context(), &object("ada", "first"), &want, Adoption::Never, OnUidMismatch::Reject)
                .await?;
            anyhow::Ok(applied)
        };
        let ada = apply(true).await?.id;
        store.set_active(ada, false).await?;
        store.set_active(ada, false).await?;
        ensure!(!apply(true).await?.is_active);
        store.set_active(ada, true).await?;
        ensure!(apply(true).await?.is_active);

        // The object disables the user. An admin does too, which overrides later changes of the
        // object.
        ensure!(!apply(false).await?.is_active);
        store.set_active(ada, false).await?;
        ensure!(!apply(true).await?.is_active);
        store.set_active(ada, true).await?;
        ensure!(apply(true).await?.is_active);
        let events = store.events().await?;
        let expected =
            ["user_created", "user_disabled", "user_enabled", "user_disabled", "override_set", "user_enabled"];
        ensure!(events == expected, "{events:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_an_admin_revoked_stays_revoked_for_every_object(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let first = store.take_over_ci(&ada, "first").await?;
        for _ in 0..2 {
            store.accounts.credentials().revoke(&context(), first.id).await?;
        }
        for uid in ["first", "second"] {
            let same = store.take_over_ci(&ada, uid).await?;
            ensure!(same.id == first.id && same.revoked_at.is_some(), "{same:?}");
        }
        ensure!(store.events().await? == ["user_created", "api_key_created", "api_key_revoked"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_cleared_override_gives_the_object_a_new_key(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let first = store.take_over_ci(&ada, "first").await?;
        store.accounts.credentials().revoke(&context(), first.id).await?;
        for _ in 0..2 {
            store.accounts.credentials().clear_override(&context(), first.id).await?;
        }
        let old = store.accounts.credentials().find(first.id).await?.expect("it stays in the list");
        ensure!(old.revoked_at.is_some() && old.managed_by.is_none() && old.overridden_at.is_none(), "{old:?}");
        let second = store.take_over_ci(&ada, "first").await?;
        ensure!(second.id != first.id && second.revoked_at.is_none());
        let events = store.events().await?;
        let expected = ["user_created", "api_key_created", "api_key_revoked", "override_cleared", "api_key_created"];
        ensure!(events == expected, "{events:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_overrides_a_key_that_its_object_revoked(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let key = store.take_over_ci(&ada, "first").await?;
        store.accounts.managed().revoke_key(&context(), &object("ci", "first"), OnUidMismatch::Reject).await?;
        for _ in 0..2 {
            store.accounts.credentials().revoke(&context(), key.id).await?;
        }
        ensure!(store.take_over_ci(&ada, "second").await?.id == key.id);
        let events = store.events().await?;
        ensure!(events == ["user_created", "api_key_created", "api_key_revoked", "override_set"], "{events:?}");
        Ok(())
    })
    .await;
}
