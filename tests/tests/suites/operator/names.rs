//! Long names, and objects that are deleted together.

use anyhow::ensure;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _, api::DeleteParams};
use paddock_crds::{ApiKey, ApiUser, FINALIZER, data};
use paddock_tests::{eventually::eventually, story::story};
use serde_json::json;

use super::{ClusterFixture, EVENT_TIMEOUT};

#[tokio::test]
async fn long_names_and_names_with_dots_work_in_every_step() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        let dotted = format!("team.a.{}.b", "k".repeat(180));
        let names: Vec<String> =
            [63, 64, 120, 200].into_iter().map(|length| "n".repeat(length)).chain([dotted, "a.b".to_owned()]).collect();
        for (index, name) in names.iter().enumerate() {
            cluster.create::<ApiUser>(name, json!({"email": format!("user{index}@example.com")})).await?;
            cluster.create::<ApiKey>(name, json!({"userRef": {"name": name}})).await?;
        }
        for name in &names {
            cluster.wait_for_ready::<ApiUser>(name, "True", "Applied").await?;
            let before = cluster.wait_until_consistent(name).await?;
            cluster.secrets().delete(&format!("{name}-apikey"), &DeleteParams::default()).await?;
            eventually("another version", EVENT_TIMEOUT, async || {
                ensure!(cluster.assert_consistent(name).await? != before, "the same version");
                Ok(())
            })
            .await?;
            cluster.delete::<ApiKey>(name).await?;
            cluster.delete::<ApiUser>(name).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_user_and_its_key_that_are_deleted_together_are_gone() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let _operator = cluster.start_operator().await?;
        let once = DeleteParams::default();
        for (name, secret_first) in [("ada", false), ("bob", true)] {
            cluster.user_with_key(name).await?;
            let key = cluster.secret_data(&format!("{name}-apikey")).await?[data::API_KEY].clone();
            if secret_first {
                cluster.secrets().delete(&format!("{name}-apikey"), &once).await?;
            }
            let (users, keys) = (cluster.api::<ApiUser>(), cluster.api::<ApiKey>());
            let (user, key_object) = tokio::join!(users.delete(name, &once), keys.delete(name, &once));
            user?;
            key_object?;
            cluster.wait_until_gone::<ApiKey>(name).await?;
            cluster.wait_until_gone::<ApiUser>(name).await?;
            ensure!(cluster.secrets().get_opt(&format!("{name}-apikey")).await?.is_none(), "the Secret is left");
            ensure!(cluster.accounts.authentication().authenticate(&key.as_str().into()).await?.is_err());
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_namespace_that_is_deleted_right_after_its_creation_is_gone() {
    story(async {
        let cluster = ClusterFixture::start().await?;
        let short = cluster.kubernetes.namespace().await?;
        cluster.account.grant(&short).await?;
        let both = format!("{},{short}", cluster.namespace);
        let _operator = cluster.launch()?.env("WATCH_NAMESPACES", &both).start().await?;
        let short = ClusterFixture { namespace: short, ..ClusterFixture::start().await? };
        short.create::<ApiUser>("ada", json!({"email": "short@example.com"})).await?;
        short.create::<ApiKey>("ada", json!({"userRef": {"name": "ada"}})).await?;
        eventually("the middle of the first reconcile", EVENT_TIMEOUT, async || {
            let user = short.api::<ApiUser>().get("ada").await?;
            ensure!(user.finalizers().iter().any(|name| name == FINALIZER), "no finalizer yet");
            Ok(())
        })
        .await?;
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        namespaces.delete(&short.namespace, &DeleteParams::default()).await?;
        eventually("the namespace to go", EVENT_TIMEOUT, async || match namespaces.get_opt(&short.namespace).await? {
            None => Ok(()),
            Some(left) => Err(anyhow::anyhow!("{:?}", left.status)),
        })
        .await?;
        let emails = cluster.database.texts("SELECT email FROM users WHERE email = 'short@example.com'").await?;
        ensure!(emails.is_empty(), "{emails:?}");
        // The other namespace is served as before.
        cluster.user_with_key("bob").await?;
        Ok(())
    })
    .await;
}
