//! Rows that Kubernetes objects own.

use anyhow::ensure;
use paddock_accounts::{
    Error,
    managed_resources::{
        Adoption, DeletionAction, DesiredKey, DesiredUser, Model, ModelSource, OnUidMismatch, Removal,
    },
    types::{Email, Limits, ManagedBy, Role, Scopes},
    users::{User, UserPatch},
};
use paddock_tests::database::Engine;
use paddock_tests::story::story;
use rstest::rstest;

use super::{context, object, open};

fn desired(email: &str) -> DesiredUser {
    DesiredUser {
        email: Email::parse(email).expect("an address"),
        display_name: None,
        roles: [Role::User].into_iter().collect(),
        active: true,
        models: None,
        limits: Limits::default(),
    }
}

fn desired_key(user: &User) -> DesiredKey {
    DesiredKey {
        user_id: user.id,
        label: "ci".into(),
        scopes: Scopes::default_for_keys(),
        models: None,
        limits: Limits::default(),
        expires_at: None,
    }
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn what_git_owns_the_api_does_not_edit_but_an_admin_may_override(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let owner = object("ada", "first");
        let want = desired("ada@example.com");
        let apply = async || {
            store.accounts.managed().apply_user(&context(), &owner, &want, Adoption::Never, OnUidMismatch::Reject).await
        };
        let ada = apply().await?;
        apply().await?;
        ensure!(store.events().await? == ["user_created"], "applying again changes nothing");

        let name = UserPatch { display_name: Some(Some("Ada".into())), ..UserPatch::default() };
        let edit = store.accounts.users().update(&context(), ada.id, name, Ok(())).await;
        ensure!(matches!(&edit, Err(Error::Managed { owner: o, .. }) if *o == owner), "{edit:?}");

        let active = |is_active| UserPatch { is_active: Some(is_active), ..UserPatch::default() };
        store.accounts.users().update(&context(), ada.id, active(false), Ok(())).await?;
        let after = apply().await?;
        ensure!(!after.is_active && after.overridden_at.is_some(), "reconciliation does not undo it");
        store.accounts.users().update(&context(), ada.id, active(true), Ok(())).await?;
        ensure!(apply().await?.overridden_at.is_none());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_one_owner(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let apply = async |name: &str, life: &str, email: &str, adoption, on_mismatch| {
            store
                .accounts
                .managed()
                .apply_user(&context(), &object(name, life), &desired(email), adoption, on_mismatch)
                .await
        };
        let by_hand = store.user("ada@example.com", &[]).await?;
        let refused = apply("ada", "first", "ada@example.com", Adoption::Never, OnUidMismatch::Reject).await;
        ensure!(matches!(refused, Err(Error::EmailTaken(id)) if id == by_hand.id), "{refused:?}");
        store.user("root@example.com", &[Role::Admin]).await?;
        let admin = store.user("boss@example.com", &[Role::Admin]).await?;
        let refused = apply("boss", "first", "boss@example.com", Adoption::Users, OnUidMismatch::Reject).await;
        ensure!(matches!(refused, Err(Error::EmailTaken(id)) if id == admin.id), "no admin for everyone: {refused:?}");
        apply("boss", "first", "boss@example.com", Adoption::Anyone, OnUidMismatch::Reject).await?;
        let off = store.user("off@example.com", &[]).await?;
        let disable = UserPatch { is_active: Some(false), ..UserPatch::default() };
        store.accounts.users().update(&context(), off.id, disable, Ok(())).await?;
        let refused = apply("off", "first", "off@example.com", Adoption::Users, OnUidMismatch::Reject).await;
        ensure!(matches!(refused, Err(Error::EmailTaken(_))), "what an admin disabled stays so: {refused:?}");

        let adopted = apply("ada", "first", "ada@example.com", Adoption::Users, OnUidMismatch::Reject).await?;
        ensure!(adopted.id == by_hand.id && adopted.managed_by == Some(object("ada", "first")));

        let other = apply("rival", "first", "ada@example.com", Adoption::Users, OnUidMismatch::Reject).await;
        ensure!(matches!(&other, Err(Error::Managed { owner, .. }) if owner.name == "ada"), "{other:?}");

        let next_life = apply("ada", "second", "ada@example.com", Adoption::Never, OnUidMismatch::Reject).await;
        ensure!(matches!(next_life, Err(Error::UidMismatch(_))), "{next_life:?}");
        let next_life = apply("ada", "second", "ada@example.com", Adoption::Never, OnUidMismatch::TakeOver).await?;
        ensure!(next_life.id == by_hand.id);
        let late = apply("ada", "first", "ada@example.com", Adoption::Never, OnUidMismatch::Reject).await;
        ensure!(matches!(late, Err(Error::UidMismatch(_))), "the first life is over: {late:?}");

        let moved = apply("ada", "third", "countess@example.com", Adoption::Never, OnUidMismatch::TakeOver).await?;
        ensure!(moved.id != by_hand.id, "another address is another user");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_goes_takes_with_it_what_its_policy_says(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let apply = async |name: &str, email: &str| {
            store
                .accounts
                .managed()
                .apply_user(&context(), &object(name, "first"), &desired(email), Adoption::Never, OnUidMismatch::Reject)
                .await
        };
        let ada = apply("ada", "ada@example.com").await?;
        store
            .accounts
            .managed()
            .apply_key(&context(), &object("ci", "first"), &desired_key(&ada), OnUidMismatch::Reject)
            .await?;
        let release = async |name: &str, life: &str, end| {
            store.accounts.managed().release_user(&context(), &object(name, life), end).await
        };
        release("ada", "second", DeletionAction::Delete).await?;
        ensure!(store.accounts.users().find(ada.id).await?.is_some(), "another life has no say");
        release("ada", "first", DeletionAction::Delete).await?;
        release("ada", "first", DeletionAction::Delete).await?;
        ensure!(store.accounts.users().find(ada.id).await?.is_none());
        ensure!(store.accounts.credentials().list(Some(ada.id)).await?.iter().all(|key| key.revoked_at.is_some()));
        let events = store.events().await?;
        ensure!(
            events == ["user_created", "api_key_created", "user_deleted"],
            "one event, which names the keys: {events:?}"
        );
        ensure!(
            apply("ada", "ada@example.com").await?.id != ada.id,
            "the address is free at once, the identity is not"
        );

        let bob = apply("bob", "bob@example.com").await?;
        release("bob", "first", DeletionAction::Disable).await?;
        ensure!(store.accounts.users().find(bob.id).await?.is_some_and(|bob| !bob.is_active));
        let cyd = apply("cyd", "cyd@example.com").await?;
        release("cyd", "first", DeletionAction::Retain).await?;
        ensure!(store.accounts.users().find(cyd.id).await?.is_some_and(|cyd| cyd.is_active));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stays_so_and_the_next_life_gets_a_new_one(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let ada = store.user("ada@example.com", &[Role::User]).await?;
        let apply = async |life: &str, on_mismatch| {
            store.accounts.managed().apply_key(&context(), &object("ci", life), &desired_key(&ada), on_mismatch).await
        };
        let first = apply("first", OnUidMismatch::Reject).await?;
        store.accounts.managed().revoke_key(&context(), &object("ci", "first"), OnUidMismatch::Reject).await?;
        ensure!(apply("first", OnUidMismatch::Reject).await?.id == first.id);
        let staged = store.accounts.managed().stage_secret(&context(), &object("ci", "first"), first.id, None).await;
        ensure!(matches!(staged, Err(Error::Revoked(_))), "{staged:?}");
        let second = apply("second", OnUidMismatch::TakeOver).await?;
        ensure!(second.id != first.id && second.revoked_at.is_none());

        // A later life ends what an earlier one left behind, once it is known to be the present one.
        let (left, next) = (object("left", "first"), object("left", "second"));
        let key =
            store.accounts.managed().apply_key(&context(), &left, &desired_key(&ada), OnUidMismatch::Reject).await?;
        let fenced = store.accounts.managed().revoke_key(&context(), &next, OnUidMismatch::Reject).await;
        ensure!(matches!(fenced, Err(Error::UidMismatch(_))), "{fenced:?}");
        ensure!(store.accounts.managed().revoke_key(&context(), &next, OnUidMismatch::TakeOver).await? == Some(key.id));

        // An admin's revocation outlives the object.
        store.accounts.credentials().revoke(&context(), second.id).await?;
        let third = apply("third", OnUidMismatch::TakeOver).await?;
        ensure!(third.id == second.id && third.overridden_at.is_some());
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_outlasts_its_user_as_an_object_and_comes_back_with_it(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let (user, key) = (object("ada", "first"), object("ci", "first"));
        let apply = async |owner: &ManagedBy| {
            let want = desired("ada@example.com");
            store.accounts.managed().apply_user(&context(), owner, &want, Adoption::Never, OnUidMismatch::Reject).await
        };
        let ada = apply(&user).await?;
        let first =
            store.accounts.managed().apply_key(&context(), &key, &desired_key(&ada), OnUidMismatch::Reject).await?;
        store.accounts.managed().release_user(&context(), &user, DeletionAction::Delete).await?;
        let again = apply(&object("ada", "second")).await?;
        let second =
            store.accounts.managed().apply_key(&context(), &key, &desired_key(&again), OnUidMismatch::Reject).await?;
        ensure!(second.id != first.id && second.revoked_at.is_none() && second.user_id == again.id);
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_keeps_its_keys_with_its_place(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let owner = object("boss", "first");
        let boss = DesiredUser { roles: [Role::Admin].into_iter().collect(), ..desired("boss@example.com") };
        // Who may ask nothing when the role comes takes nobody's place.
        let silent = Limits { requests_per_minute: Some(0), ..Limits::default() };
        let other = DesiredUser { limits: silent, roles: boss.roles.clone(), ..desired("other@example.com") };
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
            .apply_key(&context(), &object("ci", "first"), &desired_key(&boss), OnUidMismatch::Reject)
            .await?;
        let refused = store.accounts.managed().release_user(&context(), &owner, DeletionAction::Delete).await;
        ensure!(matches!(refused, Err(Error::LastAdmin)), "{refused:?}");
        ensure!(store.accounts.credentials().list(Some(boss.id)).await?.iter().all(|key| key.revoked_at.is_none()));
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_model_goes_with_the_last_object_that_names_it_and_only_if_we_brought_it(#[case] engine: Engine) {
    story(async {
        let store = open(engine).await?;
        let model = |origin| Model {
            model: "registry.ollama.ai/library/smollm2:135m".into(),
            origin,
            digest: Some("sha256:00".into()),
            size_bytes: Some(98_000_000),
        };
        let (first, second) = (object("first", "a"), object("second", "a"));
        let name = "registry.ollama.ai/library/smollm2:135m";
        store.accounts.managed().record_model(&context(), &first, model(ModelSource::Adopted)).await?;
        ensure!(
            store.accounts.managed().plan_model_removal(&first, name).await? == Removal::Keep,
            "it was there before us"
        );
        store.accounts.managed().forget_model(&context(), &first, "kept").await?;
        ensure!(store.accounts.managed().plan_model_removal(&first, name).await? == Removal::Gone);

        store.accounts.managed().record_model(&context(), &first, model(ModelSource::Pulled)).await?;
        store.accounts.managed().record_model(&context(), &second, model(ModelSource::Adopted)).await?;
        ensure!(
            store.accounts.managed().plan_model_removal(&first, name).await? == Removal::Keep,
            "another object names it"
        );
        store.accounts.managed().forget_model(&context(), &first, "kept").await?;
        ensure!(store.accounts.managed().plan_model_removal(&second, name).await? == Removal::Delete);
        let another = "registry.ollama.ai/library/other:1b";
        ensure!(
            store.accounts.managed().plan_model_removal(&second, another).await? == Removal::Keep,
            "it was not what we pulled"
        );
        let next_life = object("second", "b");
        ensure!(
            store.accounts.managed().plan_model_removal(&next_life, name).await? == Removal::Gone,
            "that was another life"
        );
        let events = store.events().await?;
        let expected = ["model_adopted", "model_deleted", "model_pulled", "model_adopted", "model_deleted"];
        ensure!(events == expected, "{events:?}");
        Ok(())
    })
    .await;
}
