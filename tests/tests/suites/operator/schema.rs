//! The CRD schemas: what the API server refuses, and what `kubectl` shows.

use anyhow::{Result, ensure};
use kube::api::{Patch, PatchParams, PostParams};
use paddock_crds::{ApiKey, ApiUser, OllamaModel};
use paddock_tests::{kubernetes::Kubernetes, process::run, story::story};
use serde_json::{Value, json};

use super::Kind;

async fn create<K: Kind>(namespace: &str, spec: &Value, dry_run: bool) -> Result<K> {
    let api: kube::Api<K> = kube::Api::namespaced(Kubernetes::shared().await?.client().await?, namespace);
    let object = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": "it"}, "spec": spec,
    });
    // As the YAML has it, not as Paddock's types would serialize it.
    let request =
        kube::core::Request::new(kube::Api::<K>::namespaced(api.clone().into_client(), namespace).resource_url())
            .create(&PostParams { dry_run, ..PostParams::default() }, serde_json::to_vec(&object)?)?;
    Ok(api.into_client().request(request).await?)
}

/// Asserts that the API server refuses the spec, and names each of the words.
async fn assert_refused<K: Kind>(namespace: &str, spec: Value, words: &[&str]) -> Result<()> {
    match create::<K>(namespace, &spec, true).await {
        Ok(_) => anyhow::bail!("{} accepted {spec}", K::kind(&())),
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(words.iter().all(|word| text.contains(word)), "{spec}: {text}");
            Ok(())
        }
    }
}

#[tokio::test]
async fn bad_yaml_is_refused_with_the_field_and_the_rule() {
    story(async {
        let namespace = Kubernetes::shared().await?.namespace().await?;
        let n = namespace.as_str();
        let key = |more: Value| {
            let mut spec = json!({"userRef": {"name": "ada"}});
            spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            spec
        };
        let end = "2030-01-01T00:00:00Z";
        assert_refused::<ApiKey>(n, json!({}), &["spec.userRef", "Required"]).await?;
        assert_refused::<ApiKey>(n, key(json!({"expiresAt": end, "validFor": "2h"})), &["expiresAt", "validFor"])
            .await?;
        assert_refused::<ApiKey>(n, key(json!({"validFor": "59s"})), &["spec.validFor", "1m"]).await?;
        assert_refused::<ApiKey>(n, key(json!({"validFor": "1 day"})), &["spec.validFor"]).await?;
        let rotation =
            |interval: &str, grace: &str| key(json!({"rotation": {"interval": interval, "gracePeriod": grace}}));
        assert_refused::<ApiKey>(n, rotation("59m", "1m"), &["spec.rotation", "1h"]).await?;
        assert_refused::<ApiKey>(n, rotation("2h", "2h"), &["spec.rotation", "gracePeriod"]).await?;
        assert_refused::<ApiKey>(n, key(json!({"rotation": {"interval": "12h"}})), &["24h"]).await?;
        assert_refused::<ApiKey>(n, key(json!({"priority": "urgent"})), &["spec.priority", "batch"]).await?;
        assert_refused::<ApiKey>(n, key(json!({"scopes": ["fly"]})), &["spec.scopes[0]", "chat"]).await?;
        assert_refused::<ApiKey>(n, key(json!({"scopes": ["chat", "chat"]})), &["spec.scopes[1]", "Duplicate"]).await?;
        let template = json!({"secret": {"template": {"labels": {"paddock.dev/managed": "no"}}}});
        assert_refused::<ApiKey>(n, key(template), &["paddock.dev/"]).await?;
        assert_refused::<ApiKey>(n, key(json!({"secret": {"name": "a/b"}})), &["secret.name", "ada-apikey"]).await?;
        assert_refused::<ApiUser>(n, json!({"email": "nobody"}), &["spec.email", "ada@example.com"]).await?;
        assert_refused::<ApiUser>(n, json!({"email": "a@b.c", "roles": ["root"]}), &["spec.roles[0]", "admin"]).await?;
        let limits = json!({"email": "a@b.c", "limits": {"tokensPerDay": -1}});
        assert_refused::<ApiUser>(n, limits, &["spec.limits.tokensPerDay", "0"]).await?;
        for (limits, words) in [
            (
                json!({"tokensPerDay": 2, "tokensPerMonth": 1}),
                ["spec.limits", "tokensPerDay must be at most tokensPerMonth"],
            ),
            (json!({"tokensPerMinute": 2, "tokensPerDay": 1}), ["spec.limits", "at most tokensPerDay"]),
            (json!({"tokensPerMinute": 2, "tokensPerMonth": 1}), ["spec.limits", "at most tokensPerMonth"]),
            (json!({"requestsPerMinute": 0, "maxConcurrent": 1}), ["spec.limits", "must be 0 or absent"]),
        ] {
            assert_refused::<ApiUser>(n, json!({"email": "a@b.c", "limits": limits}), &words).await?;
            assert_refused::<ApiKey>(n, key(json!({"limits": limits})), &words).await?;
        }
        let consistent = json!({"requestsPerMinute": 9, "tokensPerMinute": 0, "tokensPerDay": 0, "maxConcurrent": 0});
        create::<ApiUser>(n, &json!({"email": "a@b.c", "limits": consistent}), true).await?;
        let denials = json!({"email": "a@b.c", "models": ["!team/*", "!secret"]});
        assert_refused::<ApiUser>(n, denials, &["spec.models", "\"*\""]).await?;
        assert_refused::<ApiKey>(n, key(json!({"models": ["!secret"]})), &["spec.models", "\"*\""]).await?;
        assert_refused::<OllamaModel>(n, json!({"model": "smollm2"}), &["spec.model", "add a tag"]).await?;
        assert_refused::<OllamaModel>(n, json!({"model": "hf.co/u/m"}), &["spec.model", "add a tag"]).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_immutable_field_cannot_be_changed() {
    story(async {
        let cluster = Kubernetes::shared().await?;
        let (client, namespace) = (cluster.client().await?, cluster.namespace().await?);
        create::<ApiUser>(&namespace, &json!({"email": "a@b.c"}), false).await?;
        create::<ApiKey>(&namespace, &json!({"userRef": {"name": "ada"}, "revoked": true}), false).await?;
        create::<OllamaModel>(&namespace, &json!({"model": "m:1"}), false).await?;

        let refused = async |kind: &str, patch: Value, word: &str| {
            let resource = match kind {
                "apiusers" => kube::api::ApiResource::erase::<ApiUser>(&()),
                "apikeys" => kube::api::ApiResource::erase::<ApiKey>(&()),
                _ => kube::api::ApiResource::erase::<OllamaModel>(&()),
            };
            let api: kube::Api<kube::core::DynamicObject> =
                kube::Api::namespaced_with(client.clone(), &namespace, &resource);
            match api.patch("it", &PatchParams::default(), &Patch::Merge(json!({"spec": patch}))).await {
                Ok(_) => anyhow::bail!("{kind} accepted {patch}"),
                Err(error) => ensure!(error.to_string().contains(word), "{patch}: {error}"),
            }
            Ok(())
        };
        refused("apiusers", json!({"email": "x@y.z"}), "email").await?;
        refused("apikeys", json!({"userRef": {"namespace": namespace}}), "userRef").await?;
        refused("apikeys", json!({"secret": {"name": "other"}}), "secret.name").await?;
        refused("apikeys", json!({"revoked": false}), "revoked").await?;
        refused("apikeys", json!({"revoked": null}), "revoked").await?;
        refused("ollamamodels", json!({"model": "m:2"}), "model").await
    })
    .await;
}

#[tokio::test]
async fn kubectl_shows_the_kinds() {
    story(async {
        let cluster = Kubernetes::shared().await?;
        let namespace = cluster.namespace().await?;
        create::<ApiUser>(&namespace, &json!({"email": "ada@example.com"}), false).await?;
        let kubectl = |arguments: &[&str]| run(cluster.kubectl(&namespace)?.args(arguments));

        let narrow = kubectl(&["get", "au"])?;
        ensure!(narrow.starts_with("NAME"), "{narrow}");
        for column in ["EMAIL", "ROLES", "ACTIVE", "READY", "REASON", "KEYS", "AGE", "ada@example.com"] {
            ensure!(narrow.contains(column), "{column}: {narrow}");
        }
        ensure!(kubectl(&["get", "paddock"])?.contains("ada@example.com"));
        ensure!(kubectl(&["explain", "apikey.spec.rotation"])?.contains("gracePeriod"));
        // For kstatus, an object that is not observed yet is in progress.
        let observed = kubectl(&["get", "au", "it", "--output=jsonpath={.status.observedGeneration}"])?;
        ensure!(observed == "-1", "{observed}");
        Ok(())
    })
    .await;
}
