//! What an admin sets against the object that owns a row, and how it is taken back.

use anyhow::{Result, ensure};
use paddock_accounts::email::Email;
use paddock_accounts::gitops::{Adoption, DesiredKey, DesiredUser};
use paddock_accounts::limits::Limits;
use paddock_accounts::sets::{Role, Scopes};
use paddock_accounts::users::{UserId, UserPatch};
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;

use super::{StoreFixture, context, object, open};

impl StoreFixture {
    async fn set_active(&self, id: UserId, is_active: bool) -> Result<()> {
        let patch = UserPatch { is_active: Some(is_active), ..UserPatch::default() };
        self.accounts.update_user(&context(), id, patch, Ok(())).await?;
        Ok(())
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_stays_so_until_an_admin_enables_it(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let apply = async |active: bool| {
            let want = DesiredUser {
                email: Email::parse("ada@example.com")?,
                display_name: None,
                roles: [Role::User].into_iter().collect(),
                active,
                models: None,
                limits: Limits::default(),
            };
            let applied =
                store.accounts.apply_user(&context(), &object("ada", "first"), &want, Adoption::Never, false).await?;
            anyhow::Ok(applied)
        };
        let ada = apply(true).await?.id;
        store.set_active(ada, false).await?;
        store.set_active(ada, false).await?;
        ensure!(!apply(true).await?.is_active);
        store.set_active(ada, true).await?;
        ensure!(apply(true).await?.is_active);

        // Git disables it; an admin says the same, and means it whatever Git says later.
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
async fn a_revoked_key_is_not_given_again_until_an_admin_clears_it(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let apply = async |life: &str| {
            let want = DesiredKey {
                user_id: ada.id,
                label: "ci".into(),
                scopes: Scopes::default_for_keys(),
                models: None,
                limits: Limits::default(),
                expires_at: None,
            };
            store.accounts.apply_key(&context(), &object("ci", life), &want, true).await
        };
        let first = apply("first").await?;
        for _ in 0..2 {
            store.accounts.revoke_key(&context(), first.id).await?;
        }
        for life in ["first", "second"] {
            let same = apply(life).await?;
            ensure!(same.id == first.id && same.revoked_at.is_some(), "{same:?}");
        }

        for _ in 0..2 {
            store.accounts.clear_key_override(&context(), first.id).await?;
        }
        let old = store.accounts.credential(first.id).await?.expect("it stays in the list");
        ensure!(old.revoked_at.is_some() && old.managed_by.is_none() && old.overridden_at.is_none(), "{old:?}");
        let second = apply("second").await?;
        ensure!(second.id != first.id && second.revoked_at.is_none(), "the object is given another key");

        // Revoked by the object first: an admin can say the same against its next lives.
        store.accounts.revoke_owned_key(&context(), &object("ci", "second"), false).await?;
        for _ in 0..2 {
            store.accounts.revoke_key(&context(), second.id).await?;
        }
        ensure!(apply("third").await?.id == second.id);
        let events = store.events().await?;
        let expected = [
            "user_created",
            "api_key_created",
            "api_key_revoked",
            "override_cleared",
            "api_key_created",
            "api_key_revoked",
            "override_set",
        ];
        ensure!(events == expected, "{events:?}");
        Ok(())
    })
    .await;
}
