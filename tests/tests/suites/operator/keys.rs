//! The life of an `ApiKey` and of its Secret.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use paddock_accounts::context::Context;
use paddock_accounts::credentials::CredentialId;
use paddock_crds::{ApiKey, ApiUser, SECRET_TYPE, StatusExt as _, VersionState, annotation, data, label};
use paddock_tests::{eventually::eventually, paddock::Paddock, process::Signal, story::story};
use serde_json::json;

use super::{ClusterFixture, EVENT_TIMEOUT};

/// A running operator, the user `ada`, and its key `ci` in the Secret `llm`.
struct IssuedKey {
    cluster: ClusterFixture,
    /// The id of the key in the Secret.
    id: String,
    _operator: Paddock,
}

impl IssuedKey {
    async fn issue() -> Result<Self> {
        let cluster = ClusterFixture::start().await?;
        let operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let template = json!({"labels": {"team": "a"}, "annotations": {"note": "n"}});
        let spec =
            json!({"userRef": {"name": "ada"}, "validFor": "48h", "secret": {"name": "llm", "template": template}});
        cluster.create::<ApiKey>("ci", spec).await?;
        let id = cluster.wait_until_consistent("ci").await?;
        Ok(Self { cluster, id, _operator: operator })
    }
}

#[tokio::test]
async fn an_issued_secret_has_its_type_template_and_owner() {
    story(async {
        let IssuedKey { cluster, .. } = &IssuedKey::issue().await?;
        let secret = cluster.secrets().get("llm").await?;
        assert_eq!(secret.type_.as_deref(), Some(SECRET_TYPE));
        assert_eq!((secret.labels()["team"].as_str(), secret.labels()[label::MANAGED].as_str()), ("a", "true"));
        assert_eq!(secret.annotations()["note"], "n");
        ensure!(secret.immutable.is_none());
        let is_owner =
            |owner: &OwnerReference| owner.kind == "ApiKey" && owner.name == "ci" && owner.controller == Some(true);
        ensure!(secret.owner_references().iter().any(is_owner));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_issued_secret_configures_sdks() {
    story(async {
        let IssuedKey { cluster, id, .. } = &IssuedKey::issue().await?;
        let content = cluster.secret_data("llm").await?;
        let key = content[data::API_KEY].as_str();
        for (name, value) in [
            (data::KEY_ID, id.as_str()),
            (data::BASE_URL, "http://paddock.test:8080"),
            (data::OLLAMA_HOST, "http://paddock.test:8080"),
            (data::OLLAMA_API_KEY, key),
            (data::OPENAI_BASE_URL, "http://paddock.test:8080/v1"),
            (data::OPENAI_API_KEY, key),
            (data::ANTHROPIC_BASE_URL, "http://paddock.test:8080"),
            (data::ANTHROPIC_API_KEY, key),
        ] {
            assert_eq!(content[name], value, "{name}");
        }
        let events = cluster.audit_events().await?;
        assert_eq!(events, ["user_created", "api_key_created", "api_key_staged", "api_key_issued"]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_status_of_a_key_has_its_expiry_and_not_its_secret() {
    story(async {
        let IssuedKey { cluster, .. } = &IssuedKey::issue().await?;
        let content = cluster.secret_data("llm").await?;
        let object = cluster.api::<ApiKey>().get("ci").await?;
        ensure!(!serde_json::to_string(&object)?.contains(&content[data::API_KEY][20..]), "the object shows the key");
        let expiry = object.status.context("a status")?.expires_at.context("an expiry")?;
        assert_eq!(content[data::EXPIRES_AT], expiry.0.to_string());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_changed_template_changes_the_labels_and_keeps_the_key() {
    story(async {
        let IssuedKey { cluster, id, .. } = &IssuedKey::issue().await?;
        let labels = json!({"spec": {"secret": {"template": {"labels": {"team": null, "tier": "1"}}}}});
        cluster.merge_patch::<ApiKey>("ci", labels).await?;
        eventually("the new labels", EVENT_TIMEOUT, async || {
            let secret = cluster.secrets().get("llm").await?;
            let labels = secret.labels();
            ensure!(!labels.contains_key("team") && labels.contains_key("tier"), "{labels:?}");
            Ok(())
        })
        .await?;
        assert_eq!(cluster.wait_until_consistent("ci").await?, *id);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_key_takes_its_secret_with_it() {
    story(async {
        let IssuedKey { cluster, .. } = &IssuedKey::issue().await?;
        let key = cluster.secret_data("llm").await?[data::API_KEY].clone();
        cluster.delete::<ApiKey>("ci").await?;
        ensure!(cluster.secrets().get_opt("llm").await?.is_none());
        ensure!(cluster.accounts.authenticate(&key).await?.is_err());
        Ok(())
    })
    .await;
}

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
async fn a_deleted_or_damaged_secret_is_replaced_and_its_key_retires() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        let first = cluster.wait_until_consistent("ada").await?;
        let old = cluster.secret_data("ada-apikey").await?[data::API_KEY].clone();

        cluster.secrets().delete("ada-apikey", &DeleteParams::default()).await?;
        let second = wait_for_new_version(&cluster, &first).await?;
        cluster.assert_accepted(&old).await.context("pods that hold the old key keep working")?;

        let edit = json!({"data": {"api-key": ByteString(b"not a key".to_vec())}});
        cluster.secrets().patch("ada-apikey", &PatchParams::default(), &Patch::Merge(edit)).await?;
        wait_for_new_version(&cluster, &second).await?;
        eventually("both events", EVENT_TIMEOUT, async || {
            let events = cluster.event_reasons("ApiKey", "ada").await?;
            ensure!(events == ["Issued", "SecretDeleted", "SecretChanged"], "{events:?}");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn other_changes_of_a_secret_are_reverted_and_its_key_stays() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        let id = cluster.wait_until_consistent("ada").await?;
        let edit = json!({"data": {"base-url": ByteString(b"http://elsewhere".to_vec())}, "metadata": {"labels": {"mine": "1"}}});
        cluster.secrets().patch("ada-apikey", &PatchParams::default(), &Patch::Merge(edit)).await?;
        eventually("the base URL", EVENT_TIMEOUT, async || {
            let url = cluster.secret_data("ada-apikey").await?[data::BASE_URL].clone();
            ensure!(url == "http://paddock.test:8080", "{url}");
            Ok(())
        })
        .await?;
        assert_eq!(cluster.wait_until_consistent("ada").await?, id);
        ensure!(cluster.secrets().get("ada-apikey").await?.labels().contains_key("mine"), "a foreign label is gone");
        Ok(())
    })
    .await;
}

/// Waits until the key is consistent with another id than `before`.
async fn wait_for_new_version(cluster: &ClusterFixture, before: &str) -> Result<String> {
    eventually("another version", EVENT_TIMEOUT, async || {
        let id = cluster.assert_consistent("ada").await?;
        ensure!(id != before, "still {id}");
        Ok(id)
    })
    .await
}

#[tokio::test]
async fn rotation_on_request_is_done_once_with_its_own_grace() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        let first = cluster.wait_until_consistent("ada").await?;
        let old = cluster.secret_data("ada-apikey").await?[data::API_KEY].clone();
        let ask = |grace: &str| {
            let annotations = json!({annotation::ROTATE_REQUESTED_AT: grace, annotation::ROTATE_GRACE: grace});
            json!({"metadata": {"annotations": annotations}})
        };
        cluster.merge_patch::<ApiKey>("ada", ask("1h")).await?;
        let second = wait_for_new_version(&cluster, &first).await?;
        cluster.assert_accepted(&old).await?;
        let status = cluster.api::<ApiKey>().get("ada").await?.status.context("a status")?;
        assert_eq!(status.last_handled_rotate_at.as_deref(), Some("1h"));
        let seen: Vec<_> = status.secret_versions.iter().map(|version| version.state).collect();
        assert_eq!(seen, [VersionState::Active, VersionState::Retiring]);

        let newer = cluster.secret_data("ada-apikey").await?[data::API_KEY].clone();
        cluster.merge_patch::<ApiKey>("ada", ask("0s")).await?;
        let third = wait_for_new_version(&cluster, &second).await?;
        ensure!(cluster.accounts.authenticate(&newer).await?.is_err(), "a grace of 0s ends the old key at once");
        drop(operator);
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiKey>("later", json!({"userRef": {"name": "ada"}})).await?;
        cluster.wait_for_ready::<ApiKey>("later", "True", "Issued").await?;
        assert_eq!(cluster.wait_until_consistent("ada").await?, third);
        let rotations = cluster.audit_events().await?.iter().filter(|event| *event == "api_key_rotated").count();
        assert_eq!(rotations, 2);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_foreign_secret_is_not_changed() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        let foreign = Secret {
            metadata: ObjectMeta { name: Some("ada-apikey".to_owned()), ..ObjectMeta::default() },
            ..Secret::default()
        };
        let foreign = cluster.secrets().create(&PostParams::default(), &foreign).await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        cluster.create::<ApiKey>("ada", json!({"userRef": {"name": "ada"}})).await?;
        cluster.wait_for_ready::<ApiKey>("ada", "False", "SecretConflict").await?;
        let still = cluster.secrets().get("ada-apikey").await?;
        assert_eq!(still.resource_version(), foreign.resource_version());
        // No key is issued without its Secret.
        assert_eq!(cluster.audit_events().await?, ["user_created"]);
        cluster.secrets().delete("ada-apikey", &DeleteParams::default()).await?;
        cluster.wait_until_consistent("ada").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_key_waits_for_a_user_that_allows_it() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let guests = cluster.kubernetes.namespace().await?;
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
async fn a_secret_that_the_api_server_refuses_is_reported_until_it_is_mended() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let template = json!({"labels": {"not a name": "x"}});
        cluster.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}, "secret": {"template": template}})).await?;
        let key = cluster.wait_for_ready::<ApiKey>("ci", "False", "SecretRefused").await?;
        let message = key.status.and_then(|status| status.condition("Ready").cloned()).context("a condition")?.message;
        ensure!(message.contains("ci-apikey") && message.contains("not a name"), "{message}");
        let mended = json!({"spec": {"secret": {"template": {"labels": {"not a name": null, "team": "a"}}}}});
        cluster.merge_patch::<ApiKey>("ci", mended).await?;
        cluster.wait_until_consistent("ci").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_removed_managed_label_is_restored_and_the_key_stays() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.user_with_key("ada").await?;
        let id = cluster.wait_until_consistent("ada").await?;
        let unlabelled = json!({"metadata": {"labels": {label::MANAGED: null}}});
        cluster.secrets().patch("ada-apikey", &PatchParams::default(), &Patch::Merge(&unlabelled)).await?;
        eventually("the label to be back", EVENT_TIMEOUT, async || {
            let secret = cluster.secrets().get("ada-apikey").await?;
            ensure!(secret.labels().get(label::MANAGED).is_some_and(|value| value == "true"), "{:?}", secret.labels());
            Ok(())
        })
        .await?;
        assert_eq!(cluster.wait_until_consistent("ada").await?, id);
        Ok(())
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
        ensure!(cluster.accounts.authenticate(&key).await?.is_err());
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
        ensure!(cluster.accounts.authenticate(&key).await?.is_err(), "the key is still accepted");
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
        let admin = Context::system("test");
        cluster.accounts.revoke_key(&admin, id).await?;
        let touch = |at: &str| json!({"metadata": {"annotations": {"touched": at}}});
        cluster.merge_patch::<ApiKey>("ada", touch("first")).await?;
        let object = cluster.wait_for_ready::<ApiKey>("ada", "False", "Revoked").await?;
        let ready = object.status.context("a status")?.condition("Ready").context("Ready")?.message.clone();
        ensure!(ready.contains(&format!("POST /credentials/{id}/clear-override")), "{ready}");
        cluster.accounts.clear_key_override(&admin, id).await?;
        cluster.merge_patch::<ApiKey>("ada", touch("second")).await?;
        cluster.wait_until_consistent("ada").await?;
        let object = cluster.wait_for_ready::<ApiKey>("ada", "True", "Issued").await?;
        ensure!(object.status.context("a status")?.credential_id != Some(id.0), "the revoked key came back");
        Ok(())
    })
    .await;
}
