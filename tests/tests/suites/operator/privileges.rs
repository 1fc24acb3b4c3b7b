//! An editor of one namespace tries to become an admin, to get another user's key, or to read another
//! namespace's Secret. Each attempt is a manifest.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
};
use paddock_accounts::{
    types::{Email, Role},
    users::NewUser,
};
use paddock_crds::{SECRET_TYPE, data};
use paddock_store::context::AuditContext;
use paddock_tests::{eventually::eventually, story::story};
use serde_json::{Value, json};

use super::{ClusterFixture, EVENT_TIMEOUT};

/// The attempts, against the namespace `victim`: a kind and the rest of a manifest.
fn attempts(victim: &str) -> Vec<(&'static str, Value)> {
    let user = |spec: Value| ("ApiUser", json!({"spec": spec}));
    let key = |spec: Value| ("ApiKey", json!({"spec": spec}));
    let model = |spec: Value| ("OllamaModel", json!({"spec": spec}));
    let boss = json!({"name": "boss", "namespace": victim});
    vec![
        // To become an admin.
        user(json!({"email": "eve1@example.com", "roles": ["admin"]})),
        user(json!({"email": "eve2@example.com", "roles": ["user", "admin"], "active": false})),
        user(json!({"email": "root@example.com"})),
        user(json!({"email": "root@example.com", "adoptionPolicy": "IfUnmanaged"})),
        user(json!({"email": "ROOT@EXAMPLE.COM", "adoptionPolicy": "IfUnmanaged", "roles": ["admin"]})),
        user(json!({"email": "root@example.com", "active": false, "deletionPolicy": "Delete"})),
        user(json!({"email": "boss@example.com"})),
        user(json!({"email": "boss@example.com", "adoptionPolicy": "IfUnmanaged"})),
        user(json!({"email": "Boss@Example.com", "roles": [], "deletionPolicy": "Delete"})),
        user(json!({"email": "eve3@example.com", "allowKeysFrom": {"namespaces": [victim]}})),
        ("ApiUser", json!({"metadata": {"name": "boss"}, "spec": {"email": "eve4@example.com", "roles": ["admin"]}})),
        (
            "ApiUser",
            json!({"spec": {"email": "eve5@example.com"}, "status": {"observedGeneration": 1, "userId": 1,
                           "effectiveRoles": ["admin"]}}),
        ),
        // To get another user's key.
        key(json!({"userRef": boss})),
        key(json!({"userRef": boss, "scopes": ["users:write", "keys:write"]})),
        key(json!({"userRef": {"name": "boss", "namespace": ""}})),
        key(json!({"userRef": {"name": format!("../{victim}/boss")}})),
        key(json!({"userRef": {"name": "mallory"}, "scopes": ["users:write", "keys:write", "audit:read"]})),
        ("ApiKey", json!({"metadata": {"name": "boss"}, "spec": {"userRef": boss}})),
        (
            "ApiKey",
            json!({"spec": {"userRef": {"name": "mallory"}}, "status": {"observedGeneration": 1,
                          "credentialId": 1, "prefix": "pdk_x", "secretName": "foreign"}}),
        ),
        ("ApiKey", json!({"metadata": {"annotations": {"paddock.dev/version-id": "1"}}, "spec": {"userRef": boss}})),
        // To read or replace a Secret.
        key(json!({"userRef": {"name": "mallory"}, "secret": {"name": "foreign"}})),
        key(json!({"userRef": {"name": "mallory"}, "secret": {"name": "forged"}})),
        key(json!({"userRef": {"name": "mallory"}, "secret": {"name": format!("{victim}/boss-apikey")}})),
        key(json!({"userRef": {"name": "mallory"}, "secret": {"name": "../boss-apikey"}})),
        key(json!({"userRef": {"name": "mallory"}, "secret": {"template": {"labels": {"paddock.dev/managed": "no"}}}})),
        key(json!({"userRef": {"name": "mallory"},
                   "secret": {"template": {"annotations": {"paddock.dev/version-id": "1"}}}})),
        // To reach another registry.
        model(json!({"model": "registry.evil.example/library/m:1"})),
        model(json!({"model": "smollm2:135m", "insecureRegistry": true})),
    ]
}

/// Creates the object. `None`: the API server refuses it.
async fn try_create(client: &Client, namespace: &str, index: usize, attempt: (&str, Value)) -> Result<Option<Attempt>> {
    let (kind, mut manifest) = attempt;
    let plural = format!("{}s", kind.to_lowercase());
    let resource = ApiResource {
        group: "paddock.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "paddock.dev/v1alpha1".to_owned(),
        kind: kind.to_owned(),
        plural,
    };
    manifest["apiVersion"] = "paddock.dev/v1alpha1".into();
    manifest["kind"] = kind.into();
    if manifest["metadata"]["name"].is_null() {
        manifest["metadata"]["name"] = format!("attempt-{index}").into();
    }
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let object = serde_json::from_value(manifest.clone())?;
    match api.create(&PostParams::default(), &object).await {
        Ok(object) => Ok(Some(Attempt { api, name: object.name_any(), manifest })),
        Err(kube::Error::Api(status)) if [400, 422].contains(&status.code) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// An object that the API server has accepted.
struct Attempt {
    api: Api<DynamicObject>,
    name: String,
    manifest: Value,
}

/// Waits until the operator has judged the object.
async fn wait_for_verdict(attempt: &Attempt) -> Result<()> {
    let Attempt { api, name, manifest } = attempt;
    eventually(&format!("a verdict about {manifest}"), EVENT_TIMEOUT, async || {
        let object = api.get(name).await?;
        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").context("no Ready")?;
        ensure!(!ready["reason"].is_null(), "{ready}");
        Ok(())
    })
    .await
}

/// The addresses of the users whose keys are in the Secrets of the namespace.
async fn owners_of_keys(cluster: &ClusterFixture) -> Result<Vec<String>> {
    let mut owners = Vec::new();
    for secret in cluster.secrets().list(&ListParams::default()).await? {
        let key = secret.data.as_ref().and_then(|data| data.get(data::API_KEY));
        let Some(key) = key.and_then(|key| std::str::from_utf8(&key.0).ok()) else { continue };
        if let Ok(authenticated) = cluster.accounts.authentication().authenticate(&key.into()).await? {
            owners.push(authenticated.principal().email.to_string());
        }
    }
    Ok(owners)
}

#[tokio::test]
async fn a_namespace_editor_gets_no_rights_of_others() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let mallory = cluster.kubernetes.namespace().await?;
        cluster.account.grant(&mallory).await?;
        let mut root = NewUser::new(Email::parse("root@example.com")?);
        root.roles = [Role::Admin].into_iter().collect();
        cluster.accounts.users().create(&AuditContext::system("test"), root).await?;
        let both = format!("{},{mallory}", cluster.namespace);
        let launch = cluster.launch()?.env("WATCH_NAMESPACES", &both).env("ADMIN_NAMESPACES", &cluster.namespace);
        let _operator = launch.start().await?;
        cluster
            .create::<paddock_crds::ApiUser>("boss", json!({"email": "boss@example.com", "roles": ["admin"]}))
            .await?;
        cluster.create::<paddock_crds::ApiKey>("boss", json!({"userRef": {"name": "boss"}})).await?;
        let boss_key = cluster.wait_until_consistent("boss").await?;
        let versions = cluster.resource_versions().await?;

        let own = ClusterFixture { namespace: mallory.clone(), ..cluster };
        own.create::<paddock_crds::ApiUser>("mallory", json!({"email": "mallory@example.com"})).await?;
        own.wait_for_ready::<paddock_crds::ApiUser>("mallory", "True", "Applied").await?;
        for (name, type_) in [("foreign", "Opaque"), ("forged", SECRET_TYPE)] {
            let secret: Secret = serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {"paddock.dev/managed": "true"},
                             "annotations": {"paddock.dev/version-id": "1"}},
                "type": type_, "stringData": {data::API_KEY: format!("pdk_{boss_key}_"), data::KEY_ID: boss_key},
            }))?;
            own.secrets().create(&PostParams::default(), &secret).await?;
        }
        let victim = both.split(',').next().context("a victim")?;
        let attempts = attempts(victim);
        ensure!(attempts.len() >= 20, "{}", attempts.len());
        for (index, attempt) in attempts.into_iter().enumerate() {
            if let Some(attempt) = try_create(&own.client, &mallory, index, attempt).await? {
                wait_for_verdict(&attempt).await?;
            }
        }

        let admins = own.database.texts("SELECT email FROM users WHERE roles LIKE '%admin%' ORDER BY email").await?;
        assert_eq!(admins, ["boss@example.com", "root@example.com"]);
        let inactive =
            own.database.texts("SELECT email FROM users WHERE NOT is_active AND roles LIKE '%admin%'").await?;
        ensure!(inactive.is_empty(), "{inactive:?}");
        let owners = owners_of_keys(&own).await?;
        ensure!(!owners.is_empty() && owners.iter().all(|email| email == "mallory@example.com"), "{owners:?}");
        for name in ["foreign", "forged"] {
            let kept = own.secret_data(name).await?;
            ensure!(kept[data::API_KEY] == format!("pdk_{boss_key}_"), "{name} was changed: {kept:?}");
        }
        let victim = ClusterFixture { namespace: victim.to_owned(), ..own };
        ensure!(victim.assert_consistent("boss").await? == boss_key, "the victim's key was changed");
        let after = victim.resource_versions().await?;
        let secrets = versions.iter().filter(|(name, _)| name.starts_with("Secret"));
        ensure!(secrets.clone().all(|version| after.contains(version)), "{versions:?} {after:?}");
        Ok(())
    })
    .await;
}
