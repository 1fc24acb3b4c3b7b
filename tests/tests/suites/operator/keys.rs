//! The life of an `ApiKey`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, pin_mut};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, WatchEvent, WatchParams},
};
use paddock_accounts::{CredentialId, types::Priority};
use paddock_crds::{ApiKey, ApiUser, HasConditions as _, annotation, data};
use paddock_store::context::AuditContext;
use paddock_tests::{eventually::eventually, process::Signal, story::story};
use serde_json::json;

use super::{ClusterFixture, EVENT_TIMEOUT};

#[tokio::test]
async fn a_restart_changes_nothing_and_an_idle_operator_writes_nothing() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        eventually("the count of keys", EVENT_TIMEOUT, async || {
            let count = cluster.api::<ApiUser>().get("ada").await?.status.and_then(|status| status.key_count);
            ensure!(count == Some(1), "{count:?}");
            Ok(())
        })
        .await?;
        let (versions, audit) = (cluster.resource_versions().await?, cluster.audit_events().await?);
        operator.process().signal(Signal::Term)?;
        let ended = operator.process().wait_for_exit(EVENT_TIMEOUT).await?;
        ensure!(ended.success(), "{ended}");

        // Another identity leads at once, because the lease was released.
        let operator = cluster.launch()?.env("LEASE_IDENTITY", "another").start().await?;
        // A new object proves that the operator has reconciled everything that existed before.
        cluster.create::<ApiKey>("later", json!({"userRef": {"name": "ada"}})).await?;
        cluster.wait_for_ready::<ApiKey>("later", "True", "Issued").await?;
        let after = cluster.resource_versions().await?;
        let same = versions.iter().filter(|(name, _)| name != "ApiUser ada");
        ensure!(same.clone().all(|version| after.contains(version)), "{versions:?} {after:?}");
        assert_eq!(cluster.audit_events().await?[..audit.len()], audit);
        drop(operator);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn issuing_a_key_costs_at_most_four_writes() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        // A watch from before the creation sees every version of the object.
        let keys = cluster.api::<ApiKey>();
        let from =
            keys.list(&kube::api::ListParams::default()).await?.metadata.resource_version.context("a version")?;
        let watch = keys.watch(&WatchParams::default(), &from).await?;
        pin_mut!(watch);
        cluster.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}})).await?;
        let (mut writes, mut ready) = (0, false);
        while !ready {
            let event = tokio::time::timeout(EVENT_TIMEOUT, watch.next()).await?.context("the watch ended")??;
            if let WatchEvent::Modified(key) = event {
                writes += 1;
                ready = key.status.is_some_and(|s| s.condition("Ready").is_some_and(|c| c.status == "True"));
            }
        }
        // The Secret has one version.
        let secret = cluster.secrets().get("ci-apikey").await?;
        ensure!(secret.managed_fields().len() == 1, "{:?}", secret.managed_fields());
        let events = eventually("the event", EVENT_TIMEOUT, async || {
            let events = cluster.event_reasons("ApiKey", "ci").await?;
            ensure!(!events.is_empty());
            Ok(events)
        })
        .await?;
        let all = writes + 1 + events.len();
        ensure!(all <= 4, "{writes} to the object, 1 to the Secret, events {events:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_key_waits_for_a_user_that_allows_it() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let guests = cluster.kubernetes.namespace().await?;
        cluster.account.grant(&guests).await?;
        let both = format!("{},{guests}", cluster.namespace);
        let _operator = cluster.launch()?.env("WATCH_NAMESPACES", &both).start().await?;
        let elsewhere = ClusterFixture { namespace: guests.clone(), ..ClusterFixture::start().await? };
        let reference = json!({"userRef": {"name": "ada", "namespace": cluster.namespace}});
        elsewhere.create::<ApiKey>("guest", reference).await?;
        elsewhere.wait_for_ready::<ApiKey>("guest", "False", "UserNotFound").await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        elsewhere.wait_for_ready::<ApiKey>("guest", "False", "NamespaceNotAllowed").await?;
        cluster.merge_patch::<ApiUser>("ada", json!({"spec": {"allowKeysFrom": {"namespaces": [guests]}}})).await?;
        elsewhere.wait_for_ready::<ApiKey>("guest", "True", "Issued").await?;

        elsewhere.merge_patch::<ApiKey>("guest", json!({"spec": {"revoked": true}})).await?;
        elsewhere.wait_for_ready::<ApiKey>("guest", "False", "Revoked").await?;
        ensure!(elsewhere.secrets().get_opt("guest-apikey").await?.is_none());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_retained_key_is_adopted_by_its_next_object() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let spec = json!({"userRef": {"name": "ada"}, "deletionPolicy": "Retain"});
        cluster.create::<ApiKey>("ci", spec.clone()).await?;
        let id = cluster.wait_until_consistent("ci").await?;
        let key = cluster.secret_data("ci-apikey").await?[data::API_KEY].clone();
        cluster.delete::<ApiKey>("ci").await?;
        cluster.assert_accepted(&key).await?;
        ensure!(cluster.secrets().get("ci-apikey").await?.owner_references().is_empty());

        cluster.create::<ApiKey>("ci", spec).await?;
        assert_eq!(cluster.wait_until_consistent("ci").await?, id);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_key_can_be_deleted_without_its_clean_up() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        // The operator's database is gone for good.
        let lost = cluster.launch()?.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
        drop(operator);
        let _operator = lost.spawn()?;
        cluster.api::<ApiKey>().delete("ada", &DeleteParams::default()).await?;
        tokio::time::timeout(Duration::from_secs(1), async {
            while cluster.api::<ApiKey>().get_opt("ada").await?.is_some() {
                tokio::task::yield_now().await;
            }
            anyhow::bail!("gone without its clean-up")
        })
        .await
        .unwrap_or(Ok(()))?;
        cluster
            .merge_patch::<ApiKey>("ada", json!({"metadata": {"annotations": {annotation::SKIP_CLEANUP: "true"}}}))
            .await?;
        eventually("the object to go", EVENT_TIMEOUT, async || match cluster.api::<ApiKey>().get_opt("ada").await? {
            None => anyhow::Ok(()),
            Some(_) => anyhow::bail!("it is still there"),
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_paused_object_can_be_deleted() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        let pause = json!({"metadata": {"annotations": {annotation::PAUSED: "true"}}});
        cluster.merge_patch::<ApiKey>("ada", pause.clone()).await?;
        cluster.merge_patch::<ApiUser>("ada", pause).await?;
        let key = cluster.secret_data("ada-apikey").await?[data::API_KEY].clone();
        cluster.merge_patch::<ApiKey>("ada", json!({"spec": {"revoked": true}})).await?;
        cluster.assert_accepted(&key).await.context("a paused object is not changed")?;
        cluster.delete::<ApiKey>("ada").await?;
        cluster.delete::<ApiUser>("ada").await?;
        ensure!(cluster.accounts.authentication().authenticate(&key.as_str().into()).await?.is_err());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_retained_key_can_be_revoked_by_its_next_object() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}, "deletionPolicy": "Retain"})).await?;
        cluster.wait_until_consistent("ci").await?;
        let key = cluster.secret_data("ci-apikey").await?[data::API_KEY].clone();
        cluster.delete::<ApiKey>("ci").await?;
        cluster.assert_accepted(&key).await?;
        cluster.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}, "revoked": true})).await?;
        cluster.wait_for_ready::<ApiKey>("ci", "False", "Revoked").await?;
        ensure!(
            cluster.accounts.authentication().authenticate(&key.as_str().into()).await?.is_err(),
            "the key is still accepted"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_unchanged_refusal_writes_the_status_once() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let past = json!({"userRef": {"name": "ada"}, "expiresAt": "2020-01-01T00:00:00Z"});
        cluster.create::<ApiKey>("late", past).await?;
        let refused = cluster.wait_for_ready::<ApiKey>("late", "False", "InvalidSpec").await?;
        // Issuing another key takes longer than a repeated status write.
        cluster.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}})).await?;
        cluster.wait_until_consistent("ci").await?;
        let now = cluster.wait_for_ready::<ApiKey>("late", "False", "InvalidSpec").await?;
        assert_eq!(now.metadata.resource_version, refused.metadata.resource_version);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_revocation_by_an_admin_overrides_the_object_until_it_is_cleared() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        let object = cluster.user_with_key("ada").await?;
        let id = CredentialId(object.status.context("a status")?.credential_id.context("an id")?);
        let admin = AuditContext::system("test");
        cluster.accounts.credentials().revoke(&admin, id).await?;
        let touch = |at: &str| json!({"metadata": {"annotations": {"touched": at}}});
        cluster.merge_patch::<ApiKey>("ada", touch("first")).await?;
        let object = cluster.wait_for_ready::<ApiKey>("ada", "False", "Revoked").await?;
        let ready = object.status.context("a status")?.condition("Ready").context("Ready")?.message.clone();
        ensure!(ready.contains(&format!("POST /credentials/{id}/clear-override")), "{ready}");
        cluster.accounts.credentials().clear_override(&admin, id).await?;
        cluster.merge_patch::<ApiKey>("ada", touch("second")).await?;
        cluster.wait_until_consistent("ada").await?;
        let object = cluster.wait_for_ready::<ApiKey>("ada", "True", "Issued").await?;
        ensure!(object.status.context("a status")?.credential_id != Some(id.0), "the revoked key came back");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_priority_of_an_object_is_that_of_its_key() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.create::<ApiKey>("night", json!({"userRef": {"name": "ada"}, "priority": "batch"})).await?;
        let key = cluster.wait_for_ready::<ApiKey>("night", "True", "Issued").await?;
        let id = CredentialId(key.status.and_then(|status| status.credential_id).context("its id")?);
        let wait_for = async |priority: Priority| {
            eventually("the priority", EVENT_TIMEOUT, async || {
                let found = cluster.accounts.credentials().find(id).await?.context("a credential")?.priority;
                ensure!(found == priority, "{found:?}");
                Ok(())
            })
            .await
        };
        wait_for(Priority::Batch).await?;
        cluster.merge_patch::<ApiKey>("night", json!({"spec": {"priority": null}})).await?;
        wait_for(Priority::Interactive).await?;
        Ok(())
    })
    .await;
}
