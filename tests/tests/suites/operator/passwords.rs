//! The password of an `ApiUser`: a user made in Git can sign in.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use paddock_crds::{ApiUser, HasConditions as _, label};
use paddock_tests::{
    eventually::eventually,
    paddock::{Launch, Paddock},
    story::story,
};
use serde_json::json;

use super::{ClusterFixture, EVENT_TIMEOUT, NO_OLLAMA};

const FIRST: &str = "correct horse battery staple";
const SECOND: &str = "another horse, another staple";

impl ClusterFixture {
    async fn start_api(&self) -> Result<Paddock> {
        Launch::new(&["api"], self.database.url())?.ollama(NO_OLLAMA).start().await
    }

    /// Creates a Secret with a password, which the operator watches.
    async fn create_password(&self, name: &str, password: &str) -> Result<()> {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(BTreeMap::from([(label::PASSWORD.to_owned(), "true".to_owned())])),
                ..ObjectMeta::default()
            },
            string_data: Some(BTreeMap::from([("password".to_owned(), password.to_owned())])),
            ..Secret::default()
        };
        self.secrets().create(&PostParams::default(), &secret).await?;
        Ok(())
    }

    async fn change_password(&self, name: &str, password: &str) -> Result<()> {
        let changed = json!({"data": {"password": ByteString(password.as_bytes().to_vec())}});
        self.secrets().patch(name, &PatchParams::default(), &Patch::Merge(changed)).await?;
        Ok(())
    }
}

/// Signs in, and returns the status of the response.
async fn sign_in(api: &Paddock, password: &str) -> Result<u16> {
    let credentials = json!({"username": "ada@example.com", "password": password});
    Ok(reqwest::Client::new()
        .post(format!("{}/auth/login", api.url()))
        .json(&credentials)
        .send()
        .await?
        .status()
        .as_u16())
}

#[tokio::test]
async fn a_user_from_git_signs_in_with_a_generated_password() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (_operator, api) = (cluster.start_operator().await?, cluster.start_api().await?);
        let spec = json!({"email": "ada@example.com", "generatePassword": {"secretName": "ada-login"}});
        cluster.create::<ApiUser>("ada", spec).await?;
        let object = cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        let synced = object.status.context("a status")?.condition("PasswordSynced").cloned();
        ensure!(synced.is_some_and(|synced| synced.status == "True"));
        let content = cluster.secret_data("ada-login").await?;
        assert_eq!(content["username"], "ada@example.com");
        assert_eq!(sign_in(&api, &content["password"]).await?, 200);

        let secret = cluster.secrets().get("ada-login").await?;
        ensure!(secret.owner_references().iter().any(|owner| owner.kind == "ApiUser"));
        cluster.delete::<ApiUser>("ada").await?;
        ensure!(cluster.secrets().get_opt("ada-login").await?.is_none());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_initial_password_is_set_once() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (_operator, api) = (cluster.start_operator().await?, cluster.start_api().await?);
        let spec = json!({"email": "ada@example.com", "passwordSecretRef": {"name": "pw"}});
        cluster.create::<ApiUser>("ada", spec).await?;
        let waiting = cluster.wait_for_ready::<ApiUser>("ada", "False", "PasswordSecretNotFound").await?;
        ensure!(waiting.status.context("a status")?.condition("Reconciling").is_some(), "the Secret may still come");
        cluster.create_password("pw", "password").await?;
        let refused = cluster.wait_for_ready::<ApiUser>("ada", "False", "PasswordRefused").await?;
        let message = &refused.status.context("a status")?.conditions[0].message;
        ensure!(!message.contains("\"password\""), "the message shows the password: {message}");
        cluster.change_password("pw", &format!("{FIRST}\n")).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        assert_eq!(sign_in(&api, FIRST).await?, 200);

        cluster.change_password("pw", SECOND).await?;
        cluster.merge_patch::<ApiUser>("ada", json!({"spec": {"displayName": "Ada"}})).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        assert_eq!(sign_in(&api, FIRST).await?, 200, "the user may have changed its password");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_enforced_password_follows_its_secret() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let (_operator, api) = (cluster.start_operator().await?, cluster.start_api().await?);
        cluster.create_password("pw", FIRST).await?;
        let spec =
            json!({"email": "ada@example.com", "passwordSecretRef": {"name": "pw"}, "passwordPolicy": "Enforced"});
        cluster.create::<ApiUser>("ada", spec).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        assert_eq!(sign_in(&api, FIRST).await?, 200);
        cluster.change_password("pw", SECOND).await?;
        eventually("the new password", EVENT_TIMEOUT, async || {
            let status = sign_in(&api, SECOND).await?;
            ensure!(status == 200, "{status}");
            Ok(())
        })
        .await?;
        let set = cluster.audit_events().await?.iter().filter(|event| *event == "password_set").count();
        assert_eq!(set, 2);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_foreign_secret_takes_no_generated_password() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        cluster.create_password("ada-login", FIRST).await?;
        let spec = json!({"email": "ada@example.com", "generatePassword": {"secretName": "ada-login"}});
        cluster.create::<ApiUser>("ada", spec).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "False", "SecretConflict").await?;
        assert_eq!(cluster.secret_data("ada-login").await?["password"], FIRST);
        cluster.secrets().delete("ada-login", &DeleteParams::default()).await?;
        cluster.wait_for_ready::<ApiUser>("ada", "True", "Applied").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn one_source_of_a_password_is_allowed() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let both = json!({"email": "ada@example.com", "passwordSecretRef": {"name": "pw"},
            "generatePassword": {"secretName": "ada-login"}});
        let enforced = json!({"email": "ada@example.com", "passwordPolicy": "Enforced"});
        for (spec, words) in [(both, "exclude each other"), (enforced, "needs passwordSecretRef or generatePassword")] {
            let error = cluster.create::<ApiUser>("ada", spec).await.expect_err("the API server accepts it");
            ensure!(format!("{error:#}").contains(words), "{error:#}");
        }
        Ok(())
    })
    .await;
}
