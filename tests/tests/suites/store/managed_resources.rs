//! Users, keys and models that Kubernetes objects own.

use anyhow::ensure;
use paddock_accounts::{
    Error,
    credentials::Credential,
    managed_resources::{Adoption, DeletionAction, DesiredUser, Model, ModelSource, OnUidMismatch, Removal},
    types::{Limits, ManagedBy, Role},
    users::{User, UserPatch},
};
use paddock_tests::{database::Engine, story::story};
use rstest::rstest;

use super::{StoreFixture, context, desired_key, desired_user, object, open};

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_api_cannot_edit_a_managed_user_but_an_admin_can_override_it(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let owner = object("ada", "first");
        let want = desired_user("ada@example.com");
        let apply = async || {
            store.accounts.managed().apply_user(&context(), &owner, &want, Adoption::Never, OnUidMismatch::Reject).await
        };
        let ada = apply().await?;
        apply().await?;
        ensure!(store.events().await? == ["user_created"], "a repeated apply changes something");

        let name = UserPatch { display_name: Some(Some("Ada".into())), ..UserPatch::default() };
        let edit = store.accounts.users().update(&context(), ada.id, name, Ok(())).await;
        ensure!(matches!(&edit, Err(Error::Managed { owner: o, .. }) if *o == owner), "{edit:?}");

        let active = |is_active| UserPatch { is_active: Some(is_active), ..UserPatch::default() };
        store.accounts.users().update(&context(), ada.id, active(false), Ok(())).await?;
        let after = apply().await?;
        ensure!(!after.is_active && after.overridden_at.is_some(), "reconciliation undid the override");
        store.accounts.users().update(&context(), ada.id, active(true), Ok(())).await?;
        ensure!(apply().await?.overridden_at.is_none());
        Ok(())
    })
    .await;
}

impl StoreFixture {
    /// Applies a user object that may not adopt, and whose UID must be current.
    async fn apply(&self, name: &str, uid: &str, email: &str) -> Result<User, Error> {
        self.apply_with(name, uid, email, Adoption::Never, OnUidMismatch::Reject).await
    }

    async fn apply_with(
        &self,
        name: &str,
        uid: &str,
        email: &str,
        adoption: Adoption,
        on_uid_mismatch: OnUidMismatch,
    ) -> Result<User, Error> {
        let (owner, want) = (object(name, uid), desired_user(email));
        self.accounts.managed().apply_user(&context(), &owner, &want, adoption, on_uid_mismatch).await
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_object_adopts_an_existing_user_only_with_the_policy_for_it(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let by_hand = store.user("ada@example.com", &[]).await?;
        let refused = store.apply("ada", "first", "ada@example.com").await;
        ensure!(matches!(refused, Err(Error::EmailTaken(id)) if id == by_hand.id), "{refused:?}");
        let adopted =
            store.apply_with("ada", "first", "ada@example.com", Adoption::Users, OnUidMismatch::Reject).await?;
        ensure!(adopted.id == by_hand.id && adopted.managed_by == Some(object("ada", "first")));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_object_adopts_an_admin_only_with_the_policy_for_anyone(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.user("root@example.com", &[Role::Admin]).await?;
        let admin = store.user("boss@example.com", &[Role::Admin]).await?;
        let refused =
            store.apply_with("boss", "first", "boss@example.com", Adoption::Users, OnUidMismatch::Reject).await;
        ensure!(matches!(refused, Err(Error::EmailTaken(id)) if id == admin.id), "{refused:?}");
        store.apply_with("boss", "first", "boss@example.com", Adoption::Anyone, OnUidMismatch::Reject).await?;
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_object_does_not_adopt_a_disabled_user(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let off = store.user("off@example.com", &[]).await?;
        let disable = UserPatch { is_active: Some(false), ..UserPatch::default() };
        store.accounts.users().update(&context(), off.id, disable, Ok(())).await?;
        let refused = store.apply_with("off", "first", "off@example.com", Adoption::Users, OnUidMismatch::Reject).await;
        ensure!(matches!(refused, Err(Error::EmailTaken(_))), "{refused:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_one_owning_object(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        store.apply("ada", "first", "ada@example.com").await?;
        let other = store.apply_with("rival", "first", "ada@example.com", Adoption::Users, OnUidMismatch::Reject).await;
        ensure!(matches!(&other, Err(Error::Managed { owner, .. }) if owner.name == "ada"), "{other:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_next_object_of_a_name_takes_over_its_user_once_its_uid_is_checked(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.apply("ada", "first", "ada@example.com").await?;
        let unchecked = store.apply("ada", "second", "ada@example.com").await;
        ensure!(matches!(unchecked, Err(Error::UidMismatch(_))), "{unchecked:?}");
        let taken_over =
            store.apply_with("ada", "second", "ada@example.com", Adoption::Never, OnUidMismatch::TakeOver).await?;
        ensure!(taken_over.id == ada.id);
        let late = store.apply("ada", "first", "ada@example.com").await;
        ensure!(matches!(late, Err(Error::UidMismatch(_))), "the first object still has a say: {late:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_next_object_with_another_address_gets_another_user(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.apply("ada", "first", "ada@example.com").await?;
        let moved =
            store.apply_with("ada", "second", "countess@example.com", Adoption::Never, OnUidMismatch::TakeOver).await?;
        ensure!(moved.id != ada.id);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_released_user_is_deleted_with_its_keys_in_one_event(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.apply("ada", "first", "ada@example.com").await?;
        store
            .accounts
            .managed()
            .apply_key(&context(), &object("ci", "first"), &desired_key(ada.id), OnUidMismatch::Reject)
            .await?;
        for _ in 0..2 {
            store.accounts.managed().release_user(&context(), &object("ada", "first"), DeletionAction::Delete).await?;
        }
        ensure!(store.accounts.users().find(ada.id).await?.is_none());
        ensure!(store.accounts.credentials().list(Some(ada.id)).await?.iter().all(|key| key.revoked_at.is_some()));
        let events = store.events().await?;
        ensure!(events == ["user_created", "api_key_created", "user_deleted"], "{events:?}");
        let next = store.apply("ada", "first", "ada@example.com").await?;
        ensure!(next.id != ada.id, "the id is used again");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_object_with_another_uid_releases_nothing(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.apply("ada", "first", "ada@example.com").await?;
        store.accounts.managed().release_user(&context(), &object("ada", "second"), DeletionAction::Delete).await?;
        ensure!(store.accounts.users().find(ada.id).await?.is_some());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_released_user_is_disabled_or_retained_by_policy(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        for (name, policy, is_active) in
            [("bob", DeletionAction::Disable, false), ("cyd", DeletionAction::Retain, true)]
        {
            let user = store.apply(name, "first", &format!("{name}@example.com")).await?;
            store.accounts.managed().release_user(&context(), &object(name, "first"), policy).await?;
            ensure!(
                store.accounts.users().find(user.id).await?.is_some_and(|user| user.is_active == is_active),
                "{name}"
            );
        }
        Ok(())
    })
    .await;
}

impl StoreFixture {
    /// Applies the key object `ci` of this user.
    async fn apply_ci(&self, user: &User, uid: &str, on_uid_mismatch: OnUidMismatch) -> Result<Credential, Error> {
        self.accounts.managed().apply_key(&context(), &object("ci", uid), &desired_key(user.id), on_uid_mismatch).await
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_its_object_revoked_stays_revoked(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let owner = object("ci", "first");
        let first = store.apply_ci(&ada, "first", OnUidMismatch::Reject).await?;
        store.accounts.managed().revoke_key(&context(), &owner, OnUidMismatch::Reject).await?;
        ensure!(store.apply_ci(&ada, "first", OnUidMismatch::Reject).await?.id == first.id);
        let staged = store.accounts.managed().stage_secret(&context(), &owner, first.id, None).await;
        ensure!(matches!(staged, Err(Error::Revoked(_))), "{staged:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_next_object_gets_a_new_key_after_a_revoked_one(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let first = store.apply_ci(&ada, "first", OnUidMismatch::Reject).await?;
        store.accounts.managed().revoke_key(&context(), &object("ci", "first"), OnUidMismatch::Reject).await?;
        let second = store.apply_ci(&ada, "second", OnUidMismatch::TakeOver).await?;
        ensure!(second.id != first.id && second.revoked_at.is_none());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_next_object_revokes_the_key_of_an_earlier_one_once_its_uid_is_checked(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let (first, next) = (object("ci", "first"), object("ci", "second"));
        let key =
            store.accounts.managed().apply_key(&context(), &first, &desired_key(ada.id), OnUidMismatch::Reject).await?;
        let unchecked = store.accounts.managed().revoke_key(&context(), &next, OnUidMismatch::Reject).await;
        ensure!(matches!(unchecked, Err(Error::UidMismatch(_))), "{unchecked:?}");
        ensure!(store.accounts.managed().revoke_key(&context(), &next, OnUidMismatch::TakeOver).await? == Some(key.id));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_by_an_admin_outlives_the_object(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let first = store.apply_ci(&ada, "first", OnUidMismatch::Reject).await?;
        store.accounts.credentials().revoke(&context(), first.id).await?;
        let second = store.apply_ci(&ada, "second", OnUidMismatch::TakeOver).await?;
        ensure!(second.id == first.id && second.overridden_at.is_some());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_object_gets_a_new_key_when_its_user_object_comes_back(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let (user, key) = (object("ada", "first"), object("ci", "first"));
        let apply = async |owner: &ManagedBy| {
            let want = desired_user("ada@example.com");
            store.accounts.managed().apply_user(&context(), owner, &want, Adoption::Never, OnUidMismatch::Reject).await
        };
        let ada = apply(&user).await?;
        let first =
            store.accounts.managed().apply_key(&context(), &key, &desired_key(ada.id), OnUidMismatch::Reject).await?;
        store.accounts.managed().release_user(&context(), &user, DeletionAction::Delete).await?;
        let again = apply(&object("ada", "second")).await?;
        let second =
            store.accounts.managed().apply_key(&context(), &key, &desired_key(again.id), OnUidMismatch::Reject).await?;
        ensure!(second.id != first.id && second.revoked_at.is_none() && second.user_id == again.id);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_cannot_be_released_and_keeps_its_keys(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let owner = object("boss", "first");
        let boss = DesiredUser { roles: [Role::Admin].into_iter().collect(), ..desired_user("boss@example.com") };
        // An admin with a limit of zero does not count as another admin.
        let silent = Limits { requests_per_minute: Some(0), ..Limits::default() };
        let other = DesiredUser { limits: silent, roles: boss.roles.clone(), ..desired_user("other@example.com") };
        store
            .accounts
            .managed()
            .apply_user(&context(), &object("other", "first"), &other, Adoption::Never, OnUidMismatch::Reject)
            .await?;
        let silenced = DesiredUser { limits: silent, ..boss.clone() };
        let boss = store
            .accounts
            .managed()
            .apply_user(&context(), &owner, &boss, Adoption::Never, OnUidMismatch::Reject)
            .await?;
        let refused = store
            .accounts
            .managed()
            .apply_user(&context(), &owner, &silenced, Adoption::Never, OnUidMismatch::Reject)
            .await;
        ensure!(matches!(refused, Err(Error::LastAdmin)), "{refused:?}");
        store
            .accounts
            .managed()
            .apply_key(&context(), &object("ci", "first"), &desired_key(boss.id), OnUidMismatch::Reject)
            .await?;
        let refused = store.accounts.managed().release_user(&context(), &owner, DeletionAction::Delete).await;
        ensure!(matches!(refused, Err(Error::LastAdmin)), "{refused:?}");
        ensure!(store.accounts.credentials().list(Some(boss.id)).await?.iter().all(|key| key.revoked_at.is_none()));
        Ok(())
    })
    .await;
}

const MODEL: &str = "registry.ollama.ai/library/smollm2:135m";

fn model(origin: ModelSource) -> Model {
    Model { model: MODEL.into(), origin, digest: Some("sha256:00".into()), size_bytes: Some(98_000_000) }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_model_is_kept_when_its_object_goes(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let owner = object("first", "a");
        store.accounts.managed().record_model(&context(), &owner, model(ModelSource::Adopted)).await?;
        ensure!(store.accounts.managed().plan_model_removal(&owner, MODEL).await? == Removal::Keep);
        store.accounts.managed().forget_model(&context(), &owner, "kept").await?;
        ensure!(store.accounts.managed().plan_model_removal(&owner, MODEL).await? == Removal::Gone);
        ensure!(store.events().await? == ["model_adopted", "model_deleted"]);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_model_goes_with_the_last_object_that_names_it(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let (first, second) = (object("first", "a"), object("second", "a"));
        store.accounts.managed().record_model(&context(), &first, model(ModelSource::Pulled)).await?;
        store.accounts.managed().record_model(&context(), &second, model(ModelSource::Adopted)).await?;
        ensure!(
            store.accounts.managed().plan_model_removal(&first, MODEL).await? == Removal::Keep,
            "another object names it"
        );
        store.accounts.managed().forget_model(&context(), &first, "kept").await?;
        ensure!(store.accounts.managed().plan_model_removal(&second, MODEL).await? == Removal::Delete);
        let events = store.events().await?;
        ensure!(events == ["model_pulled", "model_adopted", "model_deleted"], "{events:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_object_removes_only_the_model_that_it_recorded(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let owner = object("second", "a");
        store.accounts.managed().record_model(&context(), &owner, model(ModelSource::Pulled)).await?;
        let another = "registry.ollama.ai/library/other:1b";
        ensure!(store.accounts.managed().plan_model_removal(&owner, another).await? == Removal::Keep);
        ensure!(store.accounts.managed().plan_model_removal(&object("second", "b"), MODEL).await? == Removal::Gone);
        Ok(())
    })
    .await;
}
