//! The life of an `ApiKey` and of its Secret.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use paddock_accounts::CredentialId;
use paddock_crds::{ApiKey, ApiUser, HasConditions as _, SECRET_TYPE, VersionState, annotation, data, label};
use paddock_store::context::AuditContext;
use paddock_tests::eventually::eventually;
use paddock_tests::process::Signal;
use paddock_tests::story::story;
use serde_json::json;

use super::{PATIENCE, Stage};

#[tokio::test]
async fn a_key_comes_as_a_secret_that_configures_sdks() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        stage.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let template = json!({"labels": {"team": "a"}, "annotations": {"note": "n"}});
        let spec =
            json!({"userRef": {"name": "ada"}, "validFor": "48h", "secret": {"name": "llm", "template": template}});
        stage.create::<ApiKey>("ci", spec).await?;
        let id = stage.sound("ci").await?;

        let secret = stage.secrets().get("llm").await?;
        assert_eq!(secret.type_.as_deref(), Some(SECRET_TYPE));
        assert_eq!((secret.labels()["team"].as_str(), secret.labels()[label::MANAGED].as_str()), ("a", "true"));
        assert_eq!(secret.annotations()["note"], "n");
        ensure!(secret.immutable.is_none());
        ensure!(
            secret
                .owner_references()
                .iter()
                .any(|o| o.kind == "ApiKey" && o.name == "ci" && o.controller == Some(true))
        );
        let content = stage.content("llm").await?;
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
        let object = stage.api::<ApiKey>().get("ci").await?;
        ensure!(!serde_json::to_string(&object)?.contains(&key[20..]), "the object shows the key");
        let status = object.status.context("a status")?;
        let end = status.expires_at.context("an end")?;
        assert_eq!(content[data::EXPIRES_AT], end.0.to_string());
        assert_eq!(stage.audit().await?, ["user_created", "api_key_created", "api_key_staged", "api_key_issued"]);

        stage
            .change::<ApiKey>("ci", json!({"spec": {"secret": {"template": {"labels": {"team": null, "tier": "1"}}}}}))
            .await?;
        eventually("the new labels", PATIENCE, async || {
            let secret = stage.secrets().get("llm").await?;
            let labels = secret.labels();
            ensure!(!labels.contains_key("team") && labels.contains_key("tier"), "{labels:?}");
            Ok(())
        })
        .await?;
        assert_eq!(stage.sound("ci").await?, id);

        stage.delete::<ApiKey>("ci").await?;
        ensure!(stage.secrets().get_opt("llm").await?.is_none());
        ensure!(stage.accounts.access().authenticate(key).await?.is_err());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_restart_changes_nothing_and_an_idle_operator_writes_nothing() {
    story(async {
        let stage = Stage::set().await?;
        let operator = stage.operator().await?;
        stage.user_with_key("ada").await?;
        eventually("the count of keys", PATIENCE, async || {
            let count = stage.api::<ApiUser>().get("ada").await?.status.and_then(|status| status.key_count);
            ensure!(count == Some(1), "{count:?}");
            Ok(())
        })
        .await?;
        let (versions, audit) = (stage.versions().await?, stage.audit().await?);
        operator.process().signal(Signal::Term)?;
        let ended = operator.process().ended(PATIENCE).await?;
        ensure!(ended.success(), "{ended}");

        // Another identity leads at once: the lease was given up.
        let operator = stage.launch()?.env("LEASE_IDENTITY", "another").start().await?;
        // A change is the proof that it has looked at everything that was there before.
        stage.create::<ApiKey>("later", json!({"userRef": {"name": "ada"}})).await?;
        stage.becomes::<ApiKey>("later", "True", "Issued").await?;
        let after = stage.versions().await?;
        let same = versions.iter().filter(|(name, _)| name != "ApiUser ada");
        ensure!(same.clone().all(|version| after.contains(version)), "{versions:?} {after:?}");
        assert_eq!(stage.audit().await?[..audit.len()], audit);
        drop(operator);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn creation_costs_at_most_four_writes() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        stage.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        stage.becomes::<ApiUser>("ada", "True", "Applied").await?;
        // A watch from before the creation sees every version of the object.
        let keys = stage.api::<ApiKey>();
        let from =
            keys.list(&kube::api::ListParams::default()).await?.metadata.resource_version.context("a version")?;
        let watch = keys.watch(&WatchParams::default(), &from).await?;
        pin_mut!(watch);
        stage.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}})).await?;
        let (mut writes, mut ready) = (0, false);
        while !ready {
            let event = tokio::time::timeout(PATIENCE, watch.next()).await?.context("the watch ended")??;
            if let WatchEvent::Modified(key) = event {
                writes += 1;
                ready = key.status.is_some_and(|s| s.condition("Ready").is_some_and(|c| c.status == "True"));
            }
        }
        // The Secret, which has one version, and the event.
        let secret = stage.secrets().get("ci-apikey").await?;
        ensure!(secret.managed_fields().len() == 1, "{:?}", secret.managed_fields());
        let events = eventually("the event", PATIENCE, async || {
            let events = stage.events("ApiKey", "ci").await?;
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
async fn a_lost_secret_is_replaced_and_its_key_retires() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        stage.user_with_key("ada").await?;
        let first = stage.sound("ada").await?;
        let old = stage.content("ada-apikey").await?[data::API_KEY].clone();

        stage.secrets().delete("ada-apikey", &DeleteParams::default()).await?;
        let second = another(&stage, &first).await?;
        stage.accepts(&old).await.context("pods that hold the old key keep working")?;

        let edit = json!({"data": {"api-key": ByteString(b"not a key".to_vec())}});
        stage.secrets().patch("ada-apikey", &PatchParams::default(), &Patch::Merge(edit)).await?;
        another(&stage, &second).await?;

        // What does not touch the key itself is put right without a new one.
        let third = stage.sound("ada").await?;
        let edit = json!({"data": {"base-url": ByteString(b"http://elsewhere".to_vec())}, "metadata": {"labels": {"mine": "1"}}});
        stage.secrets().patch("ada-apikey", &PatchParams::default(), &Patch::Merge(edit)).await?;
        eventually("the base URL", PATIENCE, async || {
            let url = stage.content("ada-apikey").await?[data::BASE_URL].clone();
            ensure!(url == "http://paddock.test:8080", "{url}");
            Ok(())
        })
        .await?;
        assert_eq!(stage.sound("ada").await?, third);
        ensure!(stage.secrets().get("ada-apikey").await?.labels().contains_key("mine"));
        eventually("both events", PATIENCE, async || {
            let events = stage.events("ApiKey", "ada").await?;
            ensure!(events == ["Issued", "SecretDeleted", "SecretChanged"], "{events:?}");
            Ok(())
        })
        .await
    })
    .await;
}

/// Waits until the key is sound with another id than `before`.
async fn another(stage: &Stage, before: &str) -> Result<String> {
    eventually("another version", PATIENCE, async || {
        let id = stage.check("ada").await?;
        ensure!(id != before, "still {id}");
        Ok(id)
    })
    .await
}

#[tokio::test]
async fn rotation_on_request_is_done_once_with_its_own_grace() {
    story(async {
        let stage = Stage::set().await?;
        let operator = stage.operator().await?;
        stage.user_with_key("ada").await?;
        let first = stage.sound("ada").await?;
        let old = stage.content("ada-apikey").await?[data::API_KEY].clone();
        let ask = |grace: &str| {
            let annotations = json!({annotation::ROTATE_REQUESTED_AT: grace, annotation::ROTATE_GRACE: grace});
            json!({"metadata": {"annotations": annotations}})
        };
        stage.change::<ApiKey>("ada", ask("1h")).await?;
        let second = another(&stage, &first).await?;
        stage.accepts(&old).await?;
        let status = stage.api::<ApiKey>().get("ada").await?.status.context("a status")?;
        assert_eq!(status.last_handled_rotate_at.as_deref(), Some("1h"));
        let seen: Vec<_> = status.secret_versions.iter().map(|version| version.state).collect();
        assert_eq!(seen, [VersionState::Active, VersionState::Retiring]);

        let newer = stage.content("ada-apikey").await?[data::API_KEY].clone();
        stage.change::<ApiKey>("ada", ask("0s")).await?;
        let third = another(&stage, &second).await?;
        ensure!(stage.accounts.access().authenticate(&newer).await?.is_err(), "a grace of 0s ends the old key at once");
        drop(operator);
        let _operator = stage.operator().await?;
        stage.create::<ApiKey>("later", json!({"userRef": {"name": "ada"}})).await?;
        stage.becomes::<ApiKey>("later", "True", "Issued").await?;
        assert_eq!(stage.sound("ada").await?, third);
        let rotations = stage.audit().await?.iter().filter(|event| *event == "api_key_rotated").count();
        assert_eq!(rotations, 2);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_foreign_secret_is_left_alone() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        let foreign = Secret {
            metadata: ObjectMeta { name: Some("ada-apikey".to_owned()), ..ObjectMeta::default() },
            ..Secret::default()
        };
        let foreign = stage.secrets().create(&PostParams::default(), &foreign).await?;
        stage.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        stage.create::<ApiKey>("ada", json!({"userRef": {"name": "ada"}})).await?;
        stage.becomes::<ApiKey>("ada", "False", "SecretConflict").await?;
        let still = stage.secrets().get("ada-apikey").await?;
        assert_eq!(still.resource_version(), foreign.resource_version());
        // Nothing is issued that nobody can read.
        assert_eq!(stage.audit().await?, ["user_created"]);
        stage.secrets().delete("ada-apikey", &DeleteParams::default()).await?;
        stage.sound("ada").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_key_waits_for_a_user_that_allows_it() {
    story(async {
        let stage = Stage::set().await?;
        let guests = stage.cluster.namespace().await?;
        let both = format!("{},{guests}", stage.namespace);
        let _operator = stage.launch()?.env("WATCH_NAMESPACES", &both).start().await?;
        let elsewhere = Stage { namespace: guests.clone(), ..Stage::set().await? };
        let reference = json!({"userRef": {"name": "ada", "namespace": stage.namespace}});
        elsewhere.create::<ApiKey>("guest", reference).await?;
        elsewhere.becomes::<ApiKey>("guest", "False", "UserNotFound").await?;
        stage.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        elsewhere.becomes::<ApiKey>("guest", "False", "NamespaceNotAllowed").await?;
        stage.change::<ApiUser>("ada", json!({"spec": {"allowKeysFrom": {"namespaces": [guests]}}})).await?;
        elsewhere.becomes::<ApiKey>("guest", "True", "Issued").await?;

        elsewhere.change::<ApiKey>("guest", json!({"spec": {"revoked": true}})).await?;
        elsewhere.becomes::<ApiKey>("guest", "False", "Revoked").await?;
        ensure!(elsewhere.secrets().get_opt("guest-apikey").await?.is_none());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn retained_keys_are_taken_up_again() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        stage.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let spec = json!({"userRef": {"name": "ada"}, "deletionPolicy": "Retain"});
        stage.create::<ApiKey>("ci", spec.clone()).await?;
        let id = stage.sound("ci").await?;
        let key = stage.content("ci-apikey").await?[data::API_KEY].clone();
        stage.delete::<ApiKey>("ci").await?;
        stage.accepts(&key).await?;
        ensure!(stage.secrets().get("ci-apikey").await?.owner_references().is_empty());

        stage.create::<ApiKey>("ci", spec).await?;
        assert_eq!(stage.sound("ci").await?, id);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_key_without_its_operator_can_be_let_go() {
    story(async {
        let stage = Stage::set().await?;
        let operator = stage.operator().await?;
        stage.user_with_key("ada").await?;
        // The database is away for good, say.
        let lost = stage.launch()?.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
        drop(operator);
        let _operator = lost.spawn()?;
        stage.api::<ApiKey>().delete("ada", &DeleteParams::default()).await?;
        tokio::time::timeout(Duration::from_secs(1), async {
            while stage.api::<ApiKey>().get_opt("ada").await?.is_some() {
                tokio::task::yield_now().await;
            }
            anyhow::bail!("gone without its clean-up")
        })
        .await
        .unwrap_or(Ok(()))?;
        stage.change::<ApiKey>("ada", json!({"metadata": {"annotations": {annotation::SKIP_CLEANUP: "true"}}})).await?;
        eventually("the object to go", PATIENCE, async || match stage.api::<ApiKey>().get_opt("ada").await? {
            None => anyhow::Ok(()),
            Some(_) => anyhow::bail!("it is still there"),
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_is_refused_is_told_and_one_without_its_label_stays_ours() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        stage.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let template = json!({"labels": {"not a name": "x"}});
        stage.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}, "secret": {"template": template}})).await?;
        let key = stage.becomes::<ApiKey>("ci", "False", "SecretRefused").await?;
        let message = key.status.and_then(|status| status.condition("Ready").cloned()).context("a condition")?.message;
        ensure!(message.contains("ci-apikey") && message.contains("not a name"), "{message}");
        let mended = json!({"spec": {"secret": {"template": {"labels": {"not a name": null, "team": "a"}}}}});
        stage.change::<ApiKey>("ci", mended).await?;
        let id = stage.sound("ci").await?;

        let unlabelled = json!({"metadata": {"labels": {label::MANAGED: null}}});
        stage.secrets().patch("ci-apikey", &PatchParams::default(), &Patch::Merge(&unlabelled)).await?;
        eventually("the label to be back", PATIENCE, async || {
            let secret = stage.secrets().get("ci-apikey").await?;
            ensure!(secret.labels().get(label::MANAGED).is_some_and(|value| value == "true"), "{:?}", secret.labels());
            Ok(())
        })
        .await?;
        assert_eq!(stage.sound("ci").await?, id, "what it holds is as good as before");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pause_holds_nobody_up_who_goes() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        stage.user_with_key("ada").await?;
        let pause = json!({"metadata": {"annotations": {annotation::PAUSED: "true"}}});
        stage.change::<ApiKey>("ada", pause.clone()).await?;
        stage.change::<ApiUser>("ada", pause).await?;
        let key = stage.content("ada-apikey").await?[data::API_KEY].clone();
        stage.change::<ApiKey>("ada", json!({"spec": {"revoked": true}})).await?;
        stage.accepts(&key).await.context("paused, it is left as it is")?;
        stage.delete::<ApiKey>("ada").await?;
        stage.delete::<ApiUser>("ada").await?;
        ensure!(stage.accounts.access().authenticate(&key).await?.is_err());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_retained_key_can_be_revoked_by_its_next_life() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        stage.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        stage.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}, "deletionPolicy": "Retain"})).await?;
        stage.sound("ci").await?;
        let key = stage.content("ci-apikey").await?[data::API_KEY].clone();
        stage.delete::<ApiKey>("ci").await?;
        stage.accepts(&key).await?;
        stage.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}, "revoked": true})).await?;
        stage.becomes::<ApiKey>("ci", "False", "Revoked").await?;
        ensure!(
            stage.accounts.access().authenticate(&key).await?.is_err(),
            "it is revoked for good, as the status says"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_told_once() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        stage.create::<ApiUser>("ada", json!({"email": "ada@example.com"})).await?;
        let past = json!({"userRef": {"name": "ada"}, "expiresAt": "2020-01-01T00:00:00Z"});
        stage.create::<ApiKey>("late", past).await?;
        let told = stage.becomes::<ApiKey>("late", "False", "InvalidSpec").await?;
        // What takes much longer than to write a status again, which would be seen and answered by a further one.
        stage.create::<ApiKey>("ci", json!({"userRef": {"name": "ada"}})).await?;
        stage.sound("ci").await?;
        let now = stage.becomes::<ApiKey>("late", "False", "InvalidSpec").await?;
        assert_eq!(now.metadata.resource_version, told.metadata.resource_version);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_admin_who_revokes_outranks_the_object_until_that_is_taken_back() {
    story(async {
        let stage = Stage::set().await?;
        let _operator = stage.operator().await?;
        let object = stage.user_with_key("ada").await?;
        let id = CredentialId(object.status.context("a status")?.credential_id.context("an id")?);
        let admin = AuditContext::system("test");
        stage.accounts.credentials().revoke(&admin, id).await?;
        let touch = |at: &str| json!({"metadata": {"annotations": {"touched": at}}});
        stage.change::<ApiKey>("ada", touch("first")).await?;
        let object = stage.becomes::<ApiKey>("ada", "False", "Revoked").await?;
        let ready = object.status.context("a status")?.condition("Ready").context("Ready")?.message.clone();
        ensure!(ready.contains(&format!("POST /credentials/{id}/clear-override")), "{ready}");
        stage.accounts.credentials().clear_override(&admin, id).await?;
        stage.change::<ApiKey>("ada", touch("second")).await?;
        stage.sound("ada").await?;
        let object = stage.becomes::<ApiKey>("ada", "True", "Issued").await?;
        ensure!(object.status.context("a status")?.credential_id != Some(id.0), "it is another key");
        Ok(())
    })
    .await;
}
