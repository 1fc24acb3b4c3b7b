//! The life of an `ApiUser`.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};
use paddock_accounts::{
    UserId,
    types::{Email, Role},
    users::{NewUser, UserPatch},
};
use paddock_crds::{ApiUser, HasConditions as _, data};
use paddock_store::context::AuditContext;
use paddock_tests::{eventually::eventually, story::story};
use serde_json::json;

use super::{ClusterFixture, EVENT_TIMEOUT};

#[tokio::test]
async fn a_user_follows_its_object() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "Ada@Example.com", "limits": {"tokensPerDay": 7}})).await?;
        let object = cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        let status = object.status.context("a status")?;
        ensure!(status.effective_roles == ["user"], "{status:?}");
        let id = UserId(status.user_id.context("an id")?);
        let user = cluster.accounts.users().find(id).await?.context("a user")?;
        assert_eq!(user.email.as_str(), "ada@example.com");
        assert_eq!(user.limits.tokens_per_day, Some(7));

        cluster.merge_patch::<ApiUser>("ada", json!({"spec": {"active": false, "displayName": "Ada"}})).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "True", "Disabled").await?;
        let user = cluster.accounts.users().find(id).await?.context("a user")?;
        assert!(!user.is_active);
        assert_eq!(user.display_name.as_deref(), Some("Ada"));

        cluster.delete::<ApiUser>("ada").await?;
        assert!(cluster.accounts.users().find(id).await?.is_none());
        assert_eq!(cluster.audit_events().await?, ["user_created", "user_disabled", "user_deleted"]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_admins_change_overrides_the_object() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let object = cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        let id = UserId(object.status.context("a status")?.user_id.context("an id")?);
        let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
        cluster.accounts.users().update(&AuditContext::system("test"), id, off, Ok(())).await?;

        cluster.merge_patch::<ApiUser>("ada", json!({"spec": {"displayName": "still here"}})).await?;
        let object = cluster.wait_for_ready::<ApiUser>("ada", "True", "Disabled").await?;
        let overridden = object.status.context("a status")?.condition("Overridden").cloned();
        ensure!(overridden.is_some_and(|c| c.status == "True"));
        assert!(!cluster.accounts.users().find(id).await?.context("a user")?.is_active);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_older_of_two_objects_has_the_address_until_it_goes() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        // Both exist before the operator does.
        cluster.create::<ApiUser>("z-first", json!({"email": "ada@example.com"})).await?;
        eventually("the next second", EVENT_TIMEOUT, async || {
            let other = cluster.create::<ApiUser>("a-second", json!({"email": "ADA@example.com"})).await?;
            let first = cluster.api::<ApiUser>().get("z-first").await?;
            if other.metadata.creation_timestamp > first.metadata.creation_timestamp {
                return Ok(());
            }
            cluster.api::<ApiUser>().delete("a-second", &DeleteParams::default()).await?;
            anyhow::bail!("created in the same second")
        })
        .await?;
        let _operator = cluster.start_operator().await?;
        cluster.wait_for_ready::<ApiUser>("z-first", "True", "Applied").await?;
        let loser = cluster.wait_for_ready::<ApiUser>("a-second", "False", "Conflict").await?;
        let message = &loser.status.context("a status")?.conditions[0].message;
        ensure!(message.contains("z-first"), "{message}");
        eventually("an event", EVENT_TIMEOUT, async || {
            let events = cluster.event_reasons("ApiUser", "a-second").await?;
            ensure!(events == ["Conflict"], "{events:?}");
            Ok(())
        })
        .await?;
        cluster.delete::<ApiUser>("z-first").await?;
        cluster.wait_for_ready::<ApiUser>("a-second", "True", "Applied").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_existing_user_is_adopted_only_with_the_policy_and_from_an_allowed_namespace() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let mut unmanaged = NewUser::new(Email::parse("grace@example.com")?);
        unmanaged.roles = [Role::User].into_iter().collect();
        cluster.accounts.users().create(&AuditContext::system("test"), unmanaged).await?;
        let operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("grace", json!({"email": "grace@example.com"})).await?;
        cluster.wait_for_ready::<ApiUser>("grace", "False", "EmailTaken").await?;
        cluster.merge_patch::<ApiUser>("grace", json!({"spec": {"adoptionPolicy": "IfUnmanaged"}})).await?;
        cluster.wait_for_ready::<ApiUser>("grace", "False", "AdoptionNotAllowed").await?;
        drop(operator);
        let _operator = cluster.launch()?.env("ADOPTION_NAMESPACES", &cluster.namespace).start().await?;
        cluster.wait_for_ready::<ApiUser>("grace", "True", "Applied").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_object_cannot_grant_the_role_admin() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("boss", json!({"email": "boss@example.com", "roles": ["admin"]})).await?;
        let boss = cluster.wait_for_ready::<ApiUser>("boss", "False", "RoleNotAllowed").await?;
        ensure!(boss.status.is_some_and(|status| status.user_id.is_none()));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_namespace_takes_its_users_and_keys_with_it() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let team = cluster.kubernetes.namespace().await?;
        cluster.account.grant(&team).await?;
        let _operator = cluster.launch()?.env("WATCH_NAMESPACES", &team).start().await?;
        let cluster = ClusterFixture { namespace: team, ..cluster };
        cluster.user_with_key("ada").await?;
        let text = cluster.secret_data("ada-apikey").await?[data::API_KEY].clone();
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        namespaces.delete(&cluster.namespace, &DeleteParams::default()).await?;
        eventually("the namespace to go", EVENT_TIMEOUT, async || {
            match namespaces.get_opt(&cluster.namespace).await? {
                None => Ok(()),
                Some(left) => Err(anyhow::anyhow!("{:?}", left.status)),
            }
        })
        .await?;
        ensure!(cluster.accounts.authentication().authenticate(&text.as_str().into()).await?.is_err());
        let events = cluster.audit_events().await?;
        // The key ends by itself or with its user, depending on which object goes first.
        ensure!(events.last().is_some_and(|event| event == "user_deleted"), "{events:?}");
        Ok(())
    })
    .await;
}
