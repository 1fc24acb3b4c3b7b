//! The Secret of an `ApiKey`: its content, its repair and its rotation.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use paddock_crds::{ApiKey, ApiUser, SECRET_TYPE, VersionState, annotation, data, label};
use paddock_tests::{eventually::eventually, paddock::Paddock, story::story};
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
        ensure!(cluster.accounts.authentication().authenticate(&key.as_str().into()).await?.is_err());
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
        ensure!(
            cluster.accounts.authentication().authenticate(&newer.as_str().into()).await?.is_err(),
            "a grace of 0s ends the old key at once"
        );
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
