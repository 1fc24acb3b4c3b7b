//! The life of an `ApiUser`.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use paddock_accounts::{
    UserId,
    types::{Email, Role},
    users::{NewUser, UserPatch},
};
use paddock_crds::{ApiUser, HasConditions as _, data};
use paddock_store::context::AuditContext;
use paddock_tests::eventually::eventually;
use paddock_tests::story::story;
use serde_json::json;

use super::{PATIENCE, Stage};

#[tokio::test]
async fn a_user_follows_its_object() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        stage.create::<ApiUser>("ada", json!({"email": "Ada@Example.com", "limits": {"tokensPerDay": 7}})).await?;
        let object = stage.becomes::<ApiUser>("ada", "True", "Applied").await?;
        let status = object.status.context("a status")?;
        ensure!(status.effective_roles == ["user"], "{status:?}");
        let id = UserId(status.user_id.context("an id")?);
        let user = stage.accounts.users().find(id).await?.context("a user")?;
        assert_eq!(user.email.as_str(), "ada@example.com");
        assert_eq!(user.limits.tokens_per_day, Some(7));

        stage.change::<ApiUser>("ada", json!({"spec": {"active": false, "displayName": "Ada"}})).await?;
        stage.becomes::<ApiUser>("ada", "True", "Disabled").await?;
        let user = stage.accounts.users().find(id).await?.context("a user")?;
        assert!(!user.is_active);
        assert_eq!(user.display_name.as_deref(), Some("Ada"));

        stage.delete::<ApiUser>("ada").await?;
        assert!(stage.accounts.users().find(id).await?.is_none());
        assert_eq!(stage.audit().await?, ["user_created", "user_disabled", "user_deleted"]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_admin_outranks_the_object() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        stage.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let object = stage.becomes::<ApiUser>("ada", "True", "Applied").await?;
        let id = UserId(object.status.context("a status")?.user_id.context("an id")?);
        let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
        stage.accounts.users().update(&AuditContext::system("test"), id, off, Ok(())).await?;

        stage.change::<ApiUser>("ada", json!({"spec": {"displayName": "still here"}})).await?;
        let object = stage.becomes::<ApiUser>("ada", "True", "Disabled").await?;
        let overridden = object.status.context("a status")?.condition("Overridden").cloned();
        ensure!(overridden.is_some_and(|c| c.status == "True"));
        assert!(!stage.accounts.users().find(id).await?.context("a user")?.is_active);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_only_the_operator_can_know_is_refused_with_a_reason() {
    story(async {
        let stage = Stage::set().await?;
        let mut unmanaged = NewUser::new(Email::parse("grace@example.com")?);
        unmanaged.roles = [Role::User].into_iter().collect();
        stage.accounts.users().create(&AuditContext::system("test"), unmanaged).await?;
        // Both are there before the operator is: the older one has the address.
        stage.create::<ApiUser>("z-first", json!({"email": "ada@example.com"})).await?;
        eventually("the next second", PATIENCE, async || {
            let other = stage.create::<ApiUser>("a-second", json!({"email": "ADA@example.com"})).await?;
            let first = stage.api::<ApiUser>().get("z-first").await?;
            if other.metadata.creation_timestamp > first.metadata.creation_timestamp {
                return Ok(());
            }
            stage.api::<ApiUser>().delete("a-second", &DeleteParams::default()).await?;
            anyhow::bail!("made in the same second")
        })
        .await?;
        let _operator = stage.operator().await?;
        stage.becomes::<ApiUser>("z-first", "True", "Applied").await?;
        let loser = stage.becomes::<ApiUser>("a-second", "False", "Conflict").await?;
        let message = &loser.status.context("a status")?.conditions[0].message;
        ensure!(message.contains("z-first"), "{message}");
        eventually("an event", PATIENCE, async || {
            let events = stage.events("ApiUser", "a-second").await?;
            ensure!(events == ["Conflict"], "{events:?}");
            Ok(())
        })
        .await?;

        stage.create::<ApiUser>("grace", json!({"email": "grace@example.com"})).await?;
        stage.becomes::<ApiUser>("grace", "False", "EmailTaken").await?;
        stage.change::<ApiUser>("grace", json!({"spec": {"adoptionPolicy": "IfUnmanaged"}})).await?;
        stage.becomes::<ApiUser>("grace", "True", "Applied").await?;

        stage.create::<ApiUser>("boss", json!({"email": "boss@example.com", "roles": ["admin"]})).await?;
        let boss = stage.becomes::<ApiUser>("boss", "False", "RoleNotAllowed").await?;
        ensure!(boss.status.is_some_and(|status| status.user_id.is_none()));

        // When the winner goes, the other has its turn.
        stage.delete::<ApiUser>("z-first").await?;
        stage.becomes::<ApiUser>("a-second", "True", "Applied").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it() {
    story(async {
        let stage = Stage::set().await?;
        let elsewhere = stage.cluster.namespace().await?;
        let _operator = stage.launch()?.env("LEASE_NAMESPACE", &elsewhere).start().await?;
        stage.user_with_key("ada").await?;
        let text = stage.content("ada-apikey").await?[data::API_KEY].clone();
        let namespaces: Api<Namespace> = Api::all(stage.client.clone());
        namespaces.delete(&stage.namespace, &DeleteParams::default()).await?;
        eventually("the namespace to go", PATIENCE, async || match namespaces.get_opt(&stage.namespace).await? {
            None => Ok(()),
            Some(left) => Err(anyhow::anyhow!("{:?}", left.status)),
        })
        .await?;
        ensure!(stage.accounts.access().authenticate(&text).await?.is_err());
        let events = stage.audit().await?;
        // Whichever of the two objects goes first, the key ends: by itself, or with its user.
        ensure!(events.last().is_some_and(|event| event == "user_deleted"), "{events:?}");
        Ok(())
    })
    .await;
}
