//! Rows that Kubernetes objects own.

use anyhow::ensure;
use paddock_accounts::Error;
use paddock_accounts::email::Email;
use paddock_accounts::gitops::{Adoption, DesiredKey, DesiredUser, UserEnd};
use paddock_accounts::limits::Limits;
use paddock_accounts::managed::ManagedBy;
use paddock_accounts::models::{Model, Origin, Removal};
use paddock_accounts::sets::{Role, Scopes};
use paddock_accounts::users::{User, UserPatch};
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
        let apply = async || store.accounts.apply_user(&context(), &owner, &want, Adoption::Never, false).await;
        let ada = apply().await?;
        apply().await?;
        ensure!(store.events().await? == ["user_created"], "applying again changes nothing");

        let name = UserPatch { display_name: Some(Some("Ada".into())), ..UserPatch::default() };
        let edit = store.accounts.update_user(&context(), ada.id, name, Ok(())).await;
        ensure!(matches!(&edit, Err(Error::Managed { owner: o, .. }) if *o == owner), "{edit:?}");

        let active = |is_active| UserPatch { is_active: Some(is_active), ..UserPatch::default() };
        store.accounts.update_user(&context(), ada.id, active(false), Ok(())).await?;
        let after = apply().await?;
        ensure!(!after.is_active && after.overridden_at.is_some(), "reconciliation does not undo it");
        store.accounts.update_user(&context(), ada.id, active(true), Ok(())).await?;
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
        let apply = async |name: &str, life: &str, email: &str, adoption, takeover| {
            store.accounts.apply_user(&context(), &object(name, life), &desired(email), adoption, takeover).await
        };
        let by_hand = store.user("ada@example.com", &[]).await?;
        let refused = apply("ada", "first", "ada@example.com", Adoption::Never, false).await;
        ensure!(matches!(refused, Err(Error::EmailTaken(id)) if id == by_hand.id), "{refused:?}");
        store.user("root@example.com", &[Role::Admin]).await?;
        let admin = store.user("boss@example.com", &[Role::Admin]).await?;
        let refused = apply("boss", "first", "boss@example.com", Adoption::Users, false).await;
        ensure!(matches!(refused, Err(Error::EmailTaken(id)) if id == admin.id), "no admin for everyone: {refused:?}");
        apply("boss", "first", "boss@example.com", Adoption::Anyone, false).await?;
        let off = store.user("off@example.com", &[]).await?;
        let disable = UserPatch { is_active: Some(false), ..UserPatch::default() };
        store.accounts.update_user(&context(), off.id, disable, Ok(())).await?;
        let refused = apply("off", "first", "off@example.com", Adoption::Users, false).await;
        ensure!(matches!(refused, Err(Error::EmailTaken(_))), "what an admin disabled stays so: {refused:?}");

        let adopted = apply("ada", "first", "ada@example.com", Adoption::Users, false).await?;
        ensure!(adopted.id == by_hand.id && adopted.managed_by == Some(object("ada", "first")));

        let other = apply("rival", "first", "ada@example.com", Adoption::Users, false).await;
        ensure!(matches!(&other, Err(Error::Managed { owner, .. }) if owner.name == "ada"), "{other:?}");

        let next_life = apply("ada", "second", "ada@example.com", Adoption::Never, false).await;
        ensure!(matches!(next_life, Err(Error::Fenced(_))), "{next_life:?}");
        let next_life = apply("ada", "second", "ada@example.com", Adoption::Never, true).await?;
        ensure!(next_life.id == by_hand.id);
        let late = apply("ada", "first", "ada@example.com", Adoption::Never, false).await;
        ensure!(matches!(late, Err(Error::Fenced(_))), "the first life is over: {late:?}");

        let moved = apply("ada", "third", "countess@example.com", Adoption::Never, true).await?;
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
            store.accounts.apply_user(&context(), &object(name, "first"), &desired(email), Adoption::Never, false).await
        };
        let ada = apply("ada", "ada@example.com").await?;
        store.accounts.apply_key(&context(), &object("ci", "first"), &desired_key(&ada), false).await?;
        let release =
            async |name: &str, life: &str, end| store.accounts.release_user(&context(), &object(name, life), end).await;
        release("ada", "second", UserEnd::Delete).await?;
        ensure!(store.accounts.user(ada.id).await?.is_some(), "another life has no say");
        release("ada", "first", UserEnd::Delete).await?;
        release("ada", "first", UserEnd::Delete).await?;
        ensure!(store.accounts.user(ada.id).await?.is_none());
        ensure!(store.accounts.credentials(Some(ada.id)).await?.iter().all(|key| key.revoked_at.is_some()));
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
        release("bob", "first", UserEnd::Disable).await?;
        ensure!(store.accounts.user(bob.id).await?.is_some_and(|bob| !bob.is_active));
        let cyd = apply("cyd", "cyd@example.com").await?;
        release("cyd", "first", UserEnd::Retain).await?;
        ensure!(store.accounts.user(cyd.id).await?.is_some_and(|cyd| cyd.is_active));
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
        let apply = async |life: &str, takeover| {
            store.accounts.apply_key(&context(), &object("ci", life), &desired_key(&ada), takeover).await
        };
        let first = apply("first", false).await?;
        store.accounts.revoke_owned_key(&context(), &object("ci", "first"), false).await?;
        ensure!(apply("first", false).await?.id == first.id);
        let staged = store.accounts.stage_secret(&context(), &object("ci", "first"), first.id, None).await;
        ensure!(matches!(staged, Err(Error::Revoked(_))), "{staged:?}");
        let second = apply("second", true).await?;
        ensure!(second.id != first.id && second.revoked_at.is_none());

        // A later life ends what an earlier one left behind, once it is known to be the present one.
        let (left, next) = (object("left", "first"), object("left", "second"));
        let key = store.accounts.apply_key(&context(), &left, &desired_key(&ada), false).await?;
        let fenced = store.accounts.revoke_owned_key(&context(), &next, false).await;
        ensure!(matches!(fenced, Err(Error::Fenced(_))), "{fenced:?}");
        ensure!(store.accounts.revoke_owned_key(&context(), &next, true).await? == Some(key.id));

        // An admin's revocation outlives the object.
        store.accounts.revoke_key(&context(), second.id).await?;
        let third = apply("third", true).await?;
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
            store.accounts.apply_user(&context(), owner, &want, Adoption::Never, false).await
        };
        let ada = apply(&user).await?;
        let first = store.accounts.apply_key(&context(), &key, &desired_key(&ada), false).await?;
        store.accounts.release_user(&context(), &user, UserEnd::Delete).await?;
        let again = apply(&object("ada", "second")).await?;
        let second = store.accounts.apply_key(&context(), &key, &desired_key(&again), false).await?;
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
        store.accounts.apply_user(&context(), &object("other", "first"), &other, Adoption::Never, false).await?;
        let silenced = DesiredUser { limits: silent, ..boss.clone() };
        let boss = store.accounts.apply_user(&context(), &owner, &boss, Adoption::Never, false).await?;
        let refused = store.accounts.apply_user(&context(), &owner, &silenced, Adoption::Never, false).await;
        ensure!(matches!(refused, Err(Error::LastAdmin)), "{refused:?}");
        store.accounts.apply_key(&context(), &object("ci", "first"), &desired_key(&boss), false).await?;
        let refused = store.accounts.release_user(&context(), &owner, UserEnd::Delete).await;
        ensure!(matches!(refused, Err(Error::LastAdmin)), "{refused:?}");
        ensure!(store.accounts.credentials(Some(boss.id)).await?.iter().all(|key| key.revoked_at.is_none()));
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
        store.accounts.record_model(&context(), &first, model(Origin::Adopted)).await?;
        ensure!(store.accounts.model_removal(&first, name).await? == Removal::Keep, "it was there before us");
        store.accounts.forget_model(&context(), &first, "kept").await?;
        ensure!(store.accounts.model_removal(&first, name).await? == Removal::Gone);

        store.accounts.record_model(&context(), &first, model(Origin::Pulled)).await?;
        store.accounts.record_model(&context(), &second, model(Origin::Adopted)).await?;
        ensure!(store.accounts.model_removal(&first, name).await? == Removal::Keep, "another object names it");
        store.accounts.forget_model(&context(), &first, "kept").await?;
        ensure!(store.accounts.model_removal(&second, name).await? == Removal::Delete);
        let another = "registry.ollama.ai/library/other:1b";
        ensure!(store.accounts.model_removal(&second, another).await? == Removal::Keep, "it was not what we pulled");
        let next_life = object("second", "b");
        ensure!(store.accounts.model_removal(&next_life, name).await? == Removal::Gone, "that was another life");
        let events = store.events().await?;
        let expected = ["model_adopted", "model_deleted", "model_pulled", "model_adopted", "model_deleted"];
        ensure!(events == expected, "{events:?}");
        Ok(())
    })
    .await;
}
